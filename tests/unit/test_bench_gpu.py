"""The GPU benchmark, as far as a CPU can run it."""

from __future__ import annotations

import csv
import os
import random
import re
import shutil
import signal
import subprocess
import sys
import time
import types
import weakref
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from unittest import mock

import pytest
import torch

from benchmarks import (
    gpu,
    gpu_agreement,
    gpu_card,
    gpu_memory,
    gpu_passes,
    gpu_phases,
    gpu_problems,
    gpu_registration,
    gpu_schedule,
    gpu_slabs,
    gpu_tests,
)
from benchmarks.gpu_record import OutOfTime, Record, Section
from benchmarks.gpu_schedule import Part
from benchmarks.gpu_sizes import QUICK
from benchmarks.traffic import counted
from benchmarks.truth_runs import numerical
from longimorph.memory.model import Bytes
from longimorph.numerics import equations, kernels, passes, shooting
from longimorph.numerics.control import Allocation
from longimorph.numerics.memory_strategies import BY_NAME, Ladder
from longimorph.numerics.objective import evaluate
from longimorph.numerics.register import register
from longimorph.numerics.run import Run
from longimorph.study.config import defaults

FLOAT, GIB = 4, 1 << 30
CPU = torch.device("cpu")
ROOT = Path(__file__).parents[2]
LACKING = "nibabel SimpleITK snakemake jsonschema pandas yaml matplotlib tqdm jinja2 PIL"
SITE = """
import sys
from importlib.machinery import PathFinder

class Without(PathFinder):
    @classmethod
    def find_spec(cls, name, path=None, target=None):
        refused = name.partition(".")[0] in {lacking!r}.split()
        return None if refused else super().find_spec(name, path, target)

sys.meta_path[sys.meta_path.index(PathFinder)] = Without
"""
"""A sitecustomize for Python and its children: to them, some packages are not installed."""


@pytest.fixture(autouse=True)
def formulas():
    """As on a card, and without waiting for a compiler."""
    with gpu_card.by_the_formulas():
        yield


def section(tmp_path: Path, seconds: float = 60.0) -> Section:
    return Section(Record([tmp_path / "gpu.md"], seed=7), "part", time.monotonic() + seconds)


def figures(folder: Path) -> list[dict[str, str]]:
    with (folder / "gpu.csv").open(encoding="utf-8") as file:
        return list(csv.DictReader(file))


def bare_environment(tmp_path: Path, lacking: str) -> dict[str, str]:
    """Of a machine where Python lacks some packages, and longimorph is not installed."""
    site = tmp_path / "site"
    site.mkdir()
    (site / "sitecustomize.py").write_text(SITE.format(lacking=lacking), encoding="utf-8")
    found = {name: value for name, value in os.environ.items() if not name.startswith(("PYTEST", "COV"))}
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    return {
        **found,
        "PATH": path,
        "PYTHONPATH": str(site),
        "BENCH_OUT": str(tmp_path / "out"),
        "OMP_NUM_THREADS": "1",
    }


@pytest.mark.slow
def test_the_whole_benchmark_runs_where_only_torch_numpy_and_pytest_are(tmp_path):
    if shutil.which("make") is None:
        pytest.skip("there is no make here")
    environment, out = bare_environment(tmp_path, LACKING), tmp_path / "out"
    check = f"import importlib.util as u; print([n for n in {LACKING!r}.split() if u.find_spec(n)])"
    seen = subprocess.run(
        [sys.executable, "-c", check], env=environment, capture_output=True, text=True, check=True
    )
    assert seen.stdout.strip() == "[]"
    patient = "--budgets 10 --deadline 500"
    arguments = f"--device cpu --quick {patient} --out {tmp_path / 'own.md'}"
    command = ["make", "--no-print-directory", "bench-gpu", f"BENCH_ARGS={arguments}"]
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=550)
    text = (out / "gpu.md").read_text(encoding="utf-8")
    assert done.returncode == 0, done.stdout + done.stderr
    assert (tmp_path / "own.md").read_text(encoding="utf-8") == text
    assert [line[3:] for line in text.splitlines() if line.startswith("## ")] == [
        t for t, *_ in gpu.PARTS.values()
    ]
    assert "Failed" not in text and "Out of budget" not in text and "failed: none" in text
    assert {row["part"] for row in figures(out)} == set(gpu.PARTS) - {"tests"}
    assert re.search(r"tests/gpu`: \d+ skipped in", text)
    made = set(out.iterdir())
    assert made == {out / "gpu.md", out / "gpu.csv"}


def test_a_run_that_is_killed_leaves_the_rows_it_had(tmp_path):
    environment, out = {**bare_environment(tmp_path, ""), "PYTHONPATH": str(ROOT / "src")}, tmp_path / "out"
    command = [
        sys.executable,
        "-m",
        "benchmarks.gpu",
        "--device",
        "cpu",
        "--quick",
        "--out",
        tmp_path / "own.md",
    ]
    process = subprocess.Popen(command, cwd=ROOT, env=environment, stdout=subprocess.DEVNULL)
    try:
        for _ in range(600):
            with suppress(FileNotFoundError):
                if any(row["part"] == "passes" for row in figures(out)):
                    break
            time.sleep(0.2)
    finally:
        process.send_signal(signal.SIGKILL)
        process.wait()
    rows, text = figures(out), (out / "gpu.md").read_text(encoding="utf-8")
    assert rows[0]["what"] == "copy" and float(rows[0]["value"]) > 0
    assert {"store: cost and gradient", "checkpoint: cost and gradient"} <= {row["what"] for row in rows}
    assert "| `checkpoint` |" in text and text.endswith("\n")
    assert "## The tests" not in text


def test_without_a_device_it_says_so_and_writes_nothing(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setenv("BENCH_OUT", str(tmp_path))
    assert gpu.main(["--out", str(tmp_path / "gpu.md")]) == 0
    assert "no CUDA device" in capsys.readouterr().out
    assert list(tmp_path.iterdir()) == []


def test_only_a_whole_run_on_a_card_writes_the_page():
    def path(*arguments: str) -> Path:
        return gpu._paths(gpu._parser().parse_args(arguments))[0]

    assert path() == gpu.OUT
    for less in (["--quick"], ["--device", "cpu"], ["--parts", "headline"]):
        assert path(*less) == gpu.QUICK_OUT


def test_the_budgets_leave_a_margin():
    budgets = sum(seconds for *_, seconds in gpu.PARTS.values())
    assert budgets <= 7 * 60 < gpu.DEADLINE_S <= 9 * 60
    assert next(iter(gpu.PARTS)) == "headline" and list(gpu.PARTS)[-1] == "tests"


# Parts that fail


@pytest.fixture
def made(tmp_path, monkeypatch):
    """Run parts made for the test, given as functions by name; returns failures and the report."""

    def run(seconds: float = 60.0, deadline: float = 60.0, **works) -> tuple[list[str], str]:
        monkeypatch.setitem(sys.modules, "made_parts", types.SimpleNamespace(**works))
        parts = [Part(name, name.title(), f"made_parts:{name}", seconds) for name in works]
        record = Record([tmp_path / "gpu.md"])
        failed = gpu_schedule.run_all(parts, record, QUICK, CPU, time.monotonic() + deadline)
        return failed, record.text

    return run


def good(part, sizes, device):
    part.write("all is well")


def test_a_part_that_raises_leaves_its_traceback_and_the_next_one_runs(made, tmp_path):
    def bad(part, sizes, device):
        part.table("a", "b")
        part.row(("1", "2"), {("kept", "s"): 3.0})
        raise ValueError("on purpose")

    failed, text = made(bad=bad, good=good)
    assert failed == ["bad"]
    assert "| 1 | 2 |" in text and "ValueError: on purpose" in text and "all is well" in text
    assert [row["what"] for row in figures(tmp_path)] == ["kept"]


def test_a_part_that_cannot_be_imported_fails_alone(made, tmp_path):
    parts = [
        Part("a", "A", "benchmarks.gpu_no_such_thing:x", 9),
        Part("b", "B", "benchmarks.gpu_tests:no_such", 9),
    ]
    record = Record([tmp_path / "gpu.md"])
    assert gpu_schedule.run_all(parts, record, QUICK, CPU, time.monotonic() + 60) == ["a", "b"]
    assert "ModuleNotFoundError" in record.text and "AttributeError" in record.text


def test_the_command_says_which_part_failed(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "benchmarks.gpu_passes", None)
    out = tmp_path / "gpu.md"
    arguments = ["--device", "cpu", "--quick", "--budgets", "20", "--parts", "passes", "profile"]
    assert gpu.main([*arguments, "--out", str(out)]) == 1
    text = out.read_text(encoding="utf-8")
    assert "failed: passes" in text and "ModuleNotFoundError" in text and "kernels" in text


def test_memory_that_a_failed_part_held_is_free_for_the_next(made):
    held = []

    def inner(maps):
        raise torch.OutOfMemoryError("CUDA out of memory, on purpose")

    def full(part, sizes, device):
        maps = torch.ones(1000)
        held.append(weakref.ref(maps))
        try:
            inner(maps)
        except RuntimeError as error:
            raise ValueError("while something else was tried") from error

    def following(part, sizes, device):
        part.write("freed" if held[0]() is None else "still held")

    failed, text = made(full=full, following=following)
    assert failed == ["full"]
    assert "OutOfMemoryError" in text and "freed" in text


def test_a_part_out_of_budget_keeps_its_rows_and_names_the_others(made, monkeypatch):
    monkeypatch.setattr(gpu_schedule, "GRACE", 100)

    def slow(part, sizes, device):
        part.table("n")
        for n in part.each(range(4)):
            part.row((f"row {n}",), {})
            time.sleep(0.7)

    failed, text = made(seconds=2.0, slow=slow, good=good)
    assert failed == []
    assert "| row 0 |" in text and "| row 3 |" not in text
    assert re.search(r"\*\*Out of budget\*\*: not measured: (1, )?(2, )?3\.", text) and "all is well" in text


def test_a_row_that_does_not_end_is_cut_short(made):
    def stuck(part, sizes, device):
        part.write("before")
        while True:
            time.sleep(0.01)

    before = signal.getsignal(signal.SIGALRM)
    failed, text = made(seconds=0.2, stuck=stuck, good=good)
    assert failed == []
    assert "before" in text and "cut short" in text and "all is well" in text
    assert signal.getsignal(signal.SIGALRM) == before


def test_after_the_deadline_nothing_begins(made):
    def stuck(part, sizes, device):
        while True:
            time.sleep(0.01)

    began = time.monotonic()
    failed, text = made(seconds=60, deadline=6.0, good=good, stuck=stuck, third=good, fourth=good)
    assert time.monotonic() - began < 30
    assert failed == []
    assert text.count("all is well") == 1 and "cut short" in text
    assert "**Out of time.** Skipped: Third, Fourth." in text


def test_the_command_stops_at_its_deadline(tmp_path):
    out = tmp_path / "gpu.md"
    assert gpu.main(["--device", "cpu", "--quick", "--deadline", "0", "--out", str(out)]) == 0
    titles = ", ".join(title for title, *_ in gpu.PARTS.values())
    assert f"Skipped: {titles}." in out.read_text(encoding="utf-8")


# What is measured


def test_the_settings_are_a_studys_defaults():
    assert numerical(defaults()) == gpu_problems.DEFAULTS


def test_every_pass_is_measured_and_compared():
    """All but the direction, which is part of the change of the density unless prices are per pair."""
    of_one_share = {w.value for w, f in passes.FORMULAS.items() if f.__module__ == equations.__name__}
    assert set(gpu_passes.NAMES) == of_one_share - {"direction"}


def test_the_products_along_the_axes_make_up_the_convolution():
    field = torch.randn(3, 6, 5, 4)
    matrices = tuple(torch.randn(n, n) for n in field.shape[1:])
    found = field
    for axis, matrix in enumerate(matrices):
        found = gpu_passes.along_axis(found, matrix, axis)
    torch.testing.assert_close(found, kernels.along_all(field, matrices))


def test_a_wrong_pass_is_found_out(tmp_path, monkeypatch):
    right = passes.rate
    gpu_agreement._passes(part := section(tmp_path), QUICK, CPU, random.Random(5))
    assert part.record.text.count("| reached |") == QUICK.draws and "missed" not in part.record.text
    monkeypatch.setattr(passes, "rate", lambda *args: right(*args) * 1.001)
    gpu_agreement._passes(part := section(tmp_path), QUICK, CPU, random.Random(5))
    assert part.record.text.count("**missed**") == QUICK.draws


def test_a_wrong_strategy_and_other_bits_are_found_out(tmp_path, monkeypatch):
    calls = iter(range(1000))

    def unsteady(*args):
        found = evaluate(*args)
        return replace(found, gradient=found.gradient * (1 + 1e-3 * next(calls)))

    monkeypatch.setattr(gpu_agreement, "evaluate", unsteady)
    gpu_agreement._whole(part := section(tmp_path), QUICK, CPU, 3)
    assert "| two runs, bit by bit | some | none | **missed** |" in part.record.text
    assert part.record.text.count("**missed**") == 6


def test_the_anatomy_is_a_pair_of_probability_maps():
    source, target, control = gpu_problems.anatomy((24, 22, 20, 8), 8.0)
    for maps in (source, target):
        assert float(maps.min()) >= 0.9 * gpu_problems.FLOOR
        torch.testing.assert_close(maps.sum(0), torch.ones(24, 22, 20))
    wider = (target[gpu_problems.VENTRICLE].sum() / source[gpu_problems.VENTRICLE].sum()).item()
    assert 1.1 < wider < 2
    assert float(target[gpu_problems.LESION].sum()) > 0.3 > 1e-3 > float(source[gpu_problems.LESION].sum())
    assert control.shape == (8, 8)


@pytest.mark.parametrize("usual", [1 << 20, {"cpu": 1 << 20, "cuda": 64 << 20}])
def test_slabs_of_another_size_are_put_back(monkeypatch, usual):
    monkeypatch.setattr(passes, "SLAB_BYTES", usual)
    with gpu_slabs.slab_bytes(123, torch.device("cuda")):
        assert (passes.SLAB_BYTES if isinstance(usual, int) else passes.SLAB_BYTES["cuda"]) == 123
    assert usual == passes.SLAB_BYTES


def test_times_of_phases_add_up_to_the_registration():
    pair = gpu_problems.anatomy((16, 14, 12, 8), 4.0)
    settings = replace(gpu_problems.DEFAULTS, max_evaluations=3, steps=2)
    heard = []
    phases = gpu_phases.Phases(CPU, lambda *ended: heard.append(ended))
    watch = gpu_card.Stopwatch(CPU)
    with phases.watched():
        register(*pair, (4.0, 4.0, 4.0), settings, Run(ladder=Ladder([BY_NAME["store"]])))
    assert not phases.missing
    assert sum(phases.seconds.values()) == pytest.approx(watch.seconds(), rel=0.3)
    assert {phase for _, phase, _ in heard} >= {"start", "attribution", "drift", "uncertainty"}
    assert phases.calls["4", gpu_phases.EVALUATION] == 3
    assert register.__globals__["drift"] is shooting.drift


def test_a_name_that_is_gone_is_said_to(monkeypatch):
    monkeypatch.setitem(gpu_phases.WRAPPED, "register.no_such_name", "x")
    monkeypatch.setitem(gpu_phases.WRAPPED, "register.NoClass.no_such_name", "y")
    with (phases := gpu_phases.Phases(CPU)).watched():
        pass
    assert phases.missing == {"x", "y"}


@pytest.mark.parametrize("work", [gpu_registration.gentle, gpu_registration.within_8_gib])
def test_a_registration_that_is_cut_off_keeps_its_answer(tmp_path, work):
    part = section(tmp_path, seconds=-1.0)
    work(part, QUICK, CPU)
    assert "ut off**" in part.record.text and "| reached |" not in part.record.text
    assert any(row["unit"] == "s" for row in figures(tmp_path))


def test_tests_that_fail_or_do_not_end_are_said_to(tmp_path, monkeypatch):
    failing = "print('1 failed'); raise SystemExit(1)"
    monkeypatch.setattr(gpu_tests, "COMMAND", (sys.executable, "-c", failing))
    with pytest.raises(RuntimeError, match="1 failed"):
        gpu_tests.tests(section(tmp_path), QUICK, CPU)
    late = "import time; print('so far', flush=True); time.sleep(60)"
    monkeypatch.setattr(gpu_tests, "COMMAND", (sys.executable, "-c", late))
    with pytest.raises(OutOfTime, match="so far"):
        gpu_tests.tests(section(tmp_path, seconds=5.0), QUICK, CPU)


def test_memory_beside_the_model():
    told = Bytes(1000, 500, 1500)
    cells = gpu_memory.compared(gpu_card.Peak(1050, 2000, 510), told, 100)
    assert cells == ["10.50", "10.00", "1.050", "20.00", "5.10", "5.00", "reached"]
    for missed in (gpu_card.Peak(1150, 2000, 510), gpu_card.Peak(1000, 2000, 900)):
        assert gpu_memory.compared(missed, told, 100)[-1] == "**missed**"


# The card's own path, with a PyTorch that only says what it is asked


@pytest.fixture
def card(monkeypatch):
    """Everything that the benchmark asks of ``torch.cuda``, by its real name and signature."""
    answers = {
        "synchronize": None,
        "empty_cache": None,
        "reset_peak_memory_stats": None,
        "memory_allocated": 32 << 20,
        "max_memory_allocated": (32 << 20) + 3_000_000,
        "max_memory_reserved": 5_000_000,
        "set_per_process_memory_fraction": None,
        "current_stream": None,
        "get_device_properties": types.SimpleNamespace(name="A card", total_memory=80 * GIB),
    }
    fake = {}
    for name, answer in answers.items():
        fake[name] = mock.create_autospec(getattr(torch.cuda, name), return_value=answer)
        monkeypatch.setattr(torch.cuda, name, fake[name])
    event = mock.create_autospec(torch.cuda.Event, instance=True)
    event.elapsed_time.return_value = 250.0
    monkeypatch.setattr(torch.cuda, "Event", mock.Mock(return_value=event))
    monkeypatch.setattr(gpu_card, "is_card", lambda device: True)
    pinned = types.SimpleNamespace(peak=4_000_000, reset_peak=mock.Mock())
    monkeypatch.setattr(gpu_card, "pinned_pool", lambda: pinned)
    return types.SimpleNamespace(**fake, event=event, pinned=pinned)


def test_a_card_is_timed_by_its_events(card):
    assert gpu_card.milliseconds(lambda: None, CPU, 3, 5) == 50.0
    assert card.event.record.call_count == 6 and card.event.synchronize.call_count == 3


def test_peaks_are_less_the_workspace(card):
    meter = gpu_card.Meter(CPU)
    assert meter.peak() == gpu_card.Peak(3_000_000, 5_000_000, 4_000_000)
    card.reset_peak_memory_stats.assert_called_once()
    card.pinned.reset_peak.assert_called_once()


def test_the_limit_on_a_cards_memory_is_lifted_whatever_happens(card):
    with pytest.raises(ValueError), gpu_card.limited(CPU, 8 * GIB):
        raise ValueError
    fractions = [call.args[0] for call in card.set_per_process_memory_fraction.call_args_list]
    assert fractions == [0.1, 1.0]


def test_the_card_has_a_number_which_the_limit_asks_for(tmp_path, card, monkeypatch):
    run, devices = gpu_schedule.run_all, []
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(gpu_schedule, "run_all", lambda *args: devices.append(args[3]) or run([], *args[1:]))  # type: ignore[func-returns-value]
    assert gpu.main(["--quick", "--out", str(tmp_path / "gpu.md")]) == 0
    assert devices == [torch.device("cuda", 0)]
    assert "A card, 80 GiB" in (tmp_path / "gpu.md").read_text(encoding="utf-8")


def test_a_broken_card_does_not_stop_the_cleaning(card):
    card.synchronize.side_effect = RuntimeError("CUDA error: an illegal memory access was encountered")
    gpu_card.clean(CPU)


@pytest.mark.parametrize("work", [gpu_memory.by_strategy, gpu_registration.within_8_gib, gpu_slabs.sweep])
def test_what_a_card_tells_of_its_memory_is_in_the_report(tmp_path, card, work):
    work(part := section(tmp_path, 120), QUICK, CPU)
    found = {row["unit"] for row in figures(tmp_path)}
    assert "GB" in found
    assert "not counted" not in part.record.text


# The meter of traffic


def test_traffic_of_operations():
    a, b = torch.ones(10, 20), torch.ones(20, 30)
    with counted(whole_passes=False) as meter:
        a + a
        a[2:].T.reshape(160)[:4]
    assert meter.bytes == 2 * 200 * FLOAT + 2 * 160 * FLOAT
    with counted(whole_passes=False) as meter:
        a @ b
    assert meter.bytes == (200 + 600 + 300) * FLOAT
    assert meter.flops == 2 * 10 * 20 * 30


def test_traffic_of_a_whole_pass():
    shape = (3, 6, 5, 4)
    q = p = alloc = torch.full(shape, 0.5)
    per_mm = torch.full((3, 1, 1, 1), 0.5)
    with counted(whole_passes=True) as meter:
        passes.density(q, p, Allocation(alloc), per_mm)
    assert meter.bytes == (3 * 3 + 1 + 3) * 120 * FLOAT + 3 * FLOAT


def test_fused_passes_move_less_than_operations_one_by_one():
    pair = gpu_problems.random_pair((12, 10, 8, 3))
    settings = replace(gpu_problems.DEFAULTS, steps=2)
    momentum, matching = gpu_problems.posed(pair, settings, CPU)
    found = []
    for whole in (True, False):
        with counted(whole) as meter:
            evaluate(momentum, matching)
        found.append(meter.bytes)
    assert 2 * found[0] < found[1]

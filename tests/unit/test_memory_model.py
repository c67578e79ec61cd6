"""The memory model: its fit, its file, its choice of a strategy, and stepping down without loss."""

from __future__ import annotations

import json
from dataclasses import replace
from functools import partial
from math import prod

import numpy as np
import pytest
import torch
from small_problems import settings

from longimorph.cli import main
from longimorph.cli import memory as command
from longimorph.errors import LongimorphError
from longimorph.footprint import FREE_MAPS, PAIR_PRICES_MAPS
from longimorph.free_pairs import FreePairs
from longimorph.memory import budget, measure, model
from longimorph.memory.measure import SPACING, PhaseMeter, SampleCase, random_pair, sample, slab_walk
from longimorph.memory.model import PHASES, Bytes, Size
from longimorph.numerics import memory_strategies, passes, solve
from longimorph.numerics.control import Allocation
from longimorph.numerics.live_bytes import LiveBytes
from longimorph.numerics.memory_strategies import Ladder
from longimorph.numerics.register import register
from longimorph.numerics.run import Run

NOT_FITTED = {
    "cpu": [SampleCase((22, 17, 19), 7, 9, 3), SampleCase((14, 26, 18), 4, 12, 2)],
    "cuda": [SampleCase((72, 10, 14), 7, 7, 2)],
}
LARGE = Size(prod((160, 190, 160)) * 8 * 4, 8, 10)


@pytest.mark.parametrize(
    ("walk", "case", "strategy"),
    [
        (walk, case, strategy)
        for walk, cases in NOT_FITTED.items()
        for number, case in enumerate(cases)
        for strategy in (memory_strategies.BY_NAME if number == 0 else ("checkpoint",))
    ],
)
def test_the_model_foretells_peaks_of_sizes_that_were_not_fitted(walk, case, strategy):
    found = sample(case, strategy, walk)
    form = model.model().devices[walk][strategy]
    assert max(command.errors(form, found)) <= 0.05


def test_it_foretells_more_steps_and_pairs_than_were_fitted():
    """Also where one piece of work after another is the highest, so that the peak is no linear form."""
    found = sample(SampleCase((64, 10, 10), 8, 20, 8), "host", "cuda")
    assert max(command.errors(model.model().devices["cuda"]["host"], found)) <= 0.05


def test_the_fit_recovers_coefficients():
    generator = np.random.default_rng(1)
    true = dict(zip(model.TERMS, (2.0, 1.5, 11.0, 30.0, 3.0, 20.0, 40.0, 5000.0), strict=True))
    sizes = [
        Size(int(n) * c * 4, c, int(generator.integers(5, 30)), int(generator.integers(1, 9)), float(s))
        for n, c, s in zip(
            generator.integers(4000, 30000, 16),
            generator.integers(3, 14, 16).tolist(),
            generator.uniform(0.07, 0.15, 16),
            strict=True,
        )
    ]
    peaks = [round(sum(a * b for a, b in zip(true.values(), s.terms(), strict=True))) for s in sizes]
    assert model.fitted(sizes, peaks) == pytest.approx(true, rel=1e-3)
    assert model.fitted(sizes, [0] * len(sizes)) == {}


def test_the_command_fits_writes_and_keeps_what_it_did_not_fit(tmp_path, monkeypatch, capsys):
    """With made-up peaks: what was measured has its own test."""

    def made_up(case, strategy, device):
        size = Size(prod(case.shape) * case.classes * 4, case.classes, case.steps, case.pairs, 0.0)
        peak = (3 * case.pairs + 2 * case.steps + 7) * size.map_bytes
        return command_sample(strategy, size, {phase: Bytes(peak, 0, peak) for phase in PHASES})

    monkeypatch.setattr("longimorph.memory.measure.sample", made_up)
    out = tmp_path / "model.json"
    assert main(["memory", "fit", "--out", str(out), "--device", "cpu", "--strategies", "host"]) == 0
    assert main(["memory", "fit", "--out", str(out), "--device", "cpu", "--strategies", "store"]) == 0
    assert "(3.000 M + 2.000 N + 7.00) D" in capsys.readouterr().out
    found = model.model(out)
    assert set(found.devices["cpu"]) == {"host", "store"}
    assert found.peak("host", LARGE).device == pytest.approx((24 + 20 + 7) * LARGE.map_bytes, rel=1e-4)
    assert found.peak("host", LARGE).host == 0


def command_sample(*args):
    from longimorph.memory.measure import Sample

    return Sample(*args)


def test_the_command_predicts(capsys):
    assert main(["memory", "predict", "--shape", "240", "240", "155", "--classes", "8", "--steps", "10"]) == 0
    text = capsys.readouterr().out
    for name in memory_strategies.BY_NAME:
        assert name in text
    assert main(["memory", "predict", "--shape", "0", "--classes", "8"]) == 2


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("{", "not valid JSON"),
        ("{}", "'devices'"),
        ('{"devices": {"cpu": {}}}', "no strategies"),
        ('{"devices": {"cpu": {"store": {}}}}', "devices.cpu.store.rest.device"),
    ],
)
def test_a_broken_model_file_is_told(tmp_path, text, said):
    path = tmp_path / "model.json"
    path.write_text(text)
    with pytest.raises(LongimorphError, match="memory fit") as error:
        model.model(path)
    assert said in str(error.value) and str(path) in str(error.value)


def test_a_coefficient_that_is_no_number_is_told(tmp_path):
    content = json.loads(model.MODEL_FILE.read_text())
    content["devices"]["cpu"]["store"]["rest"]["device"]["maps"] = "many"
    (tmp_path / "model.json").write_text(json.dumps(content))
    with pytest.raises(LongimorphError, match=r"store\.rest\.device\.maps.*found 'many'"):
        model.model(tmp_path / "model.json")


@pytest.mark.parametrize("shape", [(2, 20, 3, 3), (8, 240, 240, 155), (8, 96, 80, 72), (3, 5, 400, 400)])
def test_slabs_are_those_of_a_card(shape):
    maps = torch.empty(shape, device="meta")
    start, stop = next(passes.slabs(maps))
    assert budget.size_of(maps, 5).slab == min(1.0, (stop - start + 2) / shape[1])


def test_the_model_knows_every_rung_of_every_ladder():
    for device, rungs in memory_strategies.LADDERS.items():
        assert {rung.name for rung in rungs} <= set(model.model().devices[device])
    assert set(command.STRATEGIES) == set(memory_strategies.BY_NAME)


@pytest.mark.parametrize("device", ["cpu", "cuda"])
def test_the_choice_walks_down_the_ladder(device):
    names = [rung.name for rung in memory_strategies.LADDERS[device]]
    needs = {n: model.model().peak(n, LARGE, device).needed(device) for n in names}
    for name in names:
        choice = model.choose(LARGE, round(needs[name] / 0.9) + 10, names, device)
        assert choice.fits and needs[choice.strategy] <= needs[name]
        assert names.index(choice.strategy) <= names.index(name)
    assert model.choose(LARGE, 10**15, names, device).strategy == names[0]
    least = model.choose(LARGE, 10**6, names, device)
    assert (least.strategy, least.fits) == (names[-1], False)
    assert f"{names[-1]}: needs {needs[names[-1]] / 1e9:.1f} GB of 0.0 GB free" in least.reason


def test_a_job_has_no_more_room_than_it_asked_for(tmp_path, monkeypatch):
    processor = torch.device("cpu")
    meminfo = tmp_path / "meminfo"
    meminfo.write_text("MemTotal: 16000000 kB\nMemAvailable: 8000000 kB\n")
    limit, used = tmp_path / "max", tmp_path / "current"
    limit.write_text("max\n")
    used.write_text("1000\n")
    monkeypatch.setattr(budget, "MEMINFO", meminfo)
    monkeypatch.setattr(budget, "CGROUPS", ((limit, used),))
    assert budget.free_bytes(processor) == 8_000_000 * 1024
    assert budget.free_bytes(processor, 2000) == 2000 * 10**6 - model.PROCESS_BYTES
    assert budget.free_bytes(processor, 1) == 0
    limit.write_text("5001000\n")
    assert budget.free_bytes(processor) == 5_000_000
    monkeypatch.setattr(budget, "MEMINFO", tmp_path / "none")
    monkeypatch.setattr(budget, "CGROUPS", ())
    assert budget.free_bytes(processor) > 10**8


def test_a_registration_begins_where_it_fits(caplog):
    maps = torch.zeros(4, 10, 10, 10)
    with caplog.at_level("INFO"):
        roomy, tight = budget.begin(maps, maps.device, 5, None), budget.begin(maps, maps.device, 5, 1)
    assert (roomy.begun, tight.begun) == ("store", "nested")
    assert "nested: needs 0.0 GB of 0.0 GB free" in caplog.text
    predicted = model.model().peak("store", Size(16000, 4, 5, slab=budget.size_of(maps, 5).slab)).both
    assert roomy.report(5, 3)["predicted_peak_bytes"] == predicted


def test_what_slabs_hold_is_held_and_the_results_stay():
    """The stand-in for a graphics card counts what a walk in slabs holds, and no more."""
    q, p, alloc = (torch.rand(3, 64, 6, 5) for _ in range(3))
    u = torch.rand(3, 1, 1, 1)
    plain, counts = passes.density(q, p, Allocation(alloc), u), {}
    meter = PhaseMeter([q, p, alloc])
    with slab_walk(q, meter):
        with meter:
            same = passes.density(q, p, Allocation(alloc), u)
        counts["stand-in"] = meter.peak
        outputs = [torch.empty_like(a) for a in plain]
        del same
        with LiveBytes([q, p, alloc, *outputs]) as meter:
            passes._walk(passes.equations.density, (q, p, alloc, passes.PerAxis(u)), outputs)  # type: ignore[attr-defined]
        counts["walk"] = meter.peak
    assert counts["stand-in"] == pytest.approx(counts["walk"], rel=0.01)
    assert counts["walk"] > 4 * sum(a.numel() for a in (q, p, alloc, *outputs))
    for a, b in zip(plain, outputs, strict=True):
        torch.testing.assert_close(a, b)


@pytest.mark.parametrize("failing", [1, 4])
def test_memory_that_runs_out_costs_no_iteration(monkeypatch, failing):
    """The evaluation in which it ran out is made again one rung lower; the result is the same."""
    source, target, control = random_pair((12, 10, 9), 3)
    chosen = replace(settings(max_evaluations=7), kernel_mm=(1.2,), tolerance=1e-9)
    smooth, told, tried = Ladder([memory_strategies.NESTED]), [], []
    heard = []
    expected = register(
        source, target, control, SPACING, chosen, Run(lambda _, i: heard.append(i.number), smooth)
    )
    evaluate = solve.evaluate  # type: ignore[attr-defined]

    def once_out_of_memory(momentum, matching, strategy):
        tried.append(strategy.name)
        if len(tried) == failing:
            raise torch.OutOfMemoryError("made up")
        return evaluate(momentum, matching, strategy)

    monkeypatch.setattr(solve, "evaluate", once_out_of_memory)
    ladder = Ladder(
        [memory_strategies.CHECKPOINT, memory_strategies.NESTED], lambda *rungs: told.append(rungs)
    )
    iterations = []
    found = register(
        source, target, control, SPACING, chosen, Run(lambda _, i: iterations.append(i.number), ladder)
    )
    assert told == [(memory_strategies.CHECKPOINT, memory_strategies.NESTED)]
    assert tried == ["checkpoint"] * failing + ["nested"] * (found.evaluations + 1 - failing)
    assert iterations == heard and found.evaluations == expected.evaluations
    assert found.mismatch_after == pytest.approx(expected.mismatch_after, rel=1e-5)
    torch.testing.assert_close(found.momentum, expected.momentum, rtol=1e-4, atol=1e-6)


def test_the_workspace_of_cublas_is_no_tensor_of_the_registration(monkeypatch):
    """On a recent card cuBLAS keeps 32 MiB, more than all tensors of a small pair."""
    workspace, tensors, maps = 32 << 20, 5_000_000, torch.zeros(4, 10, 10, 10)
    monkeypatch.setattr(budget, "cublas_workspace", lambda _: workspace)
    answers = {"mem_get_info": (10**10, 10**10), "reset_peak_memory_stats": None, "max_memory_reserved": 0}
    answers |= {"memory_reserved": 0, "memory_allocated": 0, "max_memory_allocated": workspace + tensors}
    for name, answer in answers.items():
        monkeypatch.setattr(torch.cuda, name, lambda *_, answer=answer: answer)
    told = budget.begin(maps, torch.device("cuda"), 5, None).report(5, 3)
    assert told["observed_peak_bytes"] == told["memory"]["observed_device_bytes"] == tensors


def stays_within(strategy, further_maps):
    """A registration holds in every phase at most what is predicted, and at its peak nearly as much."""
    with passes.slabs_of(1):  # thin, as they are in a volume of realistic size
        found = sample(SampleCase((28, 26, 24), 6, 6, 2), strategy)
    size = replace(found.size, further_maps=further_maps)
    predicted = model.model().phases(strategy, size)
    over = {name: (peak.both, predicted[name].both) for name, peak in found.peaks.items()}
    assert all(peak <= most for peak, most in over.values()), over
    assert max(peak for peak, _ in over.values()) > 0.9 * model.model().peak(strategy, size).both


def test_prices_per_pair_stay_within_what_is_predicted_for_them(monkeypatch):
    def of_pairs(steps, kept):
        return replace(usual(steps, kept), reallocation="pairs")

    usual = measure.settings
    monkeypatch.setattr(measure, "settings", of_pairs)
    stays_within("checkpoint", PAIR_PRICES_MAPS)


def test_free_pairs_stay_within_what_is_predicted_for_them(monkeypatch):
    free = FreePairs((0,), (2, 3)), FreePairs((1,), (2, 3), open=False)
    monkeypatch.setattr(measure, "register", partial(register, free=free))
    stays_within("checkpoint", FREE_MAPS * len(free))

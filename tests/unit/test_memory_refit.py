"""The cohort's memory table, its figure, and the model corrected by it."""

from __future__ import annotations

import json
from math import prod
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import pandas as pd
import pytest
import yaml

from longimorph.cli import main
from longimorph.errors import InputError, LongimorphError
from longimorph.memory import model
from longimorph.memory.model import Model, Size
from longimorph.memory.refit import refit
from longimorph.report.memory_figure import memory_figure
from longimorph.study import config
from longimorph.tables import columns
from longimorph.tables import memory as memory_tables
from longimorph.verdict.status import PairStatus

SHAPES = [(40 + 8 * n, 50 + 6 * n, 45 + 7 * n) for n in range(8)]


def size(shape: tuple[int, ...], classes: int = 6, steps: int = 10, pairs: int = 8) -> Size:
    map_bytes = prod(shape) * classes * 4
    return Size(map_bytes, classes, steps, pairs, model.slab_share(shape[0], map_bytes))


def status(
    shape: tuple[int, ...], strategy: str = "store", device: str = "cpu", factor: float = 1.0, **changes: Any
) -> dict[str, Any]:
    """What a registration writes that took ``factor`` times the bytes of tensors that the model predicts."""
    of = size(shape, steps=5 + shape[0] % 7)
    known, peak = model.model(), model.model().peak(strategy, of, device)
    process = 400_000_000
    tensors = (
        peak.both if device == "cpu" else known.host_peak(strategy, of, device) - known.process_bytes(device)
    )
    said = {
        "device": device,
        "strategy_begun": strategy,
        "strategy": strategy,
        "classes": of.classes,
        "map_bytes": of.map_bytes,
        "slab_share": of.slab,
        "steps": of.steps,
        "pairs_kept": of.pairs,
        "further_maps": of.further_maps,
        "process_bytes": process,
        "predicted_device_bytes": peak.device if device == "cuda" else None,
        "observed_device_bytes": round(factor * peak.device) if device == "cuda" else None,
        "predicted_host_bytes": known.host_peak(strategy, of, device),
        "observed_host_bytes": round(process + (factor if device == "cpu" else 1.0) * tensors),
    }
    return {"status": "ok", "device": "the name of a device", "memory": {**said, **changes}, "seconds": 61.25}


def write_results(folder: Path, found: list[dict[str, Any]]) -> Path:
    """Write one patient per status, each with one pair."""
    for number, content in enumerate(found):
        pair = folder / "results" / "patients" / f"P{number:03d}" / "A__B"
        pair.mkdir(parents=True)
        (pair / "status.json").write_text(json.dumps(content))
    return folder / "results"


def table_of(folder: Path, found: list[dict[str, Any]]) -> pd.DataFrame:
    return memory_tables.of_results(write_results(folder, found))


# --- the table ---------------------------------------------------------------------------------------------


def test_a_row_has_every_column_and_failed_pairs_keep_theirs() -> None:
    row = memory_tables.memory_row(PairStatus.of(status(SHAPES[0]) | {"evaluations": 12}))
    assert list(row) == list(columns.MEMORY)
    assert (row["device"], row["strategy"], row["evaluations"], row["seconds"]) == (
        "cpu",
        "store",
        "12",
        "61.25",
    )
    assert row["predicted_device_bytes"] == "" and int(row["observed_host_bytes"]) > 4e8
    failed = memory_tables.memory_row(
        PairStatus.of({"status": "overlap", "stage": "align", "message": "Too little."})
    )
    assert {name: text for name, text in failed.items() if text} == {"status": "overlap"}


def test_a_status_without_a_memory_has_no_device() -> None:
    assert (
        memory_tables.memory_row(PairStatus.of({"status": "no_gpu", "device": "CPU, 1 threads"}))["device"]
        == ""
    )


def test_the_table_is_read_back(tmp_path: Path) -> None:
    rows = [memory_tables.memory_row(PairStatus.of(status(shape) | {"patient": "001"})) for shape in SHAPES]
    pd.DataFrame(rows, columns=list(columns.MEMORY)).to_csv(tmp_path / "memory.csv", index=False)
    found = memory_tables.read_memory_rows(tmp_path / "memory.csv")
    assert set(found["patient"]) == {"001"}
    assert found["map_bytes"].tolist() == [size(shape).map_bytes for shape in SHAPES]
    assert found["predicted_device_bytes"].isna().all()


# --- the correction ----------------------------------------------------------------------------------------


def test_the_process_and_the_factors_of_a_processor_are_found(tmp_path: Path) -> None:
    table = table_of(
        tmp_path,
        [status(shape, "store", factor=1.2) for shape in SHAPES]
        + [status(shape, "nested", factor=0.9) for shape in SHAPES],
    )
    found = refit(table, model.model())
    assert {c.key: c.factor for c in found.corrections} == {
        ("cpu", "store"): pytest.approx(1.2, rel=1e-6),
        ("cpu", "nested"): pytest.approx(0.9, rel=1e-6),
    }
    assert found.model.process_bytes("cpu") == pytest.approx(4e8, rel=1e-6)
    for correction in found.corrections:
        assert abs(correction.before).max() > 0.1
        assert abs(correction.after).max() < 1e-5
    large = size((160, 190, 160))
    for strategy, factor in (("store", 1.2), ("nested", 0.9), ("checkpoint", 1.0)):
        before, after = (m.peak(strategy, large).both for m in (model.model(), found.model))
        assert after == pytest.approx(factor * before, rel=1e-5)
    assert found.model.devices["cuda"] == model.model().devices["cuda"]
    assert found.model.process_bytes("cuda") == model.model().process_bytes("cuda")


def test_further_maps_are_taken_off_first(tmp_path: Path) -> None:
    found = []
    for shape in SHAPES:
        one = status(shape, "store", factor=1.2)
        one["memory"]["further_maps"] = 2
        one["memory"]["observed_host_bytes"] += 2 * size(shape).map_bytes
        found.append(one)
    corrected = refit(table_of(tmp_path, found), model.model())
    assert [c.factor for c in corrected.corrections] == [pytest.approx(1.2, rel=1e-6)]
    assert abs(corrected.corrections[0].after).max() < 1e-5
    assert corrected.model.process_bytes("cpu") == pytest.approx(4e8, rel=1e-6)


def test_the_factor_of_a_card_leaves_what_is_parked_alone(tmp_path: Path) -> None:
    table = table_of(tmp_path, [status(shape, "host", "cuda", factor=1.1) for shape in SHAPES])
    found = refit(table, model.model())
    (correction,) = found.corrections
    assert correction.key == ("cuda", "host") and correction.factor == pytest.approx(1.1, rel=1e-6)
    before, after = (m.peak("host", size((160, 190, 160)), "cuda") for m in (model.model(), found.model))
    assert after.device == pytest.approx(1.1 * before.device, rel=1e-5)
    assert after.host == pytest.approx(before.host, rel=1e-9)
    assert found.model.process_bytes("cuda") == pytest.approx(4e8, rel=0.01)


def test_noise_is_averaged(tmp_path: Path) -> None:
    generator = np.random.default_rng(0)
    found = [status(s, factor=1.15 + 0.02 * generator.standard_normal()) for s in SHAPES * 3]
    (correction,) = refit(table_of(tmp_path, found), model.model()).corrections
    assert correction.factor == pytest.approx(1.15, abs=0.02)
    assert abs(correction.after).mean() < abs(correction.before).mean() / 3


def test_pairs_that_say_no_clear_peak_do_not_count(tmp_path: Path) -> None:
    good = [status(shape, factor=1.1) for shape in SHAPES]
    bad = [
        status(SHAPES[0], factor=5.0, strategy_begun="store", strategy="nested"),
        {**status(SHAPES[1], factor=5.0), "status": "gpu_memory"},
        {"status": "ok"},
        status(SHAPES[2], factor=5.0, observed_host_bytes=None),
    ]
    (correction,) = refit(table_of(tmp_path, good + bad), model.model()).corrections
    assert len(correction.before) == len(good)
    assert correction.factor == pytest.approx(1.1, rel=1e-6)


def test_too_few_too_similar_and_scattered_pairs_are_refused(tmp_path: Path) -> None:
    generator = np.random.default_rng(1)
    few = table_of(tmp_path / "few", [status(shape) for shape in SHAPES[:4]])
    with pytest.raises(LongimorphError, match="cpu, store: 4 pairs, but at least 5 are needed"):
        refit(few, model.model())
    similar = table_of(tmp_path / "similar", [status(SHAPES[3]) for _ in range(20)])
    with pytest.raises(
        LongimorphError, match=r"only 1.00 times as much as the smallest, less than 1.2 times"
    ):
        refit(similar, model.model())
    scattered = [
        status(shape, factor=float(f)) for shape, f in zip(SHAPES, generator.uniform(0.2, 5, 8), strict=True)
    ]
    with pytest.raises(LongimorphError, match="is too uncertain: the peaks scatter"):
        refit(table_of(tmp_path / "scattered", scattered), model.model())
    none = table_of(tmp_path / "none", [{"status": "ok"}] * 3)
    with pytest.raises(
        LongimorphError, match="are too few or too similar to refit the model: 3 pairs, 0 of them"
    ):
        refit(none, model.model())


def test_what_cannot_be_fitted_stays_and_is_said(tmp_path: Path) -> None:
    found = [status(s, factor=1.1) for s in SHAPES] + [status(SHAPES[0], "nested")]
    made = refit(table_of(tmp_path, found), model.model())
    assert made.left == ("cpu, nested: 1 pair, but at least 5 are needed",)
    assert made.model.devices["cpu"]["nested"] == model.model().devices["cpu"]["nested"]


# --- the command, and the model in use ---------------------------------------------------------------------


def test_the_command_writes_a_model_that_planning_then_uses(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    results = write_results(tmp_path, [status(shape, factor=1.3) for shape in SHAPES])
    assert main(["memory", "fit", "--from", str(results)]) == 0
    out = capsys.readouterr().out
    assert "cpu     store     8      1.300" in out and "-> 0.0 %" in out
    assert f"memory_model: {tmp_path / 'memory_model.json'}" in out
    known = model.model(tmp_path / "memory_model.json")
    assert known.process_bytes("cpu") == pytest.approx(4e8, rel=1e-6)
    predicted = []
    for extra in ([], ["--model", "memory_model.json"]):
        assert main(["memory", "predict", "--shape", "100", "110", "90", "--classes", "6", *extra]) == 0
        row = next(r for r in capsys.readouterr().out.splitlines() if r.split()[:2] == ["cpu", "store"])
        predicted.append(float(row.split()[2]))
    assert predicted[1] == pytest.approx(1.3 * predicted[0], rel=0.01)


def test_the_command_refuses_a_folder_without_results(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["memory", "fit", "--from", str(tmp_path)]) == 1
    assert "contains no results" in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == []


def write_config(folder: Path, **settings: Any) -> Path:
    """Write a study of one pair."""
    (folder / "classes.tsv").write_text("class\tregions\tstates\nWM\t1\t*\nbackground\t0\t*\n")
    (folder / "control.tsv").write_text("from\tWM\tbackground\nWM\t1\t1\nbackground\t1\t1\n")
    rows = "P1\tA\t0\ta.nii.gz\nP1\tB\t10\ta.nii.gz\n"
    (folder / "cohort.tsv").write_text(f"patient\ttimepoint\tdays\tregions\n{rows}")
    tables = {"cohort": "cohort.tsv", "classes": "classes.tsv", "control": "control.tsv"}
    (folder / "config.yaml").write_text(yaml.safe_dump(tables | settings))
    nib.save(nib.Nifti1Image(np.ones((60, 60, 60), np.uint8), np.eye(4)), folder / "a.nii.gz")
    return folder / "config.yaml"


def test_the_setting_is_a_path_beside_the_configuration(tmp_path: Path) -> None:
    refitted = {"process_bytes": {"cpu": 1}, "devices": model.model().devices}
    (tmp_path / "mine.json").write_text(json.dumps(refitted))
    found = config.load_config(write_config(tmp_path, memory_model="mine.json"))
    assert found.memory_model == tmp_path / "mine.json"
    assert model.model(found.memory_model).process_bytes() == 1
    assert config.load_config(write_config(tmp_path)).memory_model is None


@pytest.mark.parametrize(
    ("content", "text"),
    [
        (None, "cannot be read"),
        ("{", "is not valid JSON"),
        ('{"devices": {}}', "'devices' has no entry 'cpu'"),
        ('{"devices": {"cpu": {"store": {}}}}', "'devices.cpu.store.rest.device' is missing"),
    ],
)
def test_a_model_that_cannot_be_used_is_a_problem_of_the_configuration(
    tmp_path: Path, content: str | None, text: str
) -> None:
    if content is not None:
        (tmp_path / "mine.json").write_text(content)
    with pytest.raises(InputError, match=f"'memory_model': cannot be used: .*{text}"):
        config.load_config(write_config(tmp_path, memory_model="mine.json"))


def test_bytes_of_a_process_have_to_be_numbers(tmp_path: Path) -> None:
    file = tmp_path / "mine.json"
    file.write_text(json.dumps({"devices": model.model().devices, "process_bytes": {"cpu": "much"}}))
    with pytest.raises(LongimorphError, match="'process_bytes' must give a whole number"):
        model.model(file)


# --- the picture -------------------------------------------------------------------------------------------


def write_table(path: Path, found: list[dict[str, Any]]) -> Path:
    rows = [memory_tables.memory_row(PairStatus.of(content)) for content in found]
    pd.DataFrame(rows, columns=list(columns.MEMORY)).to_csv(path, index=False)
    return path


def pixels(path: Path) -> np.ndarray:
    from matplotlib.image import imread

    found: np.ndarray = imread(path)
    return found


def test_a_panel_for_cards_is_drawn_where_there_are_any(tmp_path: Path) -> None:
    on_cpu = [status(shape) for shape in SHAPES]
    on_card = [status(shape, "offload", "cuda") for shape in SHAPES]
    for name, found in (("cpu", on_cpu), ("both", on_cpu + on_card)):
        memory_figure(write_table(tmp_path / f"{name}.csv", found), tmp_path / f"{name}.png")
    one, two = (pixels(tmp_path / f"{name}.png") for name in ("cpu", "both"))
    assert two.shape[1] == 2 * one.shape[1] and two.shape[0] == one.shape[0]


@pytest.mark.parametrize("found", [[], [{"status": "overlap"}], [status(SHAPES[0])]])
def test_a_cohort_with_hardly_a_number_has_a_picture_too(tmp_path: Path, found: list[dict[str, Any]]) -> None:
    table = write_table(tmp_path / "memory.csv", found)
    memory_figure(table, tmp_path / "memory.png")
    assert pixels(tmp_path / "memory.png").std() > 0
    first = (tmp_path / "memory.png").read_bytes()
    memory_figure(table, tmp_path / "memory.png")
    assert (tmp_path / "memory.png").read_bytes() == first


def test_a_corrected_model_keeps_its_form() -> None:
    known = model.model()
    assert Model(known.devices, {"cpu": 7}).process_bytes("cpu") == 7
    assert known.process_bytes("cuda") > known.process_bytes("cpu") == model.PROCESS_BYTES

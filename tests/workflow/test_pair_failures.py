"""The traces of a failed pair: a status, a message, a table without numbers."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import pandas as pd
import pytest
import torch
from heads import NAMES, Head, Patient, changes, status

from longimorph.geometry.grid import Grid
from longimorph.geometry.poses import translation
from longimorph.io.volumes import read_labels
from longimorph.numerics import register as numerics
from longimorph.numerics import solve
from longimorph.stages import register as step
from longimorph.stages.visits import read_json
from longimorph.tables import read_changes, read_transitions

TABLES = {"changes.csv", "transitions.csv", "convergence.csv", "status.json"}
MAPS = {"momentum", "warp", "inverse_warp", "log_jacobian", "final_simplex", "deformation", "reallocation"}


def pair(folder: Path, reference: str = "midspace", image: bool = False) -> Patient:
    patient = Patient(folder, reference=reference, spacing_mm=8.0, max_evaluations=2)
    patient.add_head(Head(12), image=image)
    patient.add_head(Head(15), image=image)
    return patient


def names(folder: Path) -> set[str]:
    return {path.name for path in folder.iterdir()}


def cut_off(file: Path) -> None:
    file.write_bytes(file.read_bytes()[: file.stat().st_size // 2])


def rewritten(file: Path, labels: np.ndarray, grid: Grid) -> None:
    nib.save(nib.Nifti1Image(labels, grid.affine), file)


def with_an_unknown_label(file: Path) -> None:
    labels, grid = read_labels(file)
    labels[12:14, 15, 15] = 77
    rewritten(file, labels, grid)


def with_labels_that_are_not_whole(file: Path) -> None:
    labels, grid = read_labels(file)
    rewritten(file, labels + np.float32(0.5) * (labels == 1), grid)


def without_a_brain(file: Path) -> None:
    labels, grid = read_labels(file)
    rewritten(file, 0 * labels, grid)


def left_by(folder: Path, code: str) -> dict[str, Any]:
    """The status of a failed pair, after a look at its tables."""
    told = status(folder)
    assert told["status"] == code, told["message"]
    assert names(folder) == TABLES
    table, flows = read_changes(folder / "changes.csv"), read_transitions(folder / "transitions.csv")
    assert table["class"].tolist() == list(NAMES) and (table["status"] == code).all()
    assert changes(folder).isna().all(axis=None)
    assert len(flows) == len(NAMES) * (len(NAMES) - 1)
    assert flows[["deformation_mm3", "reallocation_mm3"]].isna().all(axis=None)
    assert len(told["message"]) > 30 and "Traceback" not in told["message"]
    return told


@pytest.mark.parametrize("kind", ["regions", "states", "image"])
def test_a_scan_that_is_cut_off_fails_its_pair_and_takes_the_old_results_away(tmp_path, kind):
    patient = pair(tmp_path, image=True)
    folder = patient.run()
    assert status(folder)["status"] == "ok"
    assert names(folder) == TABLES | {f"{name}.nii.gz" for name in MAPS}
    visit = patient.results / "V2"
    assert names(visit) == {"qc.json", "rigid.tfm", "simplex.nii.gz", "image.nii.gz"}
    cut_off(Path(patient.visits[1][kind]))
    told = left_by(patient.run(), "unreadable")
    assert "V2" in told["message"] and f"V2_{kind}.nii.gz" in told["message"]
    assert told["timepoint"] == "V2"
    assert names(visit) == {"qc.json"}
    assert read_json(patient.results / "V1" / "qc.json")["status"] == "ok"


@pytest.mark.parametrize(
    "spoil, code, words",
    [
        (with_an_unknown_label, "unknown_label", ["77", "2 voxels", "V2_regions.nii.gz", "classes.tsv"]),
        (with_labels_that_are_not_whole, "non_integer", ["V2_regions.nii.gz", "1.5"]),
        (without_a_brain, "no_brain", ["background"]),
    ],
)
def test_labels_that_cannot_be_used_fail_the_pair_with_their_visit_and_file(
    tmp_path, spoil: Callable[[Path], None], code, words
):
    patient = pair(tmp_path)
    spoil(Path(patient.visits[1]["regions"]))
    told = left_by(patient.run(), code)
    assert told["timepoint"] == "V2" and "V2" in told["message"]
    assert [word for word in words if word not in told["message"]] == []


def test_visits_that_do_not_meet_fail_together(tmp_path):
    patient = pair(tmp_path, reference="none")
    file = Path(patient.visits[1]["regions"])
    labels, grid = read_labels(file)
    away = Grid(grid.shape, translation([400, 0, 0]) @ grid.affine)
    for kind in ("regions", "states"):
        rewritten(Path(patient.visits[1][kind]), labels if kind == "regions" else 0 * labels, away)
    told = left_by(patient.run(), "coverage")
    assert told["stage"] == "align" and "V1 and V2" in told["message"]


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU here")
def test_a_gpu_that_is_not_there_fails_the_pair_and_the_repair_completes_it(tmp_path):
    patient = pair(tmp_path)
    assert status(patient.run())["status"] == "ok"
    told = left_by(patient.register(device="cuda"), "no_gpu")
    assert "device" in told["message"] and "auto" in told["message"] and told["timepoint"] is None
    again = patient.register(device="auto")
    assert status(again)["status"] == "ok" and names(again) > TABLES


@pytest.mark.parametrize("place", ["evaluate", "attribute", "write_maps"])
def test_memory_that_runs_out_fails_the_pair_and_the_next_attempt_goes_on(tmp_path, monkeypatch, place):
    """Wherever it runs out: what was done is kept, and the result is that of a run with enough memory."""
    owner = {"evaluate": solve, "attribute": numerics, "write_maps": step}[place]
    patient = pair(tmp_path / "enough")
    expected = changes(patient.run())
    patient = pair(tmp_path / "little")
    patient.prepare()
    work, calls = getattr(owner, place), []

    def runs_out(*args, **kwargs):
        calls.append(place)
        if place != "evaluate" or len(calls) > 1:
            raise RuntimeError("CUDA error: out of memory")
        return work(*args, **kwargs)

    with monkeypatch.context() as patched:
        patched.setattr(owner, place, runs_out)
        folder = patient.register()
    told = status(folder)
    assert told["status"] == "memory" and "continues" in told["message"] and "GB predicted" in told["message"]
    assert names(folder) == TABLES | {"resume"} and changes(folder).isna().all(axis=None)
    done = len((folder / "convergence.csv").read_text().splitlines()) - 1
    assert done >= 1
    again = status(patient.register())
    assert again["status"] == "ok" and again["attempts"] == 2 and "resume" not in names(folder)
    pd.testing.assert_frame_equal(changes(folder), expected)


def test_a_bad_visit_spares_the_pairs_of_the_others(tmp_path):
    patient = pair(tmp_path)
    patient.add_head(Head(13))
    cut_off(Path(patient.visits[1]["regions"]))
    patient.prepare()
    for visits in (("V1", "V2"), ("V2", "V3")):
        left_by(patient.register(*visits), "unreadable")
    assert status(patient.register("V1", "V3"))["status"] == "ok"

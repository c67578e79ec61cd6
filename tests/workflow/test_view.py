"""A field of view that ends inside the brain is not lost tissue; lesions at edges, absent classes."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from heads import (
    BACKGROUND,
    LESION,
    VENTRICLES,
    Head,
    Patient,
    around_the_head,
    brain_mm3,
    changes,
    moved,
    status,
)
from test_pair_failures import left_by

from longimorph.geometry.grid import Grid
from longimorph.stages.visits import read_json

WIDE = around_the_head((36, 42, 34), (3, 3, 3))
WAYS = ["deformation_mm3", "reallocation_mm3", "unexplained_mm3"]


def cut(grid: Grid, mm: float, axis: int = 2, top: bool = False) -> Grid:
    """The grid without ``mm`` at one end of an axis."""
    layers = round(mm / grid.spacing[axis])
    shape, affine = list(grid.shape), grid.affine.copy()
    shape[axis] -= layers
    if not top:
        affine[:3, 3] += affine[:3, axis] * layers
    i, j, k = shape
    return Grid((i, j, k), affine)


def pair(folder: Path, *heads: tuple[Head, Grid], **settings: Any) -> Patient:
    usual: dict[str, Any] = {
        "reference": "none",
        "spacing_mm": 4.0,
        "max_evaluations": 8,
        "compared_min": 0.5,
    }
    patient = Patient(folder, **usual | settings)
    for head, grid in heads:
        patient.add_head(head, grid)
    return patient


def identity_holds(folder: Path) -> None:
    table = changes(folder)
    gain = table["volume_to_mm3"] - table["volume_from_mm3"]
    assert np.allclose(gain, table[WAYS].sum(axis=1), rtol=0, atol=2e-3)


@pytest.mark.parametrize("order", [1, -1])
@pytest.mark.parametrize("axis, top", [(2, False), (2, True), (0, False)])
def test_a_cut_at_one_visit_is_no_change(tmp_path: Path, order: int, axis: int, top: bool) -> None:
    grids = [WIDE, cut(WIDE, 27, axis, top)][::order]
    folder = pair(tmp_path, *((Head(12), grid) for grid in grids)).run()
    told, table = status(folder), changes(folder)
    assert told["status"] == "ok"
    assert table[WAYS].abs().to_numpy().max() < 1e-5 * brain_mm3(table)
    assert table["volume_from_mm3"].sub(table["volume_to_mm3"]).abs().max() < 1e-5 * brain_mm3(table)
    identity_holds(folder)
    (warning,) = [sentence for sentence in told["warnings"] if "field of view" in sentence]
    blamed = "V2" if order == 1 else "V1"
    assert f"of the field of view of {blamed} (" in warning and "are not compared" in warning
    assert told["not_compared_mm3"] == pytest.approx(
        (1 - told["compared_share"]) * brain_mm3(table), rel=0.01
    )
    assert 0.6 < told["compared_share"] < 0.95
    assert (folder / "compared.nii.gz").exists()
    view = read_json(tmp_path / "results" / blamed / "qc.json")["view"]
    assert len(view["planes"]) == 1


def test_the_same_cut_scan_twice_gives_exact_zeros(tmp_path: Path) -> None:
    patient = Patient(tmp_path, spacing_mm=4.0, compared_min=0.5)
    patient.add_again(patient.add_head(Head(12), cut(WIDE, 27)))
    folder = patient.run()
    assert (changes(folder)[WAYS] == 0).all(axis=None)
    assert 0 < status(folder)["not_compared_mm3"] < 0.3 * brain_mm3(changes(folder))


def test_without_the_care_it_would_be_deformation(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What the tests above would find if nothing were done."""
    monkeypatch.setattr("longimorph.maps.field_of_view.CUT_MM2", 1e9)
    folder = pair(tmp_path, (Head(12), WIDE), (Head(12), cut(WIDE, 27))).run()
    table = changes(folder)
    assert (table["volume_from_mm3"] - table["volume_to_mm3"]).drop(BACKGROUND).sum() > 0.02 * brain_mm3(
        table
    )
    assert table["deformation_mm3"].abs().max() > 1000


def test_change_elsewhere_is_what_it_is_without_the_cut(tmp_path: Path) -> None:
    whole = pair(tmp_path / "whole", (Head(12), WIDE), (Head(15), WIDE)).run()
    partly = pair(tmp_path / "cut", (Head(12), WIDE), (Head(15), cut(WIDE, 24))).run()
    expected, found = changes(whole), changes(partly)
    assert expected.loc[VENTRICLES, "deformation_mm3"] > 3000
    gap = (found[WAYS] - expected[WAYS]).abs().to_numpy().max()
    assert gap < 0.03 * expected.loc[VENTRICLES, "deformation_mm3"]
    identity_holds(partly)


def test_a_cut_is_found_after_alignment_and_between_cuts_at_both(tmp_path: Path) -> None:
    """Two fields of view end in the brain at different heights and angles."""
    pose = moved((3, -4, 5), (4, -3, 5))
    grids = cut(WIDE, 24), cut(around_the_head((36, 42, 34), (3, 3, 3), (2, -5, 4)), 27)
    patient = pair(tmp_path, (Head(12), grids[0]), (Head(12, pose=pose), grids[1]), reference="midspace")
    folder = patient.run()
    table, told = changes(folder), status(folder)
    assert told["status"] == "ok" and 0.6 < told["compared_share"] < 0.97
    gone = table["volume_to_mm3"] - table["volume_from_mm3"]
    assert abs(gone.drop(BACKGROUND).sum()) < 0.004 * brain_mm3(table)


def test_too_little_in_common_is_a_failure(tmp_path: Path) -> None:
    patient = pair(tmp_path, (Head(12), WIDE), (Head(12), cut(WIDE, 33)), compared_min=0.9).prepare()
    told = left_by(patient.register(), "fov")
    assert "At least 90% of it must be comparable (compared_min)" in str(told["message"])
    assert told["stage"] == "register" and 0 < told["compared_share"] < 0.9
    assert status(patient.register(compared_min=0.5))["status"] == "ok"


def test_a_tight_box_around_the_brain_cuts_nothing(tmp_path: Path) -> None:
    """The volumes end one voxel beyond the brain, at another place at each visit."""
    boxes = around_the_head((30, 36, 26), (3, 3, 3)), around_the_head((30, 35, 27), (3, 3, 3))
    folder = pair(tmp_path, (Head(12), boxes[0]), (Head(15), boxes[1])).run()
    told = status(folder)
    assert told["compared_share"] == 1 and not (folder / "compared.nii.gz").exists()
    assert not any("compared" in sentence for sentence in told["warnings"])


def test_a_lesion_at_the_cut_and_one_at_the_ventricle(tmp_path: Path) -> None:
    """Beyond the cut no lesion is said to vanish; one that grows into a ventricle is change of class."""
    head = Head(12, lesion_mm=9)
    side = cut(WIDE, 36, axis=0)  # through the lesion's side of the head
    folder = pair(tmp_path / "cut", (head, WIDE), (head, side)).run()
    assert changes(folder).loc[LESION, WAYS].abs().max() < 1
    grown = pair(tmp_path / "near", (Head(18, lesion_mm=6), WIDE), (Head(18, lesion_mm=14), WIDE)).run()
    table = changes(grown)
    identity_holds(grown)
    assert table.loc[LESION, "reallocation_mm3"] > 0.6 * (
        table.loc[LESION, "volume_to_mm3"] - table.loc[LESION, "volume_from_mm3"]
    )


@pytest.mark.parametrize("sizes", [(0.0, 0.0), (0.0, 9.0), (9.0, 0.0)])
def test_a_class_that_is_absent(tmp_path: Path, sizes: tuple[float, float]) -> None:
    """From both visits: all zero. From one: it appears or vanishes by a change of class."""
    folder = pair(tmp_path, *((Head(12, lesion_mm=size), WIDE) for size in sizes)).run()
    told, table = status(folder), changes(folder)
    assert told["status"] == "ok" and np.isfinite(table.to_numpy()).all()
    identity_holds(folder)
    if sizes == (0.0, 0.0):
        assert table[WAYS].abs().to_numpy().max() == 0
        assert told["dice_before"][LESION] is None
    else:
        gain = table.loc[LESION, "volume_to_mm3"] - table.loc[LESION, "volume_from_mm3"]
        assert np.sign(gain) == np.sign(sizes[1] - sizes[0])
        assert table.loc[LESION, "reallocation_mm3"] / gain > 0.7

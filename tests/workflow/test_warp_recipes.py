"""The recipes of docs/outputs.md map one native scan onto another, for a head with known motion."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import SimpleITK as sitk
from heads import CENTRE, DEFORMATION_ONLY, Head, Patient, around_the_head, moved, save, volume

from longimorph.geometry.grid import flip_ras_lps, transform_points

DOCS = Path(__file__).parents[2] / "docs" / "outputs.md"
VENTRICLE = 3
SMALL, LARGE = 10.0, 15.0
"""Radii of the ventricle, mm; it lies off the centre of the head, and its axes differ."""
POSES = moved((6, -4, 9), (5, -6, 4)), moved((-8, 7, -5), (-6, 3, 8))
GRIDS = (
    around_the_head((44, 50, 38), (2.5, 2.6, 3.0), (6, 9, -5)),
    around_the_head((40, 46, 34), (-3.0, 2.8, -3.1), (-9, 4, 12)),
)


@pytest.fixture(scope="module")
def patient(tmp_path_factory: pytest.TempPathFactory) -> Patient:
    """Two visits of a head that turned, shifted and got a larger ventricle, each on a grid of its own."""
    found = Patient(tmp_path_factory.mktemp("recipes"), DEFORMATION_ONLY, spacing_mm=3.0, max_evaluations=14)
    for radius, pose, grid in zip((SMALL, LARGE), POSES, GRIDS, strict=True):
        head = Head(radius, pose=pose)
        found.add_head(head, grid, image=True)
        labels = (head.labels(grid)[0] == VENTRICLE).astype(np.float32)
        save(found.folder / "scans" / f"V{len(found.visits)}_ventricle.nii.gz", labels, grid)
    found.run()
    return found


def recipe(library: str) -> str:
    """The block of the docs that imports a library."""
    blocks = re.findall(r"^```python\n(.*?)^```", DOCS.read_text(encoding="utf-8"), flags=re.S | re.M)
    (found,) = [block for block in blocks if f"import {library}" in block]
    return found


def run(text: str, patient: Patient, kind: str) -> dict[str, Any]:
    """Run a recipe on the patient's scans of a ``kind``; returns its names."""
    scans = [str(patient.folder / "scans" / f"V{number}_{kind}.nii.gz") for number in (1, 2)]
    lines = [
        f"patient = {str(patient.results)!r}" if line.startswith("patient =")
        else f"scan_1, scan_2 = {scans!r}" if line.startswith("scan_1, scan_2 =")
        else line
        for line in text.splitlines()
    ]  # fmt: skip
    assert lines != text.splitlines()
    names: dict[str, Any] = {}
    exec("\n".join(lines), names)  # the docs' own words
    return names


def overlap(found: np.ndarray, true: np.ndarray) -> float:
    """Dice of two masks or maps."""
    return float(2 * np.minimum(found, true).sum() / (found.sum() + true.sum()))


def truth(patient: Patient, visit: int) -> np.ndarray:
    return volume(patient.folder / "scans" / f"V{visit}_ventricle.nii.gz")[0]


def swapped(text: str) -> str:
    """The recipe for the other direction, as the docs tell: visits and scans exchanged, the inverse warp."""
    for one, other in (("V1/rigid", "V2/rigid"), ("(scan_1)", "(scan_2)")):
        text = text.replace(one, "KEPT").replace(other, one).replace("KEPT", other)
    return text.replace("/warp.nii.gz", "/inverse_warp.nii.gz")


def surface(radius: float, pose: np.ndarray) -> np.ndarray:
    """Points of the ventricle's surface at a visit, RAS mm; the same ones for every radius."""
    chance = np.random.default_rng(3).normal(size=(200, 3))
    direction = chance / np.linalg.norm(chance, axis=1, keepdims=True)
    return transform_points(pose, CENTRE + [7, -5, 6] + radius * direction * [0.8, 1.3, 1])


def test_the_recipe_carries_the_first_scan_onto_the_second(patient: Patient) -> None:
    names = run(recipe("SimpleITK"), patient, "ventricle")
    found, true = sitk.GetArrayFromImage(names["resampled"]).T, truth(patient, 2)
    assert found.shape == true.shape
    rigid_alone = sitk.CompositeTransform([names["rigid_1"], names["rigid_2"].GetInverse()])
    pieces = {"recipe": found}
    inverse = sitk.ReadImage(str(patient.results / "V1__V2" / "inverse_warp.nii.gz"), sitk.sitkVectorFloat64)
    wrong = sitk.CompositeTransform(
        [names["rigid_1"], sitk.DisplacementFieldTransform(inverse), names["rigid_2"].GetInverse()]
    )
    for name, transform in (("rigid", rigid_alone), ("inverse", wrong), ("nothing", sitk.Transform())):
        resampled = sitk.Resample(names["moving"], names["fixed"], transform, sitk.sitkLinear)
        pieces[name] = sitk.GetArrayFromImage(resampled).T
    dice = {name: overlap(piece, true) for name, piece in pieces.items()}
    assert dice["recipe"] > 0.9 and dice["recipe"] > dice["rigid"] + 0.2 > dice["inverse"] + 0.25, dice
    assert dice["nothing"] < dice["recipe"] - 0.2, dice


def test_the_recipe_works_the_other_way_as_the_docs_say(patient: Patient) -> None:
    names = run(swapped(recipe("SimpleITK")), patient, "ventricle")
    found, true = sitk.GetArrayFromImage(names["resampled"]).T, truth(patient, 1)
    assert found.shape == true.shape and overlap(found, true) > 0.75  # 0.46 without the warp


def test_points_of_the_second_scan_go_to_where_they_were_in_the_first(patient: Patient) -> None:
    names = run(recipe("SimpleITK"), patient, "image")
    here, there = surface(LARGE, POSES[1]), surface(SMALL, POSES[0])
    ends = np.array([names["together"].TransformPoint(p) for p in flip_ras_lps(here).tolist()])
    missed = np.linalg.norm(flip_ras_lps(ends) - there, axis=1)
    assert np.linalg.norm(here - there, axis=1).mean() > 10
    without = np.linalg.norm(surface(LARGE, POSES[0]) - there, axis=1).mean()
    assert missed.mean() < 2 < 0.45 * without, (missed.mean(), without)


def test_scans_look_alike_after_the_recipe(patient: Patient) -> None:
    names = run(recipe("SimpleITK"), patient, "image")
    found, second = (sitk.GetArrayFromImage(names[name]) for name in ("resampled", "fixed"))
    before = sitk.GetArrayFromImage(sitk.Resample(names["moving"], names["fixed"]))
    agreement = [np.corrcoef(one.ravel(), second.ravel())[0, 1] for one in (before, found)]
    assert agreement[1] > 0.95 > agreement[0], agreement


def test_the_recipe_with_ants_gives_the_same(
    patient: Patient, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("ants", reason="antspyx is not installed")
    monkeypatch.chdir(tmp_path)  # the recipe writes a file
    theirs = run(recipe("ants"), patient, "ventricle")["resampled"].numpy()
    ours = sitk.GetArrayFromImage(run(recipe("SimpleITK"), patient, "ventricle")["resampled"]).T
    assert theirs.shape == ours.shape and np.abs(theirs - ours).max() < 1e-3
    assert overlap(theirs, truth(patient, 2)) > 0.9

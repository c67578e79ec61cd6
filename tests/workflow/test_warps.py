"""A growing ventricle in the table, in the Jacobian and in the warps that SimpleITK applies."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import SimpleITK as sitk
import torch
from heads import (
    CENTRE,
    DEFORMATION_ONLY,
    GREY,
    NAMES,
    VENTRICLES,
    WHITE,
    Head,
    Patient,
    around_the_head,
    changes,
    moved,
    status,
    volume,
)

from longimorph.geometry.grid import flip_ras_lps
from longimorph.io.transforms import read_displacement
from longimorph.numerics.fields import interpolate, positions

SMALL, LARGE = Head(12), Head(15)
FLIPPED = around_the_head((24, 34, 22), (-4.2, 3.4, -3.8), (10, -14, 18))
VENTRICLE = NAMES.index(VENTRICLES)
NOTHING = sitk.Transform()


@pytest.fixture(scope="module")
def growing(tmp_path_factory) -> Patient:
    """A ventricle that grows while nothing else happens, and the same two visits the other way round."""
    patient = Patient(tmp_path_factory.mktemp("growing"), reference="none")
    patient.add_head(SMALL)
    patient.add_head(LARGE)
    patient.run()
    patient.register("V2", "V1")
    return patient


@pytest.fixture(scope="module")
def oblique(tmp_path_factory) -> tuple[Patient, Path]:
    """The same on an oblique, flipped grid of three different spacings, where every change is deformation."""
    settings = {"reference": "none", "spacing_mm": "native", "smoothing_mm": 4.0, "margin_mm": 12.0}
    patient = Patient(tmp_path_factory.mktemp("oblique"), DEFORMATION_ONLY, **settings)
    patient.add_head(SMALL, FLIPPED)
    patient.add_head(LARGE, FLIPPED)
    return patient, patient.run()


def log_jacobian_of_the_ventricle(patient: Patient, source: str, target: str) -> np.ndarray:
    """Its values where the first of two visits has the ventricle."""
    maps, _ = volume(patient.results / source / "simplex.nii.gz")
    values, _ = volume(patient.results / f"{source}__{target}" / "log_jacobian.nii.gz")
    return values[maps[..., VENTRICLE] > 0.5]


@pytest.mark.parametrize("source, target, sign", [("V1", "V2", 1), ("V2", "V1", -1)])
def test_plus_means_that_the_class_grew(growing, source, target, sign):
    table = changes(growing.results / f"{source}__{target}")
    change = table["volume_to_mm3"] - table["volume_from_mm3"]
    assert sign * change[VENTRICLES] > 5000 and abs(change[GREY]) < 100
    moved_mm3 = sign * table["deformation_mm3"]
    assert 0.85 < moved_mm3[VENTRICLES] / abs(change[VENTRICLES]) < 1.1
    assert moved_mm3[WHITE] < -0.8 * abs(change[VENTRICLES])
    assert table["reallocation_mm3"].abs().max() < 0.01 * abs(change[VENTRICLES])


@pytest.mark.parametrize("source, target, sign", [("V1", "V2", 1), ("V2", "V1", -1)])
def test_the_log_jacobian_is_positive_nearly_everywhere_in_tissue_that_expands(growing, source, target, sign):
    inside = sign * log_jacobian_of_the_ventricle(growing, source, target)
    assert len(inside) > 50 and np.mean(inside > 0) > 0.95
    assert abs(inside.mean() - 3 * np.log(15 / 12)) < 0.2


def component(path: Path, index: int) -> sitk.Image:
    """One class of a file of maps, as SimpleITK reads it."""
    image = sitk.ReadImage(str(path))
    return sitk.Extract(image, [*image.GetSize()[:3], 0], [0, 0, 0, index])


def warped(image: sitk.Image, path: Path) -> np.ndarray:
    """An image that SimpleITK has pulled through a displacement field, (i, j, k)."""
    transform = sitk.DisplacementFieldTransform(sitk.ReadImage(str(path), sitk.sitkVectorFloat64))
    return sitk.GetArrayFromImage(sitk.Resample(image, image, transform, sitk.sitkLinear)).T


def distance(a: np.ndarray, b: np.ndarray) -> float:
    return float(np.abs(a - b).sum())


def test_the_grid_of_the_warps_is_oblique_and_anisotropic(oblique):
    _, grid = volume(oblique[1] / "log_jacobian.nii.gz")
    assert np.allclose(sorted(grid.spacing), [3.4, 3.8, 4.2], atol=1e-4)
    assert np.abs(grid.directions).max(axis=0).max() < 0.99
    assert status(oblique[1])["status"] == "ok"


def test_simpleitk_carries_the_first_visit_to_our_own_result_and_to_the_second_visit(oblique):
    patient, folder = oblique
    first = component(patient.results / "V1" / "simplex.nii.gz", VENTRICLE)
    before, found = sitk.GetArrayFromImage(first).T, warped(first, folder / "warp.nii.gz")
    second = volume(patient.results / "V2" / "simplex.nii.gz")[0][..., VENTRICLE]
    final = volume(folder / "final_simplex.nii.gz")[0][..., VENTRICLE]
    assert distance(found, final) < 0.2 * distance(before, final)
    assert distance(found, second) < 0.3 * distance(before, second)
    assert distance(warped(first, folder / "inverse_warp.nii.gz"), second) > distance(before, second)


def test_simpleitk_carries_the_second_visit_back_with_the_inverse(oblique):
    patient, folder = oblique
    second = component(patient.results / "V2" / "simplex.nii.gz", VENTRICLE)
    before, found = sitk.GetArrayFromImage(second).T, warped(second, folder / "inverse_warp.nii.gz")
    first = volume(patient.results / "V1" / "simplex.nii.gz")[0][..., VENTRICLE]
    assert distance(found, first) < 0.35 * distance(before, first)


@pytest.mark.parametrize("name", ["warp.nii.gz", "inverse_warp.nii.gz"])
def test_simpleitk_interpolates_as_the_registration_does(oblique, name):
    patient, folder = oblique
    field, grid = read_displacement(folder / name)
    first = component(patient.results / "V1" / "simplex.nii.gz", VENTRICLE)
    values = torch.from_numpy(sitk.GetArrayFromImage(first).T.copy())[None].double()
    spacing = grid.spacing.tolist()
    where = positions(grid.shape, spacing, values) + torch.from_numpy(field)
    own = interpolate(values, where, spacing)[0].numpy()
    inner = (slice(1, -1),) * 3  # beyond the outermost voxels SimpleITK puts zero
    assert np.abs(field).max() > 2
    assert np.abs(own - warped(first, folder / name))[inner].max() < 1e-5


def test_warp_and_inverse_warp_undo_each_other_in_simpleitk(oblique):
    names = ("warp.nii.gz", "inverse_warp.nii.gz")
    fields = [sitk.ReadImage(str(oblique[1] / name), sitk.sitkVectorFloat64) for name in names]
    there, back = (sitk.DisplacementFieldTransform(field) for field in fields)
    points = flip_ras_lps(CENTRE) + np.random.default_rng(0).uniform(-25, 25, (200, 3))
    ends = np.array([there.TransformPoint(point) for point in points.tolist()])
    returned = np.array([back.TransformPoint(end) for end in ends.tolist()])
    assert np.linalg.norm(ends - points, axis=1).max() > 2
    missed = np.linalg.norm(returned - points, axis=1)
    assert missed.mean() < 0.1 and missed.max() < 0.5


def test_the_rigid_file_carries_the_scan_onto_the_aligned_image(tmp_path):
    patient = Patient(tmp_path)
    patient.add_head(SMALL, around_the_head((40, 46, 30), (-2.7, 2.8, -3.5), (10, -14, 18)), image=True)
    patient.add_head(Head(15, pose=moved((16, -9, 21), (8, -7, 9))), FLIPPED, image=True)
    patient.prepare()
    for visit in patient.visits:
        folder = patient.results / visit["timepoint"]
        scan, image = (
            sitk.ReadImage(str(p), sitk.sitkFloat64) for p in (visit["image"], folder / "image.nii.gz")
        )
        rigid = sitk.ReadTransform(str(folder / "rigid.tfm"))
        ours = sitk.GetArrayFromImage(image)
        agreement = []
        for transform in (rigid, NOTHING, rigid.GetInverse()):
            theirs = sitk.GetArrayFromImage(sitk.Resample(scan, image, transform, sitk.sitkLinear))
            seen = theirs != 0
            agreement.append(np.corrcoef(ours[seen], theirs[seen])[0, 1])
        assert agreement[0] > 0.99 and agreement[0] > agreement[1] + 0.03 > agreement[2] + 0.06, agreement

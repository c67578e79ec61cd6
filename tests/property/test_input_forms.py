"""However a segmentation is stored, its maps have the same world position and the same content."""

from __future__ import annotations

import tempfile
from functools import cache
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
import SimpleITK as sitk
from hypothesis import given, settings
from hypothesis import strategies as st
from spaces import oblique, storage_orders

from longimorph.geometry import grid as g
from longimorph.geometry.grid import Grid
from longimorph.io.volumes import read_grid, read_labels
from longimorph.maps.field_of_view import View
from longimorph.maps.simplex import simplex_maps
from longimorph.study.scans import examine_visit
from longimorph.study.table import Visit

SHAPE = (6, 8, 5)
LABELS = np.random.default_rng(3).integers(0, 4, SHAPE)
LABELS[0], LABELS[:, -1] = 0, 0
AFFINES = {
    "upright": Grid(SHAPE, np.diag([1.0, 1, 1, 1])),
    "anisotropic": Grid(SHAPE, np.diag([0.8, -1.25, 4, 1])),
    "oblique": oblique(SHAPE),
    "oblique and mirrored": oblique(SHAPE, (-0.6, 0.25, 2.1), (2, 0.9, 1.3), (-1, 1, 1)),
}
EXTENSIONS = (".nii", ".nii.gz", ".mha", ".nrrd")
TYPES = ("uint8", "int16", "uint16", "int32", "uint32", "int64", "float32", "float64")
ORDERS = {name: storage_orders(LABELS, grid) for name, grid in AFFINES.items()}
TOLERANCE = 2e-4
"""Of a probability: headers of NIfTI hold their numbers in single precision."""


def write(path: Path, labels: np.ndarray, grid: Grid, four: bool, scaled: bool) -> None:
    """Write labels in their own type, with a fourth axis of one, or doubled with a factor of a half."""
    if path.suffix in (".mha", ".nrrd"):
        image = sitk.GetImageFromArray(labels.T)
        geometry = g.to_itk(grid)
        image.SetOrigin(geometry.origin)
        image.SetSpacing(geometry.spacing)
        image.SetDirection(geometry.direction)
        sitk.WriteImage(sitk.JoinSeries(image) if four else image, str(path))
        return
    values = 2 * labels if scaled else labels
    nifti = nib.Nifti1Image(values[..., None] if four else values, grid.affine, dtype=labels.dtype)
    if scaled:
        nifti.header.set_slope_inter(0.5, 0)
    nib.save(nifti, path)


@cache
def expected(affine: str) -> tuple[Grid, np.ndarray, np.ndarray]:
    """The grid of the maps, the maps, and the planes where the brain is cut."""
    grid = AFFINES[affine]
    target = g.registration_grid([g.mask_extent(LABELS != 0, grid)], 1.7, 3.0)
    return target, maps_of(LABELS, grid, target), planes_of(LABELS, grid)


def maps_of(labels: np.ndarray, grid: Grid, target: Grid) -> np.ndarray:
    return simplex_maps(labels, grid, np.eye(4), target, 4, 0, 1.0, 1e-9)


def planes_of(labels: np.ndarray, grid: Grid) -> np.ndarray:
    """The planes, in an order that does not depend on how the volume is stored."""
    planes = View.of(labels, grid, np.eye(4), 0, 1.0).planes
    return planes[np.lexsort(np.round(planes, 2).T)]


@settings(max_examples=150, deadline=None)
@given(data=st.data())
def test_every_form_of_a_segmentation_gives_the_same_maps(data: st.DataObject) -> None:
    affine = data.draw(st.sampled_from(sorted(AFFINES)), "affine")
    stored, grid = ORDERS[affine][data.draw(st.integers(0, 47), "storage order")]
    extension = data.draw(st.sampled_from(EXTENSIONS), "extension")
    labels = np.ascontiguousarray(stored).astype(data.draw(st.sampled_from(TYPES), "type"))
    four = data.draw(st.booleans(), "four axes")
    scaled = data.draw(st.booleans(), "scaled") and labels.dtype.kind in "iu"
    target, maps, planes = expected(affine)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / f"labels{extension}"
        write(path, labels, grid, four, scaled)
        read, read_on = read_labels(path)
        assert np.array_equal(read, stored) and g.same_grid(read_grid(path), read_on, 0)
        assert g.same_grid(read_on, grid, 1e-4)
        assert np.abs(maps_of(read, read_on, target) - maps).max() < TOLERANCE
        np.testing.assert_allclose(planes_of(read, read_on), planes, atol=1e-3)


@pytest.mark.parametrize("affine", AFFINES)
def test_all_48_storage_orders(affine: str) -> None:
    target, maps, planes = expected(affine)
    for stored, grid in ORDERS[affine]:
        assert np.abs(maps_of(stored, grid, target) - maps).max() < 1e-5
        np.testing.assert_allclose(planes_of(stored, grid), planes, atol=1e-6)


def test_what_is_looked_at_before_a_run_does_not_depend_on_storage(tmp_path: Path) -> None:
    """Volume of voxels, and what lies on the left, right, back, front, bottom and top."""
    found = []
    for number in (0, 17, 40):
        stored, grid = ORDERS["oblique"][number]
        path = tmp_path / f"{number}.nii"
        write(path, np.ascontiguousarray(stored).astype(np.int16), grid, False, False)
        found.append(examine_visit(Visit("P", "V", 0, None, path, None)).extent)
    for extent in found[1:]:
        assert extent is not None and found[0] is not None
        assert extent.face_mm2 == pytest.approx(found[0].face_mm2, rel=1e-5)
        for face, other in zip(extent.faces, found[0].faces, strict=True):
            assert np.array_equal(face.regions, other.regions) and np.array_equal(face.voxels, other.voxels)

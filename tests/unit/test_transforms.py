"""Transforms on disk have the same effect in SimpleITK as in the library."""

from __future__ import annotations

import numpy as np
import pytest
import SimpleITK as sitk
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import ndimage
from spaces import oblique, rotation

from longimorph.errors import Unusable
from longimorph.geometry import grid as g
from longimorph.io import transforms as t

FLIPS = [(1, 1, 1), (-1, -1, 1), (1, -1, -1), (-1, 1, 1)]


def rigid(angles=(0.2, -0.1, 0.3), shift=(4.0, -3.0, 2.0)):
    matrix = np.eye(4)
    matrix[:3, :3] = rotation(angles)
    matrix[:3, 3] = shift
    return matrix


def blob(grid):
    """A smooth volume, zero at its border."""
    array = np.zeros(grid.shape)
    array[tuple(n // 2 for n in grid.shape)] = 1
    array[tuple(n // 3 for n in grid.shape)] = 0.7
    return ndimage.gaussian_filter(array, 2.0)


@settings(max_examples=30, deadline=None)
@given(st.tuples(*[st.floats(-3.1, 3.1)] * 3), st.tuples(*[st.floats(-300, 300)] * 3))
def test_a_rigid_matrix_survives_its_file(tmp_path_factory, angles, shift):
    path = tmp_path_factory.mktemp("t") / "rigid.tfm"
    matrix = rigid(angles, shift)
    t.write_rigid(path, matrix)
    assert np.allclose(t.read_rigid(path), matrix, atol=1e-6)


@settings(max_examples=30, deadline=None)
@given(st.tuples(*[st.floats(-3.1, 3.1)] * 3), st.tuples(*[st.floats(-300, 300)] * 3))
def test_a_rigid_matrix_survives_its_file_as_a_matrix(tmp_path_factory, angles, shift):
    path = tmp_path_factory.mktemp("t") / "rigid.txt"
    matrix = rigid(angles, shift)
    t.write_affine(path, matrix)
    assert "AffineTransform_double_3_3" in path.read_text()
    assert np.allclose(t.read_rigid(path), matrix, atol=1e-9)


@pytest.mark.parametrize("angle", [np.pi / 2, -np.pi / 2, np.pi])
@pytest.mark.parametrize("axis", [0, 1, 2])
def test_right_angles_survive_their_file(tmp_path, angle, axis):
    angles = [0.0, 0.0, 0.0]
    angles[axis] = angle
    t.write_rigid(tmp_path / "r.tfm", rigid(angles))
    assert np.allclose(t.read_rigid(tmp_path / "r.tfm"), rigid(angles), atol=1e-6)


def test_the_file_holds_an_euler_transform_from_reference_to_timepoint(tmp_path):
    t.write_rigid(tmp_path / "r.tfm", rigid())
    assert "Euler3DTransform" in (tmp_path / "r.tfm").read_text()
    point = np.array([10.0, -20.0, 30.0])
    moved = sitk.ReadTransform(str(tmp_path / "r.tfm")).TransformPoint(g.flip_ras_lps(point).tolist())
    assert np.allclose(g.flip_ras_lps(moved), g.transform_points(rigid(), point), atol=1e-6)


def test_rotation_about_a_centre_is_the_same_map():
    transform = t.euler_from_rigid(rigid(), centre=(50.0, -20.0, 10.0))
    assert np.allclose(transform.GetCenter(), [-50, 20, 10])
    assert np.allclose(t.rigid_from_itk(transform), rigid())


@pytest.mark.parametrize("flip", FLIPS)
def test_sitk_resample_applies_the_rigid_file_as_we_do(tmp_path, flip):
    scan = oblique((24, 22, 12), spacing=(1, 1.2, 2.5), flip=flip)
    reference = oblique((20, 20, 20), (0, 0, 0), (1.5,) * 3)
    array = blob(scan)
    centred = rigid()
    centred[:3, 3] = scan.centre() - centred[:3, :3] @ reference.centre() + [1, -2, 0.5]
    t.write_rigid(tmp_path / "r.tfm", centred)
    theirs = sitk.Resample(
        t.to_sitk(array, scan),
        t.to_sitk(np.zeros(reference.shape), reference),
        sitk.ReadTransform(str(tmp_path / "r.tfm")),
        sitk.sitkLinear,
    )
    index = np.moveaxis(np.indices(reference.shape), 0, -1)
    points = scan.world_to_index(g.transform_points(centred, reference.index_to_world(index)))
    ours = ndimage.map_coordinates(array, np.moveaxis(points, -1, 0), order=1)
    inside = ((points >= 0) & (points <= np.array(scan.shape) - 1)).all(axis=-1)
    assert ours[inside].max() > 0.5 * array.max()
    assert np.abs(t.from_sitk(theirs) - ours)[inside].max() < 1e-6 * array.max()


@pytest.mark.parametrize("flip", FLIPS)
def test_sitk_applies_the_displacement_file_as_we_do(tmp_path, flip):
    grid = oblique((20, 22, 18), spacing=(1.0, 1.4, 2.0), flip=flip)
    rng = np.random.default_rng(0)
    field = np.stack([ndimage.gaussian_filter(rng.normal(size=grid.shape), 3) for _ in range(3)])
    field *= 3.0 / np.abs(field).max()
    t.write_displacement(tmp_path / "w.nii.gz", field, grid)
    image = sitk.ReadImage(str(tmp_path / "w.nii.gz"), sitk.sitkVectorFloat64)
    warp = sitk.DisplacementFieldTransform(image)
    array = blob(grid)
    moving = t.to_sitk(array, grid)
    theirs = t.from_sitk(sitk.Resample(moving, moving, warp, sitk.sitkLinear))
    index = np.indices(grid.shape) + field / grid.spacing[:, None, None, None]
    ours = ndimage.map_coordinates(array, index, order=1)
    inner = (slice(3, -3),) * 3
    assert np.abs(ours - array).max() > 0.05 * array.max()
    assert np.abs(theirs[inner] - ours[inner]).max() < 1e-3 * array.max()


def test_a_displacement_survives_its_file(tmp_path):
    grid = oblique(flip=(-1, 1, 1))
    field = np.random.default_rng(0).normal(size=(3, *grid.shape))
    t.write_displacement(tmp_path / "w.nii.gz", field, grid)
    back, back_grid = t.read_displacement(tmp_path / "w.nii.gz")
    assert np.allclose(back, field, atol=1e-5)
    assert g.same_grid(back_grid, grid)


def test_what_is_not_rigid_is_refused(tmp_path):
    with pytest.raises(ValueError, match="not a rigid"):
        t.write_rigid(tmp_path / "r.tfm", np.diag([1.1, 1, 1, 1]))
    with pytest.raises(ValueError, match="not a rigid"):
        t.write_rigid(tmp_path / "r.tfm", np.diag([-1.0, 1, 1, 1]))
    with pytest.raises(ValueError, match="not a rigid"):
        t.write_affine(tmp_path / "r.tfm", np.diag([1.1, 1, 1, 1]))
    assert not (tmp_path / "r.tfm").exists()
    affine = sitk.AffineTransform(3)
    affine.Scale(1.2)
    sitk.WriteTransform(affine, str(tmp_path / "a.tfm"))
    with pytest.raises(Unusable, match="not_rigid"):
        t.read_rigid(tmp_path / "a.tfm")
    with pytest.raises(Unusable, match="unreadable"):
        t.read_rigid(tmp_path / "none.tfm")


def test_sitk_images_come_back():
    array = np.random.default_rng(0).random((5, 7, 4))
    assert np.array_equal(t.from_sitk(t.to_sitk(array, oblique())), array)

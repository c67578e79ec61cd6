"""Laws of grids: conversions there and back, storage orders, boxes and registration grids."""

from __future__ import annotations

import numpy as np
import pytest
import SimpleITK as sitk
from hypothesis import given, settings
from hypothesis import strategies as st
from spaces import oblique, rotation, storage_orders

from longimorph.geometry import grid as g
from longimorph.geometry.grid import Grid

ANGLES = st.tuples(*[st.floats(-1.0, 1.0)] * 3)
SPACINGS = st.tuples(*[st.floats(0.4, 4.0)] * 3)


@settings(max_examples=25, deadline=None)
@given(ANGLES, SPACINGS)
def test_index_world_round_trip(angles, spacing):
    grid = oblique(angles=angles, spacing=spacing)
    index = np.array([[0, 0, 0], [4, 6, 3], [1.5, 2.25, 0.1]])
    assert np.allclose(grid.world_to_index(grid.index_to_world(index)), index, atol=1e-9)
    assert np.isclose(grid.voxel_volume, np.prod(spacing))
    assert np.allclose(grid.spacing, spacing)


@settings(max_examples=25, deadline=None)
@given(ANGLES, SPACINGS, st.tuples(*[st.sampled_from([-1, 1])] * 3))
def test_itk_agrees_on_where_every_voxel_is(angles, spacing, flip):
    grid = oblique(angles=angles, spacing=spacing, flip=flip)
    geometry = g.to_itk(grid)
    image = sitk.Image(list(geometry.size), sitk.sitkUInt8)
    image.SetSpacing(geometry.spacing)
    image.SetOrigin(geometry.origin)
    image.SetDirection(geometry.direction)
    for index in [(0, 0, 0), (4, 6, 3), (2, 1, 0)]:
        lps = image.TransformIndexToPhysicalPoint(index)
        assert np.allclose(g.flip_ras_lps(lps), grid.index_to_world(index), atol=1e-6)
    assert g.same_grid(g.from_itk(geometry), grid, tol=1e-6)


def test_sheared_grid_is_refused_by_itk_conversion():
    affine = np.eye(4)
    affine[0, 1] = 0.3
    with pytest.raises(ValueError, match="right angles"):
        g.to_itk(Grid((3, 3, 3), affine))


@pytest.mark.parametrize("affine", [np.diag([1.0, 1, 0, 1]), np.full((4, 4), np.nan), np.ones((4, 4))])
def test_unusable_affines_are_refused(affine):
    with pytest.raises(ValueError):
        Grid((3, 3, 3), affine)


def test_a_grid_cannot_be_changed_behind_its_back():
    affine = np.eye(4)
    grid = Grid((2, 2, 2), affine)
    affine[0, 3] = 5
    assert grid.affine[0, 3] == 0
    with pytest.raises(ValueError):
        grid.affine[0, 3] = 1


def test_forty_eight_orders_have_one_canonical_form():
    rng = np.random.default_rng(0)
    array = rng.integers(0, 9, (5, 7, 4))
    grid = oblique()
    orders = storage_orders(array, grid)
    assert len({(s.shape, s.tobytes()) for s, _ in orders}) == 48
    for stored, stored_grid in orders:
        back, back_grid = g.canonical(stored_grid, stored)
        assert np.array_equal(back, array)
        assert g.same_grid(back_grid, grid, tol=1e-9)


def test_canonical_keeps_trailing_axes():
    array = np.arange(5 * 7 * 4 * 2).reshape(5, 7, 4, 2)
    grid = oblique(flip=(-1, 1, 1))
    back, _ = g.canonical(grid, array)
    assert np.array_equal(back, array[::-1])


def test_rigid_conversion_moves_the_same_points():
    matrix = np.eye(4)
    matrix[:3, :3] = rotation((0.3, 0.1, -0.7))
    matrix[:3, 3] = [4, -5, 6]
    point = np.array([10.0, 20.0, -30.0])
    lps = g.transform_points(g.rigid_ras_to_lps(matrix), g.flip_ras_lps(point))
    assert np.allclose(g.flip_ras_lps(lps), g.transform_points(matrix, point))
    assert np.allclose(g.rigid_ras_to_lps(g.rigid_ras_to_lps(matrix)), matrix)


def test_bounding_box_has_its_margin_in_mm_on_every_axis():
    grid = oblique(shape=(20, 20, 20), spacing=(1.0, 2.0, 4.0))
    mask = np.zeros(grid.shape, dtype=bool)
    mask[8:11, 9, 10] = True
    assert g.bounding_box(mask, grid, 4.0) == (slice(4, 15), slice(7, 12), slice(9, 12))
    assert g.bounding_box(mask, grid, 100.0) == (slice(0, 20),) * 3
    assert g.bounding_box(np.zeros_like(mask), grid) is None


def test_cropped_grid_keeps_the_world_positions():
    grid = oblique(shape=(20, 20, 20))
    part = g.crop(grid, (slice(3, 9), slice(4, 8), slice(0, 2)))
    assert part.shape == (6, 4, 2)
    assert np.allclose(part.index_to_world([0, 0, 0]), grid.index_to_world([3, 4, 0]))


def test_mask_extent_is_the_box_of_the_voxels():
    grid = oblique(shape=(9, 9, 9))
    mask = np.zeros(grid.shape, dtype=bool)
    mask[2:5, 3, 6:8] = True
    index = grid.world_to_index(g.mask_extent(mask, grid))
    assert np.allclose(index.min(axis=0), [1.5, 2.5, 5.5])
    assert np.allclose(index.max(axis=0), [4.5, 3.5, 7.5])


def test_registration_grid_along_world_axes_holds_all_points():
    points = np.array([[-10.2, 5.0, 7.7], [30.0, 42.0, 8.0]])
    grid = g.registration_grid([points, points + 1], 2.0, 8.0)
    index = grid.world_to_index([points.min(axis=0) - 8, points.max(axis=0) + 9])
    assert index.min() >= -1e-3
    assert (index[1] <= np.array(grid.shape) - 1 + 1e-3).all()
    assert np.allclose(grid.affine[:3, :3], 2 * np.eye(3))
    assert np.allclose(grid.affine[:3, 3] % 2, 0)


def test_registration_grid_with_native_spacing_lies_on_the_scans_own_voxels():
    frame = oblique(shape=(30, 30, 12), flip=(-1, 1, -1))
    grid = g.registration_grid([frame.index_to_world([[3, 4, 5], [20, 22, 9]])], frame.spacing, 1.5, frame)
    index = frame.world_to_index(grid.index_to_world(g.grid_corners(grid.shape)))
    assert np.allclose(index, np.rint(index), atol=1e-9)
    ordered = g.canonical(frame, np.empty(frame.shape))[1]
    assert np.allclose(grid.affine[:3, :3], ordered.affine[:3, :3])


def test_registration_grid_of_a_sheared_scan_has_right_angles_and_holds_all_points():
    shear = np.eye(4)
    shear[0, 1], shear[1, 2] = 0.3, -0.2
    frame = g.Grid((30, 30, 12), oblique(shape=(30, 30, 12), flip=(-1, 1, -1)).affine @ shear)
    points = frame.index_to_world(g.grid_corners(frame.shape))
    grid = g.registration_grid([points], 2.0, 8.0, frame)
    g.to_itk(grid)
    assert g.is_sheared(frame) and g.encloses(grid, points, 8.0 - 1e-6)


def test_registration_grid_needs_a_point():
    with pytest.raises(ValueError, match="at least one point"):
        g.registration_grid([np.empty((0, 3))], 2.0, 8.0)


@settings(max_examples=20, deadline=None)
@given(ANGLES, st.tuples(*[st.sampled_from([-1, 1])] * 3))
def test_displacements_convert_there_and_back(angles, flip):
    grid = oblique(angles=angles, flip=flip)
    field = np.random.default_rng(1).normal(size=(3, *grid.shape))
    lps = g.vectors_to_lps(field, grid)
    assert lps.shape == (*grid.shape, 3)
    assert np.allclose(g.vectors_from_lps(lps, grid), field)
    steps = field[:, 1, 2, 3] / grid.spacing  # the same displacement, counted in voxels
    moved = grid.index_to_world(np.array([1, 2, 3]) + steps) - grid.index_to_world([1, 2, 3])
    assert np.allclose(g.flip_ras_lps(lps[1, 2, 3]), moved)


def test_grid_survives_json():
    grid = oblique()
    assert g.same_grid(Grid.from_dict(grid.to_dict()), grid, tol=0)


def test_same_grid_sees_a_shift():
    grid = oblique()
    shifted = grid.affine.copy()
    shifted[0, 3] += 0.01
    assert not g.same_grid(grid, Grid(grid.shape, shifted))
    assert g.same_grid(grid, Grid(grid.shape, shifted), tol=0.02)


@pytest.mark.parametrize("angles", [(0.0, 0.0, 0.0), (0.2, -0.3, 0.4), (np.pi / 4, np.pi / 4, 0.1)])
def test_a_volume_is_put_in_the_order_of_another(angles):
    grid = oblique(shape=(4, 5, 3), angles=angles)
    array = np.arange(60).reshape(grid.shape)
    for stored, own in storage_orders(array, grid):
        back = g.in_order_of(grid, own, stored)
        assert back is not None and np.array_equal(back, array)


def test_what_lies_elsewhere_is_put_in_no_order():
    grid = oblique(shape=(4, 4, 4), spacing=(1.0, 1.0, 1.0))
    array = np.zeros(grid.shape)
    moved, turned, finer = grid.affine.copy(), grid.affine.copy(), grid.affine.copy()
    moved[:3, 3] += 0.5
    turned[:3, :3] = rotation((0, 0, 0.1)) @ turned[:3, :3]
    finer[:3, :3] *= 0.5
    for affine in (moved, turned, finer):
        assert g.in_order_of(grid, Grid(grid.shape, affine), array) is None
    assert g.in_order_of(grid, Grid((4, 4, 5), grid.affine), np.zeros((4, 4, 5))) is None

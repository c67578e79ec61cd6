"""Maps are probabilities, keep volumes, and do not depend on how a scan is stored."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from real_data import BACKGROUND, CLASSES, freesurfer_classes, muse_classes, scan
from scipy import ndimage
from spaces import oblique, rotation, storage_orders

from longimorph.geometry import grid as g
from longimorph.geometry.grid import Grid
from longimorph.io.volumes import read_labels
from longimorph.maps import simplex as s


def regular(shape, spacing=1.0):
    return Grid(shape, np.diag([spacing, spacing, spacing, 1.0]))


def regions(shape, n_classes=4, seed=0, coarse=4.0):
    """A random label volume of smooth regions, class 0 along the border."""
    noise = np.random.default_rng(seed).normal(size=(n_classes, *shape))
    smooth = np.stack([ndimage.gaussian_filter(one, coarse) for one in noise])
    labels = smooth.argmax(axis=0)
    inner = np.zeros(shape, dtype=bool)
    inner[tuple(slice(n // 5, n - n // 5) for n in shape)] = True
    return np.where(inner, labels, 0)


def pose(angles, shift, about=(0.0, 0.0, 0.0)):
    matrix = np.eye(4)
    matrix[:3, :3] = rotation(angles)
    matrix[:3, 3] = np.asarray(about) + shift - matrix[:3, :3] @ np.asarray(about)
    return matrix


def one_hot(labels, n_classes=4):
    return np.stack([labels == c for c in range(n_classes)]).astype(np.float32)


def around(labels, grid, matrix, spacing, margin=8.0, background=0):
    points = g.transform_points(np.linalg.inv(matrix), g.mask_extent(labels != background, grid))
    return g.registration_grid([points], spacing, margin)


@pytest.mark.parametrize("flip", [(1, 1, 1), (-1, 1, 1), (-1, -1, -1)])
def test_exact_where_the_grids_coincide(flip):
    grid = oblique((14, 12, 10), flip=flip)
    labels = regions(grid.shape, coarse=1.0)
    assert np.array_equal(s.simplex_maps(labels, grid, np.eye(4), grid, 4, 0), one_hot(labels))


def test_exact_on_a_canonical_crop_of_the_scans_own_lattice():
    scan_grid = oblique((14, 12, 10), flip=(-1, 1, -1))
    labels = regions(scan_grid.shape, coarse=1.0)
    box = g.mask_extent(labels != 0, scan_grid)
    target = g.registration_grid([box], scan_grid.spacing, 0.0, scan_grid)
    maps = s.simplex_maps(labels, scan_grid, np.eye(4), target, 4, 0)
    assert set(np.unique(maps)) == {0.0, 1.0}
    assert np.array_equal(maps[1:].sum(axis=(1, 2, 3)), np.bincount(labels.ravel())[1:])


def test_all_storage_orders_give_the_same_maps():
    grid = oblique((14, 11, 7), spacing=(1.0, 1.3, 2.1))
    labels = regions(grid.shape, coarse=1.0)
    matrix = pose((0.2, -0.1, 0.15), (1.5, -2.0, 0.7), grid.centre())
    target = around(labels, grid, matrix, 1.6, 2.0)
    expected = s.simplex_maps(labels, grid, matrix, target, 4, 0, 1.5, 1e-6)
    assert expected[1:].max() > 0.5
    for stored, stored_grid in storage_orders(labels, grid):
        maps = s.simplex_maps(stored, stored_grid, matrix, target, 4, 0, 1.5, 1e-6)
        assert np.abs(maps - expected).max() < 1e-6


@settings(max_examples=10, deadline=None)
@given(
    st.tuples(*[st.floats(-0.5, 0.5)] * 3),
    st.floats(0.6, 4.0),
    st.floats(0, 3.0),
    st.sampled_from([0.0, 1e-6, 1e-3]),
    st.sampled_from([0, None]),
)
def test_maps_are_probabilities(angles, spacing, sigma, floor, background):
    grid = oblique((12, 14, 9))
    labels = regions(grid.shape, coarse=1.0)
    matrix = pose(angles, (2.0, 0.0, -1.0), grid.centre())
    target = around(labels, grid, matrix, spacing, 4.0)
    maps = s.simplex_maps(labels, grid, matrix, target, 4, background, sigma, floor)
    assert maps.dtype == np.float32
    assert maps.min() >= floor / (1 + 4 * floor) * (1 - 1e-5)
    assert np.abs(maps.sum(axis=0, dtype=np.float64) - 1).max() < 1e-6


def test_a_coarse_voxel_holds_the_share_of_each_class():
    labels = regions((16, 16, 16), coarse=1.0)
    affine = np.diag([4.0, 4.0, 4.0, 1.0])
    affine[:3, 3] = 1.5  # the middle of the first four voxels
    maps = s.simplex_maps(labels, regular((16, 16, 16)), np.eye(4), Grid((4, 4, 4), affine), 4, 0)
    block = labels[4:8, 8:12, 4:8]
    share = np.array([(block == c).mean() for c in range(4)])
    assert share.max() < 1
    assert np.allclose(maps[:, 1, 2, 1], share, atol=0.12)  # the trilinear kernel looks half a voxel over
    assert np.allclose(maps[1:].sum(axis=(1, 2, 3)) * 64, np.bincount(labels.ravel())[1:], rtol=1e-5)


@settings(max_examples=12, deadline=None)
@given(st.tuples(*[st.floats(-0.4, 0.4)] * 3), st.floats(0.8, 4.5), st.integers(0, 50))
def test_volumes_are_kept(angles, spacing, seed):
    grid = oblique((40, 40, 20), spacing=(1.0, 1.0, 2.0))
    labels = regions(grid.shape, seed=seed)
    matrix = pose(angles, (2.3, 0.1, -1.7), grid.centre())
    target = around(labels, grid, matrix, spacing)
    volumes = s.volumes_mm3(s.simplex_maps(labels, grid, matrix, target, 4, 0, 2.0), target)
    native = s.native_volumes_mm3(labels, grid, 4)
    assert np.abs(volumes - native)[1:].max() < 0.01 * native[1:].sum()


@pytest.mark.parametrize("number", ["01", "02"])
def test_volumes_of_synthseg_are_kept(number):
    labels, grid = read_labels(scan(f"synthseg_labelmaps/training_seg_{number}.nii.gz"))
    _volumes_within_one_per_cent(freesurfer_classes(labels), grid, (4.0,))


@pytest.mark.parametrize("name", ["IXI012-HH-1211", "IXI033-HH-1259"])
def test_volumes_of_ixi_are_kept(name):
    labels, grid = read_labels(scan(f"ixi_dlmuse_2mm/{name}-T1_ds_DLMUSE.nii.gz"))
    _volumes_within_one_per_cent(muse_classes(labels), grid, (2.0, 4.0))


def _volumes_within_one_per_cent(labels, grid, spacings):
    native = s.native_volumes_mm3(labels, grid, len(CLASSES))
    matrix = pose((0.1, -0.15, 0.2), (7.3, -4.1, 11.2), grid.centre())
    for spacing in spacings:
        target = around(labels, grid, matrix, spacing, background=BACKGROUND)
        maps = s.simplex_maps(labels, grid, matrix, target, len(CLASSES), BACKGROUND, 2.0, 1e-6)
        change = s.volumes_mm3(maps, target) / native - 1
        assert np.abs(change[:BACKGROUND]).max() < 0.01


def test_beyond_the_scan_lies_background():
    labels = np.ones((4, 4, 4), dtype=int)
    target = Grid((12, 4, 4), regular((4, 4, 4)).affine)
    maps = s.simplex_maps(labels, regular((4, 4, 4)), np.eye(4), target, 2, 0)
    assert (maps[1, :4] == 1).all() and (maps[0, 4:] == 1).all()
    repeated = s.simplex_maps(labels, regular((4, 4, 4)), np.eye(4), target, 2, None)
    assert (repeated[1] == 1).all()


def test_field_of_view_is_the_share_inside_the_scan():
    scan_grid = regular((4, 6, 6))
    target = Grid((8, 6, 6), scan_grid.affine)
    share = s.field_of_view(scan_grid, np.eye(4), target)
    assert share.mean() == 0.5
    assert (share[:4] == 1).all() and (share[4:] == 0).all()
    affine = np.diag([4.0, 2.0, 2.0, 1.0])
    affine[:3, 3] = (-0.5, 0.5, 0.5)  # the first voxels are centred on the scan's outer face
    assert np.allclose(s.field_of_view(scan_grid, np.eye(4), Grid((2, 3, 3), affine))[0], 0.5)


def test_image_means_are_exact_and_keep_the_mean():
    grid = oblique((10, 8, 6))
    image = np.random.default_rng(0).normal(size=grid.shape).astype(np.float32)
    assert np.array_equal(s.image_means(image, grid, np.eye(4), grid), image)
    flat = np.full(grid.shape, 7.0)
    target = Grid((6, 6, 6), pose((0.1, 0.2, 0.3), grid.centre() - 5) @ np.diag([2.0, 2, 2, 1]))
    means = s.image_means(flat, grid, np.eye(4), target)
    assert np.allclose(means[means != 0], 7.0)
    assert (means[s.field_of_view(grid, np.eye(4), target) == 0] == 0).all()


@settings(max_examples=30, deadline=None)
@given(st.floats(0.05, 6.0))
def test_the_smoothing_kernel_has_the_width_asked_for(sigma):
    kernel = s.gaussian_kernel(sigma)
    steps = np.arange(len(kernel)) - len(kernel) // 2
    assert np.isclose(kernel.sum(), 1)
    assert kernel.min() >= 0
    assert np.isclose((kernel * steps**2).sum(), sigma**2, rtol=1e-3, atol=1e-4)


def test_smoothing_is_in_mm_whatever_the_voxels():
    for spacing in (1.0, 2.0, 4.0):
        n = int(48 / spacing)
        maps = np.zeros((1, n, n, n), dtype=np.float32)
        maps[0, n // 2, n // 2, n // 2] = 1
        smooth = s.smooth(maps, regular((n, n, n), spacing), 3.0)[0].sum(axis=(1, 2))
        offset = (np.arange(n) - n // 2) * spacing
        assert np.isclose((smooth * offset**2).sum(), 9.0, rtol=1e-3)


def test_closure_fills_what_no_class_claims():
    maps = np.zeros((4, 1, 1, 2), dtype=np.float32)
    maps[2, 0, 0, 1] = 3.0
    closed = s.close(maps)
    assert np.allclose(closed[:, 0, 0, 0], 0.25)
    assert np.allclose(closed[:, 0, 0, 1], [0, 0, 1, 0])


def test_what_makes_no_sense_is_refused():
    grid = regular((3, 3, 3))
    with pytest.raises(ValueError, match="class indices from 0 to 4"):
        s.simplex_maps(np.full((3, 3, 3), 4) * (np.arange(3) > 0), grid, np.eye(4), grid, 4)
    with pytest.raises(ValueError, match="floor"):
        s.close(np.ones((4, 1, 1, 1)), 0.3)
    with pytest.raises(ValueError, match="negative"):
        s.smooth(np.ones((4, 1, 1, 1)), regular((1, 1, 1)), -1.0)

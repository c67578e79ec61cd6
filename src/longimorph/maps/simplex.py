"""Segmentations as probability maps: every voxel is a point of the simplex, its entries summing to 1.

Labels or posteriors are interpolated once, from the scan's own voxels to the registration grid, as the share
of every class in each voxel. Smoothing, floor and closure follow on the grid. The grid's box should leave
about three smoothing widths of background around the brain; otherwise volume that is smoothed out of the box
is lost.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
from scipy import ndimage
from scipy.special import ive

from longimorph.geometry.grid import Array, FloatArray, Grid
from longimorph.geometry.resample import field_of_view, image_means, label_fractions, share_means

__all__ = [
    "close",
    "field_of_view",
    "gaussian_kernel",
    "image_means",
    "label_fractions",
    "native_volumes_mm3",
]
__all__ += ["shared_volumes_mm3", "simplex_maps", "simplex_of_shares", "smooth", "volumes_mm3"]

_KERNEL_TAIL = 1e-6  # the share of a smoothing kernel that may be cut off


def simplex_maps(
    labels: Array,
    label_grid: Grid,
    matrix: npt.ArrayLike,
    grid: Grid,
    n_classes: int,
    background: int | None = None,
    smoothing_mm: float = 0.0,
    floor: float = 0.0,
) -> npt.NDArray[np.float32]:
    """Probability maps (C, i, j, k), float32, on ``grid``: non-negative, sums within 1e-6 of 1.

    ``labels`` (i, j, k) are class indices on ``label_grid``; ``matrix`` is the rigid 4×4 map, RAS, from the
    world of ``grid`` to that of the scan. Beyond the scan's field of view lies ``background`` (None: the
    border repeats). ``smoothing_mm`` is the sigma of a Gaussian, ``floor`` the smallest probability before
    closure. Where the grids coincide, without smoothing and floor, the maps are exactly 0 and 1.
    """
    values = np.asarray(labels)
    if values.min() < 0 or values.max() >= n_classes:
        raise ValueError(f"class indices from {values.min()} to {values.max()} among {n_classes} classes")
    maps = label_fractions(values, label_grid, matrix, grid, n_classes, background)
    return close(smooth(maps, grid, smoothing_mm), floor)


def simplex_of_shares(
    shares: Array,
    source: Grid,
    matrix: npt.ArrayLike,
    grid: Grid,
    background: int | None = None,
    smoothing_mm: float = 0.0,
    floor: float = 0.0,
) -> npt.NDArray[np.float32]:
    """As `simplex_maps`, from the probability of each class: ``shares`` (C, i, j, k) on ``source``.

    Each class is interpolated once, as the labels are, so that shares of 0 and 1 give the maps of labels.
    """
    maps = np.empty((len(shares), *grid.shape), dtype=np.float32)
    for index, one in enumerate(shares):
        outside = None if background is None else float(index == background)
        maps[index] = share_means(one, source, matrix, grid, outside)
    return close(smooth(maps, grid, smoothing_mm), floor)


def smooth(maps: Array, grid: Grid, sigma_mm: float) -> npt.NDArray[np.float32]:
    """Gaussian smoothing of maps (C, i, j, k) by ``sigma_mm`` along the three axes of ``grid``.

    The border is repeated outwards, so that sums over classes are preserved. Float32; returns the maps
    themselves when sigma is 0.
    """
    result = np.asarray(maps, dtype=np.float32)
    if sigma_mm < 0:
        raise ValueError(f"a smoothing width cannot be negative; found {sigma_mm} mm")
    if sigma_mm == 0:
        return result
    result = result.copy()
    for axis, spacing in enumerate(grid.spacing):
        kernel = gaussian_kernel(sigma_mm / float(spacing))
        for one in result:
            ndimage.correlate1d(one, kernel, axis=axis, output=one, mode="nearest")
    return result


def gaussian_kernel(sigma: float) -> FloatArray:
    """The discrete Gaussian of variance sigma², sigma in voxels, (2 r + 1,), summing to 1.

    It is exp(−t) I_n(t) with t = sigma² (Lindeberg 1990). The variance is exact for any width, whereas a
    sampled Gaussian degenerates to a single 1 below half a voxel.
    """
    t = sigma * sigma
    half = ive(np.arange(int(np.ceil(6 * sigma)) + 6), t)
    beyond = 1.0 - (half[0] + 2 * np.concatenate([[0.0], np.cumsum(half[1:])]))
    radius = int(np.argmax(beyond < _KERNEL_TAIL))
    kernel = np.concatenate([half[radius:0:-1], half[: radius + 1]])
    return np.asarray(kernel / kernel.sum())


def close(maps: Array, floor: float = 0.0) -> npt.NDArray[np.float32]:
    """Raise every probability of maps (C, i, j, k) to at least ``floor`` and divide by the sum over classes.

    A voxel without any probability gets equal probabilities of all classes.
    """
    if not 0 <= floor < 1 / len(maps):
        raise ValueError(f"the floor must lie in [0, 1/{len(maps)}); found {floor}")
    result = np.maximum(np.asarray(maps, dtype=np.float32), np.float32(floor))
    total = result.sum(axis=0, dtype=np.float64)
    empty = total <= 0
    if empty.any():
        result[:, empty] = 1.0
        total[empty] = len(maps)
    for one in result:
        one /= total
    return result


def volumes_mm3(maps: Array, grid: Grid) -> FloatArray:
    """Volume of every class, (C,) mm³: the sum of its map (C, i, j, k) times the voxel's volume."""
    return np.asarray(np.asarray(maps).sum(axis=(1, 2, 3), dtype=np.float64) * grid.voxel_volume)


def shared_volumes_mm3(shares: Array, source: Grid) -> FloatArray:
    """As `native_volumes_mm3`, from the probability of each class in the scan itself, (C, i, j, k)."""
    return np.array([one.sum(dtype=np.float64) for one in shares]) * source.voxel_volume


def native_volumes_mm3(labels: Array, label_grid: Grid, n_classes: int) -> FloatArray:
    """Volume of every class in the scan itself, (C,) mm³: its voxels times the voxel's volume.

    The background depends on the field of view and cannot be compared with that of a map.
    """
    return np.asarray(np.bincount(np.asarray(labels).ravel(), minlength=n_classes) * label_grid.voxel_volume)

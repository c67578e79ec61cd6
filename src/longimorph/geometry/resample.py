"""A single interpolation from a scan's own voxels to a target grid, averaged over each target voxel's box.

A target voxel is sampled at one point. When the scan is finer than the target, it is sampled at a regular
lattice of points inside its box, so that every voxel of the scan contributes. Each sample is trilinear.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy import ndimage

from longimorph.geometry.grid import Array, FloatArray, Grid, canonical

IntArray = npt.NDArray[np.intp]

_SLAB_POINTS = 2**17  # target voxels at a time: bounds the memory and fits the CPU cache
_DECIMALS = 10  # of a voxel index: what differs only by rounding is sampled at the same place


@dataclass(frozen=True)
class Sampling:
    """Positions of the samples of each target voxel in a source volume.

    ``mapping`` (4×4) takes target indices to source indices. ``offsets`` (n, 3) are the samples of one target
    voxel, in target voxels from its centre. ``shape`` is the target's, ``source`` the source's.
    """

    mapping: FloatArray
    offsets: FloatArray
    shape: tuple[int, int, int]
    source: tuple[int, int, int]

    def slabs(self) -> Iterator[tuple[slice, Iterator[FloatArray]]]:
        """Yield slices of the target's first axis, each with its successive samples.

        A sample is the source indices (3, number of voxels in the slab).
        """
        ni, nj, nk = self.shape
        rows = max(1, _SLAB_POINTS // (nj * nk))
        for start in range(0, ni, rows):
            stop = min(start + rows, ni)
            yield slice(start, stop), self._samples(start, stop)

    def _samples(self, start: int, stop: int) -> Iterator[FloatArray]:
        turn, shift = self.mapping[:3, :3], self.mapping[:3, 3]
        i, j, k = (
            np.arange(a, b, dtype=np.float64) for a, b in ((start, stop), *((0, n) for n in self.shape[1:]))
        )
        steps = (turn[:, 0, None] * i)[:, :, None, None] + (turn[:, 1, None] * j)[:, None, :, None]
        centres = (steps + (turn[:, 2, None] * k)[:, None, None, :]).reshape(3, -1)
        for offset in self.offsets:
            yield centres + (shift + turn @ offset)[:, None]


def sampling(source: Grid, matrix: npt.ArrayLike, target: Grid) -> Sampling:
    """Compute how to sample a volume on ``source`` for ``target``.

    ``matrix`` is the 4×4 map, RAS, from the world of the target to that of the source.
    """
    mapping = np.linalg.inv(source.affine) @ np.asarray(matrix, dtype=np.float64) @ target.affine
    mapping = np.round(mapping, _DECIMALS)
    per_axis = np.maximum(np.ceil(np.abs(mapping[:3, :3]).max(axis=0) - 1e-6), 1).astype(int)
    lines = [(np.arange(n) + 0.5) / n - 0.5 for n in per_axis]
    offsets = np.stack(np.meshgrid(*lines, indexing="ij"), axis=-1).reshape(-1, 3)
    return Sampling(mapping, offsets, target.shape, source.shape)


def corners(points: FloatArray, shape: tuple[int, int, int]) -> Iterator[tuple[IntArray, FloatArray]]:
    """The eight neighbours of source indices ``points`` (3, n) and their trilinear weights, (n,) each.

    The neighbours are flat indices into a volume of ``shape`` padded by one voxel on every side; points
    beyond the padding are clamped to it.
    """
    low, high = [], []
    flat = np.zeros(points.shape[1], dtype=np.intp)
    for line, n in zip(points, shape, strict=True):
        inside = np.clip(line, -1.0, float(n)) + 1.0
        first = np.minimum(inside.astype(np.intp), n)
        weight = inside - first
        low.append(1.0 - weight)
        high.append(weight)
        flat = flat * (n + 2) + first
    stride = ((shape[1] + 2) * (shape[2] + 2), shape[2] + 2)
    for i, wi in enumerate((low[0], high[0])):
        for j, wj in enumerate((low[1], high[1])):
            row = wi * wj
            base = flat + (i * stride[0] + j * stride[1])
            yield base, row * low[2]
            yield base + 1, row * high[2]


def label_fractions(
    labels: Array, source: Grid, matrix: npt.ArrayLike, target: Grid, n_classes: int, outside: int | None
) -> npt.NDArray[np.float32]:
    """Share of each class in the voxels of ``target``: (C, i, j, k) float32, summing to 1.

    ``labels`` (i, j, k) are class indices on ``source``. Beyond the source every voxel has class ``outside``,
    or, for None, the class of the nearest border voxel.
    """
    labels, source = canonical(source, np.asarray(labels))
    padded = _padded(labels.astype(np.intp), outside).ravel()
    plan = sampling(source, matrix, target)
    fractions = np.empty((n_classes, *target.shape), dtype=np.float32)
    for rows, samples in plan.slabs():
        shape = (rows.stop - rows.start, *target.shape[1:])
        cells = np.arange(int(np.prod(shape)), dtype=np.intp) * n_classes
        total = np.zeros(cells.size * n_classes)
        for points in samples:
            for index, weight in corners(points, plan.source):
                total += np.bincount(cells + padded[index], weight, total.size)
        total /= len(plan.offsets)
        fractions[:, rows] = np.moveaxis(total.reshape(*shape, n_classes), -1, 0)
    return fractions


def share_means(
    shares: Array, source: Grid, matrix: npt.ArrayLike, target: Grid, outside: float | None
) -> npt.NDArray[np.float32]:
    """Mean of a class's share (i, j, k) on ``source`` over the voxels of ``target``: (i, j, k) float32.

    ``outside`` is the share beyond the source (None: that of the nearest border voxel). For shares of 0 and 1
    these are the values of `label_fractions`.
    """
    shares, source = canonical(source, np.asarray(shares))
    padded = _padded(np.asarray(shares, dtype=np.float32), outside).ravel()
    plan = sampling(source, matrix, target)
    means = np.empty(target.shape, dtype=np.float32)
    for rows, samples in plan.slabs():
        total = np.zeros(means[rows].size)
        for points in samples:
            for index, weight in corners(points, plan.source):
                total += padded[index] * weight
        means[rows] = (total / len(plan.offsets)).reshape(means[rows].shape)
    return means


def image_means(image: Array, source: Grid, matrix: npt.ArrayLike, target: Grid) -> npt.NDArray[np.float32]:
    """Mean of an intensity volume (i, j, k) over the voxels of ``target``: (i, j, k) float32.

    Only the part of a voxel inside the source's field of view counts; a voxel entirely outside is 0.
    """
    image, source = canonical(source, np.asarray(image))
    padded = np.pad(np.asarray(image, dtype=np.float64), 1, mode="edge").ravel()
    plan = sampling(source, matrix, target)
    means = np.empty(target.shape, dtype=np.float32)
    for rows, samples in plan.slabs():
        total = np.zeros(means[rows].size)
        count = np.zeros(means[rows].size)
        for points in samples:
            inside = _inside(points, plan.source)
            value = sum(padded[index] * weight for index, weight in corners(points, plan.source))
            total += np.where(inside, value, 0.0)
            count += inside
        means[rows] = (total / np.maximum(count, 1)).reshape(means[rows].shape)
    return means


def field_of_view(source: Grid, matrix: npt.ArrayLike, target: Grid) -> npt.NDArray[np.float32]:
    """Share of each voxel of ``target`` inside the field of view of ``source``: (i, j, k) float32 in [0, 1].

    The field of view consists of the boxes of the source's voxels. The mean is the share of the whole grid.
    """
    _, source = canonical(source, np.empty(source.shape, dtype=bool))
    plan = sampling(source, matrix, target)
    share = np.empty(target.shape, dtype=np.float32)
    for rows, samples in plan.slabs():
        count = np.zeros(share[rows].size)
        for points in samples:
            count += _inside(points, plan.source)
        share[rows] = (count / len(plan.offsets)).reshape(share[rows].shape)
    return share


def _inside(points: FloatArray, shape: tuple[int, int, int]) -> npt.NDArray[np.bool_]:
    """Return which source indices (3, n) lie in the boxes of voxels, up to rounding."""
    limit = np.array(shape, dtype=np.float64)[:, None] - 0.5 + 1e-6
    return np.asarray(((points >= -0.5 - 1e-6) & (points <= limit)).all(axis=0))


def _padded(values: Array, outside: float | None) -> Array:
    if outside is None:
        return np.pad(values, 1, mode="edge")
    return np.pad(values, 1, mode="constant", constant_values=outside)


def nearest_labels(labels: Array, source: Grid, target: Grid) -> Array:
    """Nearest-neighbour resampling of labels (i, j, k) from ``source`` to ``target``, in the same physical
    space.

    Voxels beyond the source's field of view are 0.
    """
    mapping = np.round(np.linalg.inv(source.affine) @ target.affine, _DECIMALS)
    turn, shift = mapping[:3, :3], mapping[:3, 3]
    found = ndimage.affine_transform(labels, turn, shift, target.shape, order=0, mode="grid-constant", cval=0)
    return np.asarray(found)

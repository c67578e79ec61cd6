"""How alike the two aligned visits of a pair are, and whether the fitted warp makes their scans more alike.

Everything is measured on the common grid, inside the brain that both visits show. Scans are compared by
their structure between two widths: coarser shading of the coil and finer noise are filtered out, so that
the number hardly depends on the scanner or on the voxel size.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
from scipy import ndimage
from scipy.stats import rankdata

from longimorph.geometry.grid import Array, Grid

FloatMap = npt.NDArray[np.float32]
Mask = npt.NDArray[np.bool_]

FINE_MM, COARSE_MM = 1.5, 5.0
"""Widths of the two Gaussians between which the structure of a scan is compared, mm: the folds of one brain
are its own, while shading of the coil and the large structures are alike in all."""
INNER_MM = 6.0
"""Scans are compared deeper in the brain than this, where its outline, alike in all, has no part, mm."""
FEWEST_ML = 20.0
"""Less brain in common than this says nothing of whose it is, mL."""

CHANGED = 0.5
"""A voxel's classes changed where the probability of one of them changed by more than this."""
AROUND_MM = 4.0
"""How far around such voxels the scans are compared before and after warping, mm."""
FEWEST_CHANGED_ML = 1.0
"""Less than this around changed classes says nothing of the warp, mL."""

_TRUNCATE = 3.0


@dataclass(frozen=True)
class Likeness:
    """``correlation`` of the scans, of ranks (None without them), ``brain_dice`` of the brains, and of the
    voxels that both call healthy brain, ``kappa``, their agreement on the class beyond chance (None where
    there is one healthy class). All are None where there is too little brain."""

    correlation: float | None
    brain_dice: float | None
    kappa: float | None

    def to_dict(self) -> dict[str, Any]:
        """Plain values for JSON."""
        return asdict(self)


@dataclass(frozen=True)
class WarpCheck:
    """Correlation of the scans around the voxels that changed class, ``volume_ml`` of them: ``before``, with
    the first visit's scan where it is, and ``after``, with it moved by the fitted warp."""

    before: float
    after: float
    volume_ml: float

    def to_dict(self) -> dict[str, Any]:
        """Plain values for JSON."""
        return asdict(self)


def likeness(
    maps: tuple[Array, Array],
    images: tuple[Array, Array] | None,
    grid: Grid,
    background: int | None,
    pathological: Sequence[int] = (),
    weight: Array | None = None,
) -> Likeness:
    """Compare two visits: probability ``maps`` (C, i, j, k) and ``images`` (i, j, k) on one grid.

    ``weight`` says what of the grid is compared at all (None: everything); classes ``pathological`` may come
    and go, so they do not count.
    """
    labels = maps[0].argmax(axis=0), maps[1].argmax(axis=0)
    brains = tuple(_brain(one, background, weight) for one in labels)
    both = brains[0] & brains[1]
    if _millilitres(both, grid) < FEWEST_ML:
        return Likeness(None, None, None)
    healthy = both & ~np.isin(labels[0], pathological) & ~np.isin(labels[1], pathological)
    dice = 2 * both.sum() / (brains[0].sum() + brains[1].sum())
    found = None
    inner = ndimage.distance_transform_edt(both, sampling=grid.spacing) > INNER_MM
    if images is not None and _millilitres(inner, grid) >= FEWEST_ML:
        one, other = (rankdata(structure(image, both, grid)[inner]) for image in images)
        found = _correlation(one, other)
    return Likeness(found, float(dice), kappa(labels[0][healthy], labels[1][healthy]))


def _brain(labels: Array, background: int | None, weight: Array | None) -> Mask:
    inside = np.ones(labels.shape, dtype=bool) if background is None else labels != background
    return inside if weight is None else inside & (weight > 0.5)


def kappa(first: Array, second: Array) -> float | None:
    """Cohen's kappa of two labellings of the same voxels; None where all of them have one label."""
    count = int(max(first.max(initial=0), second.max(initial=0))) + 1
    table = np.bincount(first * count + second, minlength=count * count).reshape(count, count)
    total = table.sum()
    if total == 0:
        return None
    chance = float(table.sum(axis=0) @ table.sum(axis=1)) / float(total) ** 2
    return None if chance > 1 - 1e-9 else (float(np.trace(table)) / float(total) - chance) / (1 - chance)


def structure(image: Array, inside: Mask, grid: Grid) -> FloatMap:
    """An image between ``FINE_MM`` and ``COARSE_MM``, by averages over ``inside`` alone."""
    share = inside.astype(np.float32)
    values = np.where(inside, image, 0).astype(np.float32)
    return _average(values, share, FINE_MM, grid) - _average(values, share, COARSE_MM, grid)


def _average(values: FloatMap, share: FloatMap, sigma_mm: float, grid: Grid) -> FloatMap:
    sigma = sigma_mm / grid.spacing
    total = ndimage.gaussian_filter(values, sigma, truncate=_TRUNCATE)
    weight = ndimage.gaussian_filter(share, sigma, truncate=_TRUNCATE)
    return np.asarray(total / np.maximum(weight, 1e-3), dtype=np.float32)


def _correlation(first: Array, second: Array) -> float | None:
    """Correlation of two rows of values, None where one of them does not vary."""
    if np.ptp(first) == 0 or np.ptp(second) == 0:
        return None
    return float(np.corrcoef(first.astype(np.float64), second.astype(np.float64))[0, 1])


def warp_check(
    maps: tuple[Array, Array],
    images: tuple[Array, Array],
    forward: Array,
    grid: Grid,
    background: int | None,
    weight: Array | None = None,
) -> WarpCheck | None:
    """Compare the second scan with the first before and after ``forward`` (3, i, j, k) moves it.

    ``forward`` is the field in mm along the grid's axes that pulls the first visit to the second. Moving
    interpolates, which blurs; so the scan that is not moved is blurred alike (:func:`blurred_alike`), and
    both scans are smoothed first. None where too little changed, or a scan is of one brightness there.
    """
    inside = _brain(maps[0].argmax(axis=0), background, weight)
    inside &= _brain(maps[1].argmax(axis=0), background, weight)
    where = inside & _near_changes(maps, grid)
    volume = _millilitres(where, grid)
    if volume < FEWEST_CHANGED_ML:
        return None
    first, second = (_smoothed(image, grid) for image in images)
    steps = forward / grid.spacing.reshape(3, 1, 1, 1)
    before = _correlation(blurred_alike(first, steps)[where], second[where])
    after = _correlation(moved(first, steps)[where], second[where])
    return None if before is None or after is None else WarpCheck(before, after, volume)


def _near_changes(maps: tuple[Array, Array], grid: Grid) -> Mask:
    """Voxels within ``AROUND_MM`` of those whose classes changed."""
    changed = np.zeros(grid.shape, dtype=bool)
    for before, after in zip(*maps, strict=True):
        changed |= np.abs(after - before) > CHANGED
    if not changed.any():
        return changed
    return np.asarray(ndimage.distance_transform_edt(~changed, sampling=grid.spacing) <= AROUND_MM)


def _smoothed(image: Array, grid: Grid) -> FloatMap:
    """An image smoothed by a voxel, so that interpolation takes away little of what is left."""
    return np.asarray(ndimage.gaussian_filter(image.astype(np.float32), 1.0, truncate=_TRUNCATE))


def moved(image: Array, steps: Array) -> FloatMap:
    """The image at the places ``steps`` (3, i, j, k), in voxels, from each voxel, by linear interpolation."""
    places = np.indices(image.shape, dtype=np.float32) + steps
    return np.asarray(ndimage.map_coordinates(image, places, order=1, mode="nearest"), dtype=np.float32)


def blurred_alike(image: Array, steps: Array) -> FloatMap:
    """The image where it is, blurred in each voxel as much as linear interpolation at ``steps`` blurs it.

    Between two voxels, a share f from one of them, it averages with a variance of f (1 − f) voxels²; so does
    the symmetric average of a voxel and its two neighbours with half that weight on either neighbour.
    """
    result = np.asarray(image, dtype=np.float32)
    for axis, along in enumerate(steps):
        share = along - np.floor(along)
        beside = ndimage.correlate1d(result, [0.5, -1.0, 0.5], axis=axis, mode="nearest")
        result = np.asarray(result + share * (1 - share) * beside, dtype=np.float32)
    return result


def _millilitres(mask: Mask, grid: Grid) -> float:
    return float(mask.sum()) * grid.voxel_volume / 1000

"""Similarity of a pair's aligned visits, and whether the fitted warp makes their scans more similar.

Everything is measured on the common grid, inside the part of the brain that both visits show. Scans are
compared by their structure between two widths: coarser coil shading and finer noise are filtered out, so that
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
"""Widths of the two Gaussians between which the structure of a scan is compared, mm. The folds are specific
to one brain, whereas coil shading and large structures are similar in all brains.
"""
INNER_MM = 6.0
"""Scans are compared only deeper in the brain than this, mm: the outline is similar in all brains."""
FEWEST_ML = 20.0
"""Minimum volume of common brain for a statement on identity, mL."""

CHANGED = 0.5
"""Change in the probability of any class above which a voxel counts as changed."""
AROUND_MM = 4.0
"""Radius around such voxels in which the scans are compared before and after warping, mm."""
FEWEST_CHANGED_ML = 1.0
"""Minimum volume around changed classes for a statement on the warp, mL."""

_TRUNCATE = 3.0


@dataclass(frozen=True)
class Likeness:
    """Similarity of two visits; all values are None if there is too little brain.

    ``correlation``: rank correlation of the scans (None without scans). ``brain_dice``: Dice of the brains.
    ``kappa``: agreement on the class beyond chance, in voxels that both call healthy brain (None if there is
    only one healthy class).
    """

    correlation: float | None
    brain_dice: float | None
    kappa: float | None

    def to_dict(self) -> dict[str, Any]:
        """Plain values for JSON."""
        return asdict(self)


@dataclass(frozen=True)
class WarpCheck:
    """Correlation of the scans around the voxels that changed class, a volume of ``volume_ml``.

    ``before``: with the first visit's scan unmoved. ``after``: with it moved by the fitted warp.
    """

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

    ``weight`` defines the part of the grid to compare (None: everything). Classes in ``pathological`` may
    appear and disappear, so they do not count.
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
    """Cohen's kappa of two labellings of the same voxels; None if all of them have the same label."""
    count = int(max(first.max(initial=0), second.max(initial=0))) + 1
    table = np.bincount(first * count + second, minlength=count * count).reshape(count, count)
    total = table.sum()
    if total == 0:
        return None
    chance = float(table.sum(axis=0) @ table.sum(axis=1)) / float(total) ** 2
    return None if chance > 1 - 1e-9 else (float(np.trace(table)) / float(total) - chance) / (1 - chance)


def structure(image: Array, inside: Mask, grid: Grid) -> FloatMap:
    """Band-pass an image between ``FINE_MM`` and ``COARSE_MM``, by averages over ``inside`` only."""
    share = inside.astype(np.float32)
    values = np.where(inside, image, 0).astype(np.float32)
    return _average(values, share, FINE_MM, grid) - _average(values, share, COARSE_MM, grid)


def _average(values: FloatMap, share: FloatMap, sigma_mm: float, grid: Grid) -> FloatMap:
    sigma = sigma_mm / grid.spacing
    total = ndimage.gaussian_filter(values, sigma, truncate=_TRUNCATE)
    weight = ndimage.gaussian_filter(share, sigma, truncate=_TRUNCATE)
    return np.asarray(total / np.maximum(weight, 1e-3), dtype=np.float32)


def _correlation(first: Array, second: Array) -> float | None:
    """Correlation of two vectors of values, None if one of them is constant."""
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
    requires interpolation, which blurs; the unmoved scan is therefore blurred equally
    (:func:`blurred_alike`), and both scans are smoothed first. None if too little changed, or if a scan is
    constant there.
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
    """Voxels within ``AROUND_MM`` of voxels whose classes changed."""
    changed = np.zeros(grid.shape, dtype=bool)
    for before, after in zip(*maps, strict=True):
        changed |= np.abs(after - before) > CHANGED
    if not changed.any():
        return changed
    return np.asarray(ndimage.distance_transform_edt(~changed, sampling=grid.spacing) <= AROUND_MM)


def _smoothed(image: Array, grid: Grid) -> FloatMap:
    """Smooth an image by one voxel, so that interpolation removes little of the remaining detail."""
    return np.asarray(ndimage.gaussian_filter(image.astype(np.float32), 1.0, truncate=_TRUNCATE))


def moved(image: Array, steps: Array) -> FloatMap:
    """Interpolate the image linearly at offsets ``steps`` (3, i, j, k), in voxels, from each voxel."""
    places = np.indices(image.shape, dtype=np.float32) + steps
    return np.asarray(ndimage.map_coordinates(image, places, order=1, mode="nearest"), dtype=np.float32)


def blurred_alike(image: Array, steps: Array) -> FloatMap:
    """The unmoved image, blurred in each voxel as much as linear interpolation at ``steps`` blurs it.

    Between two voxels, at a share f from one of them, interpolation averages with a variance of f (1 − f)
    voxels². The symmetric average of a voxel and its two neighbours with half that weight on either neighbour
    has the same variance.
    """
    result = np.asarray(image, dtype=np.float32)
    for axis, along in enumerate(steps):
        share = along - np.floor(along)
        beside = ndimage.correlate1d(result, [0.5, -1.0, 0.5], axis=axis, mode="nearest")
        result = np.asarray(result + share * (1 - share) * beside, dtype=np.float32)
    return result


def _millilitres(mask: Mask, grid: Grid) -> float:
    return float(mask.sum()) * grid.voxel_volume / 1000

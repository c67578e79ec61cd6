"""Rigid registration of two visits: Mattes mutual information, many starts, both directions.

Every visit is reduced to a working volume of its brain, in coordinates centred on the brain, so that a header
that places the head far away does no harm. Matrices here map centred points of one visit to centred points of
the other, RAS mm; `to_world` gives the map between the visits' own worlds.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import SimpleITK as sitk
from scipy import ndimage

from longimorph.geometry.grid import (
    Array,
    FloatArray,
    Grid,
    canonical,
    mask_extent,
    nearest_orthogonal,
    transform_points,
)
from longimorph.geometry.poses import (
    halfway,
    inverse,
    mean_displacement,
    rigid,
    rotation,
    rotation_deg,
    translation,
)
from longimorph.geometry.resample import field_of_view, image_means
from longimorph.io.transforms import euler_from_rigid, rigid_from_itk, to_sitk

LEVELS_MM = (4.0, 2.0)
_MARGIN_MM = 12.0
_MASK_MM = 5.0  # margin of voxels that count around the brain: its contour guides as much as its inside
_SHADING_MM = 25.0
_SEARCH_DEG = (-20.0, 0.0, 20.0)
_STARTS = 3
_FINE_SHARE = 0.3
_BINS = 32


@dataclass(frozen=True)
class Level:
    """A working volume at one resolution, in centred coordinates, and a mask of the voxels that count."""

    image: sitk.Image
    mask: sitk.Image
    values: npt.NDArray[np.float32]
    inside: npt.NDArray[np.bool_]
    grid: Grid


@dataclass(frozen=True)
class Working:
    """The data of one visit that registration needs.

    ``centre`` is the brain's centre in the visit's world (RAS mm); ``grid`` is the grid of its voxels;
    ``points`` are centred points of the brain (n, 3); ``levels`` run from coarse to fine.
    """

    centre: FloatArray
    grid: Grid
    points: FloatArray
    levels: tuple[Level, ...]


@dataclass(frozen=True)
class RigidFit:
    """Result of one pair: ``matrix`` start → end (centred), and mutual information averaged over directions.

    The inconsistency is the mean distance over the brain, in mm, by which going there and back misses.
    """

    matrix: FloatArray
    mutual_information: float
    inverse_consistency_mm: float


def prepare(
    image: Array, image_grid: Grid, brain: npt.NDArray[np.bool_], brain_grid: Grid, shading: bool = True
) -> Working:
    """Build the working volume of one visit: ``image`` (i, j, k) on its grid, around the mask ``brain``.

    The mask has at least one true voxel and lies on a grid of the same physical space. ``shading``: the image
    is a scan, whose slow intensity variations come from the coil and are divided out.
    """
    brain, brain_grid = canonical(brain_grid, brain)
    image, image_grid = canonical(image_grid, image)
    inside = brain_grid.index_to_world(np.argwhere(brain))
    centre = inside.mean(axis=0)
    home = translation(centre)
    points = inside[:: max(1, len(inside) // 2000)] - centre
    extent = mask_extent(brain, brain_grid) - centre
    values, share, grid, shift = image, brain.astype(np.float32), image_grid, home
    share_grid = brain_grid
    levels: list[Level] = []
    for spacing in reversed(LEVELS_MM):
        coarser = _working_grid(extent, brain_grid, spacing)
        values = image_means(values, grid, shift, coarser)
        share = image_means(share, share_grid, shift, coarser)
        grid, share_grid, shift = coarser, coarser, np.eye(4)
        levels.insert(0, _level(values, share > 0.5, grid, shading))
    return Working(centre, brain_grid, points, tuple(levels))


def register(start: Working, end: Working, seed: int, threads: int) -> RigidFit:
    """Register two visits in both directions and return the motion half-way between the two results."""
    coarse = [_better(start, end, guess, 0, seed, threads) for guess in _best_starts(start, end, threads)]
    best = max(coarse, key=lambda m: similarity(start, end, m, threads))
    there = _optimise(start.levels[-1], end.levels[-1], best, 0.5, seed, threads)
    back = _optimise(end.levels[-1], start.levels[-1], inverse(best), 0.5, seed, threads)
    matrix = halfway(there, inverse(back))
    gap = mean_displacement(back @ there, start.points), mean_displacement(there @ back, end.points)
    return RigidFit(matrix, similarity(start, end, matrix, threads, -1), (gap[0] + gap[1]) / 2)


def similarity(start: Working, end: Working, matrix: FloatArray, threads: int = 1, level: int = 0) -> float:
    """Mutual information in nats under a motion start → end, averaged over both directions.

    It is minus infinity when the volumes do not overlap.
    """
    there = _evaluate(start.levels[level], end.levels[level], matrix, threads)
    back = _evaluate(end.levels[level], start.levels[level], inverse(matrix), threads)
    return (there + back) / 2


def correlation(start: Working, end: Working, matrix: FloatArray) -> float:
    """Correlation of the two working volumes over the brain at the finest level, under a motion start → end.

    It is averaged over both directions, and NaN when the volumes do not overlap.
    """
    there = _one_way_correlation(start.levels[-1], end.levels[-1], matrix)
    return (there + _one_way_correlation(end.levels[-1], start.levels[-1], inverse(matrix))) / 2


def _one_way_correlation(level: Level, other: Level, matrix: FloatArray) -> float:
    moved = image_means(other.values, other.grid, matrix, level.grid)
    both = level.inside & (field_of_view(other.grid, matrix, level.grid) > 0.5)
    if both.sum() < 10 or np.ptp(moved[both]) == 0 or np.ptp(level.values[both]) == 0:
        return float("nan")
    return float(np.corrcoef(level.values[both], moved[both])[0, 1])


def to_world(matrix: FloatArray, start: Working, end: Working) -> FloatArray:
    """Convert a map between centred coordinates to the map between the visits' own worlds."""
    return rigid(translation(end.centre) @ matrix @ translation(-start.centre))


def from_world(matrix: FloatArray, start: Working, end: Working) -> FloatArray:
    """The inverse of `to_world`."""
    return rigid(translation(-end.centre) @ matrix @ translation(start.centre))


def contrast_values(volumes: Sequence[Array], n_classes: int, background: int | None) -> FloatArray:
    """Grey values (C,) that turn class indices into an image with clear edges between classes.

    Background is 0. The other values lie in [1, 3] and differ most between classes that share most surface
    (the last eigenvector of the neighbourhood's normalised Laplacian); classes next to the background get
    lower values.
    """
    shared = np.zeros((n_classes, n_classes))
    for labels in volumes:
        for axis in range(3):
            a, b = np.moveaxis(labels, axis, 0)[:-1], np.moveaxis(labels, axis, 0)[1:]
            pairs = (a.astype(np.intp) * n_classes + b).ravel()
            shared += np.bincount(pairs, minlength=n_classes**2).reshape(n_classes, n_classes)
    shared = shared + shared.T
    np.fill_diagonal(shared, 0)
    kept = np.array([c for c in range(n_classes) if c != background and shared[c].sum() > 0], dtype=int)
    values = np.full(n_classes, 2.0)
    if background is not None:
        values[background] = 0.0
    if len(kept) > 1:
        rim = shared[kept, background] if background is not None else np.zeros(len(kept))
        values[kept] = _opposed(shared[np.ix_(kept, kept)], rim)
    return values


def _opposed(shared: FloatArray, rim: FloatArray) -> FloatArray:
    """Values in [1, 3] that differ most across shared surface; low where ``rim`` is large."""
    degree = np.maximum(shared.sum(axis=1), 1e-9)
    scale = 1 / np.sqrt(degree)
    laplacian = (np.diag(degree) - shared) * np.outer(scale, scale)
    vector = np.linalg.eigh(laplacian)[1][:, -1] * scale
    spread = float(np.ptp(vector))
    if spread < 1e-12:
        return np.full(len(rim), 2.0)
    values = 1 + 2 * (vector - vector.min()) / spread
    share = rim / max(float(rim.sum()), 1e-9)
    return np.asarray(values if (values - 2) @ share <= 0 else 4 - values)


def _working_grid(extent: FloatArray, own: Grid, spacing: float) -> Grid:
    """An isotropic grid along the scan's own axes around the brain, in centred coordinates."""
    axes = nearest_orthogonal(own.directions)
    along = extent @ axes
    low, high = along.min(axis=0) - _MARGIN_MM, along.max(axis=0) + _MARGIN_MM
    i, j, k = (np.ceil((high - low) / spacing) + 1).astype(int).tolist()
    affine = np.eye(4)
    affine[:3, :3] = axes * spacing
    affine[:3, 3] = axes @ low
    return Grid((i, j, k), affine)


def _level(
    values: npt.NDArray[np.float32], inside: npt.NDArray[np.bool_], grid: Grid, shading: bool
) -> Level:
    """One level, with the grey values clipped to the range in and around the brain."""
    reach = near(inside, grid)
    even = _clipped(_evened(values, inside, grid) if shading else values, reach)
    mask = to_sitk(reach.astype(np.uint8), grid)
    return Level(to_sitk(even, grid), mask, even, inside, grid)


def near(inside: npt.NDArray[np.bool_], grid: Grid) -> npt.NDArray[np.bool_]:
    """The voxels that count: those in the brain and a few mm around it."""
    return np.asarray(ndimage.distance_transform_edt(~inside, sampling=grid.spacing) <= _MASK_MM)


def _clipped(values: Array, where: npt.NDArray[np.bool_]) -> npt.NDArray[np.float32]:
    low, high = np.percentile(values[where], (0.5, 99.5))
    return np.clip(values, low, high if high > low else values.max()).astype(np.float32)


def _evened(values: Array, inside: npt.NDArray[np.bool_], grid: Grid) -> Array:
    """The image divided by its local mean over the brain (Gaussian weights, ``_SHADING_MM``)."""
    if not inside.any():
        return values
    positive = np.maximum(values - np.percentile(values, 0.5), 0)
    sigma = _SHADING_MM / grid.spacing
    weight = ndimage.gaussian_filter(inside.astype(np.float32), sigma, truncate=3.0)
    local = ndimage.gaussian_filter(np.where(inside, positive, 0), sigma, truncate=3.0)
    mean = float(positive[inside].mean())
    shade = np.maximum(local, 1e-3 * mean) / np.maximum(weight, 1e-3)
    return np.asarray(positive / np.maximum(shade, 0.1 * max(mean, 1e-12)))


def _best_starts(start: Working, end: Working, threads: int) -> list[FloatArray]:
    """The few most similar, clearly distinct motions from a coarse search around all plausible ones."""
    likely = _likely_starts(start, end)
    score = [similarity(start, end, m, threads) for m in likely]
    best = likely[int(np.argmax(score))]
    turns = [rotation(v) for v in itertools.product(_SEARCH_DEG, repeat=3) if any(v)]
    tried = likely + [best @ turn for turn in turns]
    score += [similarity(start, end, m, threads) for m in tried[len(likely) :]]
    chosen: list[FloatArray] = []
    for index in np.argsort(-np.array(score), kind="stable"):
        if all(mean_displacement(inverse(c) @ tried[index], start.points) > 5 for c in chosen):
            chosen.append(tried[index])
        if len(chosen) == _STARTS:
            break
    return chosen


def _likely_starts(start: Working, end: Working) -> list[FloatArray]:
    """Candidate motions: by the headers, by the voxel axes, with brain or volume centres superimposed."""
    turn = np.eye(4)
    turn[:3, :3] = nearest_orthogonal(end.grid.directions @ np.linalg.inv(start.grid.directions))
    turns = [np.eye(4)] + ([turn] if np.linalg.det(turn[:3, :3]) > 0 and rotation_deg(turn) > 1 else [])
    middle = start.grid.centre() - start.centre, end.grid.centre() - end.centre
    found = [*turns]
    found += [translation(middle[1] - transform_points(turn, middle[0])) @ turn for turn in turns]
    found.append(from_world(np.eye(4), start, end))
    if start.grid.shape == end.grid.shape and np.allclose(start.grid.spacing, end.grid.spacing, rtol=1e-3):
        found.append(from_world(rigid(end.grid.affine @ np.linalg.inv(start.grid.affine)), start, end))
    return [m for m in found if np.linalg.det(m[:3, :3]) > 0]


def _better(
    start: Working, end: Working, guess: FloatArray, level: int, seed: int, threads: int
) -> FloatArray:
    """Optimise a motion in both directions at one level; return the motion half-way between the two."""
    there = _optimise(start.levels[level], end.levels[level], guess, 2.0, seed, threads)
    back = _optimise(end.levels[level], start.levels[level], inverse(guess), 2.0, seed, threads)
    candidates = [there, inverse(back)]
    if mean_displacement(back @ there, start.points) < LEVELS_MM[level]:
        return halfway(*candidates)
    return max(candidates, key=lambda m: similarity(start, end, m, threads))


def method(fixed: Level, threads: int) -> sitk.ImageRegistrationMethod:
    """A registration method with this metric.

    The threads are set twice: parts of ITK, the optimiser among them, only use the global number, and would
    otherwise sum in an order that changes from run to run.
    """
    sitk.ProcessObject.SetGlobalDefaultNumberOfThreads(threads)
    made = sitk.ImageRegistrationMethod()
    made.SetMetricAsMattesMutualInformation(_BINS)
    made.SetMetricFixedMask(fixed.mask)
    made.SetInterpolator(sitk.sitkLinear)
    made.SetNumberOfThreads(threads)
    return made


def _evaluate(fixed: Level, moving: Level, matrix: FloatArray, threads: int) -> float:
    metric = method(fixed, threads)
    metric.SetInitialTransform(euler_from_rigid(matrix))
    try:
        return float(-metric.MetricEvaluate(fixed.image, moving.image))
    except RuntimeError:  # raised by ITK when too few voxels overlap
        return float("-inf")


def _optimise(
    fixed: Level, moving: Level, guess: FloatArray, step_mm: float, seed: int, threads: int
) -> FloatArray:
    """Optimise a motion fixed → moving; return it unchanged when the volumes do not overlap."""
    search = method(fixed, threads)
    if fixed.grid.spacing.max() < LEVELS_MM[0]:
        search.SetMetricSamplingStrategy(search.RANDOM)
        search.SetMetricSamplingPercentage(_FINE_SHARE, seed)
    search.SetOptimizerAsRegularStepGradientDescent(step_mm, 0.005, 150, 0.5, 1e-9)
    search.SetOptimizerScales([3600.0] * 3 + [1.0] * 3)
    transform = euler_from_rigid(guess)
    search.SetInitialTransform(transform, inPlace=True)
    try:
        search.Execute(fixed.image, moving.image)
    except RuntimeError:
        return guess
    return rigid(rigid_from_itk(transform))

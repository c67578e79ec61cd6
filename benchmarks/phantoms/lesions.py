"""Pairs of label volumes with single lesions whose events are known.

A ball of white matter around a ventricle. The ventricle widens without compressing the tissue, so that each
lesion is pushed outwards by up to some millimetres, and what happens to each lesion is drawn at random.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from longimorph.geometry.grid import Grid
from longimorph.maps.lesion_matching import ENLARGED, GONE, MERGED, NEW, SHRUNK, SPLIT, STABLE
from longimorph.study.classes import BACKGROUND, HEALTHY, ClassRow, ClassTable

LESION, WHITE, FLUID, OUTSIDE = range(4)
CLASSES = ClassTable(
    "lesions",
    (
        ClassRow("lesion", None, ((1, 1),), "white matter", "lesion", "#D55E00"),
        ClassRow("white matter", ((1, 1),), None, "white matter", HEALTHY, "#F0F0F0"),
        ClassRow("fluid", ((2, 2),), None, "fluid", HEALTHY, "#4E79A7"),
        ClassRow(BACKGROUND, ((0, 0),), None, BACKGROUND, "", "#000000"),
    ),
)
EVENTS = (NEW, ENLARGED, MERGED, SPLIT, SHRUNK, GONE, STABLE)
HALF = 52
BRAIN_MM, FLUID_MM, WIDER_MM = 46.0, 12.0, 20.0
GAP_MM = 6.0
RADIUS_MM = 2.0, 5.0
NOISE_MM = 2.0
"""Distance over which the edges of noisy labels err together."""

Points = NDArray[np.float64]
Shape = Callable[[Points], Points]
Placed = tuple[Shape, Points, float]


@dataclass(frozen=True)
class Site:
    """One known event, its place at the first visit (mm) and the distance within which all of it lies."""

    event: str
    centre: tuple[float, float, float]
    reach_mm: float


@dataclass(frozen=True, eq=False)
class LesionPhantom:
    """Class indices (i, j, k) of both visits on one grid of 1 mm, and the known events."""

    labels: tuple[NDArray[np.int16], NDArray[np.int16]]
    grid: Grid
    sites: tuple[Site, ...]


def phantom(seed: int, sites: int = 20, noise: float = 0.0, shift_mm: float = 0.0) -> LesionPhantom:
    """A phantom with so many events.

    ``noise``: standard deviation, in voxels, by which the edges of both visits' lesions are displaced, smooth
    over `NOISE_MM`; ``shift_mm``: that of an error of alignment along each axis.
    """
    chance = np.random.default_rng(seed)
    grid = Grid((2 * HALF,) * 3, _centred())
    points = np.moveaxis(grid.index_to_world(np.moveaxis(np.indices(grid.shape), 0, -1)), -1, 0)
    kinds = [EVENTS[n % len(EVENTS)] for n in range(sites)]
    radii = chance.uniform(*RADIUS_MM, sites)
    order = np.argsort(-radii)
    placed: list[Site] = []
    shapes: tuple[list[Placed], list[Placed]] = ([], [])
    for kind, radius in zip(kinds, radii[order], strict=True):
        own, reach = _shapes(kind, float(radius), chance)
        centre = _free(placed, reach, chance)
        placed.append(Site(kind, (float(centre[0]), float(centre[1]), float(centre[2])), reach))
        for shape, side in zip(own, shapes, strict=True):
            if shape is not None:
                side.append((shape, centre, reach))
    first = _labels(points, points, shapes[0], grid, _edges(noise, grid, chance))
    error = chance.normal(0, 1, 3) * shift_mm
    there = points + error[:, None, None, None]
    last = _labels(there, pushed_back(there), shapes[1], grid, _edges(noise, grid, chance))
    return LesionPhantom((first, last), grid, tuple(placed))


def pushed(points: Points) -> Points:
    """Where points (3, …) of the first visit, in mm, are at the second: volume is kept."""
    return _radial(points, WIDER_MM**3 - FLUID_MM**3)


def pushed_back(points: Points) -> Points:
    """The inverse of `pushed`; what is fluid at the second visit alone comes from the middle."""
    return _radial(points, FLUID_MM**3 - WIDER_MM**3)


def _radial(points: Points, gained: float) -> Points:
    radius = np.maximum(np.linalg.norm(points, axis=0), 1e-9)
    return np.asarray(points * (np.maximum(radius**3 + gained, 0) ** (1 / 3) / radius))


def _centred() -> Points:
    affine = np.eye(4)
    affine[:3, 3] = 0.5 - HALF
    return affine


def _free(placed: list[Site], reach: float, chance: np.random.Generator) -> Points:
    """A place in white matter away from all others."""
    for _ in range(10_000):
        at = chance.normal(size=3)
        lowest, highest = FLUID_MM + 3 + reach, BRAIN_MM - 4 - reach
        at *= chance.uniform(lowest**3, highest**3) ** (1 / 3) / np.linalg.norm(at)
        gaps = [np.linalg.norm(at - site.centre) - site.reach_mm - reach for site in placed]
        if min(gaps, default=np.inf) >= GAP_MM:
            return at
    raise ValueError(f"no room for {len(placed) + 1} lesions")


def _shapes(
    kind: str, radius: float, chance: np.random.Generator
) -> tuple[tuple[Shape | None, Shape | None], float]:
    """The shape at each visit around the origin, negative inside (mm), and how far it reaches."""
    axes = radius * chance.uniform(0.8, 1.25, 3)
    one, reach = _ellipsoid(axes), float(axes.max())
    grown = chance.uniform(2.2, 3.5) ** (1 / 3)
    if kind == NEW:
        return (None, one), reach
    if kind == GONE:
        return (one, None), reach
    if kind in (ENLARGED, SHRUNK):
        larger = _ellipsoid(axes * grown)
        return ((one, larger) if kind == ENLARGED else (larger, one)), reach * grown
    if kind in (MERGED, SPLIT):
        along = chance.normal(size=3)
        along *= (radius + 2.0) / np.linalg.norm(along)
        two = _union(_at(_ball(radius), along), _at(_ball(radius), -along))
        bridged = _union(two, _rod(along, max(0.7 * radius, 1.8)))
        return ((two, bridged) if kind == MERGED else (bridged, two)), 2 * radius + 2.0
    return (one, one), reach


def _ellipsoid(axes: Points) -> Shape:
    return lambda x: np.asarray(
        (np.linalg.norm(x / axes[:, None, None, None], axis=0) - 1) * np.prod(axes) ** (1 / 3)
    )


def _ball(radius: float) -> Shape:
    return lambda x: np.asarray(np.linalg.norm(x, axis=0) - radius)


def _rod(along: Points, radius: float) -> Shape:
    """A rounded bar from one end to the opposite one."""

    def inside(x: Points) -> Points:
        share = np.clip(np.tensordot(along, x, axes=1) / (along @ along), -1, 1)
        return np.asarray(np.linalg.norm(x - along[:, None, None, None] * share, axis=0) - radius)

    return inside


def _at(shape: Shape, centre: Points) -> Shape:
    return lambda x: shape(x - np.asarray(centre)[:, None, None, None])


def _union(one: Shape, other: Shape) -> Shape:
    return lambda x: np.minimum(one(x), other(x))


def _edges(noise: float, grid: Grid, chance: np.random.Generator) -> Points:
    """How far edges are displaced (i, j, k), in mm."""
    rough = ndimage.gaussian_filter(chance.normal(size=grid.shape), NOISE_MM / 2)
    return np.asarray(noise * rough / rough.std())


def _labels(
    points: Points, origin: Points, lesions: list[Placed], grid: Grid, edges: Points
) -> NDArray[np.int16]:
    """The classes at ``points`` (3, i, j, k), whose tissue was at ``origin`` at the first visit."""
    radius = np.linalg.norm(origin, axis=0)
    labels = np.where(radius < BRAIN_MM, WHITE, OUTSIDE)
    labels[radius < FLUID_MM] = FLUID
    for shape, centre, reach in lesions:
        there = pushed(centre) if points is not origin else centre
        low = np.maximum(np.floor(grid.world_to_index(there - reach - 4)), 0).astype(int)
        high = np.ceil(grid.world_to_index(there + reach + 4)).astype(int) + 1
        box = tuple(slice(a, b) for a, b in zip(low, high, strict=True))
        inside = shape(origin[(slice(None), *box)] - centre[:, None, None, None]) + edges[box] < 0
        labels[box][inside & (labels[box] == WHITE)] = LESION
    return labels.astype(np.int16)

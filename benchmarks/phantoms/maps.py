"""Known-truth pairs in memory: probability maps at any whole spacing, without pose or files."""

from __future__ import annotations

import functools
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from benchmarks.phantoms import cases
from benchmarks.phantoms.cases import CASES, PhantomCase, PhantomCourse
from benchmarks.phantoms.labels import flip_boundary, flipped_share, posteriors, segment
from benchmarks.phantoms.subjects import DEMO, subject
from longimorph import paths
from longimorph.demo.anatomy import BACKGROUND, Anatomy, load_anatomy
from longimorph.demo.course import (
    PhantomState,
    Truth,
    classes_at,
    shared_flow,
    truth,
    volumes_of,
)
from longimorph.geometry.grid import Grid
from longimorph.geometry.resample import share_means
from longimorph.maps import simplex
from longimorph.study.classes import ClassTable
from longimorph.study.config import defaults

__all__ = [
    "CASES",
    "FLIPPED_SHARE",
    "LOGIT_NOISE",
    "KnownPair",
    "make_pair",
    "make_segmented",
    "noisy_visits",
]

FLIPPED_SHARE = 0.05
"""The share of boundary voxels that segmentation noise gives another class."""
LOGIT_NOISE = 0.143
"""The noise of a simulated segmenter's logits with which its labels err at as many boundary voxels."""
_MARGIN_MM = 8
_MAPS_DTYPE = np.float32

Maps = NDArray[np.float32]


@dataclass(frozen=True, eq=False)
class KnownPair:
    """A pair on one grid: maps (C, i, j, k) float32 that sum to 1, neither smoothed nor raised to a floor.

    ``spacing`` in mm, ``truth`` in mm³ per class, that of the clean maps also where labels were flipped.
    ``preset`` names the control matrix that suits the case.
    """

    source: Maps
    target: Maps
    spacing: float
    truth: Truth
    names: tuple[str, ...]
    classes: ClassTable
    preset: str
    grid: Grid

    @property
    def brain(self) -> NDArray[np.bool_]:
        """Voxels (i, j, k) that are mostly brain at one of the visits; the background is the last class."""
        return np.asarray(np.minimum(self.source[-1], self.target[-1]) < 0.5)

    def simplex(self, smoothing_mm: float, floor: float) -> tuple[Maps, Maps]:
        """Source and target as the pipeline makes them: smoothed, raised to the floor, normalised."""
        before, after = (
            simplex.close(simplex.smooth(maps, self.grid, smoothing_mm), floor)
            for maps in (self.source, self.target)
        )
        return before, after


def default_data() -> Path:
    """Default location of the public data: ``../shared/data`` beside the repository."""
    return paths.repository() / ".." / "shared" / "data"


def make_pair(
    case: str,
    spacing: int,
    anatomy: str = DEMO,
    noise_seed: int | None = None,
    data: Path | None = None,
    parts_per_mm: int = 2,
    flipped: float = FLIPPED_SHARE,
) -> KnownPair:
    """The pair of a case of ``cases`` on an anatomy of ``subjects`` at a whole spacing in mm.

    The maps are box averages of the 1 mm anatomy over each voxel, cropped to the brain's box and a margin of
    8 mm; where tissue moves, cubes of 1 / ``parts_per_mm`` mm are carried as a whole. With ``noise_seed``
    each visit is first made a label volume of the anatomy's own voxel size, and a share ``flipped`` of its
    boundary voxels takes the class of a neighbour, independently at each visit.
    """
    brain, course, parts = _fine(case, anatomy, data or default_data(), parts_per_mm)
    grid = _grid(brain, spacing)
    if noise_seed is None:
        source, target = (_average(part, brain, grid, spacing) for part in parts)
    else:
        wanted = course.truth.volume_from, course.truth.volume_to
        source, target = (
            _noisy(part, brain, grid, volumes, flipped, np.random.default_rng([noise_seed, visit]))
            for visit, (part, volumes) in enumerate(zip(parts, wanted, strict=True))
        )
    preset, names = cases.named(case).preset, course.classes.names
    return KnownPair(source, target, float(spacing), course.truth, names, course.classes, preset, grid)


def make_segmented(
    case: str,
    spacing: int,
    seed: int,
    noise: float = LOGIT_NOISE,
    anatomy: str = DEMO,
    data: Path | None = None,
) -> tuple[KnownPair, KnownPair, float]:
    """As `make_pair`, by a simulated segmenter: maps of its labels, of its posteriors, and how often it errs.

    Each visit has voxels of the anatomy's own size, a quarter of a voxel beside the anatomy's in a random
    direction along each axis, so that boundaries cross them. The labels are the most probable classes. The
    last number is the share of the boundary voxels to which noise gives another class, the visits' mean.
    """
    brain, course, parts = _fine(case, anatomy, data or default_data(), 2)
    grid, preset, names = _grid(brain, spacing), cases.named(case).preset, course.classes.names
    hard, soft, wrong = list[Maps](), list[Maps](), list[float]()
    for visit, part in enumerate(parts):
        own, made, flipped = _segmented(part, brain, noise, np.random.default_rng([seed, visit]))
        count = len(made)
        labels = made.argmax(axis=0)
        hard.append(simplex.label_fractions(labels, own, np.eye(4), grid, count, count - 1))
        on_grid = [share_means(p, own, np.eye(4), grid, float(c == count - 1)) for c, p in enumerate(made)]
        soft.append(np.stack(on_grid))
        wrong.append(flipped)
    pair = KnownPair(hard[0], hard[1], float(spacing), course.truth, names, course.classes, preset, grid)
    return pair, replace(pair, source=soft[0], target=soft[1]), float(np.mean(wrong))


def noisy_visits(
    case: PhantomCase, states: Sequence[PhantomState], spacing: int, noise_seed: int
) -> tuple[list[Maps], float]:
    """Maps of several visits of the demo's anatomy, as the pipeline makes them, and the volume of a voxel.

    Each visit's labels are made noisy as by `make_pair`, independently of the others'.
    """
    brain, settings = load_anatomy(), defaults()
    grid, found = _grid(brain, spacing), list[Maps]()
    for visit, fine in enumerate(_fine_visits(case, tuple(states))):
        volumes = volumes_of(brain, states[visit])
        rng = np.random.default_rng([noise_seed, visit])
        noisy = _noisy(fine, brain, grid, volumes, FLIPPED_SHARE, rng)
        found.append(simplex.close(simplex.smooth(noisy, grid, settings.smoothing_mm), settings.floor))
    return found, grid.voxel_volume


@functools.lru_cache(maxsize=1)
def _fine_visits(case: PhantomCase, states: tuple[PhantomState, ...]) -> list[Maps]:
    """The share of each class in each voxel of the demo's anatomy at every visit."""
    brain, first = load_anatomy(), states[0]
    courses = (
        PhantomCourse(
            case.classes, classes_at(brain, first), classes_at(brain, state),
            shared_flow() if state.flow_time else None, state.flow_time, truth(brain, first, state),
        )
        for state in states
    )  # fmt: skip
    return [_moved(course, 2) for course in courses]


def _segmented(
    part: Maps, anatomy: Anatomy, noise: float, rng: np.random.Generator
) -> tuple[Grid, Maps, float]:
    """A scan's voxels, a segmenter's posteriors (C, i, j, k), and the share of boundary voxels it flips."""
    native = _grid(anatomy, anatomy.native_mm)
    affine = native.affine.copy()
    affine[:3, 3] += rng.choice([-0.25, 0.25], 3) * anatomy.native_mm
    own, last = Grid(native.shape, affine), len(part) - 1
    shares = _average(part, anatomy, native, anatomy.native_mm)
    moved = [share_means(one, native, np.eye(4), own, float(c == last)) for c, one in enumerate(shares)]
    quiet = posteriors(np.stack(moved), 0.0, rng)
    made = posteriors(np.stack(moved), noise, rng) if noise else quiet
    return own, made, flipped_share(quiet.argmax(axis=0), made.argmax(axis=0))


@functools.lru_cache(maxsize=1)
def _fine(
    case: str, anatomy: str, data: Path, per_mm: int
) -> tuple[Anatomy, PhantomCourse, tuple[Maps, Maps]]:
    """The anatomy, its change, and the share of each class in each of its voxels at both visits."""
    brain = subject(anatomy, data)
    course = cases.follow(brain, cases.named(case))
    return brain, course, (_one_hot(course.before, len(course.classes.names)), _moved(course, per_mm))


def _grid(anatomy: Anatomy, spacing: int) -> Grid:
    """Voxels of ``spacing`` mm around the brain and its margin; each holds whole voxels of the anatomy."""
    brain = np.argwhere(anatomy.classes != BACKGROUND)
    low, high = brain.min(axis=0) - _MARGIN_MM, brain.max(axis=0) + 1 + _MARGIN_MM
    i, j, k = (int(n) for n in np.ceil((high - low) / spacing))
    affine = np.diag([float(spacing)] * 3 + [1.0])
    affine[:3, 3] = anatomy.origin + low + (spacing - 1) / 2
    return Grid((i, j, k), affine)


def _one_hot(classes: NDArray[np.int8], count: int) -> Maps:
    return np.stack([(classes == index).astype(_MAPS_DTYPE) for index in range(count)])


def _moved(course: PhantomCourse, per_mm: int) -> Maps:
    """Share of each class in each 1 mm voxel at the second visit, (C, i, j, k) on the anatomy's grid.

    Each voxel is cut into ``per_mm``³ cubes; each is carried back to where its tissue was as a whole, and the
    share of every class in it there is exact.
    """
    tissue = _one_hot(course.after, len(course.classes.names))
    if course.flow is None:
        return tissue
    back = course.inverse().astype(_MAPS_DTYPE)
    where = np.nonzero(_nearly(np.asarray(back.any(axis=0)), course.after.shape))
    voxels, shares = np.array(where, dtype=_MAPS_DTYPE), np.zeros((len(tissue), where[0].size), _MAPS_DTYPE)
    for cube in np.ndindex(per_mm, per_mm, per_mm):
        centres = voxels + ((np.array(cube, dtype=_MAPS_DTYPE)[:, None] + 0.5) / per_mm - 0.5)
        origins = centres + np.stack([course.flow.sample(part, centres) for part in back])
        cell = np.floor(origins)
        at = cell + np.clip((origins - cell - 0.5) * per_mm + 0.5, 0, 1)  # where linear is the cube's share
        for share, volume in zip(shares[:-1], tissue[:-1], strict=True):
            share += ndimage.map_coordinates(volume, at, order=1, mode="constant") / per_mm**3
    shares[-1] = np.maximum(1 - shares[:-1].sum(axis=0), 0)
    for volume, share in zip(tissue, shares, strict=True):
        volume[where] = share
    return tissue


def _nearly(moving: NDArray[np.bool_], shape: tuple[int, ...]) -> NDArray[np.bool_]:
    """The flow's moving points and the voxels around them, on the anatomy's grid."""
    fine = ndimage.binary_dilation(moving)
    for axis in range(3):
        fine = np.repeat(fine, 2, axis=axis)
    return np.pad(fine, [(0, wanted - found) for wanted, found in zip(shape, fine.shape, strict=True)])


def _average(shares: Maps, anatomy: Anatomy, grid: Grid, spacing: int) -> Maps:
    """Share of each class in each voxel of ``grid``, from those in 1 mm voxels; beyond lies background."""
    start = np.rint(grid.affine[:3, 3] - (spacing - 1) / 2 - anatomy.origin).astype(int)
    maps = np.empty((len(shares), *grid.shape), dtype=_MAPS_DTYPE)
    blocks = tuple(n for count in grid.shape for n in (count, spacing))
    fine = [count * spacing for count in grid.shape]
    for index, part in enumerate(shares):
        box = _window(part, start, fine, float(index == len(shares) - 1))
        maps[index] = box.reshape(blocks).mean(axis=(1, 3, 5), dtype=np.float64)
    return maps


def _window(part: Maps, start: NDArray[np.int64], shape: list[int], beyond: float) -> Maps:
    """The box that begins at voxel ``start`` (may be negative), filled with ``beyond`` outside the volume."""
    before = np.maximum(-start, 0)
    after = np.maximum(start + shape - part.shape, 0)
    padded = np.pad(part, list(zip(before, after, strict=True)), constant_values=beyond)
    i, j, k = (slice(s, s + n) for s, n in zip(start + before, shape, strict=True))
    return padded[i, j, k]


def _noisy(
    fine: Maps,
    anatomy: Anatomy,
    grid: Grid,
    volumes: NDArray[np.float64],
    flipped: float,
    rng: np.random.Generator,
) -> Maps:
    """Maps on ``grid`` from a label volume of the anatomy's own voxel size with flipped boundary voxels."""
    native = _grid(anatomy, anatomy.native_mm)
    shares = _average(fine, anatomy, native, anatomy.native_mm)
    labels = segment(shares, volumes / native.voxel_volume, rng)
    labels = flip_boundary(labels, flipped, rng)
    count = len(fine)
    return simplex.label_fractions(labels, native, np.eye(4), grid, count, count - 1)

"""Agreement of two visits' segmentations under a motion, from sample points of their brains."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from longimorph.geometry.grid import Array, FloatArray, Grid, canonical, transform_points
from longimorph.geometry.poses import inverse

_MOST_POINTS = 50_000


@dataclass(frozen=True)
class BrainPoints:
    """Points of a visit's brain, sampled regularly from its voxels.

    ``world`` (n, 3) is in RAS mm; ``classes`` is (n,); ``weight`` is the volume of each point in mm³. The
    whole segmentation is kept for look-ups of other points.
    """

    world: FloatArray
    classes: npt.NDArray[np.intp]
    weight: float
    labels: Array
    grid: Grid
    background: int | None

    @property
    def centre(self) -> FloatArray:
        """Mean of the points, RAS mm."""
        return np.asarray(self.world.mean(axis=0))


@dataclass(frozen=True)
class Agreement:
    """Agreement of two visits; all values are between 0 and 1.

    ``overlap``: Dice of the brains inside the common field of view. ``dice``: share of brain volume there
    with the same class in both. ``coverage``: the smaller share of a brain in the other's field of view.
    """

    overlap: float
    dice: float
    coverage: float


def brain_points(labels: Array, grid: Grid, background: int | None) -> BrainPoints | None:
    """Sample points of everything but ``background`` in class indices (i, j, k); None when there is none."""
    labels, grid = canonical(grid, labels)
    brain = np.ones(labels.shape, dtype=bool) if background is None else labels != background
    flat = np.flatnonzero(brain)
    if flat.size == 0:
        return None
    step = int(np.ceil(flat.size / _MOST_POINTS))
    drawn = flat[::step]
    index = np.stack(np.unravel_index(drawn, labels.shape), axis=1)
    classes = labels.reshape(-1)[drawn].astype(np.intp)
    return BrainPoints(
        grid.index_to_world(index), classes, step * grid.voxel_volume, labels, grid, background
    )


def agreement(start: BrainPoints, end: BrainPoints, matrix: FloatArray) -> Agreement:
    """Agreement of two visits under ``matrix``, 4×4 RAS, start → end.

    It is the same for end → start under the inverse.
    """
    there = _landing(start, end, matrix)
    back = _landing(end, start, inverse(matrix))
    seen = there[0] * start.weight + back[0] * end.weight
    if seen == 0:
        return Agreement(0.0, 0.0, 0.0)
    brain = (there[1] * start.weight + back[1] * end.weight) / seen
    same = (there[2] * start.weight + back[2] * end.weight) / seen
    return Agreement(brain, same, min(there[0] / len(start.world), back[0] / len(end.world)))


def _landing(start: BrainPoints, end: BrainPoints, matrix: FloatArray) -> tuple[int, int, int]:
    """Count the points that land in the other's field of view, in its brain, and in the same class."""
    index = np.rint(end.grid.world_to_index(transform_points(matrix, start.world))).astype(np.intp)
    inside = ((index >= 0) & (index < np.array(end.grid.shape))).all(axis=1)
    found = end.labels[tuple(index[inside].T)]
    same = found == start.classes[inside]
    brain = np.ones(found.shape, dtype=bool) if end.background is None else found != end.background
    return int(inside.sum()), int(brain.sum()), int(same.sum())

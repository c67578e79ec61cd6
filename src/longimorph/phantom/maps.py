"""Known-truth pairs in memory: probability maps at any whole spacing, without pose, noise or files."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from longimorph.phantom import flow as flows
from longimorph.phantom.anatomy import BACKGROUND, CLASSES, Anatomy, load
from longimorph.phantom.course import State, Truth, classes_at, shared_flow, truth
from longimorph.phantom.flow import Field

CASES = {
    "ventricles": State(flow_time=1.0),
    "oedema": State(oedema_ml=15.0),
    "both": State(flow_time=1.0, oedema_ml=15.0),
}
_MARGIN_MM = 8.0


@dataclass(frozen=True)
class KnownPair:
    """A pair on one grid: maps (C, i, j, k) float32 that sum to 1, spacing in mm, truth in mm³, names."""

    source: NDArray[np.float32]
    target: NDArray[np.float32]
    spacing: float
    truth: Truth
    names: tuple[str, ...] = CLASSES


def make_pair(case: str, spacing: int, seed: int = 1, samples_per_mm: int = 2) -> KnownPair:
    """The pair of a case (``ventricles``, ``oedema``, ``both``) at a whole spacing in mm.

    Both maps are box averages of the 1 mm anatomy over each voxel (the target by stratified random samples,
    ``samples_per_mm``³ per mm³), cropped to the brain's box and a margin of 8 mm, not smoothed.
    """
    anatomy, before, after = load(), State(), CASES[case]
    box = _brain_box(anatomy, spacing)
    source = _average(classes_at(anatomy, before), box, (spacing, samples_per_mm), None, seed)
    inverse = flows.displacement(shared_flow(), -after.flow_time) if after.flow_time else None
    target = _average(classes_at(anatomy, after), box, (spacing, samples_per_mm), inverse, seed)
    return KnownPair(source, target, float(spacing), truth(anatomy, before, after))


def _brain_box(anatomy: Anatomy, spacing: int) -> list[tuple[int, int]]:
    """First voxel and number of coarse voxels per axis around the brain and its margin."""
    brain = np.argwhere(anatomy.classes != BACKGROUND)
    low, high = brain.min(axis=0) - _MARGIN_MM, brain.max(axis=0) + 1 + _MARGIN_MM
    return [(int(a), int(np.ceil((b - a) / spacing))) for a, b in zip(low, high, strict=True)]


def _average(
    classes: NDArray[np.int8],
    box: list[tuple[int, int]],
    sampling: tuple[int, int],
    inverse: Field | None,
    seed: int,
) -> NDArray[np.float32]:
    """Share of each class per coarse voxel; ``inverse`` is the displacement back to the tissue's origin.

    ``sampling``: mm per coarse voxel and samples per mm along each axis.
    """
    flow, rng = shared_flow(), np.random.default_rng(seed)
    shape, (spacing, per_mm) = tuple(count for _, count in box), sampling
    corner = np.array([start for start, _ in box]) - 0.5
    maps = np.zeros((len(CLASSES), *shape), dtype=np.float32)
    for sample in np.ndindex(*(spacing * per_mm,) * 3):
        first = corner + np.array(sample) / per_mm
        points = np.indices(shape) * float(spacing) + first[:, None, None, None]
        points += rng.random(points.shape) / per_mm if inverse is not None else 0.5 / per_mm
        if inverse is not None:
            points += np.stack([flow.sample(component, points) for component in inverse])
        found = ndimage.map_coordinates(classes, np.rint(points), order=0, mode="constant", cval=BACKGROUND)
        for index in range(len(CLASSES)):
            maps[index] += found == index
    return maps / np.float32((spacing * per_mm) ** 3)

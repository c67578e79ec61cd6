"""The change on which a pair's figures and crosshair are centred.

It is the largest change of a pathological class. Without any, it is the largest change well inside the brain.
Exchange with the background is not a change of tissue: along the edge of a brain mask it reflects the
difference of two skull strips.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from longimorph.study.classes import ClassTable

Array = NDArray[np.float32]
Mask = NDArray[np.bool_]
Index = tuple[int, int, int]

LEAST_PERCENT = 5.0
"""Minimum changed share of a voxel for a change to be shown."""

_NEAR_MM = 4.0  # changes within this distance are combined
_EDGE_MM, _DEEP = 5.0, 0.9  # inside: this share of the voxels within this distance is brain


def exchanged(change: NDArray[Any], background: int | None) -> Array:
    """The share of each voxel, in %, transferred from one class to another, excluding the background.

    ``change``: change of probability, (C, i, j, k).
    """
    total = np.zeros(change.shape[1:], dtype=np.float32)
    for index, one in enumerate(change):
        total += (-50 if index == background else 50) * np.abs(one)
    return np.maximum(total, 0, out=total)


def pathological(change: NDArray[Any], classes: ClassTable) -> Array:
    """The part of `exchanged` lost or gained by pathological classes, in % of the voxel."""
    total = np.zeros(change.shape[1:], dtype=np.float32)
    for one, ill in zip(change, classes.pathological, strict=True):
        if ill:
            total += 100 * np.abs(one)
    return np.minimum(total, exchanged(change, classes.background), out=total)


def inside(brain: Mask, spacing: Sequence[float]) -> Mask:
    """The voxels well away from the edge of ``brain``; for a very small brain, its middle."""
    sigma = [_EDGE_MM / side for side in spacing]
    share = ndimage.gaussian_filter(brain.astype(np.float32), sigma, mode="constant")
    return np.asarray(share >= min(_DEEP, 0.9 * float(share.max()))) & brain


def place(ill: Array, change: Array, brain: Mask, spacing: Sequence[float]) -> Index:
    """The voxel with the most change nearby; without any change, the middle of ``brain``.

    ``ill`` and ``change`` (i, j, k): the change of pathological classes, and that of all, in % of the voxel.
    ``brain``: mask of tissue at both visits, where they were compared.
    """
    seen = np.where(brain, ill, np.float32(0))
    if seen.max() < LEAST_PERCENT:
        seen = np.where(inside(brain, spacing), change, np.float32(0))
    if seen.max() < LEAST_PERCENT:
        return _middle(brain)
    near = ndimage.gaussian_filter(seen, [_NEAR_MM / side for side in spacing], mode="constant")
    near[seen < LEAST_PERCENT] = 0
    i, j, k = np.unravel_index(int(near.argmax()), near.shape)
    return int(i), int(j), int(k)


def _middle(brain: Mask) -> Index:
    """The index along each axis of the slice that halves ``brain``."""
    found = []
    for axis, size in enumerate(brain.shape):
        below = brain.sum(axis=tuple(a for a in range(3) if a != axis)).cumsum()
        found.append(int(np.searchsorted(below, below[-1] / 2)) if below[-1] else size // 2)
    return found[0], found[1], found[2]

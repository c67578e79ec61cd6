"""Label volumes of a phantom's visits, with simulated segmentation errors."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from longimorph.demo.scan import label_shares

_NEIGHBOURS = tuple((axis, step) for axis in range(3) for step in (-1, 1))
_TIE = 0.01


def segment(
    shares: NDArray[np.float32], wanted: NDArray[np.float64], rng: np.random.Generator
) -> NDArray[np.int8]:
    """The class of every voxel, (i, j, k), from the share of each class, (C, i, j, k), background last.

    The number of voxels of each class is the ``wanted`` one (C,), as far as mixed voxels allow; among
    equal shares chance decides.
    """
    flat = shares.reshape(len(shares), -1)
    labels = flat.argmax(axis=0).astype(np.int8)
    mixed = np.flatnonzero(flat.max(axis=0) < 1)
    if mixed.size:
        part = flat[:, mixed]
        part = part + _TIE * rng.random(part.shape, dtype=np.float32) * (part > 0)
        pure = np.bincount(np.delete(labels, mixed), minlength=len(shares))
        labels[mixed] = label_shares(np.minimum(part, np.float32(0.9999)), wanted - pure)
    shaped: NDArray[np.int8] = labels.reshape(shares.shape[1:])
    return shaped


def boundary(labels: NDArray[Any]) -> NDArray[np.bool_]:
    """Voxels (i, j, k) with at least one of their six neighbours in another class."""
    return np.asarray(np.any([_neighbour(labels, *side) != labels for side in _NEIGHBOURS], axis=0))


def flip_boundary(labels: NDArray[np.int8], share: float, rng: np.random.Generator) -> NDArray[np.int8]:
    """The labels with a random ``share`` of the boundary voxels set to the class of a neighbour."""
    candidates = np.flatnonzero(boundary(labels))
    chosen = rng.choice(candidates, size=round(share * candidates.size), replace=False)
    around = np.stack([_neighbour(labels, *side).ravel()[chosen] for side in _NEIGHBOURS])
    order = rng.random(around.shape)
    order[around == labels.ravel()[chosen]] = -1.0
    flipped = labels.copy()
    flipped.ravel()[chosen] = np.take_along_axis(around, order.argmax(axis=0)[None], axis=0)[0]
    return flipped


def _neighbour(labels: NDArray[Any], axis: int, step: int) -> NDArray[Any]:
    """The class of each voxel's neighbour along an axis; its own at the border."""
    padded = np.pad(labels, [(1, 1) if a == axis else (0, 0) for a in range(3)], mode="edge")
    start = 1 + step
    return padded[
        tuple(slice(start, start + labels.shape[a]) if a == axis else slice(None) for a in range(3))
    ]

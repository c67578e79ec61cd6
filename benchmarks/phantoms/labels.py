"""Label volumes of a phantom's visits, with simulated segmentation errors."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from longimorph.demo.scan import label_shares

_NEIGHBOURS = tuple((axis, step) for axis in range(3) for step in (-1, 1))
_TIE = 0.01
_LEAST_SHARE = 1e-6

BLUR_VOXELS = 0.7
"""Standard deviation of the blur of a simulated segmenter's posteriors."""
NOISE_VOXELS = 1.0
"""Standard deviation over which the noise of its logits is alike."""


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


def posteriors(shares: NDArray[np.float32], noise: float, rng: np.random.Generator) -> NDArray[np.float32]:
    """Posteriors (C, i, j, k) of a simulated segmenter, from the share of each class, (C, i, j, k).

    The logits are those of the blurred shares plus, for each class, smooth Gaussian noise of standard
    deviation ``noise``. Without noise the volumes are those of the shares.
    """
    result = np.empty_like(shares)
    for made, one in zip(result, shares, strict=True):
        blurred = ndimage.gaussian_filter(one, BLUR_VOXELS, mode="nearest")
        made[:] = np.maximum(blurred, _LEAST_SHARE)
        if noise:
            rough = rng.standard_normal(one.shape, dtype=np.float32)
            rough = ndimage.gaussian_filter(rough, NOISE_VOXELS, mode="nearest")
            made *= np.exp(noise * rough / rough.std())
    result /= result.sum(axis=0)
    return result


def flipped_share(labels: NDArray[Any], others: NDArray[Any]) -> float:
    """The share of the boundary voxels of ``labels`` (i, j, k) that have another class in ``others``."""
    return float((labels != others)[boundary(labels)].mean())


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

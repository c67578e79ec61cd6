"""How a label volume is stored, and where its labels lie in the world, for comparing two visits."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from longimorph.geometry.grid import Grid, axis_codes

STEP = 3
"""Stride along each axis at which voxels are sampled to locate the labels."""

_FEWEST, _MOST_LABELS = 5, 500
"""Minimum number of sampled voxels for a label to have a position; a volume with more labels is no atlas."""


@dataclass(frozen=True)
class Layout:
    """Number of voxels of a label volume along each axis, their sizes (mm) and directions (``RAS``).

    ``right_mm``: distance of each label's centre to the patient's right of the centre of all labels.
    """

    shape: tuple[int, ...]
    sizes: tuple[float, ...]
    codes: str
    right_mm: Mapping[int, float]

    @classmethod
    def of(cls, regions: NDArray[np.int32], grid: Grid) -> Layout:
        """The layout of a label volume (i, j, k); label 0 counts as background."""
        sizes = tuple(float(size) for size in grid.spacing)
        return cls(grid.shape, sizes, axis_codes(grid), _right(regions, grid))

    def to_dict(self) -> dict[str, Any]:
        """Plain values for JSON."""
        places = [[label, round(place, 2)] for label, place in self.right_mm.items()]
        return {"shape": self.shape, "sizes": self.sizes, "codes": self.codes, "right_mm": places}

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> Layout:
        """The inverse of ``to_dict``."""
        places = {int(label): float(place) for label, place in data["right_mm"]}
        return cls(tuple(data["shape"]), tuple(data["sizes"]), str(data["codes"]), places)


def _right(regions: NDArray[np.int32], grid: Grid) -> dict[int, float]:
    thin = regions[::STEP, ::STEP, ::STEP]
    index = np.nonzero(thin)
    labels, inverse, counts = np.unique(thin[index], return_inverse=True, return_counts=True)
    if not 0 < len(labels) <= _MOST_LABELS:
        return {}
    right = sum(grid.affine[0, axis] * STEP * index[axis] for axis in range(3)) + grid.affine[0, 3]
    places = np.bincount(inverse, right) / counts - right.mean()
    return {
        int(label): float(place)
        for label, place, count in zip(labels, places, counts, strict=True)
        if count >= _FEWEST
    }

"""The region of each lesion in the maps of a pair, and sums over it.

A smoothed map spreads a lesion beyond its edge. A region therefore holds all that lies nearer to one lesion,
at either visit, than to any other, within the reach of the smoothing. Regions do not overlap: the sums over
all of them and over the rest of the grid add up to the sum over the grid.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy import ndimage

from longimorph.geometry.grid import Array, FloatArray, bounding_box
from longimorph.maps.lattice import Lattice
from longimorph.maps.lesion_matching import Group
from longimorph.maps.lesions import Lesions, Numbers

Box = tuple[slice, slice, slice]


@dataclass(frozen=True, eq=False)
class Regions:
    """``owners`` (i, j, k), in ``box`` of the lattice: 1 for the first group, and so on; 0 for none.

    ``own`` are the same for the lesions themselves, without their surroundings.
    """

    owners: Numbers
    own: Numbers
    box: Box
    lattice: Lattice
    count: int

    def sums(self, values: Array) -> FloatArray:
        """Sum of a map (i, j, k) of the grid over each region, and last over the rest of the grid: mm³."""
        part = self.lattice.grid.voxel_volume / np.prod(self.lattice.factors)
        spread = self.lattice.spread(values, self.box).astype(np.float64)
        found = np.bincount(self.owners.ravel(), spread.ravel(), self.count + 1)[1:] * part
        whole = float(np.asarray(values).sum(dtype=np.float64)) * self.lattice.grid.voxel_volume
        return np.append(found, whole - found.sum())

    def means(self, values: Array) -> FloatArray:
        """Mean of a map (i, j, k) of the grid over the lesions of each group."""
        spread = self.lattice.spread(values, self.box).astype(np.float64)
        total = np.bincount(self.own.ravel(), spread.ravel(), self.count + 1)[1:]
        count = np.bincount(self.own.ravel(), minlength=self.count + 1)[1:]
        return np.asarray(total / np.maximum(count, 1))


def regions(
    groups: Sequence[Group], source: Lesions, target: Lesions, lattice: Lattice, reach_mm: float
) -> Regions:
    """The regions of ``groups``; a voxel that belongs to two of them is that of the second visit's."""
    taken = np.zeros(lattice.fine.shape, dtype=np.int32)
    for numbers, lesions in ([g.source for g in groups], source), ([g.target for g in groups], target):
        group_of = np.zeros(lesions.count + 1, dtype=np.int32)
        for index, those in enumerate(numbers, 1):
            group_of[list(those)] = index
        found = group_of[lesions.numbers]
        np.copyto(taken, found, where=found > 0)
    box = bounding_box(taken > 0, lattice.fine, reach_mm)
    if box is None:
        box = (slice(0, 0), slice(0, 0), slice(0, 0))
        return Regions(taken[box], taken[box], box, lattice, len(groups))
    own: Numbers = taken[box]
    distance, nearest = ndimage.distance_transform_edt(
        own == 0, sampling=lattice.fine.spacing, return_indices=True
    )
    owners = np.where(distance <= reach_mm, own[tuple(nearest)], 0).astype(np.int32)
    return Regions(owners, own, box, lattice, len(groups))

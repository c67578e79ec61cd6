"""The connected lesions of one class at one visit, and how well their volumes are known."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy import ndimage

from longimorph.geometry.grid import FloatArray, Grid

LEAST_MM3 = 14.0
"""Smallest volume of a lesion: a sphere of 3 mm, the least that criteria of multiple sclerosis count."""

EDGE_SHIFT = 0.25
"""By how much of a voxel the whole edge of a segmented lesion may be displaced (one standard deviation)."""

PATCH_SHIFT, PATCH_VOXELS = 0.5, 4.0
"""By how much of a voxel a patch of the edge may be displaced as well, and how many voxels such a patch is
wide."""

_STAIRCASE = 2 / 3  # area of a surface over that of the voxel faces along it, averaged over directions
_CUBE = np.ones((3, 3, 3), dtype=bool)

Numbers = npt.NDArray[np.int32]


@dataclass(frozen=True, eq=False)
class Lesions:
    """Lesions of one class at one visit, numbered from 1.

    ``numbers`` (i, j, k) on ``grid``: the lesion of each voxel, 0 for none. ``volumes`` (n,) in mm³ and
    ``surfaces`` (n,) in mm² are those of lesion 1, 2, …; ``voxel_mm`` is the side of a cube with the volume
    of a voxel of the segmentation.
    """

    numbers: Numbers
    grid: Grid
    volumes: FloatArray
    surfaces: FloatArray
    voxel_mm: float

    @property
    def count(self) -> int:
        """Number of lesions of any size."""
        return len(self.volumes)

    @property
    def large(self) -> npt.NDArray[np.bool_]:
        """Which lesions (n,) have the smallest volume that counts, or more."""
        return np.asarray(self.volumes >= LEAST_MM3)

    @property
    def uncertainties(self) -> FloatArray:
        """Standard deviation of each volume, (n,) in mm³.

        The whole edge may be displaced by `EDGE_SHIFT`, an error in proportion to the surface, and patches
        of it by `PATCH_SHIFT` independently, an error in proportion to the square root of the surface.
        """
        whole = EDGE_SHIFT * self.voxel_mm * self.surfaces
        patches = PATCH_SHIFT * PATCH_VOXELS * self.voxel_mm**2 * np.sqrt(self.surfaces)
        return np.asarray(np.hypot(whole, patches))


def find(mask: npt.NDArray[np.bool_], grid: Grid, voxel_mm: float) -> Lesions:
    """The connected parts of ``mask`` (i, j, k) on ``grid``; voxels that share a corner are connected."""
    numbers = np.zeros(mask.shape, dtype=np.int32)
    count = int(ndimage.label(mask, _CUBE, output=numbers))
    volumes = grid.voxel_volume * np.bincount(numbers.ravel(), minlength=count + 1)[1:].astype(np.float64)
    return Lesions(numbers, grid, volumes, _surfaces(numbers, count, grid), voxel_mm)


def _surfaces(numbers: Numbers, count: int, grid: Grid) -> FloatArray:
    """Area of each lesion, (n,) mm²; the faces of its voxels would be half as much again."""
    faces = np.zeros(count + 1)
    for axis, side in enumerate(grid.spacing):
        edge = [(1, 1) if a == axis else (0, 0) for a in range(3)]
        line = np.moveaxis(np.pad(numbers, edge), axis, 0)
        differ = line[1:] != line[:-1]
        area = grid.voxel_volume / side
        for one in (line[1:], line[:-1]):
            faces += area * np.bincount(one[differ], minlength=count + 1)
    return _STAIRCASE * faces[1:]

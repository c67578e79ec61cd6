"""A lattice inside a registration grid, fine enough for single lesions.

Each voxel of the grid is divided into equal parts of at most `FINEST_MM` along each axis, so that the parts
of a voxel can belong to different lesions and sums over the parts are sums over voxels.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from longimorph.footprint import FINEST_MM
from longimorph.geometry.grid import Array, FloatArray, Grid
from longimorph.geometry.resample import nearest_labels

Mask = npt.NDArray[np.bool_]


@dataclass(frozen=True, eq=False)
class Lattice:
    """The parts of the voxels of ``grid``, ``factors`` along each axis."""

    grid: Grid
    factors: tuple[int, int, int]

    @classmethod
    def of(cls, grid: Grid) -> Lattice:
        """The coarsest lattice in ``grid`` with sides of at most `FINEST_MM`."""
        i, j, k = np.maximum(np.ceil(grid.spacing / FINEST_MM - 1e-6), 1).astype(int).tolist()
        return cls(grid, (i, j, k))

    @property
    def fine(self) -> Grid:
        """The grid of the parts."""
        i, j, k = (n * f for n, f in zip(self.grid.shape, self.factors, strict=True))
        affine = self.grid.affine.copy()
        affine[:3, 3] = self.grid.index_to_world([(1 / f - 1) / 2 for f in self.factors])
        affine[:3, :3] /= self.factors
        return Grid((i, j, k), affine)

    def mask(self, labels: Array, label_grid: Grid, matrix: npt.ArrayLike, label: int) -> Mask:
        """Where a visit's own labels are ``label``, by the nearest voxel: (i, j, k) on the fine grid.

        ``labels`` (i, j, k) lie on ``label_grid``; ``matrix`` is the rigid 4×4 map, RAS, from the common
        space to the world of the labels. Nothing lies beyond the labels.
        """
        placed = Grid(label_grid.shape, np.linalg.inv(np.asarray(matrix)) @ label_grid.affine)
        return np.asarray(nearest_labels((labels == label).astype(np.uint8), placed, self.fine) > 0)

    def to_grid(self, points: FloatArray) -> FloatArray:
        """Fractional voxel indices (3, n) of the grid, of indices of parts (3, n)."""
        factors = np.array(self.factors, dtype=np.float64)[:, None]
        return np.asarray((points + 0.5) / factors - 0.5)

    def spread(self, values: Array, box: tuple[slice, slice, slice]) -> Array:
        """The value of the voxel (i, j, k) to which each part in ``box`` belongs, slices of the fine grid."""
        lines = [
            np.arange(*part.indices(n * f)) // f
            for part, n, f in zip(box, self.grid.shape, self.factors, strict=True)
        ]
        return np.asarray(values[np.ix_(*lines)])

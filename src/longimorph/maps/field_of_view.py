"""Restrict the comparison of two visits to the part of the brain visible at both.

Where a field of view cuts the brain, a visit's maps contain background beyond the cut, and smoothing and
interpolation mix background in close to it. There both visits receive the same values, those of the visit
that shows more, so that a truncated scan is not mistaken for tissue loss. A face of the field of view that no
brain touches cuts nothing: there is no brain beyond it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
from scipy import ndimage

from longimorph.geometry.grid import Array, FloatArray, Grid

FloatMap = npt.NDArray[np.float32]

CUT_MM2 = 20.0
"""Area of brain on a face of the field of view above which the brain counts as cut there, mm²."""

COMPARED, NOT_COMPARED = 0.5, "not compared"
"""Minimum weight at which a voxel counts as compared, and the words for the others."""

_SIGMAS = 3.0  # smoothing widths from a cut within which background affects the maps
_WHOLE = 1 - 1e-3  # share of a voxel in view that counts as all of it
_RAMP_VOXELS = 2.0
_FAINT = 1e-3  # weight of a voxel that is in view but too close to a cut


@dataclass(frozen=True)
class View:
    """Where a visit's field of view cuts the brain.

    ``planes`` (n, 4): each gives n·x + d, the depth inside the cut of a point x of the common space (RAS,
    mm). ``reach_mm``: the depth to which the maps are affected by what lies beyond the cut.
    """

    planes: FloatArray
    reach_mm: float

    @classmethod
    def of(
        cls, labels: Array, grid: Grid, matrix: npt.ArrayLike, background: int | None, smoothing_mm: float
    ) -> View:
        """The view of a scan with class indices (i, j, k) on ``grid``.

        ``matrix`` is the rigid map from the common space to the scan's world (4×4, RAS); ``smoothing_mm`` is
        the smoothing of its maps. Without a background class nothing is cut.
        """
        to_index = np.linalg.inv(grid.affine) @ np.asarray(matrix, dtype=np.float64)
        planes = []
        for axis, size in enumerate(grid.spacing):
            low = size * (to_index[axis] + [0, 0, 0, 0.5])
            high = size * (grid.shape[axis] * np.array([0, 0, 0, 1.0])) - low
            for end, plane in ((0, low), (-1, high)):
                face = np.take(labels, end, axis=axis)
                area = np.count_nonzero(face != background) * grid.voxel_volume / size
                if background is not None and area > CUT_MM2:
                    planes.append(plane)
        reach = _SIGMAS * smoothing_mm + float(grid.spacing.max()) / 2
        return cls(np.reshape(planes, (-1, 4)), reach)

    def to_dict(self) -> dict[str, Any]:
        """Plain values for JSON."""
        return {"planes": self.planes.tolist(), "reach_mm": self.reach_mm}

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> View:
        """The inverse of `to_dict`."""
        return cls(np.reshape(data["planes"], (-1, 4)).astype(np.float64), float(data["reach_mm"]))

    def cover(self, grid: Grid) -> FloatMap:
        """The share of each voxel of a grid in the common space that lies inside all cuts, (i, j, k)."""
        inside = np.ones(grid.shape, dtype=np.float32)
        size = float(grid.spacing.max())
        for plane in self.planes:
            steps = plane @ grid.affine
            lines = [step * np.arange(n) for step, n in zip(steps[:3], grid.shape, strict=True)]
            depth = steps[3] + lines[0][:, None, None] + lines[1][:, None] + lines[2]
            np.minimum(inside, np.clip(0.5 + depth / size, 0, 1), out=inside)
        return inside


@dataclass(frozen=True)
class Shared:
    """The part of the brain that was compared.

    ``weight`` (i, j, k) is in [0, 1], or None where all of it was compared. ``brain_mm3`` is the union of
    both visits' brains; ``lost_mm3`` is the part of it that was not compared; ``lacking_mm3`` is the part
    that each visit's view lacks.
    """

    weight: FloatMap | None = None
    brain_mm3: float = 0.0
    lost_mm3: float = 0.0
    lacking_mm3: tuple[float, float] = (0.0, 0.0)

    @property
    def compared(self) -> float:
        """The share of the brain that was compared."""
        return 1 - self.lost_mm3 / self.brain_mm3 if self.brain_mm3 > 0 else 1.0


def share(
    maps: tuple[FloatMap, FloatMap], grid: Grid, views: tuple[View, View], background: int | None
) -> tuple[FloatMap, FloatMap, Shared]:
    """Return the maps (C, i, j, k) of two visits, made equal where one of them does not show the brain.

    Where both can be trusted they are bitwise unchanged.
    """
    if background is None or not (len(views[0].planes) or len(views[1].planes)):
        return *maps, Shared()
    cover = views[0].cover(grid), views[1].cover(grid)
    cuts = _cuts((1 - maps[0][background], 1 - maps[1][background]), cover)
    if not (cuts[0].any() or cuts[1].any()):
        return *maps, Shared()
    reach = max(view.reach_mm for view in views) + float(grid.spacing.max())
    trust = _trust(cuts[0], cover[0], grid, reach), _trust(cuts[1], cover[1], grid, reach)
    filled = _filled(maps, trust, cover)
    brain = 1 - (filled[0][background] + filled[1][background]) / 2
    weight = np.minimum(*trust)
    lost, first, second = (_volume(brain * (1 - one), grid) for one in (weight, *trust))
    return *filled, Shared(weight, _volume(brain, grid), lost, (first, second))


def _cuts(brains: tuple[Array, Array], cover: tuple[FloatMap, FloatMap]) -> tuple[Array, Array]:
    """Per visit, the voxels beyond its cuts that contain brain.

    The other visit shows brain there or, where neither visit covers the voxel, brain of one of them borders
    on it.
    """
    out = cover[0] < _WHOLE, cover[1] < _WHOLE
    near = ndimage.binary_dilation(np.maximum(*brains) > 0.5, np.ones((3, 3, 3), dtype=bool))
    dark = out[0] & out[1] & near
    return (out[0] & (brains[1] > 0.5)) | dark, (out[1] & (brains[0] > 0.5)) | dark


def _trust(cut: Array, cover: FloatMap, grid: Grid, reach: float) -> FloatMap:
    """Weight of a visit's maps, from 0 beyond and near a cut through the brain to 1."""
    trust = np.ones(grid.shape, dtype=np.float32)
    if cut.any():
        distance = ndimage.distance_transform_edt(~cut, sampling=grid.spacing)
        trust[:] = np.clip((distance - reach) / (_RAMP_VOXELS * float(grid.spacing.max())), 0, 1)
        trust[cover < _WHOLE] = 0
    return trust


def _filled(
    maps: tuple[FloatMap, FloatMap], trust: tuple[FloatMap, FloatMap], cover: tuple[FloatMap, FloatMap]
) -> tuple[FloatMap, FloatMap]:
    """Return both maps, replaced by their joint estimate to the extent that they are not trusted."""
    weights = trust[0] + _FAINT * cover[0], trust[1] + _FAINT * cover[1]
    total = weights[0] + weights[1]
    first = np.where(total > 0, weights[0] / np.where(total > 0, total, 1), np.float32(0.5))
    result = np.empty_like(maps[0]), np.empty_like(maps[1])
    for c, (a, b) in enumerate(zip(*maps, strict=True)):
        together = b + first * (a - b)
        for one, own, belief in zip(result, (a, b), trust, strict=True):
            mixed = np.clip(together + belief * (own - together), np.minimum(a, b), np.maximum(a, b))
            one[c] = np.where(belief < 1, mixed, own)
    return result


def _volume(values: Array, grid: Grid) -> float:
    return float(values.sum(dtype=np.float64)) * grid.voxel_volume

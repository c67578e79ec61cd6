"""Maps of a visit or a pair prepared for the pages: axes along right, front, up, one byte per voxel."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
from matplotlib.colors import to_rgb
from numpy.typing import NDArray

from longimorph.geometry.grid import Grid, canonical
from longimorph.io import volumes
from longimorph.study.classes import ClassTable

Bytes = NDArray[np.uint8]
Floats = NDArray[np.float32]


@dataclass(frozen=True)
class GreyScan:
    """A visit in grey levels, (i, j, k), on ``grid``; ``real``: it is the scan, not its classes."""

    grey: Bytes
    grid: Grid
    real: bool


def picture(visit: Path, classes: ClassTable) -> GreyScan | None:
    """The aligned scan of a visit's folder, else its classes in grey; None for a visit without maps.

    A scan's grey levels span the intensities of the brain, however bright its surroundings are.
    """
    known = (visit / "simplex.nii.gz").exists()
    if (visit / "image.nii.gz").exists():
        data, grid = scalar(visit / "image.nii.gz")
        brain = tissue(class_maps(visit / "simplex.nii.gz")[0], classes) if known else None
        return GreyScan(windowed(data, brain), grid, True)
    if not known:
        return None
    maps, grid = class_maps(visit / "simplex.nii.gz")
    shades = np.array([255 * np.dot(to_rgb(color), (0.3, 0.59, 0.11)) for color in classes.colors])
    return GreyScan(np.tensordot(shades.astype(np.float32), maps, axes=1).astype(np.uint8), grid, False)


def scalar(file: Path) -> tuple[Floats, Grid]:
    """Read one volume, (i, j, k) along right, front, up."""
    image: Any = nib.load(file)
    data = np.asarray(image.dataobj, dtype=np.float32)
    i, j, k = data.shape
    ordered, grid = canonical(Grid((i, j, k), np.asarray(image.affine)), data)
    return np.asarray(ordered), grid


def class_maps(file: Path) -> tuple[Floats, Grid]:
    """Read maps (C, i, j, k) with their voxel axes along right, front, up."""
    maps, grid = volumes.read_maps(file)
    ordered, upright = canonical(grid, np.moveaxis(maps, 0, -1))
    return np.moveaxis(ordered, -1, 0), upright


def tissue(maps: Floats, classes: ClassTable) -> NDArray[np.bool_]:
    """Mask of the voxels that are not background."""
    if classes.background is None:
        return np.asarray(maps.sum(axis=0) > 0)
    return np.asarray(maps[classes.background] < 0.5)


def windowed(data: Floats, brain: NDArray[np.bool_] | None) -> Bytes:
    """Grey levels from darkest to brightest in ``brain``, without the extreme 0.5 % at each end.

    Without a brain the non-zero voxels are used. The darkest level is not black, unlike the surroundings.
    """
    inside = data[brain & (data != 0)] if brain is not None else data[:0]
    inside = inside if inside.size else data[data != 0]
    if not inside.size:
        return np.zeros(data.shape, dtype=np.uint8)
    low, high = (float(limit) for limit in np.percentile(inside, (0.5, 99.5)))
    low -= (high - low) / 3
    return np.asarray(255 * np.clip((data - low) / max(high - low, 1e-12), 0, 1)).astype(np.uint8)

"""What a volume's header says that is possible but hardly meant, in sentences with what to do."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
from nibabel.filebasedimages import ImageFileError
from nibabel.spatialimages import HeaderDataError

from longimorph.grid import FloatArray, Grid, grid_corners, same_grid, transform_points

VOXEL_MM = 0.2, 6.0
"""Smallest and largest plausible distance of voxels."""

DISAGREEMENT_MM = 0.1
"""The sform and the qform may differ by rounding: up to this distance, at a corner of the volume."""

_IN_VIEW_MIN = 0.9
_LATTICE = 12
_UNITS = {1: "metres", 3: "micrometres"}  # NIfTI's codes; 2 is mm, 0 unknown
_NO_HEADER = (OSError, ValueError, ImageFileError, HeaderDataError)


def remarks(path: Path, grid: Grid) -> list[str]:
    """Return what is odd in the header of a file that lies on ``grid``: voxel size, units, orientation."""
    found = _voxel_remarks(grid)
    if path.name.lower().endswith((".nii", ".nii.gz")):
        try:
            image: Any = nib.load(path)
        except _NO_HEADER:  # gone since it was read
            return found
        found += [text for text in (_units(image), disagreement(image), no_orientation(image)) if text]
    return [f"{path.name}: {text}" for text in found]


def disagreement(image: Any) -> str | None:
    """Return how a NIfTI header's two geometries, sform and qform, disagree; None when they do not."""
    sform, s_code = image.get_sform(coded=True)
    try:
        qform, q_code = image.get_qform(coded=True)
    except ValueError as error:
        return f"the qform is broken ({error}); the sform is used. Write the right one to both"
    if not (s_code and q_code) or not (np.isfinite(sform).all() and np.isfinite(qform).all()):
        return None
    gap = _gap(sform, qform, image.shape)
    if gap <= DISAGREEMENT_MM:
        return None
    mirrored = np.linalg.det(sform[:3, :3]) * np.linalg.det(qform[:3, :3]) < 0
    swapped = " and swap left and right" if mirrored else ""
    return (
        f"sform and qform place voxels up to {gap:.2f} mm apart{swapped}; the sform is used. Find out which "
        f"is right and write it to both: sform {_shown(sform)}, qform {_shown(qform)}"
    )


def no_orientation(image: Any) -> str | None:
    """Return the sentence for a NIfTI header without any orientation."""
    if image.header["sform_code"] > 0 or image.header["qform_code"] > 0:
        return None
    return "the header gives no orientation; left and right are a guess. Convert it again from the source"


def beside_each_other(image: Path, image_grid: Grid, regions: Path, grid: Grid) -> list[str]:
    """Return what is odd about an image and the segmentation made of it, which share a physical space."""
    names = f"{image.name} and {regions.name}"
    if image_grid.shape == grid.shape and not same_grid(image_grid, grid, 1.0):
        gap = _gap(image_grid.affine, grid.affine, grid.shape)
        text = f"{names} have the same number of voxels but lie up to {gap:.1f} mm apart"
        return [f"{text}. Did a tool drop or change the header of one?"]
    share = _share_in_view(grid, image_grid)
    if share < _IN_VIEW_MIN:
        text = f"only {share:.0%} of the field of view of {regions.name} lies in that of {image.name}"
        return [f"{text}. Are the two in one space? The image drives the alignment"]
    return []


def _voxel_remarks(grid: Grid) -> list[str]:
    low, high = VOXEL_MM
    if low <= grid.spacing.min() and grid.spacing.max() <= high:
        return []
    sizes = " × ".join(f"{size:.3g}" for size in grid.spacing)
    if grid.spacing.min() < low:
        return [f"voxels of {sizes} mm are too small for a brain scan. Is the header in other units?"]
    return [f"voxels of {sizes} mm: boundaries between thick slices are uncertain. Is the header right?"]


def _units(image: Any) -> str | None:
    code = int(image.header["xyzt_units"]) & 7
    if code not in _UNITS:
        return None
    return f"the header says that lengths are in {_UNITS[code]}; they are read as mm. Correct xyzt_units"


def _gap(a: FloatArray, b: FloatArray, shape: tuple[int, ...]) -> float:
    """The largest distance of a voxel's places by two affines, mm."""
    i, j, k = (*shape, 1, 1, 1)[:3]
    corners = grid_corners((i, j, k))
    return float(np.linalg.norm(transform_points(a, corners) - transform_points(b, corners), axis=-1).max())


def _share_in_view(grid: Grid, other: Grid) -> float:
    """The share of a grid's volume that lies in the boxes of another's voxels, from a lattice of points."""
    lines = [(np.arange(_LATTICE) + 0.5) / _LATTICE * n - 0.5 for n in grid.shape]
    points = np.stack(np.meshgrid(*lines, indexing="ij"), axis=-1).reshape(-1, 3)
    index = other.world_to_index(grid.index_to_world(points))
    return float(((index >= -0.5) & (index <= np.array(other.shape) - 0.5)).all(axis=1).mean())


def _shown(affine: FloatArray) -> str:
    return "[" + "; ".join(" ".join(f"{value:.4g}" for value in row) for row in affine[:3]) + "]"

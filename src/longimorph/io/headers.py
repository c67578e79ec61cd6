"""Header values that are possible but probably unintended, described in sentences with advice."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
from nibabel.filebasedimages import ImageFileError
from nibabel.spatialimages import HeaderDataError

from longimorph.geometry.grid import (
    FloatArray,
    Grid,
    axis_codes,
    grid_corners,
    is_sheared,
    opposite,
    same_grid,
    transform_points,
)
from longimorph.io import declared
from longimorph.io.declared import Declared

VOXEL_MM = 0.2, 6.0
"""Smallest and largest plausible voxel spacing."""

SIZES_DIFFER = 0.002
"""Relative difference above which a header's voxel sizes differ from its matrix by more than rounding."""

NO_ORIENTATION = (
    "the header gives no orientation; left and right are a guess. Convert it again from the source"
)

_SHEARED = (
    "the axes of the volume are not at right angles, as after an affine registration, which changes volumes. "
    "Use the scan in its own space, or register it rigidly"
)
DISAGREEMENT_MM = 0.1
"""Maximum distance, at a corner of the volume, by which sform and qform may differ through rounding."""

_IN_VIEW_MIN = 0.9
_LATTICE = 12
_NO_HEADER = (OSError, ValueError, ImageFileError, HeaderDataError)


def remarks(path: Path, grid: Grid) -> list[str]:
    """Describe what is unusual in the header of a file on ``grid``: voxel size, units, orientation."""
    found = _voxel_remarks(grid) + ([_SHEARED] if is_sheared(grid) else [])
    stated = declared.read_declared(path)
    if stated is not None:
        found += [text for text in (_units(stated), _no_sizes(stated), _letters(stated, grid)) if text]
        found += [] if stated.oriented else [NO_ORIENTATION]
        found += _two_geometries(path, stated, grid)
    return [f"{path.name}: {text}" for text in found]


def _two_geometries(path: Path, stated: Declared, grid: Grid) -> list[str]:
    """Describe how the geometries of a NIfTI header disagree, each disagreement once."""
    if not path.name.lower().endswith(declared.NIFTI):
        return []
    try:
        said = disagreement(nib.load(path))
    except _NO_HEADER:  # gone since it was read
        return []
    said = said or other_sizes(stated, grid)
    return [said] if said else []


def other_sizes(stated: Declared, grid: Grid) -> str | None:
    """Describe how a header's voxel sizes differ from those of its matrix, which are used."""
    sizes = np.array(stated.sizes or (), dtype=np.float64)
    if stated.used or len(sizes) != 3 or np.allclose(sizes, grid.spacing, rtol=SIZES_DIFFER, atol=0):
        return None
    return (
        f"pixdim gives voxels of {shown_mm(sizes)} mm, the sform voxels of {shown_mm(grid.spacing)} mm; the "
        f"sform is used, so volumes are {_times(grid, sizes)} those given by pixdim. Find out which is "
        "right, and write it to both"
    )


def _times(grid: Grid, sizes: FloatArray) -> str:
    volume = float(np.prod(np.abs(sizes)))
    if not (np.isfinite(volume) and volume > 0):
        return "other than"
    return f"{grid.voxel_volume / volume:.3g} times"


def shown_mm(sizes: Iterable[float]) -> str:
    """Format voxel sizes without the unit."""
    return " × ".join(f"{size:.4g}" for size in sizes)


def disagreement(image: Any) -> str | None:
    """Describe how a NIfTI header's two geometries, sform and qform, disagree; None if they agree."""
    sform, s_code = image.get_sform(coded=True)
    try:
        qform, q_code = image.get_qform(coded=True)
    except ValueError as error:
        return f"the qform is invalid ({error}); the sform is used. Write the correct one to both"
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


def beside_each_other(image: Path, image_grid: Grid, regions: Path, grid: Grid) -> list[str]:
    """Describe what is unusual about an image and its segmentation, which share a physical space."""
    names = f"{image.name} and {regions.name}"
    if image_grid.shape == grid.shape and not same_grid(image_grid, grid, 1.0):
        gap = _gap(image_grid.affine, grid.affine, grid.shape)
        text = f"{names} have the same number of voxels but lie up to {gap:.1f} mm apart"
        return [f"{text}. A tool may have dropped or changed the header of one of them"]
    share = _share_in_view(grid, image_grid)
    if share < _IN_VIEW_MIN:
        text = f"only {share:.0%} of the field of view of {regions.name} lies within that of {image.name}"
        return [f"{text}. Check that both are in the same space: the image drives the alignment"]
    return []


def _voxel_remarks(grid: Grid) -> list[str]:
    low, high = VOXEL_MM
    if low <= grid.spacing.min() and grid.spacing.max() <= high:
        return []
    sizes = shown_mm(grid.spacing)
    if grid.spacing.min() < low:
        return [f"voxels of {sizes} mm are too small for a brain scan. Check the units of the header"]
    return [f"voxels of {sizes} mm: boundaries between thick slices are uncertain. Check the header"]


def _units(stated: Declared) -> str | None:
    if stated.unit is None:
        return None
    return f"the header says that lengths are in {stated.unit}; they are read as mm. Correct the header"


def _no_sizes(stated: Declared) -> str | None:
    if stated.sizes is not None:
        return None
    return "the header gives no voxel size; 1 × 1 × 1 mm is assumed. Convert it again from the source"


def _letters(stated: Declared, grid: Grid) -> str | None:
    """Describe how MetaImage's letters disagree with its matrix.

    The letters name where an axis comes from, or in some programs where it leads; both are accepted.
    """
    codes = axis_codes(grid)
    if stated.letters is None or not stated.oriented or stated.letters in (codes, opposite(codes)):
        return None
    return (
        f"AnatomicalOrientation says {stated.letters}, TransformMatrix {opposite(codes)}, which is used. "
        "Find out which is right (a viewer shows the matrix), and convert it again from the source"
    )


def _gap(a: FloatArray, b: FloatArray, shape: tuple[int, ...]) -> float:
    """The largest distance between a voxel's positions by two affines, mm."""
    i, j, k = (*shape, 1, 1, 1)[:3]
    corners = grid_corners((i, j, k))
    return float(np.linalg.norm(transform_points(a, corners) - transform_points(b, corners), axis=-1).max())


def _share_in_view(grid: Grid, other: Grid) -> float:
    """The share of a grid's volume inside the boxes of another's voxels, estimated on a lattice of points."""
    lines = [(np.arange(_LATTICE) + 0.5) / _LATTICE * n - 0.5 for n in grid.shape]
    points = np.stack(np.meshgrid(*lines, indexing="ij"), axis=-1).reshape(-1, 3)
    index = other.world_to_index(grid.index_to_world(points))
    return float(((index >= -0.5) & (index <= np.array(other.shape) - 0.5)).all(axis=1).mean())


def _shown(affine: FloatArray) -> str:
    return "[" + "; ".join(" ".join(f"{value:.4g}" for value in row) for row in affine[:3]) + "]"

"""Transforms on disk, as read by ITK and tools based on it, and conversion of volumes to SimpleITK.

Inside the library a rigid transform is a 4×4 matrix between RAS+ worlds, and a displacement field is (3, i,
j, k) in mm along the axes of its grid. On disk both are LPS.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import numpy.typing as npt
import SimpleITK as sitk

from longimorph.errors import Unusable
from longimorph.geometry.grid import (
    Array,
    FloatArray,
    Grid,
    flip_ras_lps,
    nearest_orthogonal,
    rigid_ras_to_lps,
    to_itk,
    transform_points,
    vectors_from_lps,
    vectors_to_lps,
)
from longimorph.io.atomic import atomic_path
from longimorph.io.volumes import write_nifti

NIFTI_INTENT_VECTOR = 1007
"""The NIfTI intent for which ITK uses the numbers unchanged; it would negate those of 1006."""


def to_sitk(array: Array, grid: Grid) -> sitk.Image:
    """Convert a volume (i, j, k) to a SimpleITK image at the same position in the world."""
    geometry = to_itk(grid)
    image = sitk.GetImageFromArray(np.ascontiguousarray(np.asarray(array).T))
    image.SetSpacing(geometry.spacing)
    image.SetOrigin(geometry.origin)
    image.SetDirection(geometry.direction)
    return image


def from_sitk(image: sitk.Image) -> Array:
    """Convert a SimpleITK image to an array (i, j, k)."""
    return np.asarray(sitk.GetArrayFromImage(image).T)


def euler_from_rigid(matrix: npt.ArrayLike, centre: npt.ArrayLike = (0.0, 0.0, 0.0)) -> sitk.Euler3DTransform:
    """The ITK transform that maps LPS points as ``matrix`` (4×4, rigid, RAS → RAS) maps RAS points.

    It rotates about ``centre`` (RAS mm). Raises ValueError when the matrix is not rigid.
    """
    if not is_rigid(matrix):
        raise ValueError(f"not a rigid matrix: {np.asarray(matrix).tolist()}")
    lps = rigid_ras_to_lps(matrix)
    about = flip_ras_lps(centre)
    transform = sitk.Euler3DTransform()
    transform.SetCenter(about.tolist())
    transform.SetMatrix(nearest_orthogonal(lps[:3, :3]).ravel().tolist(), 1e-6)
    transform.SetTranslation((transform_points(lps, about) - about).tolist())
    return transform


def rigid_from_itk(transform: sitk.Transform) -> FloatArray:
    """The 4×4 matrix RAS → RAS of any linear three-dimensional ITK transform."""
    ends = np.array([transform.TransformPoint(p) for p in np.vstack([np.zeros(3), np.eye(3)]).tolist()])
    lps = np.eye(4)
    lps[:3, :3] = (ends[1:] - ends[0]).T
    lps[:3, 3] = ends[0]
    return rigid_ras_to_lps(lps)


def is_rigid(matrix: npt.ArrayLike, tol: float = 1e-5) -> bool:
    """Return whether a 4×4 matrix is a rotation and a translation, without reflection or scaling."""
    m = np.asarray(matrix, dtype=np.float64)
    turn = m[:3, :3]
    return bool(
        m.shape == (4, 4)
        and np.isfinite(m).all()
        and np.allclose(turn.T @ turn, np.eye(3), atol=tol)
        and np.linalg.det(turn) > 0
    )


def write_rigid(path: Path | str, matrix: npt.ArrayLike) -> None:
    """Write a rigid 4×4 matrix, RAS, reference → this timepoint, as an ITK text transform (.tfm).

    The file holds an Euler3DTransform that maps points of the reference to points of the timepoint's physical
    space, as required by sitk.Resample(scan, reference_grid, sitk.ReadTransform(path)). Atomic.
    """
    with atomic_path(path) as temporary:
        sitk.WriteTransform(euler_from_rigid(matrix), str(temporary))


def write_affine(path: Path | str, matrix: npt.ArrayLike) -> None:
    """Write the same transform as `write_rigid`, with its matrix: an AffineTransform about the origin.

    Programs that do not know the angles of an Euler3DTransform, such as nitransforms, read this form. Atomic.
    """
    if not is_rigid(matrix):
        raise ValueError(f"not a rigid matrix: {np.asarray(matrix).tolist()}")
    with atomic_path(path) as temporary:
        sitk.WriteTransform(affine_to_itk(matrix), str(temporary))


def affine_to_itk(matrix: npt.ArrayLike) -> sitk.AffineTransform:
    """The ITK transform that maps LPS points as ``matrix`` (4×4, affine, RAS → RAS) maps RAS points."""
    lps = rigid_ras_to_lps(matrix)
    transform = sitk.AffineTransform(3)
    transform.SetMatrix(lps[:3, :3].ravel().tolist())
    transform.SetTranslation(lps[:3, 3].tolist())
    return transform


def read_rigid(path: Path | str) -> FloatArray:
    """Read a rigid ITK transform as the 4×4 RAS matrix passed to `write_rigid`.

    Raises Unusable when the file cannot be read or is not rigid.
    """
    try:
        matrix = rigid_from_itk(sitk.ReadTransform(str(path)))
    except (RuntimeError, ValueError) as error:
        reason = " ".join(str(error).split())[:300]
        raise Unusable("unreadable", f"{path} cannot be read as a transform: {reason}") from error
    if not is_rigid(matrix):
        raise Unusable("not_rigid", f"{path} is not a rotation with a translation: {matrix.tolist()}")
    return matrix


def write_transform(path: Path | str, transform: sitk.Transform) -> None:
    """Write an ITK transform as text (.tfm); a composite keeps its parts. Atomic."""
    with atomic_path(path) as temporary:
        sitk.WriteTransform(transform, str(temporary))


def read_transform(path: Path | str) -> sitk.Transform:
    """Read an ITK transform. Raises Unusable when the file cannot be read."""
    try:
        transform: sitk.Transform = sitk.ReadTransform(str(path))
        return transform
    except RuntimeError as error:
        reason = " ".join(str(error).split())[:300]
        raise Unusable("unreadable", f"{path} cannot be read as a transform: {reason}") from error


def transformed_centres(transform: sitk.Transform, grid: Grid) -> FloatArray:
    """Where an ITK transform puts the voxel centres of ``grid``: points (3, i, j, k), RAS mm."""
    geometry = to_itk(grid)
    field = sitk.TransformToDisplacementField(
        transform, sitk.sitkVectorFloat64, geometry.size, geometry.origin, geometry.spacing,
        geometry.direction,
    )  # fmt: skip
    shift = flip_ras_lps(sitk.GetArrayViewFromImage(field))  # (k, j, i, 3)
    centres = grid.index_to_world(np.moveaxis(np.indices(grid.shape), 0, -1))
    return np.ascontiguousarray(np.moveaxis(centres + shift.transpose(2, 1, 0, 3), -1, 0))


def write_displacement(path: Path | str, field: Array, grid: Grid) -> None:
    """Write displacements (3, i, j, k), mm along the axes of ``grid``, as an ITK displacement field.

    NIfTI of shape (i, j, k, 1, 3) with vector intent, LPS mm, float32. Read it with sitk.ReadImage(path,
    sitk.sitkVectorFloat64) and pass it to sitk.DisplacementFieldTransform. Atomic.
    """
    if field.shape != (3, *grid.shape):
        raise ValueError(f"displacements of shape {field.shape} do not lie on a grid of shape {grid.shape}")
    lps = vectors_to_lps(field, grid).astype(np.float32)
    write_nifti(path, lps[:, :, :, None, :], grid, intent=NIFTI_INTENT_VECTOR)


def read_displacement(path: Path | str) -> tuple[FloatArray, Grid]:
    """Read the output of `write_displacement`: (3, i, j, k), mm along the axes of the grid, and the grid."""
    image: Any = nib.load(path)
    i, j, k = image.shape[:3]
    grid = Grid((i, j, k), np.asarray(image.affine))
    return vectors_from_lps(np.asarray(image.dataobj)[:, :, :, 0, :], grid), grid

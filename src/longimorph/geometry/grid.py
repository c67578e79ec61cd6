"""Voxel grids: the only module that handles axis orders, RAS and LPS worlds, and handedness.

Inside the library a world point is RAS+ in mm (x to the patient's right, y to the front, z up, as in NIfTI)
and arrays are indexed (i, j, k) as in nibabel. ITK's world is LPS+ (x and y negated) with the same index
order; only its numpy views are reversed, (k, j, i). Affines are 4×4, voxel index → world. Rigid matrices are
4×4 and act on column vectors; their docstrings state the source and target spaces.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
from nibabel.orientations import aff2axcodes, apply_orientation, inv_ornt_aff, io_orientation

Array = npt.NDArray[Any]
FloatArray = npt.NDArray[np.float64]

LPS_FROM_RAS: FloatArray = np.diag([-1.0, -1.0, 1.0, 1.0])
"""4×4 matrix that converts between RAS and LPS worlds; its own inverse."""

_LATTICE_TOLERANCE = 1e-4  # of a voxel: the same lattice in spite of headers in single precision


@dataclass(frozen=True, eq=False)
class Grid:
    """A voxel lattice in the world: ``shape`` (i, j, k) and ``affine`` voxel index → RAS+ mm, 4×4.

    Compare two grids with `same_grid`. Raises ValueError for an invalid shape or affine.
    """

    shape: tuple[int, int, int]
    affine: FloatArray

    def __post_init__(self) -> None:
        affine = np.array(self.affine, dtype=np.float64)
        shape = tuple(int(n) for n in self.shape)
        if len(shape) != 3 or min(shape) < 1:
            raise ValueError(f"a grid has three axes of at least one voxel; found shape {shape}")
        if affine.shape != (4, 4) or not np.isfinite(affine).all():
            raise ValueError(f"a grid's affine is a finite 4×4 matrix; found {affine.tolist()}")
        if not is_invertible(affine):
            raise ValueError(f"the affine is singular: {affine.tolist()}")
        affine.setflags(write=False)
        object.__setattr__(self, "shape", shape)
        object.__setattr__(self, "affine", affine)

    @property
    def spacing(self) -> FloatArray:
        """Distance between adjacent voxel centres along each axis, (3,) mm."""
        return np.asarray(np.linalg.norm(self.affine[:3, :3], axis=0))

    @property
    def directions(self) -> FloatArray:
        """Unit vectors of the three axes in the RAS+ world, as the columns of a 3×3 matrix."""
        return np.asarray(self.affine[:3, :3] / self.spacing)

    @property
    def voxel_volume(self) -> float:
        """Volume of one voxel, mm³."""
        return float(abs(np.linalg.det(self.affine[:3, :3])))

    def index_to_world(self, index: npt.ArrayLike) -> FloatArray:
        """RAS+ mm of voxel indices (…, 3); fractional indices are allowed, integers are voxel centres."""
        return transform_points(self.affine, index)

    def world_to_index(self, points: npt.ArrayLike) -> FloatArray:
        """Fractional voxel indices of RAS+ points (…, 3)."""
        return transform_points(np.linalg.inv(self.affine), points)

    def centre(self) -> FloatArray:
        """RAS+ mm of the centre of the grid."""
        return self.index_to_world((np.array(self.shape) - 1) / 2)

    def to_dict(self) -> dict[str, list[Any]]:
        """Plain lists for JSON: ``shape`` and ``affine``."""
        return {"shape": list(self.shape), "affine": self.affine.tolist()}

    @classmethod
    def from_dict(cls, data: dict[str, Any]) -> Grid:
        """The inverse of `to_dict`."""
        i, j, k = data["shape"]
        return cls((int(i), int(j), int(k)), np.array(data["affine"], dtype=np.float64))


@dataclass(frozen=True)
class ItkGeometry:
    """A grid in the terms of ITK and SimpleITK: size and spacing per axis, origin in LPS mm, and the
    direction cosines as nine numbers, row by row (columns are axes).
    """

    size: tuple[int, int, int]
    spacing: tuple[float, float, float]
    origin: tuple[float, float, float]
    direction: tuple[float, ...]


def transform_points(matrix: npt.ArrayLike, points: npt.ArrayLike) -> FloatArray:
    """Apply a 4×4 matrix to points (…, 3)."""
    m = np.asarray(matrix, dtype=np.float64)
    return np.asarray(np.asarray(points, dtype=np.float64) @ m[:3, :3].T + m[:3, 3])


def is_invertible(affine: npt.ArrayLike) -> bool:
    """Return whether the three axes of a 4×4 affine span space: finite, non-zero and not coplanar."""
    linear = np.asarray(affine, dtype=np.float64)[:3, :3]
    lengths = np.linalg.norm(linear, axis=0)
    if not np.isfinite(linear).all() or lengths.min() < 1e-6:
        return False
    return bool(abs(np.linalg.det(linear / lengths)) > 1e-3)


def rigid_ras_to_lps(matrix: npt.ArrayLike) -> FloatArray:
    """Convert a 4×4 map between RAS worlds to the same map between LPS worlds.

    The conversion is its own inverse.
    """
    return np.asarray(LPS_FROM_RAS @ np.asarray(matrix, dtype=np.float64) @ LPS_FROM_RAS)


def flip_ras_lps(points: npt.ArrayLike) -> FloatArray:
    """Convert points or vectors (…, 3) from RAS to LPS, or from LPS to RAS."""
    return np.asarray(np.asarray(points, dtype=np.float64) * np.array([-1.0, -1.0, 1.0]))


def is_sheared(grid: Grid) -> bool:
    """Return whether the axes of a grid are not at right angles, by more than rounding."""
    return not np.allclose(grid.directions.T @ grid.directions, np.eye(3), atol=1e-3)


def to_itk(grid: Grid) -> ItkGeometry:
    """Convert a grid to ITK's terms. Raises ValueError for a sheared grid, which ITK cannot represent."""
    directions = grid.directions
    if is_sheared(grid):
        raise ValueError("the grid's axes are not at right angles; ITK images cannot be sheared")
    rotation = LPS_FROM_RAS[:3, :3] @ nearest_orthogonal(directions)
    x, y, z = flip_ras_lps(grid.affine[:3, 3]).tolist()
    a, b, c = grid.spacing.tolist()
    return ItkGeometry(grid.shape, (a, b, c), (x, y, z), tuple(rotation.ravel().tolist()))


def from_itk(geometry: ItkGeometry) -> Grid:
    """Convert an ITK geometry to a grid."""
    affine = np.eye(4)
    affine[:3, :3] = np.array(geometry.direction).reshape(3, 3) * np.array(geometry.spacing)
    affine[:3, 3] = geometry.origin
    return Grid(geometry.size, LPS_FROM_RAS @ affine)


def nearest_orthogonal(matrix: npt.ArrayLike) -> FloatArray:
    """Return the orthogonal 3×3 matrix nearest to a 3×3 matrix.

    It is a rotation, or a reflection when the determinant is negative.
    """
    u, _, vt = np.linalg.svd(np.asarray(matrix, dtype=np.float64))
    return np.asarray(u @ vt)


def same_grid(a: Grid, b: Grid, tol: float = 1e-3) -> bool:
    """Return whether two grids have the same shape and no voxel centre differs by more than ``tol`` mm."""
    if a.shape != b.shape:
        return False
    corners = grid_corners(a.shape)
    gap = np.linalg.norm(a.index_to_world(corners) - b.index_to_world(corners), axis=-1)
    return bool(gap.max() <= tol)


def grid_corners(shape: tuple[int, int, int]) -> FloatArray:
    """Indices of the eight corner voxels, (8, 3)."""
    ends = [(0, n - 1) for n in shape]
    return np.array([(i, j, k) for i in ends[0] for j in ends[1] for k in ends[2]], dtype=np.float64)


def axis_codes(grid: Grid) -> str:
    """Direction of each storage axis, by the nearest world axis: ``RAS`` for right, front, up."""
    return "".join(aff2axcodes(grid.affine))


def opposite(codes: str) -> str:
    """Axis codes with each direction reversed."""
    return codes.translate(str.maketrans("RLAPSI", "LRPAIS"))


def canonical(grid: Grid, array: Array) -> tuple[Array, Grid]:
    """Permute and flip the axes of a volume to run as closely as possible to right, front, up.

    ``array`` is (i, j, k), possibly with further axes. All 48 storage orders of one volume give the same
    result. No interpolation; the array is a view where possible.
    """
    orientation = io_orientation(grid.affine)
    reordered = apply_orientation(array, orientation)
    back = inv_ornt_aff(orientation, grid.shape)
    affine = grid.affine @ back
    i, j, k = reordered.shape[:3]
    return reordered, Grid((i, j, k), affine)


def in_order_of(like: Grid, grid: Grid, array: Array, tol: float = 1e-3) -> Array | None:
    """Return the volume (i, j, k) of ``grid`` in the storage order of ``like``, or None if their voxels
    differ.

    Voxel centres must coincide to within ``tol`` mm. No interpolation; a view where possible.
    """
    steps = np.rint(np.linalg.inv(like.affine)[:3, :3] @ grid.affine[:3, :3])
    if not (np.abs(steps).sum(axis=0) == 1).all() or not (np.abs(steps).sum(axis=1) == 1).all():
        return None
    places = np.abs(steps).argmax(axis=0)
    orientation = np.column_stack([places, steps[places, range(3)]])
    reordered = apply_orientation(array, orientation)
    i, j, k = reordered.shape
    own = Grid((i, j, k), grid.affine @ inv_ornt_aff(orientation, grid.shape))
    return np.asarray(reordered) if same_grid(like, own, tol) else None


def bounding_box(mask: Array, grid: Grid, margin_mm: float = 0.0) -> tuple[slice, slice, slice] | None:
    """Index slices around the true voxels of a mask (i, j, k); None for an empty mask.

    They are widened by a margin in mm on every side and clipped to the grid.
    """
    slices = []
    for axis in range(3):
        others = tuple(a for a in range(3) if a != axis)
        hit = np.flatnonzero(np.any(mask, axis=others))
        if hit.size == 0:
            return None
        pad = int(np.ceil(margin_mm / grid.spacing[axis] - 1e-6))
        slices.append(slice(max(int(hit[0]) - pad, 0), min(int(hit[-1]) + pad + 1, grid.shape[axis])))
    return slices[0], slices[1], slices[2]


def crop(grid: Grid, box: tuple[slice, slice, slice]) -> Grid:
    """The part of a grid inside index slices such as `bounding_box` returns."""
    bounds = [s.indices(n)[:2] for s, n in zip(box, grid.shape, strict=True)]
    affine = grid.affine.copy()
    affine[:3, 3] = grid.index_to_world([start for start, _ in bounds])
    i, j, k = (stop - start for start, stop in bounds)
    return Grid((i, j, k), affine)


def mask_extent(mask: Array, grid: Grid) -> FloatArray:
    """World points (n, 3), RAS+ mm, whose convex hull contains every true voxel of a mask (i, j, k) entirely.

    They are the outer corners of the first and last true voxel of each row.
    """
    any_true = np.any(mask, axis=2)
    rows = np.argwhere(any_true).astype(np.float64)
    lines = np.asarray(mask)[any_true]
    first = np.argmax(lines, axis=1)
    last = mask.shape[2] - 1 - np.argmax(lines[:, ::-1], axis=1)
    points = []
    for di in (-0.5, 0.5):
        for dj in (-0.5, 0.5):
            for ends in (first - 0.5, last + 0.5):
                points.append(np.column_stack([rows[:, 0] + di, rows[:, 1] + dj, ends]))
    return grid.index_to_world(np.concatenate(points)) if points else np.empty((0, 3))


def registration_grid(
    points: Iterable[FloatArray],
    spacing_mm: npt.ArrayLike,
    margin_mm: float,
    frame: Grid | None = None,
) -> Grid:
    """The grid that contains all ``points`` (arrays (n, 3), RAS+ mm of the reference) with a margin.

    With ``frame`` None the axes run along the world's, with nodes at multiples of the spacing (one number or
    three). With a frame (the baseline scan's grid) the axes run along that scan's own, in canonical order,
    and nodes are counted from its first voxel, so that a spacing equal to the scan's own puts every node
    exactly on one of its voxels. The axes of a sheared frame are replaced by the nearest ones at right
    angles. Raises ValueError when there is no point.
    """
    cloud = [p for p in points if len(p)]
    if not cloud:
        raise ValueError("a registration grid needs at least one point of a brain")
    axes, origin, own = np.eye(3), np.zeros(3), None
    if frame is not None:
        _, ordered = canonical(frame, np.empty(frame.shape, dtype=bool))
        axes, origin, own = ordered.directions, ordered.affine[:3, 3], ordered.spacing
        axes = nearest_orthogonal(axes) if is_sheared(ordered) else axes
    spacing = _snapped(np.broadcast_to(np.asarray(spacing_mm, dtype=np.float64), (3,)), own)
    to_axes = np.linalg.inv(axes)
    low = np.min([((p - origin) @ to_axes.T).min(axis=0) for p in cloud], axis=0) - margin_mm
    high = np.max([((p - origin) @ to_axes.T).max(axis=0) for p in cloud], axis=0) + margin_mm
    first = np.floor(low / spacing + _LATTICE_TOLERANCE)
    last = np.maximum(np.ceil(high / spacing - _LATTICE_TOLERANCE), first)
    affine = np.eye(4)
    affine[:3, :3] = axes * spacing
    affine[:3, 3] = origin + affine[:3, :3] @ first
    i, j, k = (last - first + 1).astype(int).tolist()
    return Grid((i, j, k), affine)


def encloses(grid: Grid, points: FloatArray, margin_mm: float) -> bool:
    """Return whether all ``points`` (n, 3), RAS+ mm, lie between the outer nodes, ``margin_mm`` from each."""
    along = grid.world_to_index(points) * grid.spacing
    far = (np.array(grid.shape) - 1) * grid.spacing
    return bool((along >= margin_mm).all() and (along <= far - margin_mm).all())


def _snapped(spacing: FloatArray, own: FloatArray | None) -> FloatArray:
    """Replace the requested spacing by the scan's own where they differ only by rounding."""
    if own is None:
        return np.array(spacing)
    close = np.abs(spacing - own) <= _LATTICE_TOLERANCE * own
    return np.where(close, own, spacing)


def vectors_to_lps(field: Array, grid: Grid) -> FloatArray:
    """Convert displacements along a grid's axes → world vectors in ITK's convention.

    ``field`` is (3, i, j, k) in mm: component a is the length along the grid's a-th axis. The result is (i,
    j, k, 3), LPS mm.
    """
    matrix = LPS_FROM_RAS[:3, :3] @ grid.directions
    return np.asarray(np.einsum("ab,bijk->ijka", matrix, np.asarray(field, dtype=np.float64)))


def vectors_from_lps(field: Array, grid: Grid) -> FloatArray:
    """The inverse of `vectors_to_lps`: (i, j, k, 3) LPS mm → (3, i, j, k) mm along the axes."""
    matrix = np.linalg.inv(LPS_FROM_RAS[:3, :3] @ grid.directions)
    return np.asarray(np.einsum("ab,ijkb->aijk", matrix, np.asarray(field, dtype=np.float64)))

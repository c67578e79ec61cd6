"""Volumes on disk: reads label and intensity volumes, writes maps and scalar volumes.

Reading uses nibabel (NIfTI, MGH) or SimpleITK (MetaImage, NRRD). Arrays are indexed (i, j, k) with a `Grid`
whose world is RAS+ mm, whatever the file's own convention. Any fault of a file is `Unusable`: the
stage that reads it adds its name, and the other scans of the cohort continue.
"""

from __future__ import annotations

import gzip
import logging
import math
import zlib
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import numpy.typing as npt
import SimpleITK as sitk
from nibabel.filebasedimages import ImageFileError
from nibabel.spatialimages import HeaderDataError

from longimorph.errors import Unusable
from longimorph.geometry.grid import Array, Grid, ItkGeometry, from_itk, is_invertible
from longimorph.io import declared, headers
from longimorph.io.atomic import atomic_path
from longimorph.io.pointers import unfetched
from longimorph.text import counted

log = logging.getLogger(__name__)

MAX_VOXELS = 2**30
"""More voxels than any scan has (a head at 0.2 mm): a header that claims more is corrupt."""

VOXEL_MM = 0.01, 100.0
"""Range of plausible voxel spacings, in mm: outside it the header is in other units, or corrupt."""

FIELD_MM3 = 10.0, 1e9
"""Range of fields of view that can hold a head, in mm³: from a cube of 2 mm to one of a metre."""

SURPLUS_BYTES = 16 << 20
"""Allowed excess after the voxels in a compressed file."""

_INTEGER_TOLERANCE = 1e-3
_DEFLATE_RATIO = 1032  # the most that gzip can shrink a file
_ITK_SUFFIXES = (".mha", ".mhd", ".nrrd", ".nhdr")
_UNREADABLE = (
    OSError, EOFError, ValueError, TypeError, RuntimeError, MemoryError, OverflowError,
    zlib.error, ImageFileError, HeaderDataError,
)  # fmt: skip


def read_labels(path: Path | str) -> tuple[npt.NDArray[np.int32], Grid]:
    """Read a label volume: non-negative integers, (i, j, k) int32, and its grid.

    Raises Unusable: file missing, unreadable or truncated, not three-dimensional, an unusable
    affine, labels that are not finite, not integers, or negative.
    """
    data, grid = _read(Path(path))
    return _whole_numbers(data, Path(path)), grid


def read_image(path: Path | str) -> tuple[npt.NDArray[np.float32], Grid]:
    """Read an intensity volume: (i, j, k) float32 and its grid.

    Non-finite values become 0, with a warning that counts them. Raises Unusable as
    `read_labels`, and when all finite values are equal.
    """
    data, grid = _read(Path(path))
    image = np.array(data, dtype=np.float32)
    bad = ~np.isfinite(image)
    if bad.any():
        log.warning("%s: %s not finite, read as 0", path, counted(int(bad.sum()), "value"))
        image[bad] = 0.0
    if image.min() == image.max():
        raise Unusable("empty", f"{path} has the same value everywhere ({image.flat[0]:g}); check the file")
    return image, grid


def read_grid(path: Path | str, several: bool = False) -> Grid:
    """Read only the grid of a volume, without its voxels. Raises Unusable as `read_labels`.

    ``several``: the file may have several volumes, which share the grid.
    """
    file = Path(path)
    _require_file(file)
    if file.name.lower().endswith(_ITK_SUFFIXES):
        return _itk_grid(_itk_header(file), file)
    return _nibabel_grid(header_of(file, several), file, several)


def volume_count(path: Path | str) -> int:
    """Read how many volumes a file holds; more than one only in NIfTI or MGH with one further axis.

    Raises Unusable when the file cannot be read.
    """
    file = Path(path)
    _require_file(file)
    if file.name.lower().endswith(_ITK_SUFFIXES):
        return 1
    try:
        shape: tuple[int, ...] = nib.load(file).shape  # type: ignore[attr-defined]
    except _UNREADABLE as error:
        raise _unreadable(file, error) from error
    further = [int(n) for n in shape[3:] if n != 1]
    return further[0] if len(further) == 1 and min(shape) > 0 else 1


def read_volume(path: Path | str) -> tuple[Array, Grid]:
    """Read one volume: its values in the file's own type, scaled if the header says so, and the grid.

    Raises Unusable as `read_labels`, but for the values.
    """
    return _read(Path(path))


@contextmanager
def reading(file: Path) -> Iterator[None]:
    """Turn what a library raises for a damaged file into Unusable."""
    try:
        yield
    except Unusable:
        raise
    except _UNREADABLE as error:
        raise _unreadable(file, error) from error


def write_maps(path: Path | str, maps: Array, grid: Grid) -> None:
    """Write maps (C, i, j, k) as 4-D NIfTI in float32, classes last, on ``grid``.

    Atomic; equal content gives equal bytes.
    """
    if maps.ndim != 4 or maps.shape[1:] != grid.shape:
        raise ValueError(f"maps of shape {maps.shape} do not lie on a grid of shape {grid.shape}")
    write_nifti(path, np.moveaxis(np.asarray(maps, dtype=np.float32), 0, -1), grid)


def write_scalar(path: Path | str, array: Array, grid: Grid) -> None:
    """Write one volume (i, j, k) as NIfTI on ``grid``, integers as int32, all else as float32.

    Atomic; equal content gives equal bytes.
    """
    if array.shape != grid.shape:
        raise ValueError(f"a volume of shape {array.shape} does not lie on a grid of shape {grid.shape}")
    kind = np.int32 if np.issubdtype(array.dtype, np.integer) or array.dtype == bool else np.float32
    write_nifti(path, np.asarray(array, dtype=kind), grid)


def read_maps(path: Path | str, classes: Sequence[int] | None = None) -> tuple[npt.NDArray[np.float32], Grid]:
    """Read maps written by `write_maps`: (C, i, j, k) float32 and their grid.

    Only the ``classes`` with these indices, in this order, are held in memory; None for all.
    """
    file = Path(path)
    _require_file(file)
    try:
        image: Any = _verified(file, nib.load(file))
        if classes is None or len(image.shape) != 4:
            data = np.asarray(image.dataobj, dtype=np.float32)
        else:
            data = np.stack([np.asarray(image.dataobj[..., c], dtype=np.float32) for c in classes], axis=-1)
    except _UNREADABLE as error:
        raise _unreadable(file, error) from error
    if data.ndim != 4:
        raise Unusable("dimension", f"{file} has {data.ndim} axes; maps have 4, classes last")
    i, j, k, _ = data.shape
    return np.ascontiguousarray(np.moveaxis(data, -1, 0)), Grid((i, j, k), np.asarray(image.affine))


def read_scalar(path: Path | str) -> npt.NDArray[np.float32]:
    """Read the values (i, j, k) float32 of a volume written by `write_scalar`, in its own order of axes."""
    file = Path(path)
    _require_file(file)
    try:
        image: Any = _verified(file, nib.load(file))
        return np.asarray(image.dataobj, dtype=np.float32)
    except _UNREADABLE as error:
        raise _unreadable(file, error) from error


def write_nifti(path: Path | str, data: Array, grid: Grid, intent: int = 0) -> None:
    """Write an array whose first three axes are the grid's as NIfTI-1 in mm, with the same sform and qform.

    Atomic; a compressed file contains no time stamp, so equal content gives equal bytes.
    """
    image = nib.Nifti1Image(data, grid.affine)
    image.header.set_xyzt_units("mm")
    image.header["intent_code"] = intent
    image.set_sform(grid.affine, code=1)
    image.set_qform(grid.affine, code=1)
    content = image.to_bytes()
    with atomic_path(path) as temporary:
        if str(path).endswith(".gz"):
            content = gzip.compress(content, compresslevel=1, mtime=0)
        temporary.write_bytes(content)


def _read(file: Path) -> tuple[Array, Grid]:
    """Values in the file's own type (scaled if the header says so), three axes, and the grid."""
    _require_file(file)
    if file.name.lower().endswith(_ITK_SUFFIXES):
        return _read_itk(file)
    header = header_of(file)
    grid = _nibabel_grid(header, file)
    try:
        data = np.asanyarray(_verified(file, header).dataobj)
    except _UNREADABLE as error:
        raise _unreadable(file, error) from error
    return data.reshape(grid.shape), grid


def _verified(file: Path, header: Any) -> Any:
    """The image with its voxels; a file packed by gzip is read to its end, which verifies its checksum."""
    if not (isinstance(header, nib.Nifti1Image | nib.MGHImage) and _is_gzip(file)):
        return header
    proxy: Any = header.dataobj
    voxels = math.prod(header.shape) * header.get_data_dtype().itemsize
    most = int(proxy.offset) + voxels + SURPLUS_BYTES
    with gzip.open(file) as stream:
        content = stream.read(most + 1)
    if len(content) > most:
        message = f"{file} has more than {SURPLUS_BYTES >> 20} MB beyond the voxels that its header states; "
        raise Unusable("header", message + "the header is broken, or this is the wrong file")
    return type(header).from_bytes(content)


def _is_gzip(file: Path) -> bool:
    with file.open("rb") as stream:
        return stream.read(2) == b"\x1f\x8b"


def header_of(file: Path, several: bool = False) -> Any:
    """The image without its voxels, after checks that they can be read safely."""
    try:
        image: Any = nib.load(file)
    except _UNREADABLE as error:
        raise _unreadable(file, error) from error
    dtype = image.get_data_dtype()
    if dtype.names or np.issubdtype(dtype, np.complexfloating):
        raise Unusable(
            "type",
            f"{file} contains colours or complex numbers; it must have one real value per voxel",
        )
    _check_shape(_of_one(image.shape) if several else image.shape, file)
    needed = math.prod(image.shape) * dtype.itemsize
    _check_bytes(needed, file, file.suffix.lower() in (".gz", ".mgz", ".bz2", ".zst"))
    return image


def _check_bytes(needed: int, file: Path, packed: bool) -> None:
    """Refuse a header that claims more bytes of voxels than the file can hold."""
    size = file.stat().st_size
    if needed > size * (_DEFLATE_RATIO if packed else 1):
        message = f"{file}: the header states {needed:,} bytes of voxels, but the file has only {size:,}; "
        raise Unusable("header", message + "the file is truncated or its header is broken")


def _of_one(shape: tuple[int, ...]) -> tuple[int, ...]:
    """The shape of one of several volumes, if there is one further axis."""
    return shape[:3] if len([n for n in shape[3:] if n != 1]) == 1 else shape


def _nibabel_grid(image: Any, file: Path, several: bool = False) -> Grid:
    """The grid of a nibabel image: sform if its code is set, else qform."""
    shape = _of_one(image.shape) if several else image.shape
    grid = _grid(shape, np.asarray(image.affine, dtype=np.float64), file)
    if isinstance(image, nib.Nifti1Pair) and (text := headers.disagreement(image)):
        log.warning("%s: %s", file, text)
    return grid


def _grid(shape: tuple[int, ...], affine: npt.NDArray[np.float64], file: Path) -> Grid:
    """The grid of a header, after checks that it is plausible for a head; unusual values are logged."""
    i, j, k = _check_shape(shape, file)
    _check_sizes(file)
    if affine.shape != (4, 4) or not is_invertible(affine):
        message = f"{file}: the header's affine is singular or not finite ({affine.tolist()}); "
        raise Unusable("affine", message + "the position of the scan is unknown")
    grid = Grid((i, j, k), affine)
    _check_scale(grid, file)
    return grid


def _check_sizes(file: Path) -> None:
    """Refuse voxel sizes that are not positive numbers, which libraries silently correct or mirror."""
    stated = declared.read_declared(file)
    if stated is None:
        return
    if stated.impossible:
        message = f"{file}: the header gives voxel sizes of {headers.shown_mm(stated.sizes or ())} mm; "
        message += "they must be above 0. Correct the header, or convert the scan again from the source"
        raise Unusable("affine", message)
    if not stated.oriented:
        log.warning("%s: %s", file, headers.NO_ORIENTATION)


def _check_scale(grid: Grid, file: Path) -> None:
    """Refuse voxels and fields of view that no head scan has, before allocating anything of their size."""
    sides = " × ".join(f"{n * size:.4g}" for n, size in zip(grid.shape, grid.spacing, strict=True))
    if not VOXEL_MM[0] <= grid.spacing.min() <= grid.spacing.max() <= VOXEL_MM[1]:
        found = f"voxels of {headers.shown_mm(grid.spacing)} mm are implausible for a scan"
    elif not FIELD_MM3[0] <= grid.voxel_volume * math.prod(grid.shape) <= FIELD_MM3[1]:
        found = f"a field of view of {sides} mm is implausible for a head"
    else:
        return
    message = f"{file}: {found}; the header may be broken, or in units other than mm. "
    raise Unusable("affine", message + "Correct it, or convert the scan again from the source")


def _check_shape(shape: tuple[int, ...], file: Path) -> tuple[int, int, int]:
    """Require three axes, or more of which only the first three count, and a plausible number of voxels."""
    if len(shape) < 3 or any(n != 1 for n in shape[3:]) or min(shape) < 1:
        raise Unusable(
            "dimension", f"{file} has shape {_plain(shape)}; it must be one volume with three axes"
        )
    if math.prod(int(n) for n in shape) > MAX_VOXELS:
        raise Unusable("header", f"{file}: the header states {_plain(shape)} voxels, more than any scan has")
    return int(shape[0]), int(shape[1]), int(shape[2])


def _plain(shape: tuple[int, ...]) -> tuple[int, ...]:
    """Convert a shape to Python integers for a message."""
    return tuple(int(n) for n in shape)


def _itk_header(file: Path) -> sitk.ImageFileReader:
    reader = sitk.ImageFileReader()
    reader.SetFileName(str(file))
    try:
        reader.ReadImageInformation()
    except _UNREADABLE as error:
        raise _unreadable(file, error) from error
    if reader.GetNumberOfComponents() != 1:
        raise Unusable("type", f"{file} has several values per voxel; it must have one")
    if file.suffix.lower() == ".mha":  # holds its voxels itself
        one = sitk.Image([1] * reader.GetDimension(), reader.GetPixelID())
        _check_bytes(math.prod(reader.GetSize()) * one.GetSizeOfPixelComponent(), file, packed=True)
    return reader


def _itk_grid(reader: sitk.ImageFileReader, file: Path) -> Grid:
    size = _check_shape(reader.GetSize(), file)
    _check_sizes(file)  # ITK mirrors the grid for a negative size, and has none for 0
    direction = np.array(reader.GetDirection()).reshape(reader.GetDimension(), -1)[:3, :3]
    x, y, z = reader.GetOrigin()[:3]
    a, b, c = reader.GetSpacing()[:3]
    try:
        grid = from_itk(ItkGeometry(size, (a, b, c), (x, y, z), tuple(direction.ravel().tolist())))
    except ValueError as error:
        raise Unusable("affine", f"{file}: {error}") from error
    _check_scale(grid, file)
    return grid


def _read_itk(file: Path) -> tuple[Array, Grid]:
    reader = _itk_header(file)
    grid = _itk_grid(reader, file)
    try:
        data = sitk.GetArrayFromImage(reader.Execute())
    except _UNREADABLE as error:
        raise _unreadable(file, error) from error
    return data.T.reshape(grid.shape), grid


def _whole_numbers(data: Array, file: Path) -> npt.NDArray[np.int32]:
    """Labels as int32, or the failure that says which values are not integers."""
    if not np.issubdtype(data.dtype, np.integer) and data.dtype != bool:
        bad = int((~np.isfinite(data)).sum())
        if bad:
            message = f"{file}: {counted(bad, 'voxel')} without a finite number; labels must be whole numbers"
            raise Unusable("not_finite", message)
        broken = data[np.abs(data - np.rint(data)) > _INTEGER_TOLERANCE]
        if broken.size:
            message = f"{file}: {counted(broken.size, 'voxel')} with a label that is not a whole number "
            message += f"({_counts(broken)}); it may have been interpolated, or be an image"
            if data.min() >= 0 and data.max() <= 1:
                message += ". Give a map of probabilities by a pattern with * in place of its class"
            raise Unusable("non_integer", message)
        data = np.rint(data)
    if data.size and (data.min() < 0 or data.max() > np.iinfo(np.int32).max):
        wrong = data[(data < 0) | (data > np.iinfo(np.int32).max)]
        message = f"{file}: {counted(wrong.size, 'voxel')} with a label that is negative or too large "
        message += f"({_counts(wrong)})"
        raise Unusable("negative", message)
    return data.astype(np.int32)


def _counts(values: Array, most: int = 5) -> str:
    """Describe the most frequent values with their numbers of voxels."""
    distinct, count = np.unique(values, return_counts=True)
    order = np.argsort(-count, kind="stable")[:most]
    text = ", ".join(f"{distinct[i]:g} in {count[i]}" for i in order)
    return text + (f", and {counted(distinct.size - most, 'more value')}" if distinct.size > most else "")


def _require_file(file: Path) -> None:
    if told := unfetched(file):
        raise Unusable("missing", f"{file} {told}")
    if not file.is_file():
        raise Unusable("missing", f"{file} does not exist or is not a file")


def _unreadable(file: Path, error: BaseException) -> Unusable:
    reason = " ".join(str(error).split()) or type(error).__name__
    return Unusable("unreadable", f"{file} cannot be read as an image: {reason[:300]}")

"""What headers state in each supported format, and what is refused before any voxel is read."""

from __future__ import annotations

import gzip
import struct
from collections.abc import Callable
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
import SimpleITK as sitk

from longimorph.errors import Unusable
from longimorph.io import declared, headers
from longimorph.io.volumes import read_grid, read_labels

SHAPE = (12, 14, 10)
MM = np.array([4.0, 5.0, 6.0])
LABELS = np.arange(np.prod(SHAPE)).reshape(SHAPE).astype(np.uint8) % 3
META = (
    "ObjectType = Image\nNDims = 3\nBinaryData = True\nBinaryDataByteOrderMSB = False\n{}DimSize = 12 14 10\n"
)
META += "ElementType = MET_UCHAR\nElementDataFile = LOCAL\n"
NRRD = "NRRD0004\ntype: uint8\ndimension: 3\n{}sizes: 12 14 10\nencoding: raw\n\n"
MATRIX = "TransformMatrix = 1 0 0 0 1 0 0 0 1\n"
DIRECTIONS = "space directions: (4,0,0) (0,5,0) (0,0,6)\n"
SUFFIXES = (".nii", ".nii.gz", ".mgh", ".mgz", ".mha", ".mhd", ".nrrd", ".nhdr")

Change = Callable[[bytearray], None]


def text_file(file: Path, fields: str) -> Path:
    """Write a MetaImage or NRRD whose header has these fields."""
    head = (META if file.suffix == ".mha" else NRRD).format(fields)
    file.write_bytes(head.encode() + LABELS.tobytes())
    return file


def nifti(file: Path, change: Change, sform: bool = False) -> Path:
    """Write a NIfTI-1 whose header was changed byte by byte; its matrix is the sform, else the qform."""
    image = nib.Nifti1Image(LABELS, np.diag([*MM, 1.0]))
    image.header.set_xyzt_units("mm")
    image.set_sform(np.diag([*MM, 1.0]), code=int(sform))
    image.set_qform(np.diag([*MM, 1.0]), code=int(not sform))
    data = bytearray(image.to_bytes())
    change(data)
    file.write_bytes(gzip.compress(data) if file.suffix == ".gz" else bytes(data))
    return file


def mgh(file: Path, change: Change) -> Path:
    """Write an MGH or MGZ whose header was changed byte by byte."""
    data = bytearray(nib.MGHImage(LABELS, np.diag([*MM, 1.0])).to_bytes())
    change(data)
    file.write_bytes(gzip.compress(data) if file.suffix == ".mgz" else bytes(data))
    return file


def put(offset: int, form: str, *values: float) -> Change:
    """Return a change of the bytes of a header."""
    return lambda data: struct.pack_into(form, data, offset, *values)


def remarks(file: Path) -> str:
    return " | ".join(headers.remarks(file, read_grid(file)))


def whole(file: Path) -> Path:
    """Write a file of any format with a whole header."""
    if file.name.endswith(declared.NIFTI + declared.MGH):
        kind = nib.MGHImage if file.name.endswith(declared.MGH) else nib.Nifti1Image
        nib.save(kind(LABELS, np.diag([*MM, 1.0])), file)
        return file
    image = sitk.GetImageFromArray(LABELS.T)
    image.SetSpacing(MM.tolist())
    image.SetDirection([0, 1, 0, -1, 0, 0, 0, 0, 1])
    sitk.WriteImage(image, str(file))
    return file


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_a_whole_header_of_each_format_has_nothing_odd(tmp_path: Path, suffix: str) -> None:
    file = whole(tmp_path / f"a{suffix}")
    stated = declared.read_declared(file)
    assert stated is not None and stated.oriented and stated.unit is None and not stated.impossible
    assert stated.sizes == pytest.approx(MM)
    assert remarks(file) == ""


@pytest.mark.parametrize("fields", ["", MATRIX + "ElementSpacing = 4 5 6\n", "ElementSize = 4 5 6\n"])
def test_a_metaimage_tells_what_it_lacks(tmp_path: Path, fields: str) -> None:
    said = remarks(text_file(tmp_path / "a.mha", fields))
    assert ("gives no voxel size; 1 × 1 × 1 mm is assumed" in said) == ("Element" not in fields)
    assert ("gives no orientation; left and right are a guess" in said) == (MATRIX not in fields)


@pytest.mark.parametrize(
    "fields, sizes, oriented",
    [
        ("", False, False),
        ("spacings: 4 5 6\n", True, False),
        ("space dimension: 3\n" + DIRECTIONS, True, False),
        ("space: scanner-xyz\n" + DIRECTIONS, True, False),
        ("space: RAS\n" + DIRECTIONS, True, True),
        ("space: left-posterior-superior\n" + DIRECTIONS, True, True),
    ],
)
def test_a_nrrd_tells_what_it_lacks(tmp_path: Path, fields: str, sizes: bool, oriented: bool) -> None:
    said = remarks(text_file(tmp_path / "a.nrrd", fields))
    assert ("gives no voxel size" in said) != sizes
    assert ("gives no orientation" in said) != oriented


def test_an_mgh_without_geometry_tells(tmp_path: Path) -> None:
    for suffix in (".mgh", ".mgz"):
        said = remarks(mgh(tmp_path / f"a{suffix}", put(28, ">h", 0)))
        assert "gives no voxel size" in said and "gives no orientation" in said


@pytest.mark.parametrize("suffix", [".nii", ".nii.gz"])
def test_sizes_that_differ_from_those_of_the_sform_are_told(tmp_path: Path, suffix: str) -> None:
    said = remarks(nifti(tmp_path / f"a{suffix}", put(80, "<3f", 2, 5, 6), sform=True))
    assert "pixdim gives voxels of 2 × 5 × 6 mm, the sform voxels of 4 × 5 × 6 mm; the sform is used" in said
    assert "volumes are 2 times those given by pixdim" in said
    assert remarks(nifti(tmp_path / f"a{suffix}", put(80, "<3f", 4.001, 5, 6), sform=True)) == ""
    said = remarks(nifti(tmp_path / f"a{suffix}", put(80, "<3f", 0, 5, 6), sform=True))
    assert "pixdim gives voxels of 0 × 5 × 6 mm" in said


@pytest.mark.parametrize(
    "name, fields, unit",
    [
        ("a.nrrd", 'space: RAS\nspace units: "m" "m" "m"\n' + DIRECTIONS, "m"),
        ("a.nrrd", 'spacings: 4 5 6\nunits: "um" "um" "um"\n', "um"),
        ("a.nrrd", 'space: RAS\nspace units: "mm" "mm" "mm"\n' + DIRECTIONS, None),
        ("a.mha", "ElementSpacing = 4 5 6\nDistanceUnits = cm\n" + MATRIX, "cm"),
        ("a.mha", "ElementSpacing = 4 5 6\nDistanceUnits = mm\n" + MATRIX, None),
    ],
)
def test_units_other_than_mm_are_told(tmp_path: Path, name: str, fields: str, unit: str | None) -> None:
    said = remarks(text_file(tmp_path / name, fields))
    assert (f"lengths are in {unit}; they are read as mm" in said) == (unit is not None)


@pytest.mark.parametrize("letters, odd", [("RAI", False), ("LPS", False), ("???", False), ("LPI", True)])
def test_letters_of_a_metaimage_that_contradict_its_matrix_are_told(
    tmp_path: Path, letters: str, odd: bool
) -> None:
    fields = f"{MATRIX}ElementSpacing = 4 5 6\nAnatomicalOrientation = {letters}\n"
    said = remarks(text_file(tmp_path / "a.mha", fields))
    assert (f"AnatomicalOrientation says {letters}, TransformMatrix RAI" in said) == odd


BAD = {
    "zero": 0.0,
    "negative": -4.0,
    "NaN": float("nan"),
    "large": 101.0,
    "small": 0.009,
    "infinite": float("inf"),
}


@pytest.mark.parametrize("kind", BAD)
@pytest.mark.parametrize("suffix", [".nii", ".nii.gz", ".mgh", ".mgz", ".mha", ".nrrd"])
def test_impossible_voxel_sizes_are_refused_by_their_header(tmp_path: Path, kind: str, suffix: str) -> None:
    size, file = BAD[kind], tmp_path / f"a{suffix}"
    if suffix in declared.NIFTI:
        nifti(file, put(80, "<f", size))
    elif suffix in declared.MGH:
        mgh(file, put(30, ">f", size))
    else:
        names = {".mha": f"{MATRIX}ElementSpacing = {size:g} 5 6\n", ".nrrd": f"spacings: {size:g} 5 6\n"}
        text_file(file, names[suffix])
    with pytest.raises(Unusable) as error:
        read_labels(file)
    assert error.value.code in ("affine", "unreadable") and str(file) in error.value.message


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_a_field_of_view_of_no_head_is_refused(tmp_path: Path, suffix: str) -> None:
    file = whole(tmp_path / f"a{suffix}")
    if file.suffix in (".nii", ".gz"):
        nib.save(nib.Nifti1Image(np.zeros((40, 40, 40), np.uint8), np.diag([90.0, 90, 90, 1])), file)
    elif file.suffix in declared.MGH:
        nib.save(nib.MGHImage(np.zeros((40, 40, 40), np.uint8), np.diag([90.0, 90, 90, 1])), file)
    else:
        image = sitk.Image([40, 40, 40], sitk.sitkUInt8)
        image.SetSpacing((90.0, 90, 90))
        sitk.WriteImage(image, str(file))
    with pytest.raises(Unusable, match="a field of view of 3600 × 3600 × 3600 mm is implausible for a head"):
        read_grid(file)


def test_directions_without_numbers_are_no_size(tmp_path: Path) -> None:
    """A header that was cut about by hand."""
    file = text_file(tmp_path / "a.nrrd", "space directions: () (0,5,0) (0,0,6)\n")
    found = declared.read_declared(file)
    assert found is not None and found.sizes == (0.0, 5.0, 6.0)


def test_a_header_that_cannot_be_read_states_nothing(tmp_path: Path) -> None:
    for suffix in SUFFIXES:
        (tmp_path / f"a{suffix}").write_bytes(b"")
        assert declared.read_declared(tmp_path / f"none{suffix}") is None
        declared.read_declared(tmp_path / f"a{suffix}")

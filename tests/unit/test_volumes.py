"""Reading and writing volumes: what is refused, with which message, and lossless writing."""

from __future__ import annotations

import gzip
import logging

import nibabel as nib
import numpy as np
import pytest
import SimpleITK as sitk
from spaces import oblique

from longimorph.errors import Unusable
from longimorph.geometry import grid as g
from longimorph.io import volumes as v


def save(path, data, affine=None):
    nib.save(nib.Nifti1Image(data, oblique(data.shape[:3]).affine if affine is None else affine), path)
    return path


def labels(shape=(5, 7, 4), dtype=np.int16):
    return np.random.default_rng(0).integers(0, 9, shape).astype(dtype)


def refusal(path, reader=v.read_labels):
    with pytest.raises(Unusable) as caught:
        reader(path)
    assert path.name in caught.value.message
    return caught.value


@pytest.mark.parametrize("dtype", [np.uint8, np.int16, np.int32, np.float32, np.float64])
@pytest.mark.parametrize("name", ["a.nii", "a.nii.gz"])
def test_labels_of_every_type(tmp_path, dtype, name):
    array = labels(dtype=dtype)
    read, grid = v.read_labels(save(tmp_path / name, array))
    assert read.dtype == np.int32
    assert np.array_equal(read, array)
    assert g.same_grid(grid, oblique(array.shape), tol=1e-4)
    assert g.same_grid(v.read_grid(tmp_path / name), grid, tol=0)


@pytest.mark.parametrize("name", ["a.mha", "a.nrrd", "a.nii.gz"])
def test_files_of_itk_lie_where_itk_says(tmp_path, name):
    array = labels()
    image = sitk.GetImageFromArray(array.T)
    geometry = g.to_itk(oblique(array.shape, flip=(1, -1, 1)))
    image.SetOrigin(geometry.origin)
    image.SetSpacing(geometry.spacing)
    image.SetDirection(geometry.direction)
    sitk.WriteImage(image, str(tmp_path / name))
    read, grid = v.read_labels(tmp_path / name)
    assert np.array_equal(read, array)
    assert g.same_grid(grid, g.from_itk(geometry), tol=1e-3)
    assert g.same_grid(v.read_grid(tmp_path / name), grid, tol=0)


def test_mgh_is_read(tmp_path):
    array = labels(dtype=np.int32)
    nib.save(nib.MGHImage(array, oblique(array.shape).affine), tmp_path / "a.mgz")
    read, grid = v.read_labels(tmp_path / "a.mgz")
    assert np.array_equal(read, array)
    assert g.same_grid(grid, oblique(array.shape), tol=1e-3)


def test_one_volume_in_four_dimensions_is_a_volume(tmp_path):
    read, grid = v.read_labels(save(tmp_path / "a.nii", labels()[..., None]))
    assert read.shape == grid.shape == (5, 7, 4)


@pytest.mark.parametrize("shape", [(5, 7, 4, 2), (5, 7)])
def test_other_dimensions_are_refused(tmp_path, shape):
    failure = refusal(save(tmp_path / "a.nii", labels(shape), np.eye(4)))
    assert failure.code == "dimension"
    assert str(shape) in failure.message


def test_labels_that_are_not_whole_are_counted(tmp_path):
    array = labels(dtype=np.float32)
    array[0, 0, :3] = 2.5
    failure = refusal(save(tmp_path / "a.nii.gz", array))
    assert failure.code == "non_integer"
    assert "3 voxels" in failure.message
    assert "2.5 in 3" in failure.message


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_labels_that_are_not_finite_are_refused(tmp_path, value):
    array = labels(dtype=np.float32)
    array[1, 1, 1] = value
    assert refusal(save(tmp_path / "a.nii.gz", array)).code == "not_finite"


def test_negative_labels_are_refused(tmp_path):
    array = labels()
    array[0, 0, 0] = -4
    failure = refusal(save(tmp_path / "a.nii.gz", array))
    assert failure.code == "negative"
    assert "-4 in 1" in failure.message


def test_missing_file(tmp_path):
    assert refusal(tmp_path / "none.nii.gz").code == "missing"


@pytest.mark.parametrize("name", ["a.nii", "a.nii.gz", "a.mha"])
@pytest.mark.parametrize("reader", [v.read_labels, v.read_image])
def test_not_an_image(tmp_path, name, reader):
    (tmp_path / name).write_bytes(b"this is a text, and no image at all" * 30)
    assert refusal(tmp_path / name, reader).code == "unreadable"


@pytest.mark.parametrize("name", ["a.nii", "a.nii.gz"])
@pytest.mark.parametrize("kept", [0.0, 0.4, 0.9])
def test_files_cut_off_are_refused(tmp_path, name, kept):
    path = save(tmp_path / name, labels((30, 30, 30)))
    content = path.read_bytes()
    path.write_bytes(content[: int(kept * len(content))])
    assert refusal(path).code in {"unreadable", "header"}


@pytest.mark.parametrize("name", ["a.nii.gz", "a.NII.GZ", "a.mgz"])
def test_a_damaged_compressed_file_is_refused(tmp_path, name):
    values = labels((30, 30, 30))
    kind = nib.MGHImage if name == "a.mgz" else nib.Nifti1Image
    path, affine = tmp_path / name, np.diag([-1.0, 1, 1, 1])
    content = bytearray(gzip.compress(kind(values.astype(np.int32), affine).to_bytes()))
    path.write_bytes(bytes(content))
    assert np.array_equal(np.sort(v.read_labels(path)[0], axis=None), np.sort(values, axis=None))
    content[-6] ^= 0xFF  # the checksum
    path.write_bytes(bytes(content))
    assert refusal(path).code == "unreadable"


@pytest.mark.parametrize("dims", [(3, 30000, 30000, 30000), (3, 900, 900, 900)])
@pytest.mark.parametrize("name", ["a.nii", "a.nii.gz"])
def test_absurd_sizes_are_refused_before_memory_is_asked_for(tmp_path, dims, name):
    content = bytearray(nib.Nifti1Image(labels(), np.eye(4)).to_bytes())
    content[40:48] = np.array(dims, dtype="<i2").tobytes()
    path = tmp_path / name
    path.write_bytes(gzip.compress(bytes(content)) if name.endswith("gz") else bytes(content))
    assert refusal(path).code == "header"


FLAT = np.diag([1.0, 1, 0, 1])
PARALLEL = np.array([[1.0, 1, 0, 0], [1, 1, 0, 0], [0, 0, 1, 0], [0, 0, 0, 1]])


@pytest.mark.parametrize("affine", [FLAT, PARALLEL])
def test_singular_affine_is_refused(tmp_path, affine):
    image = nib.Nifti1Image(labels(), np.eye(4))
    image.header.set_sform(affine, code=1)
    content = bytearray(image.to_bytes())
    header = nib.Nifti1Image.from_bytes(bytes(content)).header
    header.set_sform(affine, code=1)
    content[:348] = header.binaryblock
    (tmp_path / "a.nii").write_bytes(bytes(content))
    assert refusal(tmp_path / "a.nii").code == "affine"


def test_colours_are_refused(tmp_path):
    data = np.zeros((4, 4, 4), dtype=[("R", "u1"), ("G", "u1"), ("B", "u1")])
    assert refusal(save(tmp_path / "a.nii", data)).code == "type"


def test_two_geometries_that_disagree_are_warned_of_and_the_sform_is_used(tmp_path, caplog):
    image = nib.Nifti1Image(labels(), np.eye(4))
    image.set_qform(np.eye(4), code=1)
    moved = np.eye(4)
    moved[0, 3] = 5.0
    image.set_sform(moved, code=1)
    nib.save(image, tmp_path / "a.nii.gz")
    with caplog.at_level(logging.WARNING):
        _, grid = v.read_labels(tmp_path / "a.nii.gz")
    assert "5.00 mm apart" in caplog.text
    assert np.allclose(grid.affine, moved)
    image.set_sform(moved, code=0)
    nib.save(image, tmp_path / "b.nii.gz")
    assert np.allclose(v.read_labels(tmp_path / "b.nii.gz")[1].affine, np.eye(4))


def test_an_image_may_have_holes_but_not_be_flat(tmp_path, caplog):
    array = np.random.default_rng(0).normal(size=(4, 5, 6)).astype(np.float32)
    array[0, 0, 0] = np.nan
    with caplog.at_level(logging.WARNING):
        read, _ = v.read_image(save(tmp_path / "a.nii.gz", array))
    assert "1 value not finite" in caplog.text
    assert read[0, 0, 0] == 0
    assert refusal(save(tmp_path / "b.nii.gz", np.full_like(array, 3)), v.read_image).code == "empty"


def test_scaled_integers_are_scaled(tmp_path):
    image = nib.Nifti1Image(np.arange(24, dtype=np.int16).reshape(2, 3, 4), np.eye(4))
    image.header.set_slope_inter(0.5, 1.0)
    nib.save(image, tmp_path / "a.nii.gz")
    expected = np.asarray(nib.Nifti1Image.from_filename(tmp_path / "a.nii.gz").dataobj)
    assert np.allclose(v.read_image(tmp_path / "a.nii.gz")[0], expected)


def test_maps_come_back_and_have_classes_last_on_disk(tmp_path):
    maps = np.random.default_rng(0).random((3, 5, 7, 4)).astype(np.float32)
    grid = oblique((5, 7, 4))
    v.write_maps(tmp_path / "m.nii.gz", maps, grid)
    assert nib.Nifti1Image.from_filename(tmp_path / "m.nii.gz").shape == (5, 7, 4, 3)
    back, back_grid = v.read_maps(tmp_path / "m.nii.gz")
    assert np.array_equal(back, maps)
    assert g.same_grid(back_grid, grid, tol=1e-4)


def test_equal_content_gives_equal_bytes(tmp_path):
    array = np.random.default_rng(0).random((5, 7, 4))
    for name in ("a.nii.gz", "b.nii.gz"):
        v.write_scalar(tmp_path / name, array, oblique())
    assert (tmp_path / "a.nii.gz").read_bytes() == (tmp_path / "b.nii.gz").read_bytes()


def test_scalars_keep_whole_numbers_whole(tmp_path):
    v.write_scalar(tmp_path / "a.nii.gz", labels(), oblique())
    assert np.array_equal(v.read_labels(tmp_path / "a.nii.gz")[0], labels())


def test_writing_on_the_wrong_grid_is_refused(tmp_path):
    with pytest.raises(ValueError, match="do not lie on"):
        v.write_maps(tmp_path / "a.nii.gz", np.zeros((2, 3, 3, 3)), oblique())
    with pytest.raises(ValueError, match="does not lie on"):
        v.write_scalar(tmp_path / "a.nii.gz", np.zeros((3, 3, 3)), oblique())


def test_single_maps_can_be_read_without_the_others(tmp_path) -> None:
    maps = np.random.default_rng(0).random((4, 3, 5, 2), dtype=np.float32)
    grid = g.Grid((3, 5, 2), np.diag([1.0, 2, 3, 1]))
    v.write_maps(tmp_path / "maps.nii.gz", maps, grid)
    some, own = v.read_maps(tmp_path / "maps.nii.gz", [2, 0])
    np.testing.assert_array_equal(some, maps[[2, 0]])
    assert own.shape == grid.shape
    v.write_scalar(tmp_path / "one.nii.gz", maps[0], grid)
    np.testing.assert_array_equal(v.read_scalar(tmp_path / "one.nii.gz"), maps[0])
    with pytest.raises(Unusable, match="4, classes last"):
        v.read_maps(tmp_path / "one.nii.gz", [0])

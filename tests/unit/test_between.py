"""Differences between the visits of a patient: voxel sizes, storage, and the sides of the labels."""

from __future__ import annotations

from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
from real_data import scan
from study_files import edit, write_labels, write_study

from longimorph.geometry.grid import Grid
from longimorph.io.volumes import read_labels
from longimorph.study import sides, validate
from longimorph.study.layout import Layout

SIDE, MM = 30, 5.0
MIRROR = np.diag([-1.0, 1, 1, 1])


def affine(mm: float = MM, shear: float = 0.0) -> np.ndarray:
    matrix = np.diag([mm, mm, mm, 1.0])
    matrix[:3, 3] = -(SIDE - 1) / 2 * mm
    matrix[0, 1] = shear
    return matrix


def atlas(left: tuple[int, ...] = (2, 4), right: tuple[int, ...] = (41, 43)) -> np.ndarray:
    """Labels of two halves (RAS): in each a structure within another, by turns from front to back."""
    x, y, z = np.indices((SIDE,) * 3) - (SIDE - 1) / 2
    head = np.linalg.norm([x, y, z], axis=0) * MM < 68
    labels = np.zeros((SIDE,) * 3, np.int16)
    for number, (one, other) in enumerate(zip(left, right, strict=True)):
        part = head & (np.floor((y + 13) / 26 * len(left)).clip(0, len(left) - 1) == number)
        labels[part & (x < 0)], labels[part & (x > 0)] = one, other
    return labels


TWINS = (2, 3, 4, 10), (41, 42, 43, 49)


def layout(labels: np.ndarray, matrix: np.ndarray) -> Layout:
    return Layout.of(labels.astype(np.int32), Grid(labels.shape, matrix))


def test_freesurfers_twins_tell_the_sides_in_any_storage() -> None:
    labels = atlas(*TWINS)
    for matrix in (affine(), affine(shear=0.5)):
        assert sides.swapped_twins(layout(labels, matrix)) == []
        assert sides.swapped_twins(layout(labels, MIRROR @ matrix)) == [2, 3, 4, 10]
    flipped = affine()
    flipped[:3, 0], flipped[0, 3] = -flipped[:3, 0], -flipped[0, 3]
    assert sides.swapped_twins(layout(labels[::-1], flipped)) == []
    assert sides.swapped_twins(layout(labels, flipped)) == [2, 3, 4, 10]


def test_labels_that_are_no_twins_or_too_few_tell_nothing() -> None:
    assert sides.swapped_twins(layout(atlas(), affine())) is None, "two pairs may be chance"
    mixed = atlas((2, 42, 4, 49), (41, 3, 43, 10))
    assert sides.swapped_twins(layout(mixed, affine())) is None, "they do not agree"
    whole = np.where(atlas() > 0, 2, 0)
    assert sides.swapped_twins(layout(whole, affine())) is None
    assert sides.same_sides(layout(whole, affine()), layout(whole, MIRROR @ affine())) is None


def test_any_labels_of_two_halves_tell_whether_two_visits_agree() -> None:
    labels = atlas((101, 103, 105), (102, 104, 106))
    own = layout(labels, affine())
    assert sides.swapped_twins(own) is None
    assert sides.same_sides(own, layout(np.roll(labels, 2, 0), affine(shear=0.3))) is True
    assert sides.same_sides(own, layout(labels[::-1], affine())) is False
    assert Layout.from_dict(own.to_dict()) == Layout.from_dict(Layout.from_dict(own.to_dict()).to_dict())


@pytest.mark.parametrize("number", [1, 2, 3, 4])
def test_real_labels_of_freesurfers_numbers(number: int) -> None:
    labels, grid = read_labels(scan(f"synthseg_labelmaps/training_seg_0{number}.nii.gz"))
    assert sides.swapped_twins(Layout.of(labels, grid)) == []
    mirrored = sides.swapped_twins(Layout.of(labels, Grid(grid.shape, MIRROR @ grid.affine)))
    assert mirrored and {2, 3, 4, 10, 17} <= set(mirrored)


def test_real_labels_of_other_numbers_of_two_people() -> None:
    names = ("IXI012-HH-1211", "IXI013-HH-1212")
    one, other = (read_labels(scan(f"ixi_dlmuse_2mm/{name}-T1_ds_DLMUSE.nii.gz")) for name in names)
    mirrored = Grid(other[1].shape, MIRROR @ other[1].affine)
    assert sides.swapped_twins(Layout.of(*one)) is None
    assert sides.same_sides(Layout.of(*one), Layout.of(*other)) is True
    assert sides.same_sides(Layout.of(*one), Layout.of(other[0], mirrored)) is False


@pytest.fixture
def config(tmp_path: Path) -> Path:
    """A study of two patients with heads of four labels on two sides, without images."""
    config = write_study(tmp_path)
    text = (tmp_path / "cohort.tsv").read_text().splitlines()
    rows = ["\t".join([*line.split("\t")[:3], "", line.split("\t")[4], ""]) for line in text[1:]]
    (tmp_path / "cohort.tsv").write_text("\n".join([text[0], *rows]) + "\n")
    for file in (tmp_path / "labels").iterdir():
        write_labels(file, atlas(), affine())
    return config


def remarks(config: Path, cache: Path | None = None) -> list[str]:
    return [str(remark) for remark in validate.validate(config, cache=cache).remarks]


def test_visits_that_agree_say_nothing(config: Path) -> None:
    assert remarks(config) == []


def test_a_visit_mirrored_against_the_first_is_told(config: Path) -> None:
    write_labels(config.parent / "labels" / "P1_m6.nii.gz", atlas()[::-1], affine())
    (said,) = remarks(config, config.parent / "scans.json")
    assert said.startswith("P1 m6: the labels of P1_m6.nii.gz and P1_m0.nii.gz (m0) lie on opposite sides")
    assert remarks(config, config.parent / "scans.json") == [said], "from the kept reports"


def test_a_visit_that_contradicts_freesurfers_numbers_is_told_once(config: Path) -> None:
    edit(config.parent / "classes.tsv", "WM\t2,41", "WM\t2,41,3,42,10,49")
    for visit in ("m0", "m6"):
        write_labels(config.parent / "labels" / f"P1_{visit}.nii.gz", atlas(*TWINS), affine())
    assert remarks(config) == []
    write_labels(config.parent / "labels" / "P1_m6.nii.gz", atlas(*TWINS)[::-1], affine())
    (said,) = remarks(config)
    assert said.startswith("P1 m6: P1_m6.nii.gz: labels that FreeSurfer numbers as left (2, 3, 4, 10)")
    assert "Left and right are swapped" in said


def test_another_order_of_storage_is_told_only_where_labels_do_not_tell(config: Path) -> None:
    flipped = affine()
    flipped[:3, 0], flipped[0, 3] = -flipped[:3, 0], -flipped[0, 3]
    file = config.parent / "labels" / "P1_m6.nii.gz"
    write_labels(file, atlas()[::-1], flipped)
    assert remarks(config) == [], "the labels lie where they did"
    for visit in ("m0", "m6"):
        labels = np.where(atlas() > 0, 2, 0).astype(np.int16)
        write_labels(config.parent / "labels" / f"P1_{visit}.nii.gz", labels, affine())
    assert remarks(config) == []
    write_labels(file, np.where(atlas() > 0, 2, 0).astype(np.int16), flipped)
    (said,) = remarks(config)
    assert "P1_m6.nii.gz and P1_m0.nii.gz (m0) are stored in different orders (LAS, RAS)" in said
    assert "do not distinguish left from right" in said


def test_as_many_voxels_of_another_size_are_told(config: Path) -> None:
    write_labels(config.parent / "labels" / "P1_m6.nii.gz", atlas(), affine(5.5))
    found = remarks(config)
    assert len(found) == 1 and "P1_m6.nii.gz has as many voxels as P1_m0.nii.gz (30×30×30)" in found[0]
    assert (
        "voxels of 5.5 × 5.5 × 5.5 mm, m0 of 5 × 5 × 5 mm: every volume becomes 1.33 times as large"
        in found[0]
    )


def test_another_resolution_is_told(config: Path) -> None:
    coarse = np.ascontiguousarray(atlas()[::2])
    matrix = affine()
    matrix[0, 0] *= 2
    write_labels(config.parent / "labels" / "P1_m6.nii.gz", coarse, matrix)
    found = " ".join(remarks(config))
    assert "P1_m6.nii.gz has voxels of 10 × 5 × 5 mm, m0 of 5 × 5 × 5 mm. Segmentations of different" in found


def test_a_matrix_of_another_resolution_beside_the_old_voxel_sizes_is_told_twice(config: Path) -> None:
    """Once by its own header, once beside the other visit."""
    image = nib.Nifti1Image(atlas(), affine())
    image.set_sform(affine(5.5), code=1)
    image.set_qform(None, code=0)
    nib.save(image, config.parent / "labels" / "P1_m6.nii.gz")
    found = remarks(config)
    assert (
        len(found) == 2 and "pixdim gives voxels of 5 × 5 × 5 mm" in found[0] and "as many voxels" in found[1]
    )

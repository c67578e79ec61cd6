"""The recipes of docs/own-data.md run on every format that the page names, and do what it says."""

from __future__ import annotations

import re
from itertools import product
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
import SimpleITK as sitk
from spaces import oblique, rotation

from longimorph.geometry.grid import Grid, to_itk
from longimorph.geometry.resample import nearest_labels
from longimorph.io.volumes import read_labels
from longimorph.study import classes, scans
from longimorph.study.table import load_cohort

PAGE = (Path(__file__).parents[2] / "docs" / "own-data.md").read_text(encoding="utf-8")
SUFFIXES = (".nii.gz", ".nii", ".mgz", ".mgh", ".mha", ".nrrd")
REGIONS = oblique(shape=(20, 24, 16), spacing=(1.5, 1.5, 2.0))


def lesion_grid() -> Grid:
    """A finer grid, turned against the regions, that holds a part of them."""
    affine = np.eye(4)
    affine[:3, :3] = rotation((0.1, 0.2, -0.1)) * (0.9, 1.1, 1.2)
    affine[:3, 3] = REGIONS.centre() - affine[:3, :3] @ (14.5, 14.5, 14.5)
    return Grid((30, 30, 30), affine)


def as_itk(data: np.ndarray, grid: Grid) -> sitk.Image:
    """The volume as an image of SimpleITK."""
    geometry = to_itk(grid)
    image = sitk.GetImageFromArray(np.ascontiguousarray(data.T))
    image.SetSpacing(geometry.spacing)
    image.SetOrigin(geometry.origin)
    image.SetDirection(geometry.direction)
    return image


def save(data: np.ndarray, grid: Grid, file: Path) -> None:
    """Write a volume in the format of its name."""
    if file.name.endswith((".mha", ".nrrd")):
        sitk.WriteImage(as_itk(data, grid), str(file))
    elif file.name.endswith((".mgz", ".mgh")):
        nib.save(nib.MGHImage(data.astype(np.int32), grid.affine), file)
    else:
        nib.save(nib.Nifti1Image(data, grid.affine), file)


def recipe() -> str:
    """The first of the blocks in Python of the page."""
    return blocks("python")[0]


def blocks(kind: str) -> list[str]:
    """The blocks of a kind on the page."""
    return re.findall(rf"^```{kind}\n(.*?)^```", PAGE, flags=re.MULTILINE | re.DOTALL)


def ball(grid: Grid) -> np.ndarray:
    """Lesions 1 and 2, two halves of a ball around the middle of the regions."""
    points = grid.index_to_world(np.moveaxis(np.indices(grid.shape), 0, -1)) - REGIONS.centre()
    return np.where(np.linalg.norm(points, axis=-1) < 9, np.where(points[..., 0] < 0, 1, 2), 0).astype(
        np.uint8
    )


@pytest.mark.parametrize("regions, lesions", list(product(SUFFIXES, (".nii.gz", ".mgz", ".mha"))))
def test_a_mask_on_another_grid_is_brought_to_the_regions(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, regions: str, lesions: str
) -> None:
    """What comes out lies on the grid of the regions, and is the ball to within a voxel of the mask."""
    monkeypatch.chdir(tmp_path)
    save(np.ones(REGIONS.shape, np.uint8), REGIONS, tmp_path / f"regions{regions}")
    save(ball(lesion_grid()), lesion_grid(), tmp_path / f"lesions{lesions}")
    block = recipe().replace('"regions.nii.gz"', f'"regions{regions}"')
    exec(block.replace('"lesions.nii.gz"', f'"lesions{lesions}"'), {})
    made, grid = read_labels(tmp_path / "lesions_on_regions.nii.gz")
    assert grid.shape == REGIONS.shape and np.allclose(grid.affine, REGIONS.affine, atol=1e-4)
    expected = ball(REGIONS)
    assert (made != expected).sum() < 0.12 * (expected > 0).sum()
    for label in (1, 2):
        volume = (made == label).sum() * REGIONS.voxel_volume
        assert volume == pytest.approx((expected == label).sum() * REGIONS.voxel_volume, rel=0.05)


def test_the_nearest_label_is_that_of_simpleitk() -> None:
    """Ties apart, voxel for voxel, beyond the field of view too."""
    labels, grid = np.random.default_rng(1).integers(0, 9, (30, 30, 30)).astype(np.uint8), lesion_grid()
    target = as_itk(np.zeros(REGIONS.shape, np.uint8), REGIONS)
    theirs = sitk.Resample(as_itk(labels, grid), target, sitk.Transform(), sitk.sitkNearestNeighbor)
    ours = nearest_labels(labels, grid, REGIONS)
    assert ours.dtype == labels.dtype
    assert (ours == sitk.GetArrayFromImage(theirs).T).mean() > 0.999
    assert (ours == 0).mean() > 0.2 and (nearest_labels(labels, grid, grid) == labels).all()


def test_a_class_table_of_the_page_can_be_read(tmp_path: Path) -> None:
    """Each block that begins with the columns of a class table, as the page shows it."""
    blocks = re.findall(r"^```text\n(class\t.*?)^```", PAGE, flags=re.MULTILINE | re.DOTALL)
    assert blocks
    for block in blocks:
        (tmp_path / "classes.tsv").write_text(block)
        assert len(classes.load_classes(tmp_path / "classes.tsv").rows) == block.count("\n") - 1


def test_the_soft_segmentations_of_the_page(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """FAST's partial volumes, a lesion probability made by the recipe, and both tables of the page."""
    monkeypatch.chdir(tmp_path)
    chance, affine = np.random.default_rng(2), np.diag([2.0, 2, 2, 1])
    (cohort,) = [text for text in blocks("text") if "_pve_*" in text]
    (table,) = [text for text in blocks("text") if text.startswith("class\t") and "\tchannels" in text]
    Path("cohort.tsv").write_text(cohort)
    Path("classes.tsv").write_text(table)
    sums: dict[str, dict[str, float]] = {}
    for visit in ("m00", "m06"):
        tissue = chance.dirichlet([0.4] * 4, (12, 11, 10)).astype(np.float32)
        network = chance.dirichlet([2.0, 0.5], (12, 11, 10)).astype(np.float32)
        nib.save(nib.Nifti1Image(network, affine), "softmax.nii.gz")
        exec(blocks("python")[1].replace("m00", visit), {})
        for n in range(3):
            nib.save(nib.Nifti1Image(tissue[..., n], affine), f"P001_{visit}_pve_{n}.nii.gz")
        healthy = [float((tissue[..., n] * network[..., 0]).sum()) * 8 for n in range(4)]
        sums[visit] = dict(zip(("CSF", "GM", "WM", "background"), healthy, strict=True))
        sums[visit]["lesion"] = float(network[..., 1].sum()) * 8
    known = classes.load_classes("classes.tsv")
    for one in load_cohort("cohort.tsv").visits:
        report = scans.examine(one, known)
        assert report.counts is not None, report.defects
        index = known.classify(report.counts.regions, report.counts.states)
        for name, volume in sums[one.timepoint].items():
            own = report.counts.voxels[index == known.names.index(name)].sum() * 8
            assert own == pytest.approx(volume, rel=1e-3)

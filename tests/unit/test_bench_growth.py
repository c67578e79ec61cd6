"""The benchmark on real growth: its segmentation, its registrations and its page."""

from __future__ import annotations

import sys
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest

REPOSITORY = Path(__file__).parents[2]
sys.path.insert(0, str(REPOSITORY))

from benchmarks import growth, growth_data, growth_figure  # noqa: E402
from benchmarks.growth_data import ENHANCING, NECROSIS, OUTSIDE, REST  # noqa: E402
from longimorph.geometry.grid import Grid  # noqa: E402

SIDE, SLICES = 160, 8


def head(ring: float) -> tuple[np.ndarray, np.ndarray]:
    """A T1 image of scalp, skull and brain, and the mask of an enhancing ring of that radius (voxels)."""
    x, y, z = np.indices((SIDE, SIDE, SLICES), dtype=float)
    middle = (SIDE - 1) / 2
    r = np.sqrt((x - middle) ** 2 + (y - middle) ** 2)
    image = np.where(r < 72, 3000.0, 0.0)
    image[r < 64] = 100.0
    image[r < 58] = 1000.0
    away = np.sqrt((x - middle - 20) ** 2 + (y - middle) ** 2)
    enhancing = (away < ring) & (away >= ring / 2) & (abs(z - 4) < 2)
    image[enhancing] = 2500.0
    image += np.random.default_rng(1).normal(0, 20, image.shape) * (image > 0)
    return image, enhancing


def test_a_ring_encloses_necrosis_and_the_brain_ends_at_the_skull() -> None:
    image, enhancing = head(12)
    labels = growth_data.labels_of(image, enhancing)
    assert np.array_equal(labels == ENHANCING, enhancing)
    assert (labels == NECROSIS).sum() == pytest.approx(3 * np.pi * 6**2, rel=0.1)
    brain = (labels != OUTSIDE).sum() / SLICES
    assert brain == pytest.approx(np.pi * 58**2, rel=0.06)
    assert (labels[80, 60] == REST).all()


def write(folder: Path) -> None:
    """Both visits of a patient, the ring grown from 9 to 12 voxels."""
    folder.mkdir(parents=True)
    for visit, ring in (("Pre", 9.0), ("Post", 12.0)):
        for kind, volume in zip(("Scan_T1", "Mask"), head(ring), strict=True):
            file = folder / f"{visit}_{kind}.nii.gz"
            nib.save(nib.Nifti1Image(volume.astype(np.float64), np.diag([-1.0, -1, 1, 1])), file)


def test_the_visits_of_a_patient_come_to_one_grid_around_the_tumour(tmp_path: Path) -> None:
    write(tmp_path / "01")
    patient = growth.prepare("01", tmp_path / "01")
    source, target = patient.maps
    np.testing.assert_allclose(source.sum(axis=0), 1, atol=1e-5)
    assert patient.translation_mm < 1.5
    volume = np.array([m[ENHANCING].sum() for m in (source, target)]) * patient.grid.voxel_volume
    expected = np.array([head(ring)[1].sum() for ring in (9.0, 12.0)]) * np.prod(growth_data.SPACING_MM)
    np.testing.assert_allclose(volume, expected, rtol=0.05)
    height = patient.grid.shape[2] * growth.SPACING_MM
    assert 3 * 6.5 <= height <= SLICES * 6.5 + growth.SPACING_MM


def test_slices_where_a_visit_sees_less_than_the_brain_are_left_out() -> None:
    maps = np.zeros((4, 6, 6, 20), dtype=np.float32)
    maps[REST], maps[REST, :, :, 9:12] = 1, 0
    maps[ENHANCING, :, :, 9:12] = 1
    grid, seen = Grid((6, 6, 20), np.diag([3.0, 3, 3, 1])), np.ones((6, 6, 20), dtype=np.float32)
    seen[2, 2, 6] = 0.5
    found = growth.around([maps, maps], seen, grid)
    assert found.affine[2, 3] == 7 * 3
    assert found.shape == (6, 6, 12)


def test_the_slices_of_the_picture_are_those_of_most_change_and_apart() -> None:
    change = np.zeros((4, 4, 12), dtype=np.float32)
    change[..., 8], change[..., 7], change[..., 2] = 3, 2, 1
    assert growth_figure.slices(change, 2) == [2, 8]


def test_without_the_data_the_page_stays_as_it_is(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    page = tmp_path / "growth.md"
    page.write_text("as it was")
    (tmp_path / "gbm_progression" / "01").mkdir(parents=True)
    assert growth.main(["--data", str(tmp_path), "--out", str(page)]) == 1
    said = capsys.readouterr().err
    assert str(tmp_path / "gbm_progression" / "05") in said
    assert str(tmp_path / "gbm_progression" / "01") not in said
    assert page.read_text() == "as it was"

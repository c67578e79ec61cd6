"""The benchmark of single lesions: its phantoms, its scores and its page."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import pytest
from scipy import ndimage

REPOSITORY = Path(__file__).parents[2]
sys.path.insert(0, str(REPOSITORY))

from benchmarks import lesion_patient  # noqa: E402
from benchmarks import lesions as bench  # noqa: E402
from benchmarks.phantoms import lesions as phantoms  # noqa: E402
from longimorph.geometry.grid import Grid  # noqa: E402
from longimorph.maps import lesions as single  # noqa: E402


def test_the_motion_keeps_volume_and_can_be_undone() -> None:
    points = np.random.default_rng(0).uniform(10, 26, (3, 500))
    moved = phantoms.pushed(points)
    np.testing.assert_allclose(phantoms.pushed_back(moved), points, atol=1e-9)
    step = 1e-4
    shifted = [phantoms.pushed(points + step * np.eye(3)[axis][:, None]) for axis in range(3)]
    jacobian = np.stack([(one - moved) / step for one in shifted], axis=-1)
    np.testing.assert_allclose(np.linalg.det(np.moveaxis(jacobian, 1, 0)), 1, atol=1e-3)
    assert np.linalg.norm(moved - points, axis=0).max() > 3


def test_a_phantom_has_the_lesions_that_its_events_tell_of() -> None:
    made = phantoms.phantom(0)
    kinds = [site.event for site in made.sites]
    counts = [ndimage.label(own == phantoms.LESION, np.ones((3, 3, 3)))[1] for own in made.labels]
    lost = {"new": (0, 1), "gone": (1, 0), "merged": (2, 1), "split": (1, 2)}
    assert counts == [sum(lost.get(kind, (1, 1))[side] for kind in kinds) for side in (0, 1)]
    assert set(kinds) == set(phantoms.EVENTS)


def test_what_agrees_with_the_reference() -> None:
    grid = Grid((30, 10, 10), np.eye(4))
    marks = np.zeros(grid.shape, dtype=bool)
    marks[2:6, 2:6, 2:6] = marks[12:16, 2:6, 2:6] = marks[22:26, 2:6, 2:6] = True
    marks[28, 8, 8] = True  # too small to count
    masks = [np.zeros(grid.shape, dtype=bool) for _ in range(3)]
    masks[0][4:18, 2:6, 2:6] = True  # two of them
    masks[1][25:29, 2:9, 2:9] = True  # 8 % of this one and a quarter of the third
    masks[2][28, 8, 8] = True
    found = lesion_patient.agreement(masks, single.find(marks, grid, 1.0))
    assert found == lesion_patient.Found(own=3, right=2, known=3, seen=3, seen_share=1.0)
    assert lesion_patient.agreement(masks[1:], single.find(marks, grid, 1.0)).seen_share == pytest.approx(
        1 / 3
    )
    assert found.f1 == pytest.approx(2 * (2 / 3) / (2 / 3 + 1))
    assert lesion_patient.Found(0, 0, 3, 0).f1 == 0


def test_the_page(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bench, "NOISES", (0.0,))
    out = tmp_path / "lesions.md"
    options = ["--seeds", "1", "--registered", "0", "--data", str(tmp_path / "none"), "--out", str(out)]
    assert bench.main(options) == 0
    text = out.read_text(encoding="utf-8")
    assert "| 0 | **1.000** |" in text and "Not measured" in text

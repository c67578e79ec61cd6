"""The change at which pictures and crosshair are centred, and the brightness window of scans."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from longimorph.report import focus
from longimorph.report.maps import windowed
from longimorph.study import classes as class_tables
from longimorph.study.classes import ClassTable

SIDE = 30
SPACING = (2.0, 2.0, 2.0)
NOTHING = np.zeros((SIDE,) * 3, dtype=np.float32)


@pytest.fixture
def classes(tmp_path: Path) -> ClassTable:
    rows = ["class\tregions\tstates", "lesion\t*\t1", "WM\t2\t0", "CSF\t3\t0", "background\t0\t0"]
    (tmp_path / "classes.tsv").write_text("\n".join(rows) + "\n", encoding="utf-8")
    return class_tables.load_classes(tmp_path / "classes.tsv")


def brain() -> np.ndarray:
    """A ball, whose edge a skull strip could shift."""
    radius = np.linalg.norm(np.indices((SIDE,) * 3) - (SIDE - 1) / 2, axis=0)
    return radius < 12


def spot(index: tuple[int, int, int], percent: float, half: int = 1) -> np.ndarray:
    """A cube that changed by so much."""
    found = NOTHING.copy()
    found[tuple(slice(i - half, i + half + 1) for i in index)] = percent
    return found


def test_what_the_background_gives_or_takes_is_no_change_of_tissue(classes: ClassTable) -> None:
    change = np.zeros((4, 3, 1, 1), dtype=np.float32)
    change[:, 0, 0, 0] = 0, -1, 0, 1  # white matter to background
    change[:, 1, 0, 0] = 0, -1, 1, 0  # white matter to fluid
    change[:, 2, 0, 0] = 0.2, -0.6, 0, 0.4  # a third of it to a lesion, the rest to background
    assert focus.exchanged(change, classes.background).ravel() == pytest.approx([0, 100, 20], abs=1e-4)
    assert focus.pathological(change, classes).ravel() == pytest.approx([0, 0, 20], abs=1e-4)


@given(arrays(np.float32, (4, 2, 2, 2), elements=st.floats(-1, 1, width=32)))
def test_the_share_is_never_negative_and_at_most_that_with_the_background(change: np.ndarray) -> None:
    change = change - change.mean(axis=0)
    found = focus.exchanged(change, 3)
    assert (found >= 0).all() and (found <= focus.exchanged(change, None) + 1e-3).all()


def test_the_pathological_change_wins_over_a_larger_one() -> None:
    ill, change = spot((12, 15, 17), 40), spot((20, 15, 15), 100, 3)
    assert focus.place(ill, change + ill, brain(), SPACING) == (12, 15, 17)


def test_of_several_the_largest_not_the_most_intense_voxel() -> None:
    ill = spot((12, 15, 17), 60, 2) + spot((20, 15, 15), 100, 0)
    assert focus.place(ill, ill, brain(), SPACING) == (12, 15, 17)


def test_without_pathology_the_largest_change_inside_and_never_the_edge() -> None:
    edge = np.where(brain() & ~focus.inside(brain(), SPACING), np.float32(100), np.float32(0))
    assert edge.any()
    assert focus.place(NOTHING, edge + spot((16, 14, 12), 20), brain(), SPACING) == (16, 14, 12)
    assert focus.place(NOTHING, edge, brain(), SPACING) == focus.place(NOTHING, NOTHING, brain(), SPACING)


def test_inside_keeps_away_from_the_edge_and_is_never_empty() -> None:
    radius = 2 * np.linalg.norm(np.indices((SIDE,) * 3) - (SIDE - 1) / 2, axis=0)
    deep = focus.inside(brain(), SPACING)
    assert deep.any() and radius[deep].max() < 24 - 4
    small = np.zeros((SIDE,) * 3, dtype=bool)
    small[10:12, 10:12, 10:12] = True
    assert focus.inside(small, SPACING).any() and not focus.inside(small & False, SPACING).any()


def test_a_scan_is_windowed_by_its_brain() -> None:
    chance = np.random.default_rng(0)
    inside = brain()
    scan = np.where(inside, chance.uniform(80, 120, inside.shape), 0).astype(np.float32)
    radius = np.linalg.norm(np.indices(inside.shape) - (SIDE - 1) / 2, axis=0)
    scan[radius > 14] = 2000  # fat and eyes
    shown = windowed(scan, inside)
    assert np.ptp(np.percentile(shown[inside], (1, 99))) > 170
    assert np.ptp(np.percentile(windowed(scan, None)[inside], (1, 99))) < 30
    assert not windowed(np.zeros_like(scan), inside).any()

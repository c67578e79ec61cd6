"""The benchmark on identity: the visits it pairs, its results and its rough segmentation."""

from __future__ import annotations

import sys
from itertools import product
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

REPOSITORY = Path(__file__).parents[2]
sys.path.insert(0, str(REPOSITORY))

from benchmarks import identity, identity_data, identity_texts  # noqa: E402
from longimorph.geometry.grid import Grid  # noqa: E402


def visit(person: str, kind: str, number: int) -> Any:
    return SimpleNamespace(person=person, kind=kind, name=f"{person} {number} {kind}")


def test_people_are_compared_with_themselves_and_with_others_by_scans_of_one_kind() -> None:
    healthy = [visit(f"H{n}", "T1", 1) for n in range(3)]
    ill = [visit(f"G{n}", identity_data.TUMOUR, k) for n, k in product(range(3), (1, 2))]
    both = [visit("M", kind, k) for k, kind in product((1, 2), ("FLAIR", "T1"))]
    found = [(a.person, b.person, a.kind == b.kind) for a, b in identity.pairs([*healthy, *ill, *both])]
    same = [(a, b) for a, b, alike in found if a == b and alike]
    assert same == [("G0",) * 2, ("G1",) * 2, ("G2",) * 2, ("M", "M"), ("M", "M")]
    others = [(a, b) for a, b, _ in found if a != b]
    assert len(others) == len({frozenset(pair) for pair in others}) == 3 + 3 + 3
    assert [pair for pair in found if not pair[2]] == [("M", "M", False)]


def test_a_scan_is_segmented_by_its_brightness_whatever_the_shading() -> None:
    shape = (30, 30, 30)
    grid = Grid(shape, np.diag([4.0, 4, 4, 1]))
    x = np.indices(shape)
    truth = 1 + (x[0] // 3 + x[1] // 3 + x[2] // 3) % 3
    brain = np.linalg.norm(np.moveaxis(x, 0, -1) - 14.5, axis=-1) < 13
    image = (np.array([0, 30, 70, 110])[truth] * (1 + x[1] / 60)).astype(np.float32)
    found = identity_data.tissue(image, brain, grid)
    assert (found[~brain] == 0).all()
    assert (found[brain] == truth[brain]).mean() > 0.95


def test_the_page_counts_pairs_refusals_and_verdicts() -> None:
    row = {"first": "A", "second": "B", "correlation": 0.95, "kappa": 0.7, "brain_dice": 0.98}
    rows = [
        {**row, "group": identity.ONE},
        {**row, "group": identity.TWO, "correlation": 0.2, "kappa": 0.3},
        {"first": "A", "second": "C", "group": identity.TWO, "refused": "the brains overlap by 0.4"},
    ]
    page = identity_texts.page(rows)  # type: ignore[arg-type]
    assert "| one person | 1 | 0 | 0.95 to 0.95 |" in page
    assert "| two people | 2 | 1 | 0.20 to 0.20 |" in page
    assert "| one person | 1 | 0 | 0 |" in page and "| two people | 0 | 0 | 1 |" in page
    assert "| A | C | two people | refused |" in page


def test_without_the_data_the_page_stays_as_it_is(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    page = tmp_path / "identity.md"
    page.write_text("as it was")
    assert identity.main(["--data", str(tmp_path), "--out", str(page)]) == 1
    assert str(tmp_path) in capsys.readouterr().err
    assert page.read_text() == "as it was"

"""The benchmark of several visits: its estimates on known changes, and its page."""

from __future__ import annotations

import re
import sys
from pathlib import Path

import numpy as np
import pandas as pd

REPOSITORY = Path(__file__).parents[2]
sys.path.insert(0, str(REPOSITORY))

from benchmarks import visits as bench  # noqa: E402

PAGE = REPOSITORY / "docs" / "benchmarks" / "visits.md"


def changes_of(course: np.ndarray) -> pd.DataFrame:
    rows = []
    for a in range(len(course)):
        for b in range(a + 1, len(course)):
            for name, value in zip("mn", course[b] - course[a], strict=True):
                row = {"patient": "P", "from": str(a), "to": str(b), "class": name, "status": "ok"}
                row |= {f"{kind}_{what}mm3": value for kind in bench.KINDS for what in ("", "matrix_")}
                rows.append(row | {f"{kind}_uncertainty_mm3": 5.0 for kind in bench.KINDS})
    return pd.DataFrame(rows)


def test_every_way_finds_a_course_without_noise() -> None:
    course = np.array([[0.0, 0.0], [3.0, -1.0], [4.0, -2.0], [9.0, -7.0], [8.0, 5.0]])
    found = bench._courses(changes_of(course), "reallocation", 5)
    assert set(found) == set(bench.ways())
    for way in found.values():
        np.testing.assert_allclose(way, course, atol=2e-3)


def test_a_slope_is_that_of_a_straight_line() -> None:
    times = np.arange(5.0)[:, None]
    np.testing.assert_allclose(bench.slope(7 + times * [2.0, -3.0]), [2.0, -3.0])
    noise = np.random.default_rng(1).normal(size=(5, 1))
    np.testing.assert_allclose(bench.slope(noise), np.polyfit(times[:, 0], noise[:, 0], 1)[0])


def test_the_table_compares_with_consecutive_pairs() -> None:
    slopes = {
        (kind, way): np.full((2, 2), size)
        for kind in bench.KINDS
        for way, size in zip(bench.ways(), (4.0, 5.0, 3.0, 8.0), strict=True)
    }
    text = bench.table(bench.Errors(slopes, np.full((2, 2), 1.0)), ["m", "n"])
    gains = re.findall(r"\| (-?\d+) % \|", text)
    assert gains == ["0", "-25", "25", "-100"] * 2 and "| 1.0 | 1.0 | 1.0 | |" in text


def test_the_page_is_of_this_benchmark() -> None:
    text = PAGE.read_text(encoding="utf-8")
    assert "make bench-visits" in text and all(text.count(f"| {way} |") == 2 for way in bench.ways())

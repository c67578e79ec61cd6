"""How a page tells an open question: decided by the data, or a range where they cannot tell."""

from __future__ import annotations

import pandas as pd
import pytest

from longimorph.report.bars import bars
from longimorph.report.pairs import Amount, _clause, amounts_in
from longimorph.tables import columns


def row(low: float, high: float, moved: float = 3000.0, matrix: float | None = None) -> dict[str, object]:
    """A class that grew by 8 mL, of which ``moved`` mm³ by deformation, within a range."""
    known = dict.fromkeys((*columns.VOLUMES, *columns.UNCERTAINTIES), 0.0) | {
        "volume_to_mm3": 8000.0,
        "deformation_mm3": moved,
        "reallocation_mm3": 8000.0 - moved,
        "deformation_low_mm3": low,
        "deformation_high_mm3": high,
        "reallocation_low_mm3": 8000.0 - high,
        "reallocation_high_mm3": 8000.0 - low,
    }
    alone = {key: float("nan") if matrix is None else matrix for key in columns.UNCERTAINTIES[4:6]}
    return {**known, **alone, "class": "mass", "status": "ok"}


def amount(*values: float, **named: float) -> Amount:
    """The amount of that row."""
    (found,) = amounts_in(pd.DataFrame([row(*values, **named)]), ["mass"])
    return found


@pytest.mark.parametrize(
    ("low", "high", "words"),
    [
        (2000.0, 4500.0, "decided by the data"),
        (1000.0, 6000.0, "the data cannot tell"),
    ],
)
def test_a_wide_range_is_told_and_a_narrow_one_is_an_answer(low: float, high: float, words: str) -> None:
    found = amount(low, high)
    assert found.open
    assert found.decided == words


def test_a_clause_gives_the_ranges() -> None:
    said = "mass 0.0 → 8.0 mL: +3.0 (+1.0 to +6.0) deformation, +5.0 (+2.0 to +7.0) reallocation"
    assert _clause(amount(1000.0, 6000.0)) == f"{said}; the data cannot tell"
    assert _clause(amount(1000.0, 6000.0), told=False) == said


def test_a_question_that_the_matrix_decides_is_not_open() -> None:
    found = amount(2900.0, 3100.0, matrix=3000.0)
    assert not found.open
    assert found.decided == ""


def test_the_bars_of_an_open_question_show_its_range_and_no_mark_of_the_matrix() -> None:
    drawn = str(bars([amount(1000.0, 6000.0)], {"mass": "#ff0000"}))
    assert "mass, deformation: +3.000 mL, between +1.000 and +6.000" in drawn
    assert "mass, reallocation: +5.000 mL, between +2.000 and +7.000" in drawn
    assert "by the control matrix alone" not in drawn
    closed = str(bars([amount(2900.0, 3100.0, matrix=3000.0)], {"mass": "#ff0000"}))
    assert "mass, deformation by the control matrix alone: +3.000 mL" in closed

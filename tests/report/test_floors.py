"""The noise floor on the pages: drawn around zero, and what lies below it in grey."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path

import pandas as pd
import pytest
import small_results as small

from longimorph.report import bars, cohort, courses, pairs, spread
from longimorph.report.pairs import Amount
from longimorph.study.classes import ClassTable
from longimorph.tables import columns
from longimorph.verdict.status import PairStatus

GROWN = Amount("WM", 10.0, 12.5, 2.0, 0.5, 0.0, 0.1, 0.1, moved_floor=1.0, changed_floor=1.0, total_floor=1.5)
PLAIN = replace(GROWN, moved_floor=float("nan"), changed_floor=float("nan"), total_floor=float("nan"))
COLORS = {"WM": "#ffffff"}


def test_a_change_is_below_a_floor_only_where_one_is_known() -> None:
    doubts = [GROWN.doubt(kind) for kind in ("moved", "changed", "total", "rest")]
    assert doubts == ["", "below the noise floor", "", ""]
    assert not any(PLAIN.doubt(kind) for kind in ("moved", "changed", "total"))


@pytest.mark.parametrize("low, high, doubtful", [(-0.1, 4.1, True), (0.2, 3.8, False), (-4.0, -0.1, False)])
def test_a_change_whose_interval_contains_zero_may_be_zero(low: float, high: float, doubtful: bool) -> None:
    wide = replace(GROWN, moved_90_low=low, moved_90_high=high)
    words = "its 90 % interval contains 0"
    assert wide.doubt("moved") == (words if doubtful else "") and not wide.doubt("total")
    drawn = str(bars.bars([wide], COLORS))
    assert ('class="bar moved below"' in drawn) == (words in drawn) == doubtful
    (told,) = pairs.of_others(small_pair(wide), small_classes())
    assert ("+2.0 ± 0.1 deformation (its 90 % interval contains 0)" in told) == doubtful


def test_a_doubt_is_said_once_and_not_of_a_number_that_is_shown_as_zero() -> None:
    doubtful = replace(GROWN, moved_floor=3.0, moved_uncertainty=4.0, changed_uncertainty=4.0)
    told = pairs._clause(doubtful)
    assert told.count("below the noise floor") == 2 and "told from zero" not in told
    told = pairs._clause(replace(doubtful, changed=0.04))
    assert told.endswith("+2.0 ± 4.0 deformation (below the noise floor), 0.0 ± 4.0 reallocation")


def test_bars_have_a_band_and_grey_numbers_below_it() -> None:
    drawn = str(bars.bars([GROWN], COLORS))
    assert drawn.count('class="floor"') == 2 and 'class="bar changed below"' in drawn
    assert 'class="bar moved"' in drawn and 'class="small above">+2.00<' in drawn
    assert 'class="small">+0.50<' in drawn and "below the noise floor" in drawn
    without = str(bars.bars([PLAIN], COLORS))
    assert "floor" not in without and "below" not in without and "above" not in without


def test_words_name_a_number_that_may_be_noise() -> None:
    (told,) = pairs.of_others(small_pair(GROWN), small_classes())
    assert told.endswith("+2.0 ± 0.1 deformation, +0.5 ± 0.1 reallocation (below the noise floor)")
    (told,) = pairs.of_others(small_pair(PLAIN), small_classes())
    assert "noise" not in told


def small_pair(amount: Amount) -> pairs.PairResults:
    """A pair with this change."""
    status = PairStatus(status="failed")
    empty = pd.DataFrame()
    return pairs.PairResults("P", "V1", "V2", 100.0, status, (amount,), empty, empty, Path())


def small_classes() -> ClassTable:
    """A class without a pathology."""
    return ClassTable("classes.tsv", ())


def test_curves_keep_the_larger_floor_of_their_steps() -> None:
    steps = (("V2", 100.0, GROWN), ("V3", 200.0, courses._plus(GROWN, replace(GROWN, total_floor=4.0))))
    assert steps[1][2].total_floor == 4.0 and steps[1][2].moved_floor == 1.0
    drawn = str(courses.panel(courses.VolumeCourse("WM", 10.0, steps), 0.0, "#fff"))
    assert drawn.count('class="floor"') == 1 and "± 4.00 mL" in drawn and "mark changed below" in drawn
    course = courses.VolumeCourse("WM", 10.0, (("V2", 100.0, PLAIN),))
    assert "floor" not in str(courses.panel(course, 0.0, "#fff"))
    assert "floor" not in str(spread.trajectories("WM", "#fff", "moved", [("P", course)]))


@pytest.mark.parametrize(
    "source, words", [("labels", "too few repeated scans"), ("repeats", "2 pairs of a visit")]
)
def test_the_pages_say_where_the_floor_comes_from(tmp_path: Path, source: str, words: str) -> None:
    page = small.cohort_of(6, tmp_path / "results", classes=3)
    changes = tmp_path / "results" / "cohort" / "changes.csv"
    changes.write_text(changes.read_text().replace("labels", source))
    if source == "repeats":
        floors = pd.DataFrame({"class": ["ventricles"], "repeats": [2], columns.SOURCE: [source]})
        floors.to_csv(changes.with_name("floors.csv"), index=False)
    small.cohort_page(tmp_path / "results")
    html = page.read_text(encoding="utf-8")
    assert words in html and "below the noise floor of the pair" in html and 'class="floor"' in html
    known = cohort.load_cohort_results(changes.parent, small.classes(tmp_path / "results"))
    for pair, digit in zip(known.pairs, cohort.table(known, ["ventricles"])["below"][0], strict=True):
        amount = next(a for a in pair.amounts if a.name == "ventricles")
        told = [bool(int(digit) & bit) for bit in (1, 2, 4)]
        assert told == [bool(amount.doubt(kind)) for kind in ("moved", "changed", "total")]
        below = [abs(amount.moved) < 0.3, abs(amount.changed) < 0.2, abs(amount.total) < 0.35]
        assert all(may_be_zero for may_be_zero, small in zip(told, below, strict=True) if small)


def test_a_patients_page_draws_the_floors_of_its_table(results: Path) -> None:
    html = (results / "patients" / "P1" / "report.html").read_text(encoding="utf-8")
    assert "grey band around zero is the noise floor" in re.sub(r"\s+", " ", html)
    table = columns.read_table(results / "patients" / "P1" / "changes.csv")
    floor = float(table["deformation_floor_mm3"].iloc[0]) / 1000
    assert floor == pytest.approx(0.196, abs=1e-3) and f"noise floor: ± {floor:.3f} mL" in html


def test_without_floors_no_page_mentions_them(tmp_path: Path) -> None:
    page = small.cohort_of(6, tmp_path / "results", classes=3)
    changes = tmp_path / "results" / "cohort" / "changes.csv"
    pd.read_csv(changes).drop(columns=[*columns.FLOORS, columns.SOURCE]).to_csv(changes, index=False)
    small.cohort_page(tmp_path / "results")
    assert "noise floor" not in re.sub(r"<script.*?</script>", "", page.read_text("utf-8"), flags=re.S)

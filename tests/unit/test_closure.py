"""Closure of three visits, and the curve, which prefers direct measurements."""

from __future__ import annotations

import json
from itertools import combinations
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from longimorph import tables
from longimorph.report import closure as pages
from longimorph.report import courses
from longimorph.report.pairs import Amount, PairResults
from longimorph.tables import columns
from longimorph.tables.closure import closure
from longimorph.verdict.status import PairStatus

CLASSES = ["WM", "GM", "lesion"]
VISITS = ["V10", "V2", "V3", "V4"]  # in order of time, which is not that of their names
DAYS = {"V10": 0.0, "V2": 90.0, "V3": 200.0, "V4": 400.0}


def changes_of(
    states: np.ndarray, uncertainty: float = 10.0, off: dict[tuple[int, int], float] | None = None
) -> pd.DataFrame:
    """Changes between every two of the ``states`` (visits, 2 ways, classes); they add up but for ``off``."""
    rows = []
    for i, j in combinations(range(len(states)), 2):
        moved, changed = (states[j] - states[i]) + (off or {}).get((i, j), 0.0)
        for name, deformation, reallocation in zip(CLASSES, moved, changed, strict=True):
            row = {"patient": "P1", "from": VISITS[i], "to": VISITS[j], "class": name, "status": "ok"}
            row |= {"deformation_mm3": deformation, "reallocation_mm3": reallocation}
            row |= {f"{way}_uncertainty_mm3": uncertainty for way in ("deformation", "reallocation")}  # type: ignore[misc]
            rows.append(row)
    return pd.DataFrame(rows)


def states(seed: int, visits: int = 4) -> np.ndarray:
    return np.round(np.random.default_rng(seed).normal(0, 5000, (visits, 2, len(CLASSES))), 3)


@settings(max_examples=25, deadline=None)
@given(st.integers(0, 10_000))
def test_the_closure_of_exactly_additive_tables_is_zero(seed: int) -> None:
    found = closure(changes_of(states(seed)), VISITS)
    assert len(found) == 4 * len(CLASSES)  # four times three of four visits
    for way in ("deformation", "reallocation"):
        assert (found[f"{way}_gap_mm3"] == 0).all()
        assert np.allclose(found[f"{way}_direct_mm3"], found[f"{way}_summed_mm3"], rtol=0, atol=1e-9)
        assert (found[f"{way}_gap_uncertainty_mm3"] == 30).all()


def test_a_pair_that_does_not_add_up_shows_where_it_takes_part() -> None:
    found = closure(changes_of(states(1), off={(0, 2): 7.0}), VISITS)
    gaps = {(r["from"], r["via"], r["to"]): r["reallocation_gap_mm3"] for r in found.to_dict("records")}
    assert gaps == {
        ("V10", "V2", "V3"): -7.0,  # measured directly
        ("V10", "V3", "V4"): 7.0,  # the first of two steps
        ("V10", "V2", "V4"): 0.0,
        ("V2", "V3", "V4"): 0.0,
    }


def test_a_failed_pair_takes_part_in_nothing_and_neighbours_alone_have_no_closure() -> None:
    table = changes_of(states(2))
    failed = (table["from"] == "V10") & (table["to"] == "V4")
    table.loc[failed, "status"] = "fov"
    assert set(closure(table, VISITS)["to"]) == {"V3", "V4"}
    steps = table[
        [VISITS.index(b) - VISITS.index(a) == 1 for a, b in zip(table["from"], table["to"], strict=True)]
    ]
    assert closure(steps, VISITS).empty
    assert list(closure(steps, VISITS).columns) == list(columns.CLOSURE)


def patient(root: Path, off: dict[tuple[int, int], float] | None = None) -> Path:
    """A patient's folder with all pairs of four visits, in the tables that the workflow makes."""
    known = states(3)
    pairs, folders = [], []
    for i, j in combinations(range(4), 2):
        names = {"patient": "P1", "from": VISITS[i], "to": VISITS[j]}
        folder = root / "P1" / f"{VISITS[i]}__{VISITS[j]}"
        moved, changed = known[j] - known[i] + (off or {}).get((i, j), 0.0)
        before = np.full(3, 1e5)
        none = np.zeros((3, 3))
        found = tables.PairChanges(
            before, before + moved + changed, moved, changed, none, none, np.full((10, 3), 2.0)
        )
        tables.write_pair(folder, names, CLASSES, found)
        (folder / "status.json").write_text(
            json.dumps({"status": "ok", "drift": 0.07 if (i, j) == (0, 1) else 0})
        )
        pairs.append({**names, "days": DAYS[VISITS[j]] - DAYS[VISITS[i]], "logs": {}})
        folders.append(folder)
    tables.patient_tables("P1", pairs[::-1], folders[::-1], [{"class": c} for c in CLASSES], root / "P1")
    tables.cohort_tables([root / "P1"], [{"class": c} for c in CLASSES], root / "cohort")
    return root / "P1"


def test_the_tables_of_patient_and_cohort_hold_closure_and_verdicts(tmp_path: Path) -> None:
    folder = patient(tmp_path, off={(0, 3): 50.0})
    for where in (folder, tmp_path / "cohort"):
        found = columns.read_table(where / "closure.csv")
        assert list(found.columns) == list(columns.CLOSURE)
        odd = found[found["deformation_gap_mm3"] != 0]
        assert {(r["from"], r["to"]) for r in odd.to_dict("records")} == {("V10", "V4")}
        assert (odd["deformation_gap_mm3"] == -50).all() and (
            odd["deformation_gap_uncertainty_mm3"] == 6
        ).all()
        verdicts = columns.read_table(where / "verdicts.csv")
        assert verdicts["verdict"].tolist() == ["trust"] * 5 + ["look"]
        assert verdicts["codes"].tolist()[-1] == "drift"
        assert verdicts["sentences"].tolist()[-1].endswith(".")
        changes = tables.read_changes(where / "changes.csv")
        assert [n for n in changes.columns if n.startswith("verdict")] == ["verdict", "verdict_codes"]
        assert set(changes.query("`from` == 'V10' and to == 'V2'")["verdict"]) == {"look"}
        marginal = tables.read_changes(where / "marginals_by_state.csv")
        assert marginal["verdict"].tolist() == ["trust"] * 5 + ["look"]


def test_the_page_draws_the_visits_that_disagree_first(tmp_path: Path) -> None:
    figures = pages.section(patient(tmp_path, off={(0, 3): 50.0}), {"WM": "#ffffff", "GM": "#999999"})
    assert [figure.apart for figure in figures] == [4, 4, 0, 0]
    assert figures[0].numbers == 4
    assert " via " in figures[0].title and "<svg" in figures[0].drawing
    assert pages.section(tmp_path, {"WM": "#ffffff"}) == []


def pair(source: str, target: str, moved: float, **status: Any) -> PairResults:
    amount = Amount("WM", 100.0, 100.0 + moved, moved, 0.0, 0.0, 0.5, 0.25)
    nothing = pd.DataFrame()
    told = PairStatus.of({"status": "ok"} | status)
    return PairResults("P1", source, target, 1.0, told, (amount,), nothing, nothing, Path())


def curve(*pairs: PairResults) -> list[tuple[str, float, float]]:
    (found,) = courses.courses(DAYS, pairs, ["WM"])
    return [(visit, amount.moved, amount.moved_uncertainty) for visit, _, amount in found.steps]


STEPS = [pair("V10", "V2", 1.0), pair("V2", "V3", 2.0), pair("V3", "V4", 4.0)]


def test_a_curve_takes_the_pair_measured_directly_where_there_is_one() -> None:
    assert curve(*STEPS) == [("V2", 1.0, 0.5), ("V3", 3.0, 1.0), ("V4", 7.0, 1.5)]
    direct = [pair("V10", "V3", 2.5), pair("V10", "V4", 6.0)]
    assert curve(*STEPS, *direct) == [("V2", 1.0, 0.5), ("V3", 2.5, 0.5), ("V4", 6.0, 0.5)]
    assert curve(*STEPS, direct[0]) == [("V2", 1.0, 0.5), ("V3", 2.5, 0.5), ("V4", 6.5, 1.0)]


def test_a_curve_goes_round_a_pair_that_failed() -> None:
    lost = pair("V2", "V3", 2.0, status="fov")
    assert curve(STEPS[0], lost, STEPS[2]) == [("V2", 1.0, 0.5)]
    assert curve(STEPS[0], lost, STEPS[2], pair("V2", "V4", 5.0)) == [("V2", 1.0, 0.5), ("V4", 6.0, 1.0)]
    assert curve(lost) == []


@pytest.mark.parametrize("kind", ["consecutive", "baseline"])
def test_a_curve_of_other_plans_is_what_it_was(kind: str) -> None:
    star = [pair("V10", visit, value) for visit, value in zip(VISITS[1:], (1.0, 3.0, 7.0), strict=True)]
    found = curve(*(STEPS if kind == "consecutive" else star))
    assert [(visit, value) for visit, value, _ in found] == [("V2", 1.0), ("V3", 3.0), ("V4", 7.0)]

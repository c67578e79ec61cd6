"""The demo's arithmetic: measured against true."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from longimorph.demo import compare
from longimorph.verdict.status import PairStatus

KINDS = ("deformation_mm3", "reallocation_mm3")
NAMES = ("oedema", "WM", "ventricles", "background")


def tables(true: list[tuple[float, float]], measured: list[tuple[float, float]]) -> pd.DataFrame:
    """The joined table of one pair; each entry is (deformation, reallocation) of a class, mm³."""
    pair = {"patient": "P1", "from": "A", "to": "B"}
    volumes = {"volume_from_mm3": 1e5, "volume_to_mm3": 1e5}
    known = [
        {**pair, "class": name, **dict(zip(KINDS, change, strict=True)), **volumes}
        for name, change in zip(NAMES, true, strict=True)
    ]
    rest = {"unexplained_mm3": 0.0, "status": "ok"}
    found = [
        {**pair, "class": name, **dict(zip(KINDS, change, strict=True)), **rest}
        for name, change in zip(NAMES, measured, strict=True)
    ]
    return compare.join(pd.DataFrame(found), pd.DataFrame(known))


def test_gross_error_by_hand() -> None:
    true = [(0.0, 100.0), (-50.0, -100.0), (50.0, 0.0), (0.0, 0.0)]
    measured = [(0.0, 90.0), (-40.0, -95.0), (45.0, 0.0), (-5.0, 5.0)]
    result = compare.score(tables(true, measured), PairStatus.of({"drift": 0.02, "seconds": 12.5}))
    assert result.true_mm3 == pytest.approx(150)
    # half of (10 + 5 + 5) for deformation and half of (10 + 5 + 5) for reallocation
    assert result.error == pytest.approx(100 * 20 / 150)
    assert result.drift == pytest.approx(2)
    assert result.missed() == []


def test_head_motion_is_scored_in_percent_of_the_brain() -> None:
    measured = [(0.0, 0.0), (-4000.0, 30.0), (4000.0, -30.0), (0.0, 0.0)]
    result = compare.score(tables([(0.0, 0.0)] * 4, measured), PairStatus.of({"drift": 0.0}))
    assert result.error is None
    assert result.deformation == pytest.approx(100 * 4000 / 3e5)
    assert result.reallocation == pytest.approx(100 * 30 / 3e5)
    assert result.missed() == [
        "P1, A to B: false deformation is 1.33 % of brain volume, the target is at most 1 %"
    ]


def test_each_target_that_is_missed_is_named() -> None:
    true = [(0.0, 100.0), (0.0, -100.0), (0.0, 0.0), (0.0, 0.0)]
    swapped = [(100.0, 0.0), (-100.0, 0.0), (0.0, 0.0), (0.0, 0.0)]
    result = compare.score(tables(true, swapped), PairStatus.of({"drift": -0.06}))
    assert result.error == pytest.approx(200)
    assert result.missed() == [
        "P1, A to B: drift of H is 6.00 %, the target is at most 5 %",
        "P1, A to B: gross error is 200.00 % of the true change, the target is at most 15 %",
    ]
    unknown = compare.score(tables(true, true), PairStatus.of({}))
    assert unknown.missed() == ["P1, A to B: drift of H is unknown, the target is at most 5 %"]


def test_a_pair_without_result_misses_its_target_and_says_why() -> None:
    nothing = [(float("nan"), float("nan"))] * 4
    rows = tables([(0.0, 100.0), (0.0, -100.0), (0.0, 0.0), (0.0, 0.0)], nothing)
    result = compare.score(
        rows, PairStatus.of({"status": "diverged", "message": "the shooting left the sphere"})
    )
    assert result.missed() == ["P1, A to B: no result (the shooting left the sphere)"]
    assert "no result" in compare.describe(rows, result)


def test_a_class_that_was_not_measured_counts_as_missing() -> None:
    rows = tables([(0.0, 1.0)] * 4, [(0.0, 1.0)] * 4)
    rows.loc[1, "deformation_mm3"] = np.nan
    assert compare.score(rows, PairStatus.of({"drift": 0.0})).failure


def test_the_description_shows_both_columns_in_ml() -> None:
    rows = tables([(0.0, 1500.0), (0.0, -1500.0), (0.0, 0.0), (0.0, 0.0)],
                  [(20.0, 1400.0), (-20.0, -1400.0), (0.0, 0.0), (0.0, 0.0)])  # fmt: skip
    text = compare.describe(rows, compare.score(rows, PairStatus.of({"drift": 0.001, "seconds": 3})))
    assert "oedema                    +0.02    +0.00            +1.40    +1.50" in text
    assert (
        "gross error 8.0 % of 1.5 mL (target: at most 15 %); drift of H 0.10 % (target: at most 5 %); 3 s"
        in text
    )


Changes = list[tuple[float, float]]
amounts = st.floats(-1e4, 1e4).map(lambda value: round(value, 3))
changes = st.lists(st.tuples(amounts, amounts), min_size=4, max_size=4)


@settings(max_examples=30, deadline=None)
@given(changes, changes)
def test_the_error_is_a_distance(true: Changes, measured: Changes) -> None:
    there = compare.score(tables(true, measured), PairStatus.of({"drift": 0.0}))
    back = compare.score(tables(measured, true), PairStatus.of({"drift": 0.0}))
    exact = compare.score(tables(true, true), PairStatus.of({"drift": 0.0}))
    if there.error is not None and back.error is not None:
        assert there.error * there.true_mm3 == pytest.approx(back.error * back.true_mm3, abs=1e-6)
        assert there.error >= 0
    if there.true_mm3 > 0:
        assert exact.error == 0

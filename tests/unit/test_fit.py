"""One course through all visits: exact where pairs agree, the best compromise where they do not."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from test_closure import CLASSES, VISITS, changes_of, patient, states

from longimorph.tables import columns
from longimorph.tables.fit import fit, weighted

KINDS = ("deformation", "reallocation")


def course(found: pd.DataFrame, kind: str, what: str = "fitted") -> np.ndarray:
    return found[f"{kind}_{what}_mm3"].to_numpy().reshape(-1, len(CLASSES))


@settings(max_examples=25, deadline=None)
@given(st.integers(0, 10_000))
def test_where_pairs_agree_the_course_is_exact(seed: int) -> None:
    known = states(seed)
    found = fit(changes_of(known), VISITS)
    assert list(found["timepoint"]) == [visit for visit in VISITS for _ in CLASSES]
    assert set(found["pairs_fitted"]) == {6} and set(found["patient"]) == {"P1"}
    for place, kind in enumerate(KINDS):
        assert np.allclose(course(found, kind), known[:, place] - known[0, place], rtol=0, atol=2e-3)
        assert np.allclose(course(found, kind, "fitted_error"), 0, atol=1e-3)


def test_without_repeated_measurements_it_is_their_sum_and_has_no_error() -> None:
    table = changes_of(states(3))
    steps = table[[b == VISITS[VISITS.index(a) + 1] for a, b in zip(table["from"], table["to"], strict=True)]]
    found = fit(steps, VISITS)
    assert np.allclose(course(found, "deformation"), states(3)[:, 0] - states(3)[0, 0], rtol=0, atol=2e-3)
    error = course(found, "deformation", "fitted_error")
    assert (error[0] == 0).all() and np.isnan(error[1:]).all()


def test_a_pair_that_disagrees_is_shared_out_by_the_uncertainties() -> None:
    """Three visits: the gap of 30 between the direct pair and the two steps, with variances 1 : 1 : 4."""
    table = changes_of(np.zeros((3, 2, len(CLASSES))), off={(0, 2): 30.0})
    direct = (table["from"] == VISITS[0]) & (table["to"] == VISITS[2])
    table.loc[direct, "deformation_uncertainty_mm3"] = 20.0
    found = course(fit(table, VISITS[:3]), "deformation")
    assert np.allclose(found, [[0] * 3, [5] * 3, [10] * 3], atol=1e-3)


def test_a_visit_that_no_pair_links_to_the_first_is_left_out() -> None:
    table = changes_of(states(5))
    alone = (table["from"] == VISITS[3]) | (table["to"] == VISITS[3])
    found = fit(table.assign(status=np.where(alone, "diverged", "ok")), VISITS)
    assert list(dict.fromkeys(found["timepoint"])) == VISITS[:3] and set(found["pairs_fitted"]) == {3}
    nothing = fit(table.assign(status="diverged"), VISITS)
    assert nothing.empty and list(nothing.columns) == list(columns.FIT)


def test_identical_visits_weigh_as_one_cubic_millimetre() -> None:
    found = fit(changes_of(np.zeros((3, 2, len(CLASSES))), uncertainty=0.0, off={(0, 2): 3.0}), VISITS[:3])
    assert np.allclose(course(found, "reallocation")[:, 0], [0, 1, 2], atol=1e-3)


def test_the_standard_error_is_that_of_repeated_measurements() -> None:
    """5 visits, all pairs, independent errors of known spread: the error of 4,000 courses is as foretold."""
    rng = np.random.default_rng(4)
    design = np.array(
        [[float(b == k) - float(a == k) for k in range(1, 5)] for a in range(5) for b in range(a + 1, 5)]
    )
    spread = rng.uniform(1, 5, (10, 1))
    measured = spread * rng.standard_normal((10, 4000))
    found, error = weighted(design, measured, np.broadcast_to(spread**-2, measured.shape))
    assert found.std(axis=1) == pytest.approx(np.sqrt((error**2).mean(axis=1)), rel=0.05)
    steps = np.cumsum(measured[[0, 4, 7, 9]], axis=0)
    assert (found.std(axis=1) < steps.std(axis=1))[1:].all()


def test_the_tables_of_patient_and_cohort_hold_the_fit(tmp_path) -> None:
    for where in (patient(tmp_path, off={(0, 3): 50.0}), tmp_path / "cohort"):
        found = columns.read_table(where / "fit.csv")
        assert list(found.columns) == list(columns.FIT) and (where / "fit.json").exists()
        assert np.allclose(course(found, "deformation")[-1] - (states(3)[3] - states(3)[0])[0], 25, atol=1e-2)
        assert (course(found, "deformation", "fitted_error")[1:] > 0).all()

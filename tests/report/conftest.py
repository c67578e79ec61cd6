"""One small study for all tests of the pages."""

from __future__ import annotations

from pathlib import Path

import pytest
import small_results as small

DAYS = {"V1": 0.0, "V2": 100.0, "V3": 250.0}


@pytest.fixture(scope="session")
def results(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Results with pages: P1 with two good pairs, P2 whose last visit failed and whose field of view is cut,
    P3 of which nothing is left; and a sweep."""
    folder = tmp_path_factory.mktemp("study") / "results"
    rows = small.write_patient(folder, "P1", DAYS)
    small.patient_page(folder, "P1", DAYS, rows)
    half = small.write_patient(folder, "P2", DAYS, failed=["V3"], image=False, hidden=True)
    small.patient_page(folder, "P2", DAYS, half)
    none = small.write_patient(folder, "P3", DAYS, failed=["V2"])
    small.patient_page(folder, "P3", DAYS, none)
    small.write_cohort(folder, [*rows, *half, *none])
    small.cohort_page(folder)
    small.write_sweep(folder)
    return folder

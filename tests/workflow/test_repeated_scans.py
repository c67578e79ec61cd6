"""Repeated scans in the workflow: their jobs, their tables, and what their failure leaves alone."""

from __future__ import annotations

from pathlib import Path

import pandas as pd
import pytest
import tiny
from tiny import TinyCohort

HEAVY = ("align", "maps", "register")


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> TinyCohort:
    """A study with four repeats, of which one cannot be read, that has run."""
    cohort = tiny.study(tmp_path_factory.mktemp("repeats"), stub=True)
    for patient, timepoint in (("P001", "V1"), ("P002", "V1"), ("P002", "V3"), ("P003", "V1")):
        cohort.repeat(patient, timepoint, 24)
    (cohort.folder / "scans" / "P002" / "V1r_regions.nii.gz").write_bytes(b"cut off")
    cohort.write()
    run = cohort.snakemake()
    assert run.returncode == 1 and "1 of 7 pairs failed" in run.stdout + run.stderr, run.stderr
    return cohort


def table(study: TinyCohort, name: str) -> pd.DataFrame:
    """A table of the results; every cell is text."""
    return pd.read_csv(study.folder / "results" / f"{name}.csv", dtype=str, keep_default_na=False)


def test_repeats_have_a_table_of_their_own_and_are_in_no_other(finished: TinyCohort) -> None:
    repeats = table(finished, "cohort/repeats")
    done = repeats.drop_duplicates(["patient", "to"])
    assert dict(zip(done["patient"] + " " + done["to"], done["status"], strict=True)) == {
        "P001 V1r": "ok", "P002 V1r": "unreadable", "P002 V3r": "ok", "P003 V1r": "ok"}  # fmt: skip
    for name in ("changes", "visits", "pairs", "transitions", "closure", "lesions"):
        assert "V1r" not in (finished.folder / "results" / "cohort" / f"{name}.csv").read_text(), name
    assert set(table(finished, "cohort/changes")["floor_source"]) == {"repeats"}
    assert set(table(finished, "cohort/floors")["repeats"]) == {"3"}
    assert set(table(finished, "patients/P001/changes")["deformation_floor_mm3"]) == {"0.000"}


def test_a_failed_repeat_is_told_and_harms_no_patient(finished: TinyCohort) -> None:
    failures = table(finished, "cohort/failures")
    assert failures[["patient", "to", "stage", "code"]].values.tolist() == [
        ["P002", "V1r", "maps", "unreadable"]
    ]
    assert (finished.folder / failures["log"][0]).exists()
    assert table(finished, "patients/P002/failures").empty
    assert finished.planned("patient_P002") == [("patient_P002",), ("patient_complete", "patient=P002")]
    page = (finished.folder / "results" / "cohort" / "report.html").read_text()
    assert "no longer planned" not in page and "not in this run" not in page


def test_the_table_without_its_repeats_plans_what_it_always_did(tmp_path: Path) -> None:
    cohort = tiny.study(tmp_path / "study", stub=True)
    before = cohort.planned()
    text = (cohort.config.parent / "cohort.tsv").read_text().splitlines()
    lines = [f"{line}\t{'repeat_of' if place == 0 else ''}" for place, line in enumerate(text)]
    (cohort.config.parent / "cohort.tsv").write_text("\n".join(lines) + "\n")
    assert cohort.planned() == before and ("repeats",) not in before


def test_a_further_repeat_registers_itself_and_renews_the_floors(
    finished: TinyCohort, tmp_path: Path
) -> None:
    study = finished.copy(tmp_path / "copy")
    study.repeat("P001", "V2", 24)
    study.write()
    jobs = study.planned()
    assert {job[1] for job in jobs if job[0] in HEAVY} == {"patient=P001"}
    assert ("repeats",) in jobs and ("patient_tables", "patient=P002") in jobs
    assert not any(job[0] == "figure" and "V2r" in " ".join(job) for job in jobs)

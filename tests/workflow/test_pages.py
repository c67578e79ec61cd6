"""A page that crashes stops no other page, and the pages are part of Snakemake's own report."""

from __future__ import annotations

import zipfile
from pathlib import Path

import pytest
import tiny


def test_a_crashing_page_stops_no_other_and_is_made_by_the_next_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    cohort = tiny.study(tmp_path / "study", stub=True)
    results = cohort.folder / "results"
    monkeypatch.setenv("CRASHING_PAGE", "P001")
    run = cohort.snakemake("--keep-going")
    assert run.returncode != 0 and "a page that crashes" in run.stdout + run.stderr
    assert not (results / "patients" / "P001" / "report.html").exists()
    assert (results / "patients" / "P002" / "report.html").exists()
    assert (results / "cohort" / "report.html").exists()
    assert (results / "cohort" / "changes.csv").exists()
    assert not (results / "cohort" / "complete.json").exists()

    monkeypatch.delenv("CRASHING_PAGE")
    assert {job[0] for job in cohort.planned()} >= {"patient_report", "cohort_complete"}
    run = cohort.snakemake()
    assert run.returncode == 0, run.stderr
    assert (results / "cohort" / "complete.json").exists()

    packed = tmp_path / "report.zip"
    run = cohort.snakemake("--report", str(packed))
    assert run.returncode == 0, run.stdout + run.stderr
    with zipfile.ZipFile(packed) as archive:
        pages = [name for name in archive.namelist() if "report" in name and name.endswith(".html")]
    assert len(pages) >= 3, pages

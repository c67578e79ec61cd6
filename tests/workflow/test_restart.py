"""A run in a folder where an earlier run was killed while its cluster jobs continued."""

from __future__ import annotations

import base64
import shutil
from pathlib import Path

import pytest
import tiny
from tiny import TinyCohort

REGISTER = {
    ("register", "patient=P001", "pair=V1__V2"),
    ("register", "patient=P002", "pair=V1__V2"),
    ("register", "patient=P002", "pair=V2__V3"),
}


def forget(cohort: TinyCohort) -> None:
    """Take Snakemake's records of the registrations away, and the end of the study."""
    for record in (cohort.folder / ".snakemake" / "metadata").iterdir():
        if b"status.json" in base64.b64decode(record.name):
            record.unlink()
    (cohort.folder / "results" / "cohort" / "complete.json").unlink()


@pytest.fixture
def left_behind(tmp_path_factory: pytest.TempPathFactory, finished: TinyCohort) -> TinyCohort:
    """A finished study whose registrations ended without a Snakemake that could write it down."""
    folder = tmp_path_factory.mktemp("left") / "study"
    shutil.copytree(finished.folder, folder)
    cohort = TinyCohort(folder, settings=finished.settings, stub=True)
    forget(cohort)
    return cohort


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> TinyCohort:
    """A study after its run."""
    cohort = tiny.study(tmp_path_factory.mktemp("study"), stub=True)
    assert cohort.snakemake().returncode == 0
    return cohort


def change_settings(cohort: TinyCohort) -> None:
    """Set another width of the kernel."""
    text = cohort.config.read_text()
    cohort.config.write_text(text + "kernel_mm: [30]\n")


def test_what_ended_without_a_run_is_kept_and_recorded(left_behind: TinyCohort) -> None:
    run = left_behind.snakemake()
    assert run.returncode == 0, run.stderr
    assert not REGISTER & set(tiny.jobs_of(run.stdout + run.stderr))
    change_settings(left_behind)
    assert set(left_behind.planned()) >= REGISTER


def test_what_was_made_with_other_settings_is_made_again(left_behind: TinyCohort) -> None:
    change_settings(left_behind)
    run = left_behind.snakemake()
    assert run.returncode != 0
    assert "3 results are left by a killed run, made with other settings" in run.stderr
    assert "results/patients/P002/V1__V2/status.json" in run.stderr
    assert "Traceback" not in run.stderr
    again = left_behind.snakemake("--rerun-incomplete")
    assert again.returncode == 0, again.stderr
    assert set(tiny.jobs_of(again.stdout + again.stderr)) >= REGISTER


def test_a_job_that_is_still_queued_is_not_submitted_again(
    left_behind: TinyCohort, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    squeue = tmp_path / "squeue"
    lines = (
        f"44|RUNNING|None|{left_behind.folder}|rule_figure_wildcards_P001_V1__V2",
        f"45|PENDING|JobHeldAdmin|{left_behind.folder}|rule_figure_wildcards_P002_V1__V2",
        f"46|RUNNING|None|{left_behind.folder}|rule_align_wildcards_P002",
        f"47|RUNNING|None|{tmp_path}|rule_figure_wildcards_P002_V2__V3",
    )
    squeue.write_text("#!/bin/sh\ncat <<'END'\n" + "\n".join(lines) + "\nEND\n")
    squeue.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path), prepend=":")
    figures = (left_behind.folder / "results").glob("patients/*/*/overview.png")
    for figure in figures:
        figure.unlink()
    run = left_behind.snakemake()
    assert run.returncode != 0
    assert "2 jobs are still in SLURM" in run.stderr
    assert "44 figure P001_V1__V2: RUNNING\n" in run.stderr
    assert "45 figure P002_V1__V2: PENDING (JobHeldAdmin)\n" in run.stderr
    assert "scancel 44 45\n" in run.stderr
    assert "Traceback" not in run.stderr
    assert not list((left_behind.folder / "results").glob("patients/*/*/overview.png"))

"""The output of a run: brief by default, suggestions for mistyped targets, no swallowed errors."""

from __future__ import annotations

import pytest
import tiny
from tiny import TinyCohort

from longimorph.orchestration import start
from longimorph.study import study as studies


@pytest.fixture(scope="module")
def fresh(tmp_path_factory: pytest.TempPathFactory) -> TinyCohort:
    return tiny.study(tmp_path_factory.mktemp("study"), stub=True)


def test_a_run_says_a_line_per_job_and_its_own_log_has_the_rest(
    fresh: TinyCohort, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CRASHING_PAGE", "P001")
    run = fresh.snakemake("--keep-going", brief=True)
    said = run.stdout + run.stderr
    assert run.returncode != 0 and "a page that crashes" in said  # errors are told
    assert "Error in rule patient_report" in said
    lines = said.splitlines()
    assert sum(line.startswith("rule register: patient=P002, pair=V1__V2 (") for line in lines) == 1
    quiet = [line for line in lines if line.startswith(("rule ", "localrule "))]
    assert len(quiet) == len(set(quiet)) > 10
    for chatter in ("reason:", "Finished jobid", "Select jobs", "Execute "):
        assert chatter not in said
    assert any("steps" in line and "done" in line for line in lines)
    (log,) = (fresh.folder / ".snakemake" / "log").glob("*.log")
    assert "reason: Missing output files" in log.read_text()

    monkeypatch.delenv("CRASHING_PAGE")
    asked = fresh.snakemake("--printshellcmds", brief=True)
    assert asked.returncode == 0 and "reason:" in asked.stdout + asked.stderr


@pytest.mark.parametrize(
    ("target", "words"),
    [
        ("patient_P01", "Did you mean 'patient_P001'?"),
        ("patient_p001", "Did you mean 'patient_P001'?"),
        ("patient_P003", "has no pair of visits: it has only one visit"),
        ("patient_unheardof", "Available targets: patient_P001, patient_P002"),
    ],
)
def test_a_mistyped_target_is_answered_with_the_right_one(fresh: TinyCohort, target: str, words: str) -> None:
    (problem,) = start._unknown_targets([target, "patient_P002"], studies.load_study(fresh.config))
    assert str(problem).startswith(f"{target}: ") and words in str(problem)


def test_targets_that_are_no_patients_are_left_to_snakemake(fresh: TinyCohort) -> None:
    study = studies.load_study(fresh.config)
    targets = ["all", "sweep", "patient_P001", "results/patients/P001/report.html", "patient_report"]
    targets += ["patient_report=finish_{patient}", "--forceall"]
    targets += ["--configfile", "patient_study.yaml", "--directory", "patient_run"]
    targets += ["--report", "patient_x.html", "--profile", "patient_profile"]
    assert start._unknown_targets(targets, study) == []


def test_the_workflow_ends_with_that_answer(fresh: TinyCohort) -> None:
    run = fresh.snakemake("patient_P0001", "--dry-run")
    assert run.returncode != 0 and "Did you mean 'patient_P001'?" in run.stdout + run.stderr
    assert "Traceback" not in run.stdout + run.stderr

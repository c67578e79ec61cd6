"""A scan that fails: results, messages and exit status of the run, and its repair."""

from __future__ import annotations

import csv
import hashlib
import json
import subprocess
from pathlib import Path

import pytest
import tiny
from tiny import TinyCohort

Broken = tuple[TinyCohort, subprocess.CompletedProcess[str]]


@pytest.fixture(scope="module")
def broken(tmp_path_factory: pytest.TempPathFactory) -> Broken:
    """A study of which one scan is cut off, after its run where the locale knows ASCII alone; whatever
    crashes would be tried again."""
    cohort = tiny.study(tmp_path_factory.mktemp("study"), stub=True)
    scan = cohort.folder / "scans" / "P002" / "V3_regions.nii.gz"
    scan.write_bytes(scan.read_bytes()[:60])
    with pytest.MonkeyPatch.context() as patch:
        for name, value in (("LC_ALL", "C"), ("PYTHONUTF8", "0"), ("PYTHONCOERCECLOCALE", "0")):
            patch.setenv(name, value)
        return cohort, cohort.snakemake("--retries", "2")


def rows(path: Path) -> list[dict[str, str]]:
    """Read a CSV."""
    with path.open(newline="") as file:
        return list(csv.DictReader(file))


def fingerprints(folder: Path) -> dict[str, tuple[str, int]]:
    """Return content and time of change of every file below ``folder``."""
    files = (path for path in sorted(folder.rglob("*")) if path.is_file())
    return {str(p): (hashlib.sha256(p.read_bytes()).hexdigest(), p.stat().st_mtime_ns) for p in files}


def test_the_run_ends_with_an_error_and_a_sentence(broken: Broken) -> None:
    _, run = broken
    text = run.stdout + run.stderr
    assert run.returncode != 0
    assert "2 of 3 pairs done, 1 failed." in text
    assert "P002 V2 to V3: maps: unreadable: cut off" in text
    assert "Traceback" not in text and "Error in onerror" not in text
    assert "cut off (20x20x20)" in run.stdout, "what ASCII lacks is spelled out"


def test_bad_input_is_tried_once(broken: Broken) -> None:
    _, run = broken
    assert "Trying to restart" not in run.stdout + run.stderr
    assert (run.stdout + run.stderr).count("longimorph: cohort_complete: 1 of 3 pairs failed") == 1


def test_all_else_is_made_and_the_failure_is_a_row(broken: Broken) -> None:
    cohort, _ = broken
    results = cohort.folder / "results"
    changes = rows(results / "cohort" / "changes.csv")
    assert len(changes) == 3 * 4
    assert {row["status"] for row in changes if (row["patient"], row["to"]) != ("P002", "V3")} == {"ok"}
    failed = [row for row in changes if (row["patient"], row["to"]) == ("P002", "V3")]
    assert {row["status"] for row in failed} == {"unreadable"}
    assert all(row[name] == "" for row in failed for name in row if name.endswith("mm3"))
    (failure,) = rows(results / "cohort" / "failures.csv")
    assert (failure["from"], failure["to"], failure["stage"]) == ("V2", "V3", "maps")
    log = (cohort.folder / failure["log"]).read_text()
    assert log.splitlines()[-1].startswith("outcome: failed: unreadable: cut off")
    assert len(list(results.glob("patients/*/*/overview.png"))) == 3
    assert not (results / "cohort" / "complete.json").exists()


def test_a_second_run_only_repeats_the_verdict(broken: Broken) -> None:
    cohort, _ = broken
    assert {job[0] for job in cohort.planned()} == {"cohort_complete", "everything"}


def test_the_command_in_a_log_repeats_its_job_alone(broken: Broken) -> None:
    cohort, _ = broken
    log = cohort.folder / "results" / "logs" / "P001" / "register_V1__V2.log"
    command = log.read_text().splitlines()[1].removeprefix("again: ")
    assert command.startswith("snakemake ")
    run = subprocess.run(
        f"{command.replace('snakemake', f'{tiny.PYTHON} -m snakemake', 1)} --dry-run --nocolor",
        shell=True,
        cwd="/",
        capture_output=True,
        text=True,
        timeout=60,
    )
    jobs = tiny.jobs_of(run.stdout + run.stderr)
    assert jobs == [("register", "patient=P001", "pair=V1__V2")], run.stdout + run.stderr


def test_forcing_one_patient_touches_no_file_of_another(broken: Broken) -> None:
    cohort, _ = broken
    results = cohort.folder / "results"
    others = [results / "patients" / "P002", results / "logs" / "P002", results / "cohort"]
    before = [fingerprints(folder) for folder in others]
    own = fingerprints(results / "patients" / "P001" / "V1__V2")
    run = cohort.snakemake("--forceall", "patient_P001")
    assert run.returncode == 0, run.stderr
    assert [fingerprints(folder) for folder in others] == before
    again = fingerprints(results / "patients" / "P001" / "V1__V2")
    assert {path: digest for path, (digest, _) in again.items()} == {p: d for p, (d, _) in own.items()}
    assert all(again[path][1] > own[path][1] for path in own)
    assert json.loads((results / "patients" / "P001" / "complete.json").read_text())["pairs"] == 1


def test_a_repaired_scan_completes_the_study(broken: Broken) -> None:
    cohort, _ = broken
    regions, _ = tiny.head(30, lesion=True)
    tiny.save(regions, cohort.folder / "scans" / "P002" / "V3_regions.nii.gz")
    run = cohort.snakemake()
    assert run.returncode == 0, run.stderr
    assert "3 of 3 pairs done." in run.stdout + run.stderr
    assert "failed" not in run.stdout + run.stderr
    assert rows(cohort.folder / "results" / "cohort" / "failures.csv") == []
    assert json.loads((cohort.folder / "results" / "cohort" / "complete.json").read_text())["status"] == "ok"
    assert cohort.planned() == []

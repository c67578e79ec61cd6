"""Patients of a cohort on a cluster: some fail, one is run by name, none disturbs another."""

from __future__ import annotations

import hashlib
from pathlib import Path

import pytest
from on_cluster import ClusterCohort, three_patients


@pytest.fixture
def study(tmp_path: Path) -> ClusterCohort:
    """Three patients with four pairs, and stub steps."""
    return three_patients(tmp_path / "study")


def cut_off(study: ClusterCohort, patient: str, visit: str) -> None:
    """Cut off a scan after its first bytes."""
    scan = study.folder / "scans" / patient / f"{visit}_regions.nii.gz"
    scan.write_bytes(scan.read_bytes()[:60])


def fingerprints(folder: Path) -> dict[str, tuple[str, int]]:
    """Return content and time of change of every file below a folder."""
    files = (path for path in sorted(folder.rglob("*")) if path.is_file())
    return {str(p): (hashlib.sha256(p.read_bytes()).hexdigest(), p.stat().st_mtime_ns) for p in files}


def test_two_fail_and_one_is_run_by_name(study: ClusterCohort) -> None:
    """Two patients have a scan that cannot be used: rows, a status, no retry. Then P003 alone, twice."""
    cut_off(study, "P001", "V2")
    cut_off(study, "P002", "V3")
    head = study.run()
    assert head.process.returncode != 0
    assert "2 of 4 pairs done, 2 failed." in head.text
    study.check_tables(pairs=4, failed=2)
    assert {row["patient"] for row in study.rows("failures")} == {"P001", "P002"}
    assert set(study.begun().values()) == {1}

    results = study.folder / "results"
    others = [results / kind / name for kind in ("patients", "logs") for name in ("P001", "P002", "cohort")]
    others += [results / "cohort", study.folder / "scans"]
    before = [fingerprints(folder) for folder in others]
    own = results / "patients" / "P003"
    complete = study.run("patient_P003")
    assert complete.process.returncode == 0, complete.text[-3000:]
    made = fingerprints(own)
    again = study.run("patient_P003", "--forceall")
    assert again.process.returncode == 0, again.text[-3000:]
    assert [fingerprints(folder) for folder in others] == before
    remade = fingerprints(own)
    assert {path: content for path, (content, _) in remade.items()} == {p: c for p, (c, _) in made.items()}
    assert all(remade[path][1] > made[path][1] for path in made)
    begun = study.begun()
    assert {name for name, times in begun.items() if times == 2} == {n for n in begun if "-P003" in n}


def test_a_crash_in_a_group_of_jobs(study: ClusterCohort) -> None:
    """One of the small jobs of a patient crashes: retried together, given up alone, made up for later."""
    fault = study.fault("maps-P002-V2", "fail")
    head = study.run("--retries", "1")
    assert head.process.returncode != 0
    begun = study.begun()
    assert begun["maps-P002-V2"] == 2
    assert {n for n in begun if n.startswith("register")} == {"register-P001-V1__V2", "register-P003-V1__V2"}
    patients = study.folder / "results" / "patients"
    assert {path.parent.name for path in patients.glob("*/changes.csv")} == {"P001", "P003"}
    fault.unlink()
    last = study.run()
    assert last.process.returncode == 0, last.text[-3000:]
    study.check_tables(pairs=4)
    assert {n: t for n, t in study.begun().items() if "-P002" not in n} == {
        n: 1 for n in begun if "-P002" not in n
    }

"""Patients of a cohort on a cluster: some fail, one is run by name, and none affects another."""

from __future__ import annotations

import hashlib
from pathlib import Path

import pytest
from on_cluster import ClusterCohort, slurm, three_patients

from longimorph.orchestration.parameters import Jobs
from longimorph.orchestration.resources import Needs
from longimorph.study import study as studies


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
    assert head.text.count("longimorph: cohort_complete: 2 of 4 pairs failed") == 1
    check_groups(study)

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


def check_groups(study: ClusterCohort) -> None:
    """Check that a patient's small jobs were one job of SLURM, in turn, and each registration its own."""
    expected: dict[tuple[str, ...], set[str]] = {}
    for name in study.everything():
        rule, patient, *_ = name.split("-")
        group = (name,) if rule == "register" else (rule.replace("maps", "align"), patient)
        expected.setdefault(group, set()).add(name)
    found = study.jobs_of_slurm().values()
    together = sorted(sorted({line.split()[1] for line in lines}) for lines in found)
    assert together == sorted(map(sorted, expected.values()))
    for lines in found:
        names = [line.split()[1] for line in lines[::2]]
        assert lines == [f"{word} {name}" for name in names for word in ("began", "ended")]


def test_a_crash_in_a_group_of_jobs(study: ClusterCohort) -> None:
    """One of the small jobs of a patient crashes: retried together, given up alone, made up for later.

    What a group asks for: the memory of its largest job, the time of all.
    """
    fault, held = study.fault("maps-P002-V2", "fail"), study.fault("maps-P001-V2", "wait")
    head = study.start("--retries", "1")
    shown = slurm("scontrol", "show", "job", study.wait_for("maps-P001-V2")[0])
    held.unlink()
    jobs = Jobs(studies.load_study(study.cohort.config))
    needs, visits = Needs(jobs.study), jobs.visits_of("P001")
    asked = [needs.align(visits), *map(needs.maps, visits)]
    assert f"MinMemoryNode={max(one.mem_mb for one in asked)}M" in shown, shown
    assert f"TimeLimit=00:{sum(one.minutes for one in asked)}:00" in shown, shown
    assert head.end() != 0
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

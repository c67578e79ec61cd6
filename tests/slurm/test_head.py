"""The Snakemake on the login node is killed and started again."""

from __future__ import annotations

from pathlib import Path

import pytest
import tiny
from on_cluster import ClusterCohort, Patience, slurm, state, two_patients

JOB = "register-P001-V1__V2"


@pytest.fixture
def study(tmp_path: Path) -> ClusterCohort:
    """Two patients with three pairs, and stub steps."""
    return two_patients(tmp_path / "study")


def test_nothing_is_computed_twice(study: ClusterCohort) -> None:
    """Its jobs go on; the next one waits for none of them, repeats none, and finishes the study."""
    fault = study.fault(JOB, "wait")
    head = study.start()
    number, *_ = study.wait_for(JOB)
    head.kill()

    locked = study.run()
    assert locked.process.returncode != 0
    assert "--unlock" in locked.text
    assert study.run("--unlock").process.returncode == 0

    refused = study.run()
    assert refused.process.returncode != 0
    assert f"{number} register P001_V1__V2: RUNNING" in refused.text
    assert f"scancel {number}" in refused.text

    fault.unlink()
    study.until(lambda: state(number) == "COMPLETED", "the job to end without a head")
    study.until(lambda: not slurm("squeue", "--noheader", f"--name={head.run}").strip(), "all jobs to end")
    last = study.run()
    assert last.process.returncode == 0, last.text[-3000:]
    assert study.begun() == study.everything()
    study.check_tables(pairs=3)
    study.cohort.config.write_text(study.cohort.config.read_text() + "kernel_mm: [30]\n")
    changed = study.run("--dry-run")
    assert len([job for job in tiny.jobs_of(changed.text) if job[0] == "register"]) == 3


def test_what_was_broken_off_is_made_again(study: ClusterCohort) -> None:
    """A job that is cancelled after its head was killed runs again with the next one."""
    fault = study.fault(JOB, "wait")
    head = study.start()
    study.wait_for(JOB)
    head.kill()
    slurm("scancel", f"--name={head.run}")
    study.until(lambda: not slurm("squeue", "--noheader", f"--name={head.run}").strip(), "its jobs to end")
    fault.unlink()
    assert study.run("--unlock").process.returncode == 0
    last = study.run()
    assert last.process.returncode == 0, last.text[-3000:]
    assert study.begun()[JOB] == 2
    study.check_tables(pairs=3)


def test_ended_by_hand(study: ClusterCohort) -> None:
    """Ctrl-C cancels the jobs and leaves no lock: the same command goes on."""
    fault = study.fault(JOB, "wait")
    head = study.start()
    number, *_ = study.wait_for(JOB)
    head.interrupt()
    study.until(lambda: state(number) == "CANCELLED", "the job to be cancelled")
    assert head.end() != 0
    fault.unlink()
    patience = Patience(study.folder, "the cancelled job to leave the queue")
    while number in slurm("squeue", "--noheader", "--format=%i").split():
        patience.pause()
    last = study.run()
    assert last.process.returncode == 0, last.text[-3000:]
    assert study.begun()[JOB] == 2
    study.check_tables(pairs=3)

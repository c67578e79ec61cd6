"""Jobs that a cluster ends before their time: each is run again, and everything else once."""

from __future__ import annotations

import os
import signal
from collections import Counter
from pathlib import Path

import pytest
import tiny
from on_cluster import EVERYTHING, ClusterCohort, slurm, state, until

JOB = "register-P001-V1__V2"


@pytest.fixture
def study(tmp_path: Path) -> ClusterCohort:
    """Two patients with three pairs, and stub steps."""
    return ClusterCohort(tiny.study(tmp_path / "study", stub=True))


def check_once_more(study: ClusterCohort, *jobs: str) -> None:
    """Check that the whole study is there, that ``jobs`` ran twice and all others once."""
    study.check_tables(pairs=3)
    assert study.begun() == EVERYTHING + Counter(jobs)


def test_cancelled(study: ClusterCohort) -> None:
    """A job that ``scancel`` ends is told so, and runs again."""
    fault = study.fault(JOB, "wait")
    head = study.start()
    number, *_ = study.wait_for(JOB)
    slurm("scancel", number)
    until(lambda: study.notes("signal"), "the job to be told")
    fault.unlink()
    assert head.end() == 0
    assert study.notes("signal") == [[JOB, "SIGTERM"]]
    check_once_more(study, JOB)


def test_out_of_memory(study: ClusterCohort) -> None:
    """A job that needs more memory than it asked for is killed, asks for twice as much, and ends well."""
    study.fault(JOB, "memory 2000")
    head = study.run("--set-resources", "register:mem_mb=1500*attempt")
    assert head.process.returncode == 0, head.text[-3000:]
    jobs = [slurm("scontrol", "show", "job", note[1]) for note in study.notes("began") if note[0] == JOB]
    assert ["MinMemoryNode=1500M" in jobs[0], "MinMemoryNode=3000M" in jobs[1]] == [True, True], jobs
    check_once_more(study, JOB)


def test_time_limit(study: ClusterCohort) -> None:
    """A job is told before its time is over; one that goes on is ended, and either runs again."""
    stubborn = "register-P002-V1__V2"
    faults = {job: study.fault(job, how) for job, how in ((JOB, "wait"), (stubborn, "stubborn"))}
    head = study.start()
    told, ended = study.wait_for(JOB)[0], study.wait_for(stubborn)[0]
    faults[stubborn].unlink()
    limit_to(told, minutes=4)  # the profile's signal comes three minutes before
    limit_to(ended, minutes=1)
    until(lambda: study.notes("signal"), "the early signal")
    faults[JOB].unlink()
    assert head.end() == 0
    assert study.notes("signal") == [[JOB, "SIGUSR1"]]
    assert state(told) == "FAILED" and state(ended) == "TIMEOUT"
    check_once_more(study, JOB, stubborn)


def limit_to(number: str, minutes: int) -> None:
    """Give a job that runs another time limit."""
    slurm("scontrol", "update", f"JobId={number}", f"TimeLimit={minutes}")


def test_requeued(study: ClusterCohort) -> None:
    """A job that SLURM puts back in the queue, as preemption does, is waited for under its number."""
    fault = study.fault(JOB, "wait")
    head = study.start()
    number, *_ = study.wait_for(JOB)
    slurm("scontrol", "requeue", number)
    until(lambda: state(number) == "PENDING", "the job to be in the queue again")
    fault.unlink()
    assert head.end() == 0
    assert [note[1] for note in study.notes("began") if note[0] == JOB] == [number, number]
    check_once_more(study, JOB)


def test_process_killed(study: ClusterCohort) -> None:
    """A job whose process dies runs again at once; one whose SLURM step dies, when its time is over."""
    other = "register-P002-V1__V2"
    faults = {job: study.fault(job, "wait") for job in (JOB, other)}
    head = study.start()
    *_, process = study.wait_for(JOB)
    number, *_ = study.wait_for(other)
    for fault in faults.values():
        fault.unlink()
    os.kill(int(process), signal.SIGKILL)
    os.kill(step_of(number), signal.SIGKILL)
    limit_to(number, minutes=1)
    assert head.end() == 0
    assert state(number) == "TIMEOUT"
    check_once_more(study, JOB, other)


def step_of(number: str) -> int:
    """Return the process of SLURM that looks after the step of a job."""
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            words = (folder / "cmdline").read_bytes().split(b"\0")
        except OSError:
            continue
        if words[0] == f"slurmstepd: [{number}.0]".encode():
            return int(folder.name)
    raise AssertionError(f"job {number} has no step")

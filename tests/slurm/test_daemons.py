"""SLURM's daemons stop and return while jobs run. All users are affected, so these tests run alone."""

from __future__ import annotations

import os
import signal
import subprocess
import time
from pathlib import Path

import pytest
from on_cluster import ClusterCohort, slurm, two_patients

JOB = "register-P001-V1__V2"
SAVED = 10
"""Seconds until the controller has written what it knows to its disk; it forgets a job younger than that."""

pytestmark = pytest.mark.alone


@pytest.fixture
def study(tmp_path: Path) -> ClusterCohort:
    """Two patients with three pairs, and stub steps."""
    return two_patients(tmp_path / "study")


def kill(study: ClusterCohort, daemon: str) -> None:
    """Kill one of the cluster's daemons, so that it can do nothing any more."""
    number = int((Path(os.environ["SLURM_CONF"]).parent / "run" / f"{daemon}.pid").read_text())
    os.kill(number, signal.SIGKILL)
    study.until(lambda: is_gone(number), f"{daemon} to be gone")


def is_gone(number: int) -> bool:
    """Tell whether a process has ended, also where nobody has taken notice yet."""
    try:
        return "\nState:\tZ" in Path(f"/proc/{number}/status").read_text()
    except OSError:
        return True


def answers() -> bool:
    """Tell whether the controller answers."""
    return subprocess.run(["sinfo", "--noheader"], capture_output=True, timeout=60).returncode == 0


def start(daemon: str) -> None:
    """Start one of the cluster's daemons again."""
    subprocess.run([daemon, "-f", os.environ["SLURM_CONF"]], check=True, timeout=60)


def test_node_and_controller_are_killed(study: ClusterCohort) -> None:
    """A job outlives both daemons, its end is seen when they are back, and nothing is computed twice."""
    fault = study.fault(JOB, "wait")
    head = study.start()
    number, *_ = study.wait_for(JOB)
    # A job that ends while nobody listens counts as running until its time is up: let only one run.
    study.until((study.folder / "results" / "patients" / "P002" / "report.html").exists, "the other patient")
    mine = "--noheader", "--format=%A", f"--name={head.run}"
    study.until(lambda: slurm("squeue", *mine).split() == [number], "its jobs to end")
    time.sleep(SAVED)
    kill(study, "slurmd")
    kill(study, "slurmctld")
    time.sleep(45)  # longer than the plugin's own five attempts last
    fault.unlink()
    start("slurmctld")
    start("slurmd")
    study.until(answers, "the controller to answer")
    assert head.end() == 0, head.text[-3000:]
    assert head.failed == {}
    study.check_tables(pairs=3)
    assert study.begun() == study.everything()

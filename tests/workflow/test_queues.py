"""Whole runs through the profiles for Grid Engine, LSF and PBS, with a scheduler that runs jobs here."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import tiny
from tiny import REPOSITORY, TinyCohort

pytest.importorskip("snakemake_executor_plugin_cluster_generic", reason="pip install '.[queues]'")
STAND_IN = Path(__file__).parent / "stand_in"
PROFILES = ("sge", *(pytest.param(name, marks=pytest.mark.long) for name in ("lsf", "pbs")))
QUICK = (
    "--latency-wait",
    "10",
    "--max-status-checks-per-second",
    "20",
    "--seconds-between-status-checks",
    "1",
)


@pytest.fixture
def queue(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder of a scheduler that stands in for a real one; its commands are on the path."""
    folder = tmp_path / "scheduler"
    folder.mkdir()
    monkeypatch.setenv("PATH", f"{STAND_IN}{os.pathsep}{os.environ['PATH']}")
    monkeypatch.setenv("STAND_IN_FOLDER", str(folder))
    return folder


def run(cohort: TinyCohort, profile: str, *further: str) -> subprocess.CompletedProcess[str]:
    """Run a study with a profile."""
    return cohort.snakemake("--profile", str(REPOSITORY / "profiles" / profile), *QUICK, *further)


def jobs(folder: Path) -> list[dict[str, Any]]:
    """What is known of the jobs that were submitted."""
    return [json.loads(file.read_text()) for file in sorted(folder.glob("*.json"))]


@pytest.mark.parametrize("profile", PROFILES)
def test_a_study_is_run_job_by_job(
    profile: str, queue: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("STAND_IN", profile)
    cohort = tiny.study(tmp_path / "study", stub=True)
    cohort.write(patients=["P001"])
    done = run(cohort, profile)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "1 of 1 pair done." in done.stdout + done.stderr
    assert len(jobs(queue)) == 3, "one per pair, one before and one after"
    ends = (cohort.folder / "results" / "queue").glob("*.end")
    assert [end.read_text() for end in ends] == ["0\n"] * 3


def test_a_job_that_is_killed_is_submitted_again_with_more(
    queue: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("STAND_IN", "pbs")
    monkeypatch.setenv("STAND_IN_KILLS", '"rule": "register"')
    cohort = tiny.study(tmp_path / "study", stub=True)
    cohort.write(patients=["P001"])
    soon = ("--cluster-generic-status-cmd", "longimorph-queue status pbs --grace 2")
    done = run(cohort, "pbs", *soon)
    assert done.returncode == 0, done.stdout + done.stderr
    known = jobs(queue)
    assert [job["killed"] for job in known].count(True) == 1
    chunks = [next(word for word in job["arguments"] if word.startswith("select=")) for job in known]
    memory = [int(chunk.partition("mem=")[2].removesuffix("mb")) for chunk in chunks]
    assert len(known) == 4
    assert memory[2] == 2 * memory[1], "the second attempt asks for twice as much"


def started(
    cohort: TinyCohort, queue: Path, profile: str, output: Path, *further: str
) -> subprocess.Popen[str]:
    """A run in the background that has submitted its first job."""
    places = ["-s", str(tiny.ENTRY_POINTS[0]), "--directory", str(cohort.folder), "--configfile"]
    options = [str(cohort.config), "--profile", str(REPOSITORY / "profiles" / profile), *QUICK, *further]
    command = [tiny.PYTHON, "-m", "snakemake", *places, *options]
    with output.open("w") as file:
        process = subprocess.Popen(
            command, cwd="/", stdout=file, stderr=file, start_new_session=True, text=True
        )
    soon(lambda: jobs(queue))
    time.sleep(3)
    return process


def interrupted(process: subprocess.Popen[str]) -> int:
    """The exit status after Ctrl-C, which a user presses again if nothing ends."""
    for _ in range(3):
        process.send_signal(signal.SIGINT)
        try:
            return process.wait(40)
        except subprocess.TimeoutExpired:
            continue
    return process.wait(1)


def test_jobs_of_a_killed_run_are_not_submitted_twice(
    queue: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("STAND_IN", "sge")
    monkeypatch.setenv("STAND_IN_HOLDS", "600")
    cohort = tiny.study(tmp_path / "study", stub=True)
    cohort.write(patients=["P001"])
    process = started(cohort, queue, "sge", tmp_path / "output")
    os.killpg(process.pid, signal.SIGKILL)
    process.wait()
    assert cohort.snakemake("--unlock").returncode == 0
    again = run(cohort, "sge")
    assert again.returncode == 1
    assert "  1 prepare_P001\nTo cancel them:\n  qdel 1\n" in again.stdout + again.stderr
    assert len(jobs(queue)) == 1
    os.killpg(jobs(queue)[0]["pid"], signal.SIGKILL)
    monkeypatch.delenv("STAND_IN_HOLDS")
    assert run(cohort, "sge").returncode == 0


def test_ctrl_c_cancels_the_jobs(queue: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("STAND_IN", "lsf")
    monkeypatch.setenv("STAND_IN_HOLDS", "600")
    cohort = tiny.study(tmp_path / "study", stub=True)
    cohort.write(patients=["P001"])
    seldom = ("--seconds-between-status-checks", "12")  # Ctrl-C during a check cancels nothing
    process = started(cohort, queue, "lsf", tmp_path / "output", *seldom)
    assert interrupted(process) != 0
    assert (queue / "1.cancelled").exists(), (tmp_path / "output").read_text()
    soon(lambda: not alive(jobs(queue)[0]["pid"]))


def alive(process: int) -> bool:
    """Whether a process runs; one that has ended and is not waited for does not."""
    try:
        return Path("/proc", str(process), "stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


def soon(true: Callable[[], Any]) -> None:
    """Wait until something is true, for a minute at most."""
    until = time.monotonic() + 60
    while not true():
        assert time.monotonic() < until
        time.sleep(0.1)

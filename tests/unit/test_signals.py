"""Signals that a job's Snakemake forwards to its script."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from longimorph.orchestration import signals

SCRIPT = """
import signal, sys, time
def save(number, frame):
    print("saved", number, flush=True)
    sys.exit(3)
signal.signal(signal.SIGTERM, save)
signal.signal(signal.SIGUSR1, save)
print("begun", flush=True)
time.sleep(30)
"""
SNAKEMAKE = f"""
import signal, subprocess, sys
from longimorph.orchestration import signals
signals.hand_on()
signal.signal(signal.SIGTERM, lambda number, frame: print("waits", flush=True))
sys.exit(subprocess.run([sys.executable, "-c", {SCRIPT!r}]).returncode)
"""

linux = pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="no /proc, as on Linux")


@linux
@pytest.mark.parametrize("number", signals.HANDED_ON)
def test_the_script_gets_the_signal_and_is_waited_for(number: signal.Signals) -> None:
    process = subprocess.Popen([sys.executable, "-c", SNAKEMAKE], stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    assert process.stdout.readline() == "begun\n"
    process.send_signal(number)
    rest, _ = process.communicate(timeout=20)
    assert f"saved {int(number)}" in rest
    assert process.returncode == 3


@linux
def test_children_are_found() -> None:
    with subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE) as process:
        assert process.pid in list(signals.children(os.getpid()))
        process.communicate(b"\n", timeout=20)


@pytest.mark.parametrize("variable", ["SLURM_STEP_ID", signals.QUEUED])
def test_only_a_job_of_a_cluster_hands_on(monkeypatch: pytest.MonkeyPatch, variable: str) -> None:
    for name in ("SLURM_STEP_ID", signals.QUEUED):
        monkeypatch.delenv(name, raising=False)
    assert not signals.in_cluster_job()
    monkeypatch.setenv(variable, "1")
    assert signals.in_cluster_job()

"""Runs on the node, around a job of Snakemake, where the scheduler is not SLURM.

    python -m longimorph.orchestration.queued_job VARIABLE SECONDS FOLDER SCRIPT

runs SCRIPT and writes its exit status to ``FOLDER/NUMBER.end``, with the job's number from the environment
variable VARIABLE. It forwards the signals that end jobs as SIGTERM. After SECONDS, shortly before the time
limit, it sends SIGUSR1: a registration then saves its state, and the next attempt continues from there. 0: it
sends none.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Sequence
from pathlib import Path
from types import FrameType

from longimorph.io import atomic
from longimorph.orchestration import signals

_SET_CHILD_SUBREAPER = 36  # of prctl
LAST_S = 60.0
"""Longest time to wait for what the script has started, once the script itself has ended."""


def main(arguments: Sequence[str]) -> int:
    """Run the script; returns its exit status."""
    variable, seconds, folder, script = arguments
    number = os.environ.get(variable)
    if not number:
        sys.stderr.write(f"The scheduler did not set {variable}: the job does not know its own number.\n")
        return 1
    code = run(Path(script), float(seconds))
    atomic.write_text(Path(folder, f"{number}.end"), f"{code}\n")
    return code


def run(script: Path, warn_after_s: float) -> int:
    """Run a shell script until it, and all that it started, has ended.

    All stay in the process group of the job, so that a scheduler that kills the job kills them too.
    """
    _adopt_orphans()
    child = subprocess.Popen(["/bin/sh", str(script)], env={**os.environ, signals.QUEUED: "1"})

    def forward(number: int, _: FrameType | None = None) -> None:
        sent = number if number == signal.SIGUSR1 else signal.SIGTERM  # LSF ends jobs by SIGINT and SIGUSR2
        orphans = (process for process in signals.children(os.getpid()) if process != child.pid)
        signals.send(sent, [*signals.children(child.pid), *orphans])

    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGUSR1, signal.SIGUSR2):
        signal.signal(number, forward)
    warning = threading.Timer(warn_after_s, forward, [signal.SIGUSR1])
    warning.daemon = True
    if warn_after_s > 0:
        warning.start()
    code = child.wait()
    warning.cancel()
    _wait_for_orphans()
    return code


def _adopt_orphans() -> None:
    """Become the parent of what a shell leaves behind when it is killed; on Linux."""
    with contextlib.suppress(OSError, AttributeError):
        ctypes.CDLL(None).prctl(_SET_CHILD_SUBREAPER, 1, 0, 0, 0)


def _wait_for_orphans() -> None:
    until = time.monotonic() + LAST_S
    while time.monotonic() < until:
        try:
            ended, _ = os.waitpid(-1, os.WNOHANG)
        except ChildProcessError:
            return
        if not ended:
            time.sleep(0.2)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))

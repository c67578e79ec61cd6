"""Runs on the node, around a job of Snakemake, where the scheduler is not SLURM.

    python -m longimorph.orchestration.queued_job VARIABLE SECONDS FOLDER SCRIPT

runs SCRIPT and writes its exit status to ``FOLDER/NUMBER.end``, with the job's number from the environment
variable VARIABLE. It forwards SIGTERM. After SECONDS, shortly before the time limit, it sends SIGUSR1: a
registration then saves its state, and the next attempt continues from there. 0: it sends none.
"""

from __future__ import annotations

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
    """Run a shell script in a session of its own until it, and all that it started, has ended."""
    environment = {**os.environ, signals.QUEUED: "1"}
    child = subprocess.Popen(["/bin/sh", str(script)], env=environment, start_new_session=True)

    def forward(number: int, _: FrameType | None = None) -> None:
        sent = signal.SIGTERM if number == signal.SIGUSR2 else number  # by which LSF ends a job
        signals.send(sent, signals.children(child.pid))

    for number in (signal.SIGTERM, signal.SIGUSR1, signal.SIGUSR2):
        signal.signal(number, forward)
    warning = threading.Timer(warn_after_s, forward, [signal.SIGUSR1])
    warning.daemon = True
    if warn_after_s > 0:
        warning.start()
    code = child.wait()
    warning.cancel()
    _wait_for_group(child.pid)
    return code


def _wait_for_group(group: int) -> None:
    """Wait until no process of a group is left: a shell that is killed leaves those that it started."""
    until = time.monotonic() + LAST_S
    while time.monotonic() < until:
        try:
            os.killpg(group, 0)
        except ProcessLookupError:
            return
        time.sleep(0.2)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))

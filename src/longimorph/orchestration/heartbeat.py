"""Heartbeat of a job in its log: a time stamp updated at intervals, and a sentence per iteration.

The log suffices: it is on the shared disk, each job has one, and each attempt starts a new one. Touching a
file makes a network disk store what was written to it, so others see the log with a delay of at most one
beat.
"""

from __future__ import annotations

import os
import re
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from datetime import datetime
from pathlib import Path

BEAT_SECONDS = 30.0
SILENT_SECONDS = 600.0
"""A job silent for this long is presumed dead. It is long because network disks lag and clocks differ."""

_SENTENCE = re.compile(
    r"^(\d+-\d+-\d+ \d+:\d+:\d+)?.*?(\S+ mm: iteration \d+, \d+ of at most \d+ evaluations, cost \S+ mm3)",
    flags=re.MULTILINE,
)


@contextmanager
def beating(log: Path, every: float = BEAT_SECONDS) -> Iterator[None]:
    """Touch ``log`` every ``every`` seconds while the block runs."""
    ended = threading.Event()

    def beat() -> None:
        while not ended.wait(every):
            with suppress(OSError):  # a temporarily unavailable disk must not end a job
                os.utime(log)

    thread = threading.Thread(target=beat, name="sign of life", daemon=True)
    thread.start()
    try:
        yield
    finally:
        ended.set()
        thread.join()


def iteration(spacing_mm: float, number: int, evaluations: int, most: int, cost_mm3: float) -> str:
    """Return the sentence that reports an iteration on the level with this spacing."""
    counts = f"iteration {number}, {evaluations} of at most {most} evaluations"
    return f"{spacing_mm:.3g} mm: {counts}, cost {cost_mm3:.4g} mm3"


def last_iteration(log: str) -> tuple[str, datetime | None] | None:
    """Return the last such sentence of a log and its time (the writer's clock); None without one."""
    found = list(_SENTENCE.finditer(log))
    if not found:
        return None
    said, words = found[-1].groups()
    return words, datetime.fromisoformat(said) if said else None


def machine() -> str:
    """Return where this process runs: the machine, the process and, on a cluster, the job."""
    job = os.environ.get("SLURM_JOB_ID")
    return f"{os.uname().nodename}, process {os.getpid()}" + (f", SLURM job {job}" if job else "")

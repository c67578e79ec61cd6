"""Signs of life of a job, left in its log: a time stamp that beats, and each iteration as a sentence.

The log suffices: it is on the shared disk, each job has one, and it begins anew with each attempt. Touching a
file makes a network disk store what was written to it, so that others see the log at most a beat late.
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
"""A job that was not heard of for so long is thought dead: network disks show changes late, clocks differ."""

_SENTENCE = re.compile(
    r"^(\d+-\d+-\d+ \d+:\d+:\d+)?.*?(\S+ mm: iteration \d+, \d+ of at most \d+ evaluations, cost \S+ mm3)",
    flags=re.MULTILINE,
)


@contextmanager
def beating(log: Path, every: float = BEAT_SECONDS) -> Iterator[None]:
    """Touch ``log`` every so many seconds while the block runs."""
    ended = threading.Event()

    def beat() -> None:
        while not ended.wait(every):
            with suppress(OSError):  # a disk that is away for a moment ends no job
                os.utime(log)

    thread = threading.Thread(target=beat, name="sign of life", daemon=True)
    thread.start()
    try:
        yield
    finally:
        ended.set()
        thread.join()


def iteration(spacing_mm: float, number: int, evaluations: int, most: int, cost_mm3: float) -> str:
    """Return the sentence that tells of an iteration on the level with this spacing."""
    counts = f"iteration {number}, {evaluations} of at most {most} evaluations"
    return f"{spacing_mm:.3g} mm: {counts}, cost {cost_mm3:.4g} mm3"


def last_iteration(log: str) -> tuple[str, datetime | None] | None:
    """Return the last such sentence of a log and when it was said (the writer's clock), None without one."""
    found = list(_SENTENCE.finditer(log))
    if not found:
        return None
    said, words = found[-1].groups()
    return words, datetime.fromisoformat(said) if said else None


def machine() -> str:
    """Return where this process runs: the machine, the process and, on a cluster, the job."""
    job = os.environ.get("SLURM_JOB_ID")
    return f"{os.uname().nodename}, process {os.getpid()}" + (f", SLURM job {job}" if job else "")

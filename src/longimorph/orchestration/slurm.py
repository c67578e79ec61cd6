"""Information from SLURM about the jobs of a working folder; queried once and never required."""

from __future__ import annotations

import getpass
import os
import re
import shutil
import subprocess
import sys
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

_FORMAT = "%i|%T|%r|%Z|%k"
_ENDED = (
    "BOOT_FAIL",
    "CANCELLED",
    "COMPLETED",
    "DEADLINE",
    "FAILED",
    "NODE_FAIL",
    "OUT_OF_MEMORY",
    "TIMEOUT",
)
_USUAL = ("", "None", "Priority", "Resources", "BeginTime", "Prolog", "Cleaning")
"""Reasons of a job that will start, or has started."""
_ADVICE = {
    "PREEMPTED": "preempted, and may not return: Ctrl-C in Snakemake, then repeat the same command",
    "SUSPENDED": "suspended by an administrator; it resumes by itself, or cancel it: scancel {}",
    "HELD": "held: scontrol release {}, or scancel {} to have it submitted again",
    "PENDING": "SLURM may never start it as submitted: scancel {}, then see docs/troubleshooting.md",
}
_TIMEOUT = 30.0
_PLUGIN = "snakemake_executor_plugin_slurm"
SHORTEST_MEMORY = 200
"""Seconds for which SLURM must remember an ended job: above the plugin's longest pause of 180 s."""


@dataclass(frozen=True)
class SlurmJob:
    """A job in the queue: number, state, reason for waiting, and SLURM's comment, which names the rule."""

    number: str
    state: str
    reason: str
    comment: str

    @property
    def what(self) -> str:
        """The rule and its subject, as in ``register P001 V1__V2``."""
        return self.comment.removeprefix("rule_").replace("_wildcards_", " ", 1)

    @property
    def advice(self) -> str | None:
        """Advice on a job for which Snakemake may wait in vain; None for any other."""
        held = "held" in self.reason.lower() or self.state in ("REQUEUE_HOLD", "SPECIAL_EXIT")
        kind = "HELD" if held else self.state
        if kind == "PENDING" and self.reason in _USUAL:
            return None
        return _ADVICE[kind].replace("{}", self.number) if kind in _ADVICE else None

    def __str__(self) -> str:
        waits = f" ({self.reason})" if self.reason not in ("", "None") else ""
        return f"{self.number} {self.what}: {self.state}{waits}"


def queued(folder: Path) -> tuple[SlurmJob, ...] | None:
    """Return this user's jobs whose working folder is ``folder``: waiting, running or suspended.

    None if there is no SLURM, or if it does not answer.
    """
    if shutil.which("squeue") is None:
        return None
    who = f"--user={getpass.getuser()}"
    command = ["squeue", "--noheader", "--states=all", who, f"--format={_FORMAT}"]
    try:
        answer = subprocess.run(command, capture_output=True, text=True, timeout=_TIMEOUT, check=True)
    except (OSError, subprocess.SubprocessError):
        return None
    return of_folder(answer.stdout, folder)


def of_folder(listing: str, folder: Path) -> tuple[SlurmJob, ...]:
    """Return the jobs of ``folder`` from a listing of number, state, reason, folder and comment."""
    own = os.path.realpath(folder)
    rows = [line.split("|", 4) for line in listing.splitlines() if line.count("|") >= 4]
    return tuple(
        SlurmJob(number, state, reason, comment)
        for number, state, reason, place, comment in rows
        if os.path.realpath(place) == own and state not in _ENDED
    )


def told(jobs: Sequence[SlurmJob]) -> list[str]:
    """Describe the numbers of jobs by state, and the jobs for which Snakemake may wait in vain."""
    states = Counter(job.state for job in jobs)
    lines = ["in SLURM: " + ", ".join(f"{n} {state.lower()}" for state, n in states.items())]
    return lines + [f"  {job}: {job.advice}" for job in jobs if job.advice]


def min_job_age() -> int | None:
    """Return for how many seconds SLURM remembers an ended job; None if it does not answer."""
    try:
        command = ["scontrol", "show", "config"]
        answer = subprocess.run(command, capture_output=True, text=True, timeout=_TIMEOUT, check=True)
    except (OSError, subprocess.SubprocessError):
        return None
    found = re.search(r"^MinJobAge\s*=\s*(\d+)", answer.stdout, flags=re.MULTILINE)
    return int(found[1]) if found else None


def settle_plugin() -> str | None:
    """Make Snakemake's plugin query MinJobAge once instead of before every poll; return a warning.

    Where the controller does not answer this query, the plugin falls back to sacct. Without accounting it
    then loses track of its jobs and waits for them forever. No option of the plugin prevents this (2.8.0).
    """
    plugin = sys.modules.get(_PLUGIN)
    if plugin is None or not hasattr(plugin, "get_min_job_age"):
        return None
    seconds = min_job_age()
    if seconds is None:
        return "SLURM does not report its MinJobAge; check its controller with scontrol ping."
    vars(plugin)["get_min_job_age"] = lambda: seconds
    return memory_problem(seconds)


def memory_problem(seconds: int) -> str | None:
    """Return the problem with SLURM's MinJobAge, if any."""
    if seconds >= SHORTEST_MEMORY:
        return None
    return (
        f"SLURM forgets ended jobs after MinJobAge = {seconds} s, which is less than {SHORTEST_MEMORY} s: "
        "Snakemake may miss the end of a job and wait forever. Ask the administrator for 300, SLURM's "
        "default, or use --slurm-status-command sacct if the cluster has accounting."
    )

"""What SLURM knows of the jobs of a working folder, asked for once and never required."""

from __future__ import annotations

import getpass
import os
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path

_FORMAT = "%i|%T|%r|%Z|%k"
_TIMEOUT = 30.0


@dataclass(frozen=True)
class SlurmJob:
    """A job in the queue: its number, its state, why it waits, and SLURM's comment, which names the rule."""

    number: str
    state: str
    reason: str
    comment: str

    @property
    def what(self) -> str:
        """The rule and what it is for, as ``register P001 V1__V2``."""
        return self.comment.removeprefix("rule_").replace("_wildcards_", " ", 1)

    def __str__(self) -> str:
        waits = f" ({self.reason})" if self.reason not in ("", "None") else ""
        return f"{self.number} {self.what}: {self.state}{waits}"


def queued(folder: Path) -> tuple[SlurmJob, ...] | None:
    """Return this user's jobs, waiting or running, whose working folder is ``folder``.

    None where there is no SLURM, or where it does not answer.
    """
    if shutil.which("squeue") is None:
        return None
    command = ["squeue", "--noheader", f"--user={getpass.getuser()}", f"--format={_FORMAT}"]
    try:
        answer = subprocess.run(command, capture_output=True, text=True, timeout=_TIMEOUT, check=True)
    except (OSError, subprocess.SubprocessError):
        return None
    return of_folder(answer.stdout, folder)


def of_folder(listing: str, folder: Path) -> tuple[SlurmJob, ...]:
    """Return the jobs of ``folder`` in a listing of number, state, reason, folder and comment."""
    own = os.path.realpath(folder)
    rows = [line.split("|", 4) for line in listing.splitlines() if line.count("|") >= 4]
    return tuple(
        SlurmJob(number, state, reason, comment)
        for number, state, reason, place, comment in rows
        if os.path.realpath(place) == own
    )

"""Forwards a scheduler's signals to the process that computes.

On most clusters a signal of SLURM, whether early or at the end of a job, reaches only the process that SLURM
started: the job's Snakemake, which merely waits for its script. Only the script can save its state.
"""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import threading
from collections.abc import Iterable, Iterator
from pathlib import Path

HANDED_ON = (signal.SIGTERM, signal.SIGUSR1)
QUEUED = "LONGIMORPH_QUEUED_JOB"
"""The variable that is set in jobs of other schedulers than SLURM."""


def in_cluster_job() -> bool:
    """Return whether this process was started by SLURM as a step of a job, or by another scheduler."""
    return "SLURM_STEP_ID" in os.environ or QUEUED in os.environ


def hand_on() -> None:
    """Forward SIGTERM and SIGUSR1 to this process's children from now on. Call it in the main thread.

    The signals are read from Python's wake-up socket, since Snakemake later sets its own handler.
    """
    reader, writer = socket.socketpair()
    writer.setblocking(False)
    signal.signal(signal.SIGUSR1, lambda number, frame: None)  # its default would end this process
    signal.set_wakeup_fd(writer.fileno(), warn_on_full_buffer=False)
    threading.Thread(target=_watch, args=(reader, writer), daemon=True).start()


def _watch(reader: socket.socket, writer: socket.socket) -> None:
    """Read signal numbers forever; ``writer`` is referenced here so that it stays open."""
    while number := reader.recv(1):
        if number[0] in HANDED_ON:
            send(number[0], children(os.getpid()))


def send(number: int, processes: Iterable[int]) -> None:
    """Send a signal to processes; those that have ended are left out."""
    for process in processes:
        with contextlib.suppress(ProcessLookupError):
            os.kill(process, number)


def children(parent: int) -> Iterator[int]:
    """Yield the process ids of a process's children, on Linux."""
    for stat in Path("/proc").glob("[0-9]*/stat"):
        with contextlib.suppress(OSError):
            fields = stat.read_text(encoding="utf-8", errors="replace").rpartition(")")[2].split()
            if int(fields[1]) == parent:
                yield int(stat.parent.name)

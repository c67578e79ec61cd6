"""Forwards SLURM's signals to the process that computes.

On most clusters a SLURM signal, whether early or at the end of a job, reaches only the process that SLURM
started: the job's Snakemake, which merely waits for its script. Only the script can save its state.
"""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import threading
from collections.abc import Iterator
from pathlib import Path

HANDED_ON = (signal.SIGTERM, signal.SIGUSR1)


def in_slurm_step() -> bool:
    """Return whether this process was started by SLURM as a step of a job."""
    return "SLURM_STEP_ID" in os.environ


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
            for process in children():
                with contextlib.suppress(ProcessLookupError):
                    os.kill(process, number[0])


def children() -> Iterator[int]:
    """Yield the process ids of this process's children, on Linux."""
    own = os.getpid()
    for stat in Path("/proc").glob("[0-9]*/stat"):
        with contextlib.suppress(OSError):
            fields = stat.read_text(encoding="utf-8", errors="replace").rpartition(")")[2].split()
            if int(fields[1]) == own:
                yield int(stat.parent.name)

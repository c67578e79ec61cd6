"""The heading of every benchmark report: title, date and machine."""

from __future__ import annotations

import os
import platform
import sys
from datetime import date
from pathlib import Path

import torch


def heading(title: str, command: str, threads: int) -> str:
    """The first lines of a report."""
    versions = f"Python {platform.python_version()}, torch {torch.__version__}"
    cores = f"{os.cpu_count()} cores, load {os.getloadavg()[0]:.1f} at the start"
    where = f"{processor()}, {cores}; {threads} thread(s) per program"
    return f"# {title}\n\n`{command}` on {date.today()}: {where}; {versions}.\n\n"


def processor() -> str:
    """The CPU's name, as the system gives it."""
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        lines = []
    names = [line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.processor() or platform.machine()


def say(text: str) -> None:
    """Write a line immediately, even if the output is a file."""
    sys.stdout.write(text + "\n")
    sys.stdout.flush()

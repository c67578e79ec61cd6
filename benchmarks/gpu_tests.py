"""The tests that need a GPU, in a separate process."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import torch

from benchmarks.gpu_record import OutOfTime, Section
from benchmarks.gpu_sizes import CardSizes

ROOT = Path(__file__).parents[1]
COMMAND = (sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "--tb=short", "tests/gpu")
NOTHING_WRONG = (0, 5)
MOST_SHOWN = 6000


def tests(section: Section, sizes: CardSizes, device: torch.device) -> None:
    """Write the last line of the test run; raises an error with its whole output if a test fails."""
    path = os.pathsep.join(filter(None, (str(ROOT / "src"), os.environ.get("PYTHONPATH", ""))))
    try:
        done = subprocess.run(
            COMMAND,
            cwd=ROOT,
            env={**os.environ, "PYTHONPATH": path},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=max(section.left, 0.001),
        )
    except subprocess.TimeoutExpired as late:
        raise OutOfTime(f"the tests did not end; so far:\n\n```\n{_text(late.output)}\n```\n\n") from None
    section.write(f"`{' '.join(COMMAND[1:])}`: {_closing(done.stdout)}")
    if done.returncode not in NOTHING_WRONG:
        raise RuntimeError(f"the tests failed:\n{done.stdout[-MOST_SHOWN:]}")


def _closing(text: str) -> str:
    return (text.strip().splitlines() or ["nothing was said"])[-1].strip("= ")


def _text(output: str | bytes | None) -> str:
    text = output.decode(errors="replace") if isinstance(output, bytes) else output or ""
    return text[-MOST_SHOWN:].strip()

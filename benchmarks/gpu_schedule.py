"""Parts of the GPU benchmark: each has its own budget and traceback."""

from __future__ import annotations

import importlib
import signal
import time
import traceback
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from types import FrameType
from typing import TYPE_CHECKING

from benchmarks import gpu_card
from benchmarks.gpu_record import OutOfTime, Record, Section

if TYPE_CHECKING:
    import torch

    from benchmarks.gpu_sizes import CardSizes

GRACE = 1.25
"""A row under way may go on until the part has taken this many times its budget, then it is cut short."""
AGAIN_S = 15.0
"""Seconds after which an alarm that was not heard rings again; a part has so long to write what it knows."""


@dataclass(frozen=True)
class Part:
    """``work`` names ``module:function``, looked up when its turn comes; ``seconds`` is the budget."""

    name: str
    title: str
    work: str
    seconds: float

    def load(self) -> Callable[[Section, CardSizes, torch.device], None]:
        """The function; any error in its module counts as a failure of this part only."""
        module, function = self.work.split(":")
        found: Callable[[Section, CardSizes, torch.device], None] = getattr(
            importlib.import_module(module), function
        )
        return found


def run_all(
    parts: Sequence[Part], record: Record, sizes: CardSizes, device: torch.device, deadline: float
) -> list[str]:
    """Run the parts until the deadline (``time.monotonic``); return the names of those that failed."""
    failed = []
    for k, part in enumerate(parts):
        if deadline <= time.monotonic():
            names = ", ".join(one.title for one in parts[k:])
            record.write(f"**Out of time.** Skipped: {names}.\n")
            break
        if not run(part, record, sizes, device, deadline):
            failed.append(part.name)
    return failed


def run(part: Part, record: Record, sizes: CardSizes, device: torch.device, deadline: float) -> bool:
    """Run one part and report how it ended; return whether it succeeded."""
    began = time.monotonic()
    record.write(f"## {part.title}\n\n")
    section = Section(record, part.name, min(began + part.seconds, deadline))
    good, ending = _outcome(part, section, sizes, device, deadline)
    gpu_card.clean(device)
    record.write(f"{ending}({time.monotonic() - began:.0f} s of {part.seconds:.0f})\n\n")
    return good


def _outcome(
    part: Part, section: Section, sizes: CardSizes, device: torch.device, deadline: float
) -> tuple[bool, str]:
    """Return whether a part ended without an error, and a message about its end."""
    latest = min(time.monotonic() + GRACE * part.seconds, deadline)
    try:
        with alarm(latest - time.monotonic()):
            part.load()(section, sizes, device)
    except OutOfTime as reason:
        _forget(reason)
        return True, f"\n**Out of budget**: {reason}.\n\n"
    except Exception as error:
        told = traceback.format_exc()
        _forget(error)
        return False, f"\n**Failed:**\n\n```\n{told}```\n\n"
    return True, ""


def _forget(error: BaseException | None) -> None:
    """Release everything that the frames of an error and of its causes hold: maps on the device."""
    while error is not None:
        traceback.clear_frames(error.__traceback__)
        error = error.__cause__ or error.__context__


@contextmanager
def alarm(seconds: float) -> Iterator[None]:
    """Raise :class:`OutOfTime` within this context when the time is over, and again if it is ignored."""

    def ring(number: int, frame: FrameType | None) -> None:
        raise OutOfTime("a row took too long and was cut short")

    handler = signal.signal(signal.SIGALRM, ring)
    waiting = signal.setitimer(signal.ITIMER_REAL, max(seconds, 0.001), AGAIN_S)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, *waiting)
        signal.signal(signal.SIGALRM, handler)

"""An interrupted registration resumes where it stopped.

SIGTERM, SIGUSR1 and SIGINT interrupt it, and its state is written to a folder that Snakemake does not know
and therefore does not delete. The state is also written at intervals, so that a process killed without
warning loses only minutes. A state from other inputs, settings or code is not used.
"""

from __future__ import annotations

import logging
import signal
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import FrameType, TracebackType
from typing import Any

from longimorph.errors import Interrupted
from longimorph.numerics import journal
from longimorph.numerics.journal import OptimiserState
from longimorph.numerics.memory_strategies import out_of_memory
from longimorph.numerics.optimise import Optimum
from longimorph.resuming.state import Record, StateFiles
from longimorph.text import counted

LOGGER = logging.getLogger(__name__)

FOLDER = "resume"
SIGNALS = (signal.SIGTERM, signal.SIGUSR1, signal.SIGINT)
SAVE_SECONDS = 300.0
SAVE_SHARE = 0.05
"""Maximum share of the time spent on saving at intervals."""


class ResumableRun(journal.Journal):
    """The journal of one registration, in ``folder``, for states that belong to ``key``.

    ``rows`` is the list to which the registration adds a row per iteration, after those of earlier attempts.
    As a context manager it turns the signals into Interrupted and then saves the state. The folder remains
    until it is deleted (``delete``) after the results are written.
    """

    def __init__(self, folder: Path, key: str, rows: list[dict[str, float]]) -> None:
        self._files, self._rows, self._began = StateFiles(folder, key), rows, time.monotonic()
        self._earlier, self.attempts = 0.0, 1
        self._ended: list[Record] = []
        self._begun = 0
        self._state: OptimiserState | None = None
        self._masks, self._signal, self._broken = 1, 0, False
        self._old: dict[int, Any] = {}
        self._read()
        self._saved, self._cost = time.monotonic(), 0.0

    @property
    def seconds(self) -> float:
        """Duration of this attempt so far, including the attempts on which it builds."""
        return self._earlier + time.monotonic() - self._began

    def begin(self) -> Optimum | OptimiserState | None:
        """Return the result of the next descent in an earlier attempt, or its last state."""
        self._begun += 1
        if self._begun <= len(self._ended):
            return self._files.optimum(self._ended[self._begun - 1])
        return self._state

    def on_step(self, state: OptimiserState) -> None:
        """Record a step; write it if the last write is long ago."""
        self._state = state
        if time.monotonic() - self._saved > max(SAVE_SECONDS, self._cost / SAVE_SHARE):
            self.save()

    def on_end(self, optimum: Optimum) -> None:
        """Write the result of the descent."""
        with self.uninterruptible():
            self._state = None
            self._keep(lambda: self._ended.append(self._files.record_end(optimum)))
            self.save()

    @contextmanager
    def uninterruptible(self) -> Iterator[None]:
        """Defer signals until the end of this context."""
        self._masks += 1
        try:
            yield
        finally:
            self._masks -= 1
        self._break_off()

    def save(self) -> None:
        """Write the state."""
        began = time.monotonic()
        self._keep(self._write)
        self._saved = time.monotonic()
        self._cost = self._saved - began

    def _save_if_possible(self) -> None:
        """Write the state after running out of memory; if that fails too, the last written state remains."""
        try:
            self.save()
        except RuntimeError as error:
            LOGGER.warning("the last iterations could not be saved: %s", error)

    def delete(self) -> None:
        """Remove the files."""
        self._files.delete()

    def __enter__(self) -> ResumableRun:
        if threading.current_thread() is threading.main_thread():
            self._old = {number: signal.signal(number, self._heard) for number in SIGNALS}
        self._masks -= 1
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._masks += 1
        try:
            if isinstance(error, Interrupted):
                self.save()
            elif error is not None and out_of_memory(error):
                self._save_if_possible()
        finally:
            for number, handler in self._old.items():
                signal.signal(number, handler)

    def _heard(self, number: int, frame: FrameType | None) -> None:
        self._signal = number
        self._break_off()

    def _break_off(self) -> None:
        """Raise if a signal was received and is not deferred."""
        if self._signal and not self._masks:
            name, done = signal.Signals(self._signal).name, counted(len(self._rows), "iteration")
            raise Interrupted(f"{name} after {done}; the next attempt continues from there")

    def _keep(self, work: Callable[[], None]) -> None:
        """Run a function that writes files; a failure to write ends the journal but not the registration.

        If the disk is full or unavailable the files are deleted; if memory ran out the previous state
        remains.
        """
        if self._broken:
            return
        try:
            work()
        except (OSError, MemoryError) as error:
            LOGGER.warning(
                "the state cannot be saved, so an interruption would lose the work done: %s", error
            )
            self._broken = True
            if not out_of_memory(error):
                self.delete()

    def _write(self) -> None:
        state = self._files.record_state(self._state) if self._state else None
        told = {"rows": self._rows, "seconds": self.seconds, "attempts": self.attempts}
        self._files.write({"ended": self._ended, "state": state, **told})

    def _read(self) -> None:
        found = self._files.read()
        if found is None:
            return
        self._ended, self._rows[:] = list(found["ended"]), found["rows"]
        self._state = self._files.state(found["state"]) if found["state"] else None
        self._earlier, self.attempts = float(found["seconds"]), int(found["attempts"]) + 1
        LOGGER.info("attempt %d continues after %s", self.attempts, counted(len(self._rows), "iteration"))

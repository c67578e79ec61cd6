"""Seconds of a registration by phase and level, reported as each phase ends."""

from __future__ import annotations

import importlib
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from functools import wraps
from typing import Any

import torch

from benchmarks.gpu_card import Stopwatch

LEVEL, EVALUATION, WARPS = "between phases", "evaluations", "warps"
OFTEN = (EVALUATION, WARPS)
WRAPPED = {
    "register.solve": LEVEL,
    "register.attribute": "attribution",
    "register.uncertainty": "uncertainty",
    "register.integrate": WARPS,
    "warps.Warping.follow": WARPS,
    "warps.Warping.finish": WARPS,
    "register.drift": "drift",
    "solve.solve": LEVEL,
    "solve._start": "start",
    "solve._steps_needed": "number of steps",
    "solve._descend": "optimisation, rest",
    "solve.evaluate": EVALUATION,
}
"""Functions as the modules of ``longimorph.numerics`` that call them name them, and the phase that their time
belongs to. Not all need be there, but one of each phase."""


@dataclass
class Phases:
    """Seconds and calls by (level, phase); time within an inner phase counts there alone.

    A level is its grid's spacing in mm, "" for what belongs to none. ``ended`` hears of each phase as it
    ends, but for those that come OFTEN: level, phase and seconds. ``missing`` are phases of which no function
    was found.
    """

    device: torch.device
    ended: Callable[[str, str, float], None] = lambda *_: None
    seconds: dict[tuple[str, str], float] = field(default_factory=dict)
    calls: dict[tuple[str, str], int] = field(default_factory=dict)
    missing: set[str] = field(default_factory=lambda: set(WRAPPED.values()))
    _inner: list[float] = field(default_factory=lambda: [0.0])
    _levels: list[str] = field(default_factory=lambda: [""])

    @contextmanager
    def watched(self) -> Iterator[Phases]:
        """Measure the phases of the registrations within this context."""
        with ExitStack() as stack:
            for path, phase in WRAPPED.items():
                stack.enter_context(self._replaced(path, phase))
            yield self

    @contextmanager
    def _replaced(self, path: str, phase: str) -> Iterator[None]:
        module, *names, name = path.split(".")
        owner: Any = importlib.import_module(f"longimorph.numerics.{module}")
        for one in names:
            owner = getattr(owner, one, None)
        work = getattr(owner, name, None)
        if work is None:
            yield
            return
        self.missing.discard(phase)
        setattr(owner, name, self._timed(work, phase))
        try:
            yield
        finally:
            setattr(owner, name, work)

    def _timed(self, work: Callable[..., Any], phase: str) -> Callable[..., Any]:
        @wraps(work)
        def timed(*args: Any, **kwargs: Any) -> Any:
            if phase == LEVEL:
                self._levels.append(f"{min(args[0].spacing):g}")
            self._inner.append(0.0)
            watch = Stopwatch(self.device)
            try:
                return work(*args, **kwargs)
            finally:
                self._end(phase, watch.seconds())

        return timed

    def _end(self, phase: str, spent: float) -> None:
        own, key = spent - self._inner.pop(), (self._levels[-1], phase)
        self._inner[-1] += spent
        self.seconds[key] = self.seconds.get(key, 0.0) + own
        self.calls[key] = self.calls.get(key, 0) + 1
        if phase == LEVEL:
            self._levels.pop()
        if phase not in OFTEN:
            self.ended(*key, own)

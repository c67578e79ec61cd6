"""Seconds of a registration by phase and level, told as the phases end."""

from __future__ import annotations

import importlib
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from functools import wraps
from typing import Any

import torch

from benchmarks.gpu_card import Stopwatch

LEVEL, EVALUATION = "between phases", "evaluations"
WRAPPED = {
    "longimorph.numerics.register": {
        "solve": LEVEL,
        "attribute": "attribution",
        "doubt": "uncertainty",
        "integrate": "warps",
        "drift": "drift",
    },
    "longimorph.numerics.solve": {
        "solve": LEVEL,
        "_start": "start",
        "_steps_needed": "number of steps",
        "_descend": "optimisation, rest",
        "evaluate": EVALUATION,
    },
}
"""Functions as the modules that call them name them, and the phase that their time belongs to."""


@dataclass
class Phases:
    """Seconds and calls by (level, phase); time within an inner phase counts there alone.

    A level is its grid's spacing in mm, "" for what belongs to none. ``ended`` hears of each phase but the
    evaluations as it ends: level, phase and seconds.
    """

    device: torch.device
    ended: Callable[[str, str, float], None] = lambda *_: None
    seconds: dict[tuple[str, str], float] = field(default_factory=dict)
    calls: dict[tuple[str, str], int] = field(default_factory=dict)
    missing: list[str] = field(default_factory=list)
    _inner: list[float] = field(default_factory=lambda: [0.0])
    _levels: list[str] = field(default_factory=lambda: [""])

    @contextmanager
    def watched(self) -> Iterator[Phases]:
        """Measure what happens within."""
        with ExitStack() as stack:
            for module, names in WRAPPED.items():
                for name, phase in names.items():
                    stack.enter_context(self._replaced(importlib.import_module(module), name, phase))
            yield self

    @contextmanager
    def _replaced(self, module: Any, name: str, phase: str) -> Iterator[None]:
        work = getattr(module, name, None)
        if work is None:
            self.missing.append(f"{module.__name__}.{name}")
            yield
            return
        setattr(module, name, self._timed(work, phase))
        try:
            yield
        finally:
            setattr(module, name, work)

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
        if phase != EVALUATION:
            self.ended(*key, own)

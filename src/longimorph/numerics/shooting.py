"""Geodesic shooting, and its adjoint with as much kept as a strategy says.

What is kept decides memory and time and nothing else: every strategy gives the same numbers.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cache
from typing import Generic, TypeVar

import torch
from torch import Tensor

from longimorph.numerics.adjoint import Trace, pull_back_step, pull_back_trace, settle_back, trace
from longimorph.numerics.dynamics import Drive, Settling, State, Step, System, drive, energy, step
from longimorph.numerics.parking import fetch, park
from longimorph.numerics.strategies import CHECKPOINT, Strategy

T = TypeVar("T")
Terminal = Callable[[State], tuple[T, State]]
"""From the final state to a value and the cotangent of that state."""


class Divergence(ArithmeticError):
    """The shooting left the range of finite numbers; the momentum or the step is too large."""


def walk(start: State, system: System, steps: int) -> Iterator[Step]:
    """The midpoint steps of E1 to E4, one by one; whoever lets go of one before the next has room for it."""
    state = start
    for _ in range(steps):
        taken = step(state, system, 1.0 / steps)
        state = taken.after
        yield taken
        del taken


def shoot(start: State, system: System, steps: int) -> State:
    """The end of the shooting from a source map and a tangent momentum, E1 to E4.

    Raises :class:`Divergence` when it is not finite.
    """
    state = start
    with torch.no_grad():
        for _ in range(steps):
            state = step(state, system, 1.0 / steps).after
    return _finite(state)


def _finite(state: State) -> State:
    if not all(bool(torch.isfinite(part.sum())) for part in state):
        raise Divergence("the shooting left the range of finite numbers")
    return state


def sweep(
    start: State, system: System, steps: int, terminal: Terminal[T], strategy: Strategy = CHECKPOINT
) -> tuple[T, State]:
    """Shoot, ask ``terminal`` for a value and the cotangent of the end, and carry that to the start.

    The cotangent that ``terminal`` returns is written over. Raises :class:`Divergence`.
    """
    with torch.no_grad():
        if strategy.traces:
            return _with_traces(start, system, steps, terminal)
        if strategy.slots is not None and strategy.slots < steps:
            return _Nested(system, steps, terminal).run(start, strategy.slots)
        return _with_states(start, system, steps, terminal, strategy.host_states)


def _with_states(
    start: State, system: System, steps: int, terminal: Terminal[T], on_host: bool
) -> tuple[T, State]:
    duration, device = 1.0 / steps, start.q.device
    states, state = [], start
    for k in range(steps):
        states.append(State(park(state.q), park(state.p)) if on_host and k > 0 else state)
        state = step(state, system, duration).after
    value, cotangent = terminal(_finite(state))
    del state
    while states:
        before = states.pop()
        if on_host and states:
            before = State(fetch(before.q, device), fetch(before.p, device))
        cotangent = pull_back_step(before, cotangent, system, duration)
    return value, cotangent


def _with_traces(start: State, system: System, steps: int, terminal: Terminal[T]) -> tuple[T, State]:
    duration, state = 1.0 / steps, start
    kept: list[tuple[State, Drive, Trace, Settling]] = []
    for _ in range(steps):
        first = drive(state, system)
        traced, after, settling = trace(state, first, system, duration)
        kept.append((state, first, traced, settling))
        state = after
    value, cotangent = terminal(_finite(state))
    while kept:
        before, first, traced, settling = kept.pop()
        settle_back(state, settling, cotangent, system)
        cotangent = pull_back_trace(before, first, traced, cotangent, system, duration)
        state = before
    return value, cotangent


@cache
def nested_split(steps: int, slots: int) -> tuple[int, int]:
    """How many steps to go before the next kept state, and the fewest steps to make again in all.

    The optimum for going back over ``steps`` steps with ``slots`` more states to keep (Griewank and Walther's
    binomial checkpointing), by dynamic programming.
    """
    if steps == 1:
        return 0, 0
    if slots == 0:
        return steps - 1, steps * (steps - 1) // 2
    costs = [
        (ahead + nested_split(steps - ahead, slots - 1)[1] + nested_split(ahead, slots)[1], ahead)
        for ahead in range(1, steps)
    ]
    least, ahead = min(costs)
    return ahead, least


@dataclass
class _Nested(Generic[T]):
    """Going back with few kept states: the steps between two of them are made again."""

    system: System
    steps: int
    terminal: Terminal[T]

    def run(self, start: State, slots: int) -> tuple[T, State]:
        found: list[T] = []
        cotangent = self._back(start, 0, self.steps, slots, None, found)
        return found[0], cotangent

    def _back(
        self, state: State, begin: int, end: int, slots: int, cotangent: State | None, found: list[T]
    ) -> State:
        duration = 1.0 / self.steps
        while end - begin > 1:
            ahead = state
            mid = begin + nested_split(end - begin, slots)[0]
            for _ in range(mid - begin):
                ahead = step(ahead, self.system, duration).after
            cotangent = self._back(ahead, mid, end, max(slots - 1, 0), cotangent, found)
            del ahead
            end = mid
        if cotangent is None:
            value, cotangent = self.terminal(_finite(step(state, self.system, duration).after))
            found.append(value)
        return pull_back_step(state, cotangent, self.system, duration)


def energies(start: State, system: System, steps: int) -> Tensor:
    """H in mm^3 at each of the N + 1 states of a shooting: float64 (N + 1,)."""
    with torch.no_grad():
        state, found = start, []
        for _ in range(steps):
            found.append(energy(state, drive(state, system), system))
            state = step(state, system, 1.0 / steps).after
        return torch.stack([*found, energy(state, drive(state, system), system)])


def drift_of(energies_along: Tensor) -> float:
    """Largest relative departure of H from its start along the shooting; 0 for a zero momentum."""
    h = energies_along
    return float((h - h[0]).abs().max() / h[0]) if h[0] > 0 else 0.0


def drift(start: State, system: System, steps: int) -> float:
    """Drift of H along a shooting, a fraction of H."""
    return drift_of(energies(start, system, steps))

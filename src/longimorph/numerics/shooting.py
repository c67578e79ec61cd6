"""Geodesic shooting and its adjoint; a strategy decides how much is kept.

The strategy affects memory and time only: every strategy gives the same numbers.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cache, partial
from typing import Generic, TypeVar

import torch
from torch import Tensor

from longimorph.numerics.adjoint import (
    StepTrace,
    enter_back,
    leave_back,
    pull_back_step,
    pull_back_trace,
    settle_back,
    trace,
)
from longimorph.numerics.control import Exchange
from longimorph.numerics.dynamics import (
    Step,
    System,
    drive,
    energy_between,
    enter,
    leave,
    leave_in_place,
    step,
)
from longimorph.numerics.memory_strategies import CHECKPOINT, Strategy
from longimorph.numerics.parking import Parked, park_beside
from longimorph.numerics.states import Intermediates, Renormalisation, State

T = TypeVar("T")
Terminal = Callable[[State], tuple[T, State]]
"""Maps the final state to a value and the cotangent of that state."""


class Divergence(ArithmeticError):
    """The shooting left the range of finite numbers; the momentum or the step is too large."""


def walk(start: State, system: System, steps: int) -> Iterator[Step]:
    """Yield the midpoint steps of E1 to E4 one by one, from the state after :func:`dynamics.enter`.

    No reference is held while the caller uses a step: drop each step before requesting the next to limit
    memory.
    """
    state = enter(start, system, 1.0 / steps)
    for _ in range(steps):
        taken = [step(state, system, 1.0 / steps)]
        state = taken[0].after
        yield taken.pop()


def shoot(start: State, system: System, steps: int) -> State:
    """Return the end of the shooting from a source map and a tangent momentum, E1 to E4.

    Raises :class:`Divergence` when it is not finite.
    """
    with torch.no_grad():
        state = enter(start, system, 1.0 / steps)
        for _ in range(steps):
            state = step(state, system, 1.0 / steps).after
        return leave(finite(state), system, 1.0 / steps)


def finite(state: State) -> State:
    """Return the state as it is. Raises :class:`Divergence` when it is not finite."""
    if not bool(torch.isfinite(torch.stack([part.sum() for part in state])).all()):
        raise Divergence("the shooting produced numbers that are not finite")
    return state


def _ignore(_: Intermediates) -> None:
    """Ignore the intermediates of the initial state."""


@dataclass(frozen=True)
class Ends(Generic[T]):
    """Callbacks at the ends of a path.

    ``turn`` maps the final state to a value and the cotangent of that state; it overwrites the state.
    ``leave`` receives the intermediates of the initial state before the first step. ``arrive`` receives the
    same intermediates once the cotangent is back at the start.
    """

    turn: Terminal[T]
    leave: Callable[[Intermediates], None] = _ignore
    arrive: Callable[[Intermediates], None] = _ignore


def sweep(
    start: State, system: System, steps: int, ends: Ends[T], strategy: Strategy = CHECKPOINT
) -> tuple[T, State]:
    """Shoot, obtain a value and the final cotangent from ``ends``, and carry the cotangent back to the start.

    Raises :class:`Divergence`.
    """
    with torch.no_grad():
        if not isinstance(system.control, Exchange):
            return _swept(start, system, steps, ends, strategy)
        ends.leave(drive(start, system))
        begun = enter(start, system, 1.0 / steps)
        between = Ends(partial(_turned, ends.turn, system, 1.0 / steps))
        value, cotangent = _swept(begun, system, steps, between, strategy)
        enter_back(begun, cotangent, system, 1.0 / steps)
        ends.arrive(drive(start, system))
        return value, cotangent


def _turned(terminal: Terminal[T], system: System, duration: float, end: State) -> tuple[T, State]:
    """A terminal of the path's final state, applied to the state after the last step; restores the state."""
    leave_in_place(end, system, duration)
    value, cotangent = terminal(end)
    leave_back(end, cotangent, system, duration)
    return value, cotangent


def _swept(start: State, system: System, steps: int, ends: Ends[T], strategy: Strategy) -> tuple[T, State]:
    if strategy.traces:
        return _with_traces(start, system, steps, ends)
    if strategy.slots is not None and strategy.slots < steps:
        return _Nested(system, steps, ends).run(start, strategy.slots)
    return _with_states(start, system, steps, ends, strategy.host_states)


class _Resting:
    """A state stored for the backward pass, on the device or in host memory."""

    def __init__(self, state: State, parked: tuple[Parked, ...]) -> None:
        self._state = None if parked else state
        self._parked = parked

    def prefetch(self) -> None:
        """Start copying back the half of the state that fits in memory midway through a backward step."""
        for half in self._parked[:1]:
            half.prefetch()

    def get(self) -> State:
        return self._state or State(*(half.fetch() for half in self._parked))


def _first_step(
    start: State, system: System, duration: float, leave: Callable[[Intermediates], None]
) -> State:
    """Return the state after the first step; ``leave`` receives the intermediates of the initial state."""
    first = drive(start, system)
    leave(first)
    return step(start, system, duration, first).after


def _with_states(start: State, system: System, steps: int, ends: Ends[T], on_host: bool) -> tuple[T, State]:
    duration = 1.0 / steps
    states, state = [_Resting(start, ())], _first_step(start, system, duration, ends.leave)
    for _ in range(1, steps):
        with park_beside(*(state if on_host else ())) as parked:
            states.append(_Resting(state, parked))
            state = step(state, system, duration).after
    value, cotangent = ends.turn(finite(state))
    del state
    while states:
        before = states.pop().get()
        half_way, at_start = (states[-1].prefetch, _ignore) if states else (lambda: None, ends.arrive)
        cotangent = pull_back_step(before, cotangent, system, duration, half_way, at_start)
    return value, cotangent


def _with_traces(start: State, system: System, steps: int, ends: Ends[T]) -> tuple[T, State]:
    duration, state = 1.0 / steps, start
    kept: list[tuple[State, Intermediates, StepTrace, Renormalisation]] = []
    for k in range(steps):
        first = drive(state, system)
        if k == 0:
            ends.leave(first)
        traced, after, settling = trace(state, first, system, duration)
        kept.append((state, first, traced, settling))
        state = after
    value, cotangent = ends.turn(finite(state))
    while kept:
        before, first, traced, settling = kept.pop()
        settle_back(state, settling, cotangent, system, duration)
        cotangent = pull_back_trace(before, first, traced, cotangent, system, duration)
        state = before
    ends.arrive(first)
    return value, cotangent


@cache
def nested_split(steps: int, slots: int) -> tuple[int, int]:
    """Return the number of steps to the next kept state, and the minimum total number of recomputed steps.

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
    """Backward pass with few kept states: the steps between two of them are recomputed."""

    system: System
    steps: int
    ends: Ends[T]

    def run(self, start: State, slots: int) -> tuple[T, State]:
        found: list[T] = []
        cotangent = self._back(start, 0, self.steps, slots, None, found)
        return found[0], cotangent

    def _ahead(self, state: State, begin: int, mid: int, cotangent: State | None) -> State:
        """Advance to the next kept state; ``ends.leave`` receives the start on the first pass."""
        duration = 1.0 / self.steps
        for k in range(begin, mid):
            if k == 0 and cotangent is None:
                state = _first_step(state, self.system, duration, self.ends.leave)
            else:
                state = step(state, self.system, duration).after
        return state

    def _back(
        self, state: State, begin: int, end: int, slots: int, cotangent: State | None, found: list[T]
    ) -> State:
        duration = 1.0 / self.steps
        while end - begin > 1:
            mid = begin + nested_split(end - begin, slots)[0]
            ahead = self._ahead(state, begin, mid, cotangent)
            cotangent = self._back(ahead, mid, end, max(slots - 1, 0), cotangent, found)
            del ahead
            end = mid
        if cotangent is None:
            value, cotangent = self.ends.turn(finite(step(state, self.system, duration).after))
            found.append(value)
        at_start = self.ends.arrive if begin == 0 else _ignore
        return pull_back_step(state, cotangent, self.system, duration, at_start=at_start)


def energies(start: State, system: System, steps: int) -> Tensor:
    """H in mm^3 at each of the N + 1 states of a shooting: float64 (N + 1,)."""
    with torch.no_grad():
        state, found = enter(start, system, 1.0 / steps), []
        for _ in range(steps):
            driven = drive(state, system)
            found.append(energy_between(state, driven, system, 1.0 / steps))
            state = step(state, system, 1.0 / steps, driven).after
        return torch.stack([*found, energy_between(state, drive(state, system), system, 1.0 / steps)])


def drift_of(energies_along: Tensor) -> float:
    """Largest relative deviation of H from its initial value along the shooting; 0 for a zero momentum."""
    h = energies_along
    return float((h - h[0]).abs().max() / h[0]) if h[0] > 0 else 0.0


def drift(start: State, system: System, steps: int) -> float:
    """Drift of H along a shooting, as a fraction of H."""
    return drift_of(energies(start, system, steps))

"""The adjoint of one step, written by hand.

Without the gauge term the right-hand side is F = (dH/dp, -dH/dq). For cotangents (a, b) of (dq/dt, dp/dt)
the gradient of <a, dH/dp> - <b, dH/dq> is the derivative of grad H in the direction (-b, a). So the adjoint
of F is its own derivative: with (dq', dp') the change of F along (q, p) -> (q - b, p + a), the pulled-back
cotangents of q and p are -dp' and dq' (E7). No graph is recorded; the working set is a few maps.

H is continued off the sphere by rho = <q^2, R T> / |q|^2: the adjoint is exact for every change that keeps
|q| = 1 and <p, q> = 0, and no other change occurs.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from longimorph.numerics import passes
from longimorph.numerics.dynamics import System, advance, drive
from longimorph.numerics.states import Intermediates, Renormalisation, State


@dataclass(frozen=True)
class StepTrace:
    """The inside of a step as far as its adjoint needs it, but for what drives the start."""

    middle: State
    half: Renormalisation
    second: Intermediates


def trace(
    before: State, first: Intermediates, system: System, duration: float
) -> tuple[StepTrace, State, Renormalisation]:
    """A midpoint step with all that its adjoint needs: the trace, the state after, and how that settled.

    ``first`` is what drives the state before.
    """
    middle, half = advance(before, before, first, system, duration / 2)
    del first
    second = drive(middle, system)
    after, whole = advance(before, middle, second, system, duration)
    return StepTrace(middle, half, second), after, whole


def pull_back_flow(
    state: State, driven: Intermediates, cotangent: State, factor: float, system: System
) -> State:
    """Cotangent of a state from ``factor`` times that of its rate of change (E7)."""
    alloc, u = system.alloc, system.per_mm
    direction = passes.direction(state, cotangent, factor)
    drho, dam = passes.density_change(state, direction, alloc, driven.rho, driven.am, u)
    changes = Intermediates(drho, dam, system.velocity(dam))
    return passes.pull_back(state, direction, alloc, driven, changes, u)


def settle_back(after: State, settling: Renormalisation, end: State) -> None:
    """Turn the cotangent ``end`` of a settled state into that of the state before it settled, in place."""
    passes.unsettle(after, settling, end)


def pull_back_trace(
    before: State, first: Intermediates, traced: StepTrace, end: State, system: System, duration: float
) -> State:
    """Cotangent of the state before a step; ``end`` is that of the state after, before it settled.

    ``first`` is what drives the state before. ``end`` is written over and returned.
    """
    inner = _back_to_middle(traced, end, system, duration)
    return _back_to_start(before, first, inner, end, system, duration)


def pull_back_step(
    before: State,
    end: State,
    system: System,
    duration: float,
    half_way: Callable[[], None] = lambda: None,
    at_start: Callable[[Intermediates], None] = lambda _: None,
) -> State:
    """Cotangent of the state before a step from that of the state after it, ``end``, which is lost.

    The inside of the step is made again. ``half_way`` is called when that is no longer held, ``at_start``
    with what drives the state before when that is no longer needed here.
    """
    first = drive(before, system)
    inner = _back_to_middle(_trace_back(before, first, end, system, duration), end, system, duration)
    half_way()
    back = _back_to_start(before, first, inner, end, system, duration)
    del inner
    at_start(first)
    return back


def _trace_back(
    before: State, first: Intermediates, end: State, system: System, duration: float
) -> StepTrace:
    """The inside of a step made again; ``end`` becomes the cotangent of the state before it settled."""
    traced, after, settling = trace(before, first, system, duration)
    settle_back(after, settling, end)
    return traced


def _back_to_middle(traced: StepTrace, end: State, system: System, duration: float) -> State:
    """Add to ``end`` what the state half-way has of it; returns the cotangent of that before it settled."""
    inner = pull_back_flow(traced.middle, traced.second, end, duration, system)
    settle_back(traced.middle, traced.half, inner)
    _add(end, inner)
    return inner


def _back_to_start(
    before: State, first: Intermediates, inner: State, end: State, system: System, duration: float
) -> State:
    _add(end, pull_back_flow(before, first, inner, duration / 2, system))
    return end


def _add(total: State, part: State) -> None:
    for a, b in zip(total, part, strict=True):
        a.add_(b)

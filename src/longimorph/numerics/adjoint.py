"""The adjoint of one integration step, written by hand.

Without the gauge term the right-hand side is F = (dH/dp, -dH/dq). For cotangents (a, b) of (dq/dt, dp/dt) the
gradient of <a, dH/dp> - <b, dH/dq> is the derivative of grad H in the direction (-b, a). The adjoint of F is
therefore its own derivative: with (dq', dp') the change of F along (q, p) -> (q - b, p + a), the pulled-back
cotangents of q and p are -dp' and dq' (E7). No graph is recorded; the working set is a few maps.

H is extended off the sphere by rho = <q^2, R T> / |q|^2. The adjoint is exact for every perturbation that
preserves |q| = 1 and <p, q> = 0, and no other perturbation occurs.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from longimorph.numerics import passes
from longimorph.numerics.control import Exchange
from longimorph.numerics.dynamics import System, advance, drive, reallocate
from longimorph.numerics.states import Intermediates, Renormalisation, State


@dataclass(frozen=True)
class StepTrace:
    """Intermediate results of a step that its adjoint needs, except those of its initial state."""

    middle: State
    half: Renormalisation
    second: Intermediates


def trace(
    before: State, first: Intermediates, system: System, duration: float
) -> tuple[StepTrace, State, Renormalisation]:
    """Take a midpoint step and return its trace, the state after it and the renormalisation.

    ``first`` holds the intermediates of the initial state.
    """
    middle, half = advance(before, before, first, system, duration / 2)
    del first
    second = drive(middle, system)
    after, whole = advance(before, middle, second, system, duration)
    reallocate(after, system, duration)
    return StepTrace(middle, half, second), after, whole


def pull_back_flow(
    state: State,
    driven: Intermediates,
    cotangent: State,
    factor: float,
    system: System,
    total: State | None = None,
    settling: Renormalisation | None = None,
) -> State:
    """Return the cotangent of a state from ``factor`` times the cotangent of its rate of change (E7).

    With a ``total``, this and ``cotangent`` are added to it in place, and it is returned. With ``settling``,
    the renormalisation to the state, it is the cotangent before that.
    """
    control, u = system.control, system.per_mm
    direction, drho, dam = passes.density_change(state, cotangent, factor, control, driven.rho, driven.am, u)
    changes = Intermediates(drho, dam, system.velocity(dam))
    return passes.pull_back(state, direction, control, driven, changes, u, total, settling)


def settle_back(after: State, settling: Renormalisation, end: State, system: System, duration: float) -> None:
    """Pull the cotangent ``end`` after a step back through the rotations and the renormalisation, in place.

    With prices per pair it also overwrites ``after`` with the state before the rotations.
    """
    if isinstance(system.control, Exchange):
        passes.turn_back(after, end, system.control, duration / 2, reverse=False)
        passes.turn_back(after, end, system.control, duration / 2, reverse=True)
    passes.unsettle(after, settling, end)


def enter_back(begun: State, end: State, system: System, duration: float) -> None:
    """Pull the cotangent ``end`` of the state that :func:`dynamics.enter` gives back, in place.

    Overwrites ``begun`` with the state of the path.
    """
    if isinstance(system.control, Exchange):
        passes.turn_back(begun, end, system.control, duration / 2, reverse=False)


def leave_back(ended: State, end: State, system: System, duration: float) -> None:
    """Pull the cotangent ``end`` of the state that :func:`dynamics.leave` gives back, in place.

    Overwrites ``ended`` with the state between two steps.
    """
    if isinstance(system.control, Exchange):
        passes.turn_back(ended, end, system.control, -duration / 2, reverse=True)


def pull_back_trace(
    before: State, first: Intermediates, traced: StepTrace, end: State, system: System, duration: float
) -> State:
    """Return the cotangent of the state before a step.

    ``first`` holds the intermediates of the initial state. ``end`` is the cotangent of the state after the
    step, before renormalisation; it is overwritten and returned.
    """
    inner = _back_to_middle(traced, end, system, duration)
    return pull_back_flow(before, first, inner, duration / 2, system, end)


def pull_back_step(
    before: State,
    end: State,
    system: System,
    duration: float,
    half_way: Callable[[], None] = lambda: None,
    at_start: Callable[[Intermediates], None] = lambda _: None,
) -> State:
    """Return the cotangent of the state before a step from ``end``, the cotangent after it; overwrites
    ``end``.

    The trace of the step is recomputed. ``half_way`` is called once that trace has been released.
    ``at_start`` receives the intermediates of the initial state once they are no longer needed here.
    """
    first = drive(before, system)
    inner = _back_to_middle(_trace_back(before, first, end, system, duration), end, system, duration)
    half_way()
    back = pull_back_flow(before, first, inner, duration / 2, system, end)
    del inner
    at_start(first)
    return back


def _trace_back(
    before: State, first: Intermediates, end: State, system: System, duration: float
) -> StepTrace:
    """Recompute the trace of a step; ``end`` becomes the final state's cotangent before renormalisation."""
    traced, after, settling = trace(before, first, system, duration)
    settle_back(after, settling, end, system, duration)
    return traced


def _back_to_middle(traced: StepTrace, end: State, system: System, duration: float) -> State:
    """Return the cotangent of the half-way state before renormalisation."""
    return pull_back_flow(traced.middle, traced.second, end, duration, system, settling=traced.half)

"""Geodesic shooting and its adjoint, keeping one state per step.

Memory: 2 N D for the states of N steps (D = bytes of one map), plus the working set of one step; the
inside of a step is computed again on the way back. Time: one more forward shooting per gradient.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor

from longimorph.numerics.adjoint import pull_back_step
from longimorph.numerics.dynamics import Flow, State, System, flow, step


class Divergence(ArithmeticError):
    """The shooting left the range of finite numbers; the momentum or the step is too large."""


@dataclass(frozen=True)
class Trajectory:
    """States at the N + 1 times k / N."""

    states: tuple[State, ...]

    @property
    def steps(self) -> int:
        """Number of steps N."""
        return len(self.states) - 1


def walk(start: State, system: System, steps: int) -> Iterator[tuple[State, Flow, State]]:
    """The steps one by one: state before, flow at the midpoint, state after."""
    state = start
    for _ in range(steps):
        after, rate = step(state, system, 1.0 / steps)
        yield state, rate, after
        state = after


def shoot(start: State, system: System, steps: int) -> Trajectory:
    """All states of the shooting from a source map and a tangent momentum, E1 to E4.

    Raises :class:`Divergence` when the end is not finite.
    """
    with torch.no_grad():
        states = (start, *(after for _, _, after in walk(start, system, steps)))
    if not bool(torch.isfinite(states[-1].q).all() & torch.isfinite(states[-1].p).all()):
        raise Divergence("the shooting left the range of finite numbers")
    return Trajectory(states)


def pull_back(trajectory: Trajectory, system: System, end: State) -> State:
    """Adjoint of the shooting: the cotangent ``end`` of the last state, carried to the first."""
    cotangent = end
    with torch.no_grad():
        for state in reversed(trajectory.states[:-1]):
            cotangent = pull_back_step(state, cotangent, system, 1.0 / trajectory.steps)
    return cotangent


def energies(trajectory: Trajectory, system: System) -> Tensor:
    """H in mm^3 at each of the N + 1 states: float64 (N + 1,)."""
    with torch.no_grad():
        return torch.stack([flow(state, system).energy for state in trajectory.states])


def drift(trajectory: Trajectory, system: System) -> float:
    """Largest relative departure of H from its start along the shooting; 0 for a zero momentum."""
    h = energies(trajectory, system)
    return float((h - h[0]).abs().max() / h[0]) if h[0] > 0 else 0.0

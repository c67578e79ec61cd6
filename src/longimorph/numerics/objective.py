"""The cost of a momentum: what is left unexplained at the target, plus the price of the path.

    J(p0) = 1/2 |P(1) - T|^2 + lambda H(q0, p0)     (E5), both terms in mm^3, P = q^2.

The mismatch is taken between probabilities, not between their roots: what is measured are volumes, sums of
probabilities, and differences of roots weigh the tails of blurred boundaries so much that two visits of
unequal sharpness are matched with a bias in volume (measured: docs/decisions.md).
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from longimorph.numerics.dynamics import State, System, drive, energy, infinitesimal
from longimorph.numerics.precondition import inner
from longimorph.numerics.shooting import shoot, sweep
from longimorph.numerics.sphere import tangent
from longimorph.numerics.strategies import CHECKPOINT, Strategy


@dataclass(frozen=True)
class Matching:
    """One pair to match: source on the sphere, target on the simplex, (C, *grid) each, and how to travel."""

    source: Tensor
    target: Tensor
    system: System
    regularisation: float
    steps: int


@dataclass(frozen=True)
class Evaluation:
    """Cost and its parts in mm^3, and the gradient with respect to p0 per mm^3 (tangent, (C, *grid))."""

    cost: float
    mismatch: float
    energy: float
    gradient: Tensor


def evaluate(momentum: Tensor, matching: Matching, strategy: Strategy = CHECKPOINT) -> Evaluation:
    """Cost (E5) and gradient at a momentum tangent to the source. Raises ``Divergence``."""
    start = State(matching.source, momentum)
    mismatch, cotangent = sweep(
        start, matching.system, matching.steps, lambda end: _terminal(end, matching), strategy
    )
    gradient = cotangent.p
    del cotangent
    energy_there = _energy(start, matching.system)
    gradient.add_(infinitesimal(matching.source, matching.system)(momentum), alpha=matching.regularisation)
    gradient = tangent(gradient, matching.source)
    return Evaluation(mismatch + matching.regularisation * energy_there, mismatch, energy_there, gradient)


def cost(momentum: Tensor, matching: Matching) -> float:
    """Cost (E5) alone, without its gradient. Raises ``Divergence``."""
    start = State(matching.source, momentum)
    residual = shoot(start, matching.system, matching.steps).q.square_().sub_(matching.target)
    return _mismatch(residual, matching) + matching.regularisation * _energy(start, matching.system)


def _terminal(end: State, matching: Matching) -> tuple[float, State]:
    """Mismatch in mm^3 at the end of a shooting, and its cotangent there."""
    residual = end.q.square() - matching.target
    mismatch = _mismatch(residual, matching)
    return mismatch, State(residual.mul_(end.q).mul_(2), torch.zeros_like(residual))


def _mismatch(residual: Tensor, matching: Matching) -> float:
    return 0.5 * float(inner(residual, residual)) * matching.system.voxel_volume


def _energy(start: State, system: System) -> float:
    with torch.no_grad():
        return float(energy(start, drive(start, system), system))

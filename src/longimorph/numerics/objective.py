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

from longimorph.numerics.dynamics import State, System, flow
from longimorph.numerics.shooting import pull_back, shoot
from longimorph.numerics.sphere import tangent


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


def evaluate(momentum: Tensor, matching: Matching) -> Evaluation:
    """Cost (E5) and gradient at a momentum tangent to the source. Raises ``Divergence``."""
    system, q0 = matching.system, matching.source
    start = State(q0, momentum)
    trajectory = shoot(start, system, matching.steps)
    final = trajectory.states[-1].q
    residual = final.square() - matching.target
    cotangent = pull_back(trajectory, system, State(2 * final * residual, torch.zeros_like(residual)))
    initial = flow(start, system)
    gradient = tangent(cotangent.p + matching.regularisation * (initial.transport + initial.source), q0)
    mismatch, energy = _mismatch(residual, system), float(initial.energy)
    return Evaluation(mismatch + matching.regularisation * energy, mismatch, energy, gradient)


def cost(momentum: Tensor, matching: Matching) -> float:
    """Cost (E5) alone, without its gradient. Raises ``Divergence``."""
    start = State(matching.source, momentum)
    with torch.no_grad():
        final = shoot(start, matching.system, matching.steps).states[-1].q
        energy = float(flow(start, matching.system).energy)
    return _mismatch(final.square() - matching.target, matching.system) + matching.regularisation * energy


def _mismatch(residual: Tensor, system: System) -> float:
    return 0.5 * float(residual.square().sum(dtype=torch.float64)) * system.voxel_volume

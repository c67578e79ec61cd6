"""The cost of a momentum: the unexplained change at the target plus the energy of the path.

    J(p0) = 1/2 <r, r + w G_s r> + lambda H(q0, p0),   r = P(1) - T     (E5), both terms in mm^3, P = q^2.

The mismatch compares probabilities, not their square roots, because volumes are sums of probabilities.
Differences of roots weigh the tails of blurred boundaries so heavily that two visits of unequal sharpness are
matched with a bias in volume (measured: docs/decisions.md). G_s averages over s mm and w weighs it: where
transport cannot bring a voxel to its target (it cannot raise a peak), the neighbours compensate, so that
volumes match. Free exchanges leave the mismatch: r stands for A r (E10).
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch
from torch import Tensor

from longimorph.numerics import passes
from longimorph.numerics.blocks import new_field
from longimorph.numerics.conjugate import LinearMap, inner
from longimorph.numerics.dynamics import (
    System,
    drive,
    energy,
    energy_between,
    enter,
    fastest,
    leave,
    step,
    transport_velocity,
)
from longimorph.numerics.kernels import Kernel
from longimorph.numerics.memory_strategies import CHECKPOINT, Offloadable, Strategy
from longimorph.numerics.phases import phase
from longimorph.numerics.projection import EVERYTHING, Projection
from longimorph.numerics.shooting import Divergence, Ends, drift_of, finite, sweep
from longimorph.numerics.sphere import make_tangent
from longimorph.numerics.states import Intermediates, State

WILDEST_DRIFT = 0.1
"""Relative drift of H above which a path counts as diverged while more steps can still correct it."""
WILDEST_PACE = 1.0
"""Voxels per step, at either end of a path, above which it counts as diverged because its steps are too long.
"""


@dataclass(frozen=True)
class Matching:
    """One pair to match: source on the sphere, target on the simplex, (C, *grid) each, and the dynamics.

    The target may be stored elsewhere, since only the mismatch needs it. ``volumes`` is w G_s, which acts on
    the residual. A path whose H drifts by more than a fraction ``most_drift`` counts as diverged. ``free``
    holds the exchanges that the residual ignores (E10).
    """

    source: Tensor
    target: Offloadable
    system: System
    volumes: Kernel
    regularisation: float
    steps: int
    most_drift: float = WILDEST_DRIFT
    free: Projection = EVERYTHING


@dataclass(frozen=True)
class Evaluation:
    """The cost and its parts in mm^3, the gradient with respect to p0 per mm^3 (tangent, (C, *grid)), and the
    relative change of H from one end of the path to the other.
    """

    cost: float
    mismatch: float
    energy: float
    gradient: Tensor
    drift: float = 0.0


@phase("evaluation")
def evaluate(momentum: Tensor, matching: Matching, strategy: Strategy = CHECKPOINT) -> Evaluation:
    """Return J(p0), the cost (E5), and its gradient at a momentum tangent to the source. Raises
    ``Divergence``.

    The gradient of H at the start with respect to p0 is dq/dt there.
    """
    start, system = State(matching.source, momentum), matching.system
    energies: list[float] = []
    drifts: list[float] = []
    rates: list[Tensor] = []

    def leave(driven: Intermediates) -> None:
        energies.append(_energy(start, driven, matching))

    def turn(end: State) -> tuple[float, State]:
        drifts.append(_drift(energies[0], _energy(end, drive(end, system), matching), matching))
        return _terminal(end, matching)

    def arrive(driven: Intermediates) -> None:
        rates.append(passes.rate(*start, system.control, driven.rho, driven.v, system.per_mm))

    unexplained, cotangent = sweep(start, system, matching.steps, Ends(turn, leave, arrive), strategy)
    gradient = cotangent.p
    del cotangent
    gradient.add_(rates.pop(), alpha=matching.regularisation)
    gradient = make_tangent(gradient, matching.source)
    total = unexplained + matching.regularisation * energies[0]
    return Evaluation(total, unexplained, energies[0], gradient, drifts[0])


@dataclass(frozen=True)
class Course:
    """The path of a momentum: the map where it ends (C, *grid), H at its start in mm^3, the fastest movement
    in voxels per unit of time, and the largest relative deviation of H from its initial value.
    """

    end: Tensor
    energy: float
    pace: float
    drift: float

    def cost(self, matching: Matching) -> float:
        """J(p0), the cost (E5), in mm^3."""
        return mismatch(self.end, matching) + matching.regularisation * self.energy


def follow(momentum: Tensor, matching: Matching) -> Course:
    """Shoot along a momentum (C, *grid) tangent to the source. Raises ``Divergence``."""
    start, system, duration = State(matching.source, momentum), matching.system, 1.0 / matching.steps
    with torch.no_grad():
        driven = drive(start, system)
        begun = _energy(start, driven, matching)
        state, paces, between = enter(start, system, duration), [], []
        for k in range(matching.steps):
            if state is not start:
                driven = drive(state, system)
            if k > 0:
                between.append(energy_between(state, driven, system, duration))
            taken = step(state, system, duration, driven)
            paces.append(fastest(taken.velocity, system))
            state = taken.after
            del taken, driven
        end = leave(finite(state), system, duration)
        ended = _energy(end, drive(end, system), matching)
        _drift(begun, ended, matching)
        ends = torch.tensor([begun, ended], dtype=torch.float64, device=momentum.device)
        moved_off = drift_of(torch.cat([ends, *(h[None] for h in between)]))
        return Course(end.q, begun, float(torch.stack(paces).max()), moved_off)


def mismatch(q: Tensor, matching: Matching) -> float:
    """Mismatch of a shooting that ends at q (C, *grid): the first term of E5, in mm^3."""
    residual = _residual(q, matching)
    return _half_product(residual, _weighed(residual, matching), matching)


def difference(matching: Matching) -> float:
    """Mismatch of the source itself, free exchanges included, in mm^3."""
    return mismatch(matching.source, replace(matching, free=EVERYTHING))


def _residual(q: Tensor, matching: Matching) -> Tensor:
    found = torch.mul(q, q, out=new_field(q))
    return matching.free.remove(found.sub_(matching.target.get()))


def _terminal(end: State, matching: Matching) -> tuple[float, State]:
    """Return the mismatch in mm^3 at the end of a shooting, and its cotangent there."""
    residual = _residual(end.q, matching)
    weighed = _weighed(residual, matching)
    unexplained = _half_product(residual, weighed, matching)
    weighed = matching.free.remove_back(weighed)
    return unexplained, State(weighed.mul_(end.q).mul_(2), residual.zero_())


def _weighed(residual: Tensor, matching: Matching) -> Tensor:
    """(1 + w G_s) r, class by class: (C, *grid)."""
    out = new_field(residual)
    for whole, part in zip(out, residual, strict=True):
        torch.add(part, matching.volumes(part[None])[0], out=whole)
    return out


def curvature(matching: Matching) -> LinearMap:
    """W, the second derivative of the mismatch with respect to q at the source, per mm^3, on tangent fields
    (C, *grid).

    The term that vanishes with the residual is omitted (Gauss-Newton approximation).
    """
    q = matching.source

    def apply(x: Tensor) -> Tensor:
        changed = matching.free.remove(torch.mul(q, x, out=new_field(q)))
        weighed = matching.free.remove_back(_weighed(changed, matching))
        return make_tangent(weighed.mul_(q).mul_(4), q)

    return apply


def _half_product(a: Tensor, b: Tensor, matching: Matching) -> float:
    return 0.5 * float(inner(a, b)) * matching.system.voxel_volume


def _drift(before: float, after: float, matching: Matching) -> float:
    """The relative change of H along a path. Raises ``Divergence`` where it is so large that the path is no
    geodesic, because the steps are too long for its momentum.
    """
    if not abs(after - before) <= matching.most_drift * before:
        raise Divergence(f"H drifts from {before:.4g} to {after:.4g} mm3 along the shooting")
    return abs(after - before) / before if before else 0.0


def _energy(state: State, driven: Intermediates, matching: Matching) -> float:
    """H in mm^3 at one end of a path; raises ``Divergence`` when tissue moves too far per step there."""
    system = matching.system
    pace = fastest(transport_velocity(driven), system) / matching.steps
    found, pace_there = torch.stack([energy(state, driven, system), pace.double()]).tolist()
    if not pace_there <= WILDEST_PACE:
        raise Divergence(f"tissue moves {pace_there:.3g} voxels in one step of the shooting")
    return float(found)

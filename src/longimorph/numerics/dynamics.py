"""Class-weighted metamorphosis on the sphere: the Hamiltonian, its flow, and one integration step.

Discrete Hamiltonian, with D the central difference and P the projection of p to the tangent space at q:

    H(q, p) = 1/2 <alpha m, K(alpha m)> + 1/2 |beta Pp|^2,     m_d = sum_n (Pp)_n D_d q_n,
    alpha = sqrt(rho), beta = sqrt(1 - rho), rho = <q^2, R T>.

The right-hand side is its exact symplectic gradient (equations E1 to E4 of docs/theory.md), so |q| = 1 holds
along the exact flow and H is constant. The component of p along q affects neither q nor H; the right-hand
side includes a gauge term that keeps p tangent. Time runs from 0 (source) to 1; q and p are dimensionless,
velocities are in mm, H and every integral in mm^3. The formulas are in :mod:`longimorph.numerics.equations`.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cached_property
from typing import NamedTuple

import torch
from torch import Tensor

from longimorph.numerics import equations, passes
from longimorph.numerics.kernels import Kernel
from longimorph.numerics.sphere import dot, tangent
from longimorph.numerics.states import Intermediates, Renormalisation, State


@dataclass(frozen=True)
class System:
    """Everything the Hamiltonian depends on besides the state.

    ``kernel`` acts on (d, *grid); ``alloc`` is R T, (C, *grid); ``spacing`` is in mm, one value per axis.
    """

    kernel: Kernel
    alloc: Tensor
    spacing: tuple[float, ...]

    def velocity(self, am: Tensor) -> Tensor:
        """v = -K(alpha m) in mm (E1), (d, *grid) like alpha m."""
        return self.kernel(am).neg_()

    @property
    def voxel_volume(self) -> float:
        """Volume of one voxel in mm^3 (mm^2 in two dimensions)."""
        return math.prod(self.spacing)

    @cached_property
    def per_mm(self) -> Tensor:
        """1 / (2 h) per axis, (d, 1, ...): converts differences to derivatives per mm. Computed once."""
        factors = [0.5 / h for h in self.spacing]
        return self.alloc.new_tensor(factors).reshape(-1, *(1 for _ in factors))


class Flow(NamedTuple):
    """All terms of the flow at one time, for inspection; not economical with memory.

    ``transport`` and ``source`` (C, *grid) are the two tangent parts of dq/dt. ``dp`` is dp/dt, in which
    ``gauge`` (1, *grid) times q keeps p tangent without moving anything. ``velocity`` (d, *grid) in mm is w =
    alpha v; ``energy`` is H in mm^3 (a scalar).
    """

    transport: Tensor
    source: Tensor
    dp: Tensor
    gauge: Tensor
    velocity: Tensor
    energy: Tensor


@dataclass(frozen=True)
class Step:
    """One midpoint step: the states before, half-way and after, and the half-way intermediates."""

    before: State
    middle: State
    drive: Intermediates
    after: State
    duration: float

    @property
    def velocity(self) -> Tensor:
        """w at the half-way state, (d, *grid) in mm per unit of time."""
        return equations.velocity(self.drive.rho, self.drive.v)


def flow(state: State, system: System) -> Flow:
    """Right-hand side of the geodesic equations (E1 to E4); differentiable."""
    u = system.per_mm
    rho, am = equations.density(*state, system.alloc, u)
    v = system.velocity(am)
    found = equations.rates(state, system.alloc, Intermediates(rho, am, v), u)
    density = equations.energy_density(state.p, rho, am, v)
    return Flow(*found, equations.velocity(rho, v), _integral(density, system))


def hamiltonian(state: State, system: System) -> Tensor:
    """H(q, p) in mm^3 (a scalar, differentiable); p need not be tangent: only its tangent part counts."""
    q, p = state[0], tangent(state[1], state[0])
    rho, am = equations.density(q, p, system.alloc, system.per_mm)
    density = (am * system.kernel(am)).sum() + ((1 - rho) * dot(p, p)).sum()
    return 0.5 * density * system.voxel_volume


def drive(state: State, system: System) -> Intermediates:
    """Return rho, alpha m and the velocity v = -K(alpha m) of a state (E1)."""
    rho, am = passes.density(*state, system.alloc, system.per_mm)
    return Intermediates(rho, am, system.velocity(am))


def energy(state: State, driven: Intermediates, system: System) -> Tensor:
    """H in mm^3 (a scalar, float64)."""
    parts = []
    for start, stop in passes.slabs(state.q):
        cut = (a[:, start:stop] for a in (state.p, *driven))
        parts.append(_integral(equations.energy_density(*cut), system))
    return torch.stack(parts).sum()


def fastest(w: Tensor, system: System) -> Tensor:
    """Return the largest component of a velocity w (d, *grid), in voxels per unit of time (a scalar)."""
    return torch.stack([one.abs().max() / h for one, h in zip(w, system.spacing, strict=True)]).max()


def _integral(density: Tensor, system: System) -> Tensor:
    return density.sum(dtype=torch.float64) * system.voxel_volume


def advance(
    base: State, at: State, driven: Intermediates, system: System, duration: float
) -> tuple[State, Renormalisation]:
    """Advance ``base`` for a duration with the rates of the state ``at``, then renormalise to the sphere."""
    return passes.advance(base, at, system.alloc, driven, system.per_mm, duration)


def step(state: State, system: System, duration: float, first: Intermediates | None = None) -> Step:
    """Take one explicit midpoint step (order 2); ``first`` holds the intermediates of the state, if known."""
    middle, _ = advance(state, state, first or drive(state, system), system, duration / 2)
    driven = drive(middle, system)
    after, _ = advance(state, middle, driven, system, duration)
    return Step(state, middle, driven, after, duration)

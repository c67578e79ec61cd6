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

from longimorph.numerics import equations, pair_equations, passes
from longimorph.numerics.blocks import new_field
from longimorph.numerics.control import Control, Exchange
from longimorph.numerics.kernels import Kernel
from longimorph.numerics.sphere import dot, tangent
from longimorph.numerics.states import Intermediates, Renormalisation, State


@dataclass(frozen=True)
class System:
    """Everything the Hamiltonian depends on besides the state.

    ``kernel`` acts on (d, *grid); ``control`` prices reallocation; ``spacing`` is in mm, one value per axis.
    """

    kernel: Kernel
    control: Control
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
        return self.control[0].new_tensor(factors).reshape(-1, *(1 for _ in factors))


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
        return transport_velocity(self.drive)


def flow(state: State, system: System) -> Flow:
    """Right-hand side of the geodesic equations (E1 to E4); differentiable."""
    u, control = system.per_mm, system.control
    if isinstance(control, Exchange):
        m = pair_equations.momentum(*state, u)
        v = system.velocity(m)
        density = pair_equations.energy_density(*state, control, m, v)
        return Flow(*pair_equations.rates(state, control, v, u), v, _integral(density, system))
    rho, am = equations.density(*state, control.shares, u)
    v = system.velocity(am)
    found = equations.rates(state, control.shares, Intermediates(rho, am, v), u)
    density = equations.energy_density(state.p, rho, am, v)
    return Flow(*found, equations.velocity(rho, v), _integral(density, system))


def hamiltonian(state: State, system: System) -> Tensor:
    """H(q, p) in mm^3 (a scalar, differentiable); p need not be tangent: only its tangent part counts."""
    q, p, control = state[0], tangent(state[1], state[0]), system.control
    if isinstance(control, Exchange):
        m = pair_equations.momentum(q, p, system.per_mm)
        density = pair_equations.energy_density(q, p, control, m, system.velocity(m))
        return _integral(density, system)
    rho, am = equations.density(q, p, control.shares, system.per_mm)
    density = (am * system.kernel(am)).sum() + ((1 - rho) * dot(p, p)).sum()
    return 0.5 * density * system.voxel_volume


def drive(state: State, system: System) -> Intermediates:
    """Return rho, alpha m and the velocity v = -K(alpha m) of a state (E1)."""
    rho, am = passes.density(*state, system.control, system.per_mm)
    return Intermediates(rho, am, system.velocity(am))


def energy(state: State, driven: Intermediates, system: System) -> Tensor:
    """H in mm^3 (a scalar, float64)."""
    parts = []
    for start, stop in passes.slabs(state.q):
        cut = State(*(part[:, start:stop] for part in state))
        known = Intermediates(*(part[:, start:stop] for part in driven))
        parts.append(_integral(_energy_density(cut, known, system.control, slice(start, stop)), system))
    return torch.stack(parts).sum()


def _energy_density(state: State, driven: Intermediates, control: Control, planes: slice) -> Tensor:
    """The integrand of H on some planes; the state and its intermediates are already cut to them."""
    if isinstance(control, Exchange):
        here = Exchange(control.field[:, planes], control.free)
        return pair_equations.energy_density(*state, here, driven.am, driven.v)
    return equations.energy_density(state.p, *driven)


def transport_velocity(driven: Intermediates) -> Tensor:
    """w in mm per unit of time, (d, *grid): alpha v, or v itself with prices per pair."""
    if not len(driven.rho):
        return driven.v
    return torch.mul(driven.v, driven.rho.sqrt(), out=new_field(driven.v))


def source_rate(state: State, driven: Intermediates, system: System) -> Tensor:
    """The source part of dq/dt, (C, *grid)."""
    if isinstance(system.control, Exchange):
        return pair_equations.turning(*state, system.control)[0]
    return (1 - driven.rho) * state.p


def fastest(w: Tensor, system: System) -> Tensor:
    """Return the largest component of a velocity w (d, *grid), in voxels per unit of time (a scalar)."""
    largest = [torch.stack(torch.aminmax(one)).abs().max() for one in w]
    return torch.stack([most / h for most, h in zip(largest, system.spacing, strict=True)]).max()


def _integral(density: Tensor, system: System) -> Tensor:
    return density.sum(dtype=torch.float64) * system.voxel_volume


def advance(
    base: State, at: State, driven: Intermediates, system: System, duration: float
) -> tuple[State, Renormalisation]:
    """Advance ``base`` for a duration with the rates of the state ``at``, then renormalise to the sphere."""
    return passes.advance(base, at, system.control, driven, system.per_mm, duration)


def enter(state: State, system: System, duration: float) -> State:
    """The state from which the steps of a path start; with prices per pair, half a step's rotation later.

    Transport and rotation alternate (a Strang splitting). The rotations at the end of one step and the start
    of the next are done together, so every step starts in the middle of them.
    """
    if not isinstance(system.control, Exchange):
        return state
    begun = State(*(part.clone() for part in state))
    passes.turn(begun, system.control, duration / 2, reverse=False)
    return begun


def leave(state: State, system: System, duration: float) -> State:
    """The state of the path that belongs to a state between two steps: undoes :func:`enter`."""
    if not isinstance(system.control, Exchange):
        return state
    ended = State(*(part.clone() for part in state))
    leave_in_place(ended, system, duration)
    return ended


def leave_in_place(state: State, system: System, duration: float) -> None:
    """:func:`leave`, overwriting the state."""
    if isinstance(system.control, Exchange):
        passes.turn(state, system.control, -duration / 2, reverse=True)


def energy_between(state: State, driven: Intermediates, system: System, duration: float) -> Tensor:
    """H in mm^3 (a scalar, float64) of the path where it is between two steps."""
    if not isinstance(system.control, Exchange):
        return energy(state, driven, system)
    left = leave(state, system, duration)
    return energy(left, drive(left, system), system)


def reallocate(state: State, system: System, duration: float) -> None:
    """The rotations between two steps, in place; nothing to do with one rho per voxel."""
    if isinstance(system.control, Exchange):
        passes.turn(state, system.control, duration / 2, reverse=True)
        passes.turn(state, system.control, duration / 2, reverse=False)


def step(state: State, system: System, duration: float, first: Intermediates | None = None) -> Step:
    """Take one step (order 2); ``first`` holds the intermediates of the state, if known.

    One rho per voxel: the explicit midpoint rule. Prices per pair: that rule for the transport, then the
    rotations between this step and the next (see :func:`enter`).
    """
    middle, _ = advance(state, state, first or drive(state, system), system, duration / 2)
    driven = drive(middle, system)
    after, _ = advance(state, middle, driven, system, duration)
    reallocate(after, system, duration)
    return Step(state, middle, driven, after, duration)

"""The geodesic equations of class-weighted metamorphosis on the sphere, and one step of them.

Discrete Hamiltonian, with D the central difference and P the projection of p to the tangent space at q:

    H(q, p) = 1/2 <alpha m, K(alpha m)> + 1/2 |beta Pp|^2,     m_d = sum_n (Pp)_n D_d q_n,
    alpha = sqrt(rho), beta = sqrt(1 - rho), rho = <q^2, R T>.

The right-hand side is its exact symplectic gradient (equations E1 to E4 of docs/theory.md), so |q| = 1
holds along the exact flow and H is constant. The part of p along q changes neither q nor H; the right-hand
side moves it such that p stays tangent. Time runs from 0 (source) to 1; q and p have no unit, velocities are
in mm, H and every integral in mm^3.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor

from longimorph.numerics import control
from longimorph.numerics.fields import adjoint_difference, difference, grid_axes
from longimorph.numerics.kernels import Kernel
from longimorph.numerics.sphere import dot, normalise, tangent


@dataclass(frozen=True)
class System:
    """What the Hamiltonian depends on besides the state.

    ``kernel`` acts on (d, *grid); ``alloc`` is R T, (C, *grid); ``spacing`` in mm, one per axis.
    """

    kernel: Kernel
    alloc: Tensor
    spacing: tuple[float, ...]

    @property
    def voxel_volume(self) -> float:
        """mm^3 (mm^2 in two dimensions)."""
        return math.prod(self.spacing)

    @property
    def per_mm(self) -> Tensor:
        """1 / (2 h) per axis, (d, 1, ...): turns differences into derivatives per mm."""
        factors = [0.5 / h for h in self.spacing]
        return self.alloc.new_tensor(factors).reshape(-1, *(1 for _ in factors))


class State(NamedTuple):
    """q on the sphere and p tangent to it at q: both (C, *grid)."""

    q: Tensor
    p: Tensor


class Flow(NamedTuple):
    """What drives a state at one time.

    ``transport`` and ``source`` (C, *grid) are the two tangent parts of dq/dt, ``dp`` is dp/dt, of which
    ``gauge`` (1, *grid) times q keeps p tangent and moves nothing; ``velocity`` (d, *grid) in mm
    is w = alpha v, ``energy`` is H in mm^3 (a scalar).
    """

    transport: Tensor
    source: Tensor
    dp: Tensor
    gauge: Tensor
    velocity: Tensor
    energy: Tensor


def differences(q: Tensor, dims: int) -> list[Tensor]:
    """2 h D_d q for each of the grid's axes."""
    return [difference(q, axis) for axis in range(-dims, 0)]


def momentum_map(p: Tensor, slopes: Sequence[Tensor]) -> Tensor:
    """sum_n p_n slopes_dn: (d, *grid)."""
    return torch.stack([(p * slope).sum(0) for slope in slopes])


def combine(weights: Tensor, slopes: Sequence[Tensor]) -> Tensor:
    """sum_d weights_d slopes_d, the adjoint of :func:`momentum_map`: (C, *grid)."""
    total = weights[0] * slopes[0]
    for weight, slope in zip(weights[1:], slopes[1:], strict=True):
        total = torch.addcmul(total, weight, slope)
    return total


def flow(state: State, system: System) -> Flow:
    """Right-hand side of the geodesic equations (E1 to E4) at a state with |q| = 1, <p, q> = 0."""
    q, p = state
    rho = control.rho(q, system.alloc)
    alpha, beta2 = rho.sqrt(), 1 - rho
    slopes = differences(q, len(system.spacing))
    m = momentum_map(p, slopes) * system.per_mm
    v = -system.kernel(alpha * m)
    w = alpha * v
    w_grid = w * system.per_mm
    moved, source = combine(-w_grid, slopes), beta2 * p
    off_sphere = dot(moved, q)
    work, pp = (m * v).sum(0, keepdim=True), dot(p, p)
    dp = torch.addcmul(off_sphere * p, (work / alpha + pp) * q, system.alloc - rho)
    for d, axis in enumerate(grid_axes(system.spacing)):
        dp = dp + adjoint_difference(w_grid[d] * p, axis)
    transport = moved - off_sphere * q
    gauge = -dot(dp, q) - dot(p, transport + source)
    energy = 0.5 * (beta2 * pp - alpha * work).sum(dtype=torch.float64) * system.voxel_volume
    return Flow(transport, source, torch.addcmul(dp, gauge, q), gauge, w, energy)


def hamiltonian(state: State, system: System) -> Tensor:
    """H(q, p) in mm^3 (a scalar, differentiable); p need not be tangent: only its tangent part counts."""
    q, p = state[0], tangent(state[1], state[0])
    rho = control.rho(q, system.alloc)
    am = rho.sqrt() * momentum_map(p, differences(q, len(system.spacing))) * system.per_mm
    density = (am * system.kernel(am)).sum() + ((1 - rho) * dot(p, p)).sum()
    return 0.5 * density * system.voxel_volume


def advance(state: State, rate: Flow, duration: float) -> State:
    """Follow a rate for a time in a straight line; q leaves the sphere, p its tangent space."""
    return State(state.q + duration * (rate.transport + rate.source), state.p + duration * rate.dp)


def settle(state: State) -> State:
    """Back to the sphere, and to its tangent space there."""
    q = normalise(state.q)
    return State(q, tangent(state.p, q))


def step(state: State, system: System, duration: float) -> tuple[State, Flow]:
    """One explicit midpoint step (order 2); also returns the flow at the midpoint."""
    middle = settle(advance(state, flow(state, system), duration / 2))
    rate = flow(middle, system)
    return settle(advance(state, rate, duration)), rate


@dataclass(frozen=True)
class InfinitesimalShooting:
    """M p = A^T K A p + beta^2 p with A p = alpha m[p]: symmetric and non-negative on tangent p."""

    slopes: list[Tensor]
    beta2: Tensor
    kernel: Kernel

    def __call__(self, p: Tensor) -> Tensor:
        """dq/dt for a tangent momentum p (C, *grid)."""
        return torch.addcmul(combine(self.kernel(momentum_map(p, self.slopes)), self.slopes), self.beta2, p)


def infinitesimal(q0: Tensor, system: System) -> InfinitesimalShooting:
    """The linear map M: p -> dq/dt at (q0, p), with everything that depends on q0 alone computed once."""
    rho = control.rho(q0, system.alloc)
    alpha = rho.sqrt()
    slopes = [
        alpha * factor * tangent(slope, q0)
        for factor, slope in zip(system.per_mm, differences(q0, len(system.spacing)), strict=True)
    ]
    return InfinitesimalShooting(slopes, 1 - rho, system.kernel)

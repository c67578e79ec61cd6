"""The geodesic equations of class-weighted metamorphosis on the sphere, and one step of them.

Discrete Hamiltonian, with D the central difference and p tangent to the sphere at q:

    H(q, p) = 1/2 <alpha m, K(alpha m)> + 1/2 |beta p|^2,     m_d = sum_n p_n D_d q_n,
    alpha = sqrt(rho), beta = sqrt(1 - rho), rho = <q^2, R T>.

The right-hand side is its exact symplectic gradient (equations E1 to E4 of docs/theory.md), so |q| = 1
holds along the exact flow and H is constant. The part of p along q changes neither q nor H; the
right-hand side moves it such that p stays tangent. Time runs from 0 (source) to 1; q and p have no unit,
velocities are in mm, H and every integral in mm^3.
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


class State(NamedTuple):
    """q on the sphere and p tangent to it at q: both (C, *grid)."""

    q: Tensor
    p: Tensor


class Flow(NamedTuple):
    """What drives a state at one time.

    ``transport`` and ``source`` (C, *grid) are the two tangent parts of dq/dt, ``dp`` is dp/dt,
    ``velocity`` (d, *grid) in mm is w = alpha v, ``energy`` is H in mm^3 (a scalar).
    """

    transport: Tensor
    source: Tensor
    dp: Tensor
    velocity: Tensor
    energy: Tensor


def gradient(q: Tensor, spacing: Sequence[float]) -> list[Tensor]:
    """D_d q for each grid axis, per mm."""
    return [difference(q, axis, h) for axis, h in zip(grid_axes(spacing), spacing, strict=True)]


def momentum_map(p: Tensor, slopes: Sequence[Tensor]) -> Tensor:
    """m_d = sum_n p_n D_d q_n: (d, *grid), per mm."""
    return torch.stack([(p * slope).sum(0) for slope in slopes])


def flow(state: State, system: System) -> Flow:
    """Right-hand side of the geodesic equations (E1 to E4) at a state with |q| = 1, <p, q> = 0."""
    q, p = state
    rho = control.rho(q, system.alloc)
    alpha = rho.sqrt()
    slopes = gradient(q, system.spacing)
    m = momentum_map(p, slopes)
    v = -system.kernel(alpha * m)
    w = alpha * v
    along = sum((w[d] * slope for d, slope in enumerate(slopes)), torch.zeros_like(q))
    off_sphere = dot(along, q)
    transport = off_sphere * q - along
    source = (1 - rho) * p
    work = (m * v).sum(0, keepdim=True)
    pp = dot(p, p)
    dp = (work / alpha + pp) * (system.alloc - rho) * q - off_sphere * p
    for d, (axis, h) in enumerate(zip(grid_axes(system.spacing), system.spacing, strict=True)):
        dp = dp + adjoint_difference(w[d] * p, axis, h)
    dp = tangent(dp, q) - dot(p, transport + source) * q
    energy = 0.5 * ((1 - rho) * pp - alpha * work).sum(dtype=torch.float64) * system.voxel_volume
    return Flow(transport, source, dp, w, energy)


def hamiltonian(state: State, system: System) -> Tensor:
    """H(q, p) in mm^3 (a scalar, differentiable); p need not be tangent: only its tangent part counts."""
    q, p = state[0], tangent(state[1], state[0])
    rho = control.rho(q, system.alloc)
    am = rho.sqrt() * momentum_map(p, gradient(q, system.spacing))
    density = (am * system.kernel(am)).sum() + ((1 - rho) * dot(p, p)).sum()
    return 0.5 * density * system.voxel_volume


def move(state: State, rate: Flow, duration: float) -> State:
    """Follow a rate for a time, then return to the sphere and to its tangent space."""
    q = normalise(state.q + duration * (rate.transport + rate.source))
    return State(q, tangent(state.p + duration * rate.dp, q))


def step(state: State, system: System, duration: float) -> tuple[State, Flow]:
    """One explicit midpoint step (order 2); also returns the flow at the midpoint."""
    middle = move(state, flow(state, system), duration / 2)
    rate = flow(middle, system)
    return move(state, rate, duration), rate


def infinitesimal(q0: Tensor, system: System) -> InfinitesimalShooting:
    """The linear map M: p -> dq/dt at (q0, p), with everything that depends on q0 alone computed once."""
    rho = control.rho(q0, system.alloc)
    alpha = rho.sqrt()
    slopes = [alpha * tangent(slope, q0) for slope in gradient(q0, system.spacing)]
    return InfinitesimalShooting(slopes, 1 - rho, system.kernel)


@dataclass(frozen=True)
class InfinitesimalShooting:
    """M p = A^T K A p + beta^2 p with A p = alpha m[p]: symmetric and non-negative on tangent p."""

    slopes: list[Tensor]
    beta2: Tensor
    kernel: Kernel

    def __call__(self, p: Tensor) -> Tensor:
        """dq/dt for a tangent momentum p (C, *grid)."""
        v = self.kernel(momentum_map(p, self.slopes))
        out = self.beta2 * p
        for d, slope in enumerate(self.slopes):
            out = out + v[d] * slope
        return out

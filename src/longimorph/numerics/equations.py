"""The geodesic equations and the adjoint of their right-hand side, as formulas on arrays.

Every function here reads at most one voxel to each side, so it can be applied to a part of a volume padded by
one voxel. The traversal of volumes is left to :mod:`longimorph.numerics.passes`. The only non-local
operation, convolution with the kernel, takes place between these functions.

Shapes: q, p and everything named after a map (C, *grid); rho and other single fields (1, *grid); am, v (d,
*grid). ``u`` is 1 / (2 h) per axis, (d, 1, ...): differences are not scaled. Units: q, p and rates are
dimensionless, velocities are in mm. The Hamiltonian and its extension off the sphere are those of
:mod:`longimorph.numerics.dynamics`; all formulas hold at |q| = 1, <p, q> = 0.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from longimorph.numerics import control
from longimorph.numerics.fields import adjoint_difference, difference
from longimorph.numerics.sphere import dot, normalise, tangent
from longimorph.numerics.states import Direction, Ending, Intermediates, Renormalisation, State


class Rates(NamedTuple):
    """dq/dt in its two tangent parts, dp/dt, and the multiple of q in dp/dt that keeps p tangent."""

    transport: Tensor
    source: Tensor
    dp: Tensor
    gauge: Tensor


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


def spread(weights: Tensor, maps: Tensor) -> Tensor:
    """sum_d of the adjoint differences of weights_d maps: (C, *grid)."""
    total = adjoint_difference(weights[0] * maps, -len(weights))
    for d in range(1, len(weights)):
        total = total + adjoint_difference(weights[d] * maps, d - len(weights))
    return total


def density(q: Tensor, p: Tensor, alloc: Tensor, u: Tensor) -> tuple[Tensor, Tensor]:
    """Return rho and alpha m, the momentum density that the kernel turns into -v (E1)."""
    rho = control.rho(q, alloc)
    return rho, rho.sqrt() * u * momentum_map(p, differences(q, len(u)))


def metric(q: Tensor, alloc: Tensor, u: Tensor) -> Tensor:
    """A A^T of p -> alpha m for tangent p, per voxel: its lower triangle by rows, (d (d + 1) / 2, *grid)."""
    slopes = differences(q, len(u))
    share, off, sides = control.rho(q, alloc)[0], momentum_map(q, slopes), range(len(u))
    rows = [(d, e) for d in sides for e in range(d + 1)]
    return torch.stack(
        [share * u[d] * u[e] * ((slopes[d] * slopes[e]).sum(0) - off[d] * off[e]) for d, e in rows]
    )


def velocity(rho: Tensor, v: Tensor) -> Tensor:
    """w = alpha v in mm per unit of time, (d, *grid)."""
    return rho.sqrt() * v


def rate_parts(q: Tensor, p: Tensor, rho: Tensor, v: Tensor, u: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Transport and source (E2), the two tangent parts of dq/dt (E3), and the component removed along q."""
    moved = combine(-u * velocity(rho, v), differences(q, len(u)))
    off_sphere = dot(moved, q)
    return moved - off_sphere * q, (1 - rho) * p, off_sphere


def rate(q: Tensor, p: Tensor, rho: Tensor, v: Tensor, u: Tensor) -> Tensor:
    """dq/dt (E3)."""
    transport, source, _ = rate_parts(q, p, rho, v, u)
    return transport + source


def rates(state: State, alloc: Tensor, drive: Intermediates, u: Tensor) -> Rates:
    """Both sides of the geodesic equations, dq/dt (E3) and dp/dt (E4)."""
    (q, p), (rho, am, v) = state, drive
    transport, source, off_sphere = rate_parts(q, p, rho, v, u)
    dp = torch.addcmul(off_sphere * p, _force(p, rho, am, v) * q, alloc - rho)
    dp = dp + spread(u * velocity(rho, v), p)
    gauge = -dot(dp, q) - dot(p, transport + source)
    return Rates(transport, source, torch.addcmul(dp, gauge, q), gauge)


def _force(p: Tensor, rho: Tensor, am: Tensor, v: Tensor) -> Tensor:
    """<m, v> / alpha + |p|^2, the coefficient of drho/dq in the equation of p."""
    return (am * v).sum(0, keepdim=True) / rho + dot(p, p)


def energy_density(p: Tensor, rho: Tensor, am: Tensor, v: Tensor) -> Tensor:
    """The integrand of H, with <am, K am> = -<am, v>."""
    return 0.5 * ((1 - rho) * dot(p, p) - (am * v).sum(0, keepdim=True))


def advance(
    base: State, at: State, alloc: Tensor, drive: Intermediates, u: Tensor, duration: float
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Advance ``base`` for a duration with the rates of the state ``at``, then renormalise to the sphere.

    Returns q and p, and the renormalisation: the length of q and the component of p along q that was removed.
    """
    return renormalised(base, rates(at, alloc, drive, u), duration)


def renormalised(base: State, found: Rates, duration: float) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Advance ``base`` for a duration at constant rates, and renormalise; returns as :func:`advance` does."""
    end_q = base.q + duration * (found.transport + found.source)
    end_p = base.p + duration * found.dp
    length = dot(end_q, end_q).sqrt()
    end_q = end_q / length
    along = dot(end_p, end_q)
    return end_q, end_p - along * end_q, length, along


def unsettle(state: State, settling: Renormalisation, cotangent: State) -> tuple[Tensor, Tensor]:
    """Adjoint of the renormalisation to ``state``: pulls a cotangent after it back to before it."""
    (q, p), (length, along), (cot_q, cot_p) = state, settling, cotangent
    lift = dot(cot_p, q)
    turned = cot_q - lift * (p + along * q) - along * cot_p
    return tangent(turned, q) / length, cot_p - lift * q


def direction(state: State, cotangent: State, factor: float) -> tuple[Tensor, Tensor]:
    """Return the two fields of a :class:`Direction`: ``normal`` and ``lift``."""
    q, p = state
    return factor * dot(cotangent.p, q), factor * (dot(cotangent.q, q) - dot(p, cotangent.p))


class Change(NamedTuple):
    """The perturbation of a state along which the right-hand side is differentiated.

    ``dp_t`` is the change of the tangent part of p.
    """

    dq: Tensor
    dp: Tensor
    dp_t: Tensor


def change_of(state: State, direction: Direction) -> Change:
    """The perturbation that a :class:`Direction` describes."""
    (q, p), (cotangent, factor, normal, lift) = state, direction
    dp = factor * cotangent.q - normal * p
    return Change(normal * q - factor * cotangent.p, dp, dp - lift * q)


def density_change(
    state: State, cotangent: State, factor: float, alloc: Tensor, rho: Tensor, am: Tensor, u: Tensor
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """The two fields of the direction of a cotangent, and the changes of rho and of alpha m along it."""
    along = Direction(cotangent, factor, *direction(state, cotangent, factor))
    (q, p), change, dims = state, change_of(state, along), len(u)
    drho = 2 * (q * change.dq * alloc).sum(0, keepdim=True)
    drho = torch.where(rho > control.RHO_MIN, drho, 0.0)
    dm = momentum_map(change.dp_t, differences(q, dims)) + momentum_map(p, differences(change.dq, dims))
    return along.normal, along.lift, drho, rho.sqrt() * u * dm + 0.5 * drho / rho * am


def pull_back(
    state: State,
    direction: Direction,
    alloc: Tensor,
    drive: Intermediates,
    changes: Intermediates,
    u: Tensor,
    ending: Ending,
    *total: Tensor,
) -> tuple[Tensor, Tensor]:
    """Cotangent of a state from ``factor`` times the cotangent of its rates (E7), including the gauge term.

    ``ending`` says what becomes of it, with ``total`` if it is added to that. ``changes`` are the changes of
    ``drive`` along the direction. The gauge contributes gauge b - n dp/dt to q and -n dq/dt to p,
    up to components orthogonal to every admissible perturbation of the state.
    """
    (q, p), (rho, am, v), (drho, dam, dv) = state, drive, changes
    normal, lift = direction.normal, direction.lift
    change, dims = change_of(state, direction), len(u)
    alpha, beta2 = rho.sqrt(), 1 - rho
    w, dw = u * alpha * v, u * (0.5 * drho / alpha * v + alpha * dv)
    slopes = differences(q, dims)
    pushed = beta2 * p - combine(w, slopes)
    dpushed = beta2 * change.dp_t - drho * p - combine(dw, slopes) - combine(w, differences(change.dq, dims))
    off, doff = dot(pushed, q), dot(dpushed, q) + dot(pushed, change.dq)
    work = (am * v).sum(0, keepdim=True)
    dwork = (dam * v + am * dv).sum(0, keepdim=True)
    force = work / rho + dot(p, p)
    dforce = (dwork - work * drho / rho) / rho + 2 * dot(p, change.dp_t)
    back = (dforce * q + force * change.dq) * (alloc - rho) - force * drho * q
    back = back + doff * p + off * change.dp + lift * pushed + spread(dw, p) + spread(w, change.dp_t)
    dp = off * p + force * q * (alloc - rho) + spread(w, p)
    moved = pushed - off * q
    gauge = -dot(dp, q) - dot(p, moved)
    out_q = -gauge * change.dq - normal * (dp + gauge * q) - back
    out_p = dpushed - doff * q - off * change.dq - normal * moved
    return ended(ending, state, direction, State(out_q, out_p), total)


def ended(
    ending: Ending, state: State, direction: Direction, found: State, total: Sequence[Tensor]
) -> tuple[Tensor, Tensor]:
    """What an :class:`Ending` makes of a cotangent that was pulled back to a state."""
    if ending.added:
        return total[0] + direction.cotangent.q + found.q, total[1] + direction.cotangent.p + found.p
    return unsettle(state, ending.settling, found) if ending.settled else (found.q, found.p)


def settle(q: Tensor, p: Tensor) -> tuple[Tensor, Tensor]:
    """Project q back to the sphere and p to the tangent space there."""
    settled = normalise(q)
    return settled, tangent(p, settled)

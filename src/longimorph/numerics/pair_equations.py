"""The geodesic equations with reallocation priced per pair of classes, and their adjoint.

The Hamiltonian (E8), with Pp the part of p tangent to the sphere at q, m_d = sum_n (Pp)_n D_d q_n and
L_ij = q_i p_j - q_j p_i:

    H(q, p) = 1/2 <m, K m> + 1/2 sum_{i<j} int b_ij L_ij^2 .

b_ij(x) >= 0 says how freely classes i and j exchange tissue in a voxel (:class:`control.Exchange`). It is
fixed along the path, and transport has weight 1 everywhere. Each pair rotates (q_i, q_j) and (p_i, p_j) at
the rate b_ij L_ij (E9). Shapes and units are those of :mod:`longimorph.numerics.equations`; all formulas hold
at |q| = 1, <p, q> = 0.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from longimorph.numerics.control import STIFF, Exchange
from longimorph.numerics.equations import (
    Rates,
    change_of,
    combine,
    differences,
    ended,
    momentum_map,
    renormalised,
    spread,
)
from longimorph.numerics.sphere import dot
from longimorph.numerics.states import Direction, Ending, State


def momentum(q: Tensor, p: Tensor, u: Tensor) -> Tensor:
    """m, the momentum density that the kernel turns into -v: (d, *grid)."""
    return u * momentum_map(p, differences(q, len(u)))


def freedom(exchange: Exchange, i: int, j: int) -> Tensor:
    """b_ij = R'_ij x_i^- x_j^+ + R'_ji x_j^- x_i^+ with x^+- the positive and negative part: (*grid)."""
    field, free = exchange.field, exchange.free.entries
    return free[i, j] * (-field[i]).clamp(min=0) * field[j].clamp(min=0) + free[j, i] * (-field[j]).clamp(
        min=0
    ) * field[i].clamp(min=0)


def turning(q: Tensor, p: Tensor, exchange: Exchange) -> tuple[Tensor, Tensor]:
    """Rates of the rotations of q and p in the planes of all pairs: (C, *grid) each.

    The first is dH/dp and the second -dH/dq of the reallocation's part of H.
    """
    dq, dp = torch.zeros_like(q), torch.zeros_like(p)
    for i in range(len(q)):
        for j in range(i + 1, len(q)):
            rate = freedom(exchange, i, j) * (q[i] * p[j] - q[j] * p[i])
            dq[j] += rate * q[i]
            dq[i] -= rate * q[j]
            dp[j] += rate * p[i]
            dp[i] -= rate * p[j]
    return dq, dp


def pairs_in(exchange: Exchange, reverse: bool) -> list[tuple[int, int]]:
    """The pairs of classes that may exchange anything, in the order of their rotations or its reverse."""
    free, classes = exchange.free.entries, len(exchange.field)
    pairs = [(i, j) for j in range(classes) for i in range(j) if bool(free[i, j] or free[j, i])]
    return pairs[::-1] if reverse else pairs


def turn(state: State, exchange: Exchange, duration: float, reverse: bool) -> tuple[Tensor, Tensor]:
    """Follow the reallocation alone for a duration, one pair after the other: q and p, (C, *grid) each.

    Each pair rotates by b_ij L_ij times the duration, exactly: |q|, <p, q> and L_ij are kept.
    """
    q, p = state.q.unbind(), state.p.unbind()
    for i, j in pairs_in(exchange, reverse):
        angle = duration * freedom(exchange, i, j) * (q[i] * p[j] - q[j] * p[i])
        q, p = (_rotated(maps, i, j, angle) for maps in (q, p))
    return torch.stack(q), torch.stack(p)


def _rotated(maps: tuple[Tensor, ...], i: int, j: int, angle: Tensor) -> tuple[Tensor, ...]:
    """The channels of a map with two of them rotated by an angle per voxel."""
    cosine, sine = angle.cos(), angle.sin()
    turned = {i: cosine * maps[i] - sine * maps[j], j: sine * maps[i] + cosine * maps[j]}
    return tuple(turned.get(k, one) for k, one in enumerate(maps))


def turn_back(
    state: State, cotangent: State, exchange: Exchange, duration: float, reverse: bool
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Undo :func:`turn`, and pull a cotangent after it back to before it: q, p and their cotangents."""
    q, p, a, b = (part.unbind() for part in (*state, *cotangent))
    for i, j in pairs_in(exchange, not reverse):
        free = duration * freedom(exchange, i, j)
        angle = free * (q[i] * p[j] - q[j] * p[i])
        faster = free * (a[j] * q[i] - a[i] * q[j] + b[j] * p[i] - b[i] * p[j])
        q, p, a, b = (_rotated(maps, i, j, -angle) for maps in (q, p, a, b))
        a = _added(a, {i: faster * p[j], j: -faster * p[i]})
        b = _added(b, {i: -faster * q[j], j: faster * q[i]})
    return torch.stack(q), torch.stack(p), torch.stack(a), torch.stack(b)


def _added(maps: tuple[Tensor, ...], terms: dict[int, Tensor]) -> tuple[Tensor, ...]:
    """The channels of a map with a term added to some of them."""
    return tuple(one + terms[k] if k in terms else one for k, one in enumerate(maps))


def rate_parts(
    q: Tensor, p: Tensor, exchange: Exchange, v: Tensor, u: Tensor
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """The two tangent parts of dq/dt, what was removed along q, and the part of dp/dt by rotations."""
    moved = combine(-u * v, differences(q, len(u)))
    off_sphere = dot(moved, q)
    source, turned = turning(q, p, exchange)
    return moved - off_sphere * q, source, off_sphere, turned


def pair_rate(q: Tensor, p: Tensor, exchange: Exchange, v: Tensor, u: Tensor) -> Tensor:
    """The rate of q, E9."""
    transport, source, _, _ = rate_parts(q, p, exchange, v, u)
    return transport + source


def rates(state: State, exchange: Exchange, v: Tensor, u: Tensor) -> Rates:
    """Both sides of E9: the rates of q and p."""
    q, p = state
    transport, source, off_sphere, turned = rate_parts(q, p, exchange, v, u)
    dp = off_sphere * p + turned + spread(u * v, p)
    gauge = -dot(dp, q) - dot(p, transport + source)
    return Rates(transport, source, torch.addcmul(dp, gauge, q), gauge)


def energy_density(q: Tensor, p: Tensor, exchange: Exchange, m: Tensor, v: Tensor) -> Tensor:
    """The integrand of H, with <m, K m> = -<m, v>."""
    source, _ = turning(q, p, exchange)
    return 0.5 * (dot(p, source) - (m * v).sum(0, keepdim=True))


def carry(
    base: State, at: State, v: Tensor, u: Tensor, duration: float
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Advance ``base`` for a duration by the transport of the state ``at``, then renormalise."""
    q, p = at
    moved = combine(-u * v, differences(q, len(u)))
    off_sphere = dot(moved, q)
    transport = moved - off_sphere * q
    dp = off_sphere * p + spread(u * v, p)
    gauge = -dot(dp, q) - dot(p, transport)
    return renormalised(base, Rates(transport, torch.zeros_like(q), dp + gauge * q, gauge), duration)


def momentum_change(state: State, direction: Direction, u: Tensor) -> Tensor:
    """Change of m along the direction of a cotangent."""
    (q, p), change, dims = state, change_of(state, direction), len(u)
    changed = momentum_map(change.dp_t, differences(q, dims)) + momentum_map(p, differences(change.dq, dims))
    return u * changed


def carry_back(
    state: State,
    direction: Direction,
    v: Tensor,
    dv: Tensor,
    u: Tensor,
    ending: Ending,
    *total: Tensor,
) -> tuple[Tensor, Tensor]:
    """Cotangent of a state from ``factor`` times the cotangent of its transport (E7), with the gauge term.

    ``dv`` is the change of v along the direction; ``ending`` and ``total`` as in ``equations.pull_back``.
    """
    q, p = state
    normal, lift = direction.normal, direction.lift
    change, dims = change_of(state, direction), len(u)
    w, dw = u * v, u * dv
    slopes = differences(q, dims)
    carried = -combine(w, slopes)
    dcarried = -combine(dw, slopes) - combine(w, differences(change.dq, dims))
    off, doff = dot(carried, q), dot(dcarried, q) + dot(carried, change.dq)
    back = doff * p + off * change.dp + lift * carried + spread(dw, p) + spread(w, change.dp_t)
    dp = off * p + spread(w, p)
    moved = carried - off * q
    gauge = -dot(dp, q) - dot(p, moved)
    out_q = -gauge * change.dq - normal * (dp + gauge * q) - back
    out_p = dcarried - doff * q - off * change.dq - normal * moved
    return ended(ending, state, direction, State(out_q, out_p), total)


class _Matrices(NamedTuple):
    """B + shift per voxel, (N, C, C), at the voxels ``where`` (grid) in which anything is exchanged."""

    where: Tensor
    matrices: Tensor


def _matrices(q: Tensor, exchange: Exchange, shift: float) -> _Matrices:
    """diag(b P) - q b q^T + shift + STIFF sum x^2 / 2, where x is not zero."""
    where = (exchange.field != 0).any(0)
    here = Exchange(exchange.field[:, where], exchange.free)
    at, classes = q[:, where], len(q)
    b = torch.zeros(at.shape[1], classes, classes, dtype=q.dtype, device=q.device)
    for i in range(classes):
        for j in range(i + 1, classes):
            b[:, i, j] = b[:, j, i] = freedom(here, i, j)
    found = -at.T[:, :, None] * b * at.T[:, None, :]
    added = shift + 0.5 * STIFF * here.field.square().sum(0)
    found.diagonal(dim1=1, dim2=2).add_((b @ at.square().T[:, :, None])[:, :, 0] + added[:, None])
    return _Matrices(where, found)


def unexchange(q: Tensor, exchange: Exchange, shift: float, b: Tensor) -> Tensor:
    """(B + shift)^-1 b with B p the reallocation of a momentum p, raised where classes change: (C, *grid)."""
    where, found = _matrices(q, exchange, shift)
    out = b / shift
    if len(found):
        out[:, where] = torch.linalg.solve(found, b[:, where].T[:, :, None])[:, :, 0].T
    return out


def pair_metric(q: Tensor, exchange: Exchange, shift: float, u: Tensor) -> Tensor:
    """A (B + shift)^-1 A^T of p -> m for tangent p: lower triangle by rows, (d (d + 1) / 2, *grid)."""
    slopes, sides = differences(q, len(u)), range(len(u))
    tangents = [u[d] * (slopes[d] - dot(slopes[d], q) * q) for d in sides]
    solved = [unexchange(q, exchange, shift, t) for t in tangents]
    return torch.stack([(tangents[d] * solved[e]).sum(0) for d in sides for e in range(d + 1)])

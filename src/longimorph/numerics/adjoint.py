"""The adjoint of one step, written by hand.

The right-hand side is F = (dH/dp, -dH/dq). For cotangents (a, b) of (dq/dt, dp/dt) the gradient of
<a, dH/dp> - <b, dH/dq> is the derivative of grad H in the direction (-b, a). So the adjoint of F is its own
derivative: with (dq', dp') the change of F along (q, p) -> (q - b, p + a), the pulled-back cotangents of q
and p are -dp' and dq' (E7). No graph is recorded; the working set is a few maps.
"""

from __future__ import annotations

import torch
from torch import Tensor

from longimorph.numerics import control
from longimorph.numerics.dynamics import (
    State,
    System,
    advance,
    combine,
    differences,
    flow,
    momentum_map,
)
from longimorph.numerics.fields import adjoint_difference, grid_axes
from longimorph.numerics.sphere import dot, normalise, tangent


def flow_derivative(state: State, change: State, system: System) -> State:
    """Change of (dq/dt, dp/dt) at a state when the state changes by ``change``; (C, *grid) each."""
    (q, p), (dq, dp), alloc, per_mm = state, change, system.alloc, system.per_mm
    along_q, d_along_q = dot(p, q), dot(dp, q) + dot(p, dq)
    pt, dpt = p - along_q * q, dp - d_along_q * q - along_q * dq
    rho, drho = control.rho(q, alloc), 2 * (q * dq * alloc).sum(0, keepdim=True)
    drho = torch.where(rho > control.RHO_MIN, drho, 0.0)
    alpha, beta2 = rho.sqrt(), 1 - rho
    dalpha = drho / (2 * alpha)
    dims = len(system.spacing)
    slopes, dslopes = differences(q, dims), differences(dq, dims)
    m = momentum_map(pt, slopes) * per_mm
    dm = (momentum_map(dpt, slopes) + momentum_map(pt, dslopes)) * per_mm
    v, dv = -system.kernel(alpha * m), -system.kernel(dalpha * m + alpha * dm)
    w, dw = alpha * v * per_mm, (dalpha * v + alpha * dv) * per_mm
    source, dsource = beta2 * pt, beta2 * dpt - drho * pt
    pushed, dpushed = source - combine(w, slopes), dsource - combine(dw, slopes) - combine(w, dslopes)
    off, doff = dot(pushed, q), dot(dpushed, q) + dot(pushed, dq)
    work, dwork = (m * v).sum(0, keepdim=True), (dm * v + m * dv).sum(0, keepdim=True)
    force = work / alpha + dot(pt, pt)
    dforce = (dwork - work * dalpha / alpha) / alpha + 2 * dot(pt, dpt)
    out_q = dpushed - doff * q - off * dq
    out_p = (dforce * q + force * dq) * alloc + doff * p + off * dp
    out_p += d_along_q * pushed + along_q * dpushed
    for d, axis in enumerate(grid_axes(system.spacing)):
        out_p += adjoint_difference(dw[d] * pt + w[d] * dpt, axis)
    return State(out_q, out_p)


def pull_back_flow(state: State, rate: State, system: System) -> State:
    """Cotangent of the state from that of its rate of change (E7)."""
    back = flow_derivative(state, State(-rate.p, rate.q), system)
    return State(-back.p, back.q)


def pull_back_step(state: State, end: State, system: System, duration: float) -> State:
    """Cotangent of the state before a step from that of the state after it, ``end``."""
    half = advance(state, flow(state, system), duration / 2)
    middle = State(normalise(half.q), half.p)
    arrived = advance(state, flow(middle, system), duration)
    after = normalise(arrived.q)
    cot_q = end.q - dot(end.p, after) * arrived.p - dot(arrived.p, after) * end.p
    cot = State(_from_sphere(cot_q, arrived.q, after), tangent(end.p, after))
    inner = pull_back_flow(middle, State(duration * cot.q, duration * cot.p), system)
    inner = State(_from_sphere(inner.q, half.q, middle.q), inner.p)
    outer = pull_back_flow(state, State(duration / 2 * inner.q, duration / 2 * inner.p), system)
    return State(cot.q + inner.q + outer.q, cot.p + inner.p + outer.p)


def _from_sphere(cotangent: Tensor, vector: Tensor, unit: Tensor) -> Tensor:
    """Adjoint of x -> x / |x| at ``vector``, whose image is ``unit``."""
    return tangent(cotangent, unit) / dot(vector, vector).sqrt()

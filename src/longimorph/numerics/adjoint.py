"""The adjoint of one step, written by hand.

Without the gauge term the right-hand side is F = (dH/dp, -dH/dq). For cotangents (a, b) of (dq/dt, dp/dt)
the gradient of <a, dH/dp> - <b, dH/dq> is the derivative of grad H in the direction (-b, a). So the adjoint
of F is its own derivative: with (dq', dp') the change of F along (q, p) -> (q - b, p + a), the pulled-back
cotangents of q and p are -dp' and dq' (E7). No graph is recorded; the working set is a few maps.

H is continued off the sphere by rho = <q^2, R T> / |q|^2: the adjoint is exact for every change that keeps
|q| = 1 and <p, q> = 0, and no other change occurs.
"""

from __future__ import annotations

import torch

from longimorph.numerics import control
from longimorph.numerics.dynamics import (
    Flow,
    State,
    System,
    advance,
    combine,
    differences,
    flow,
    momentum_map,
    settle,
)
from longimorph.numerics.fields import adjoint_difference, grid_axes
from longimorph.numerics.sphere import dot, tangent


def flow_derivative(state: State, change: State, system: System) -> State:
    """Change of F at a state with |q| = 1, <p, q> = 0 when it changes by ``change``; (C, *grid) each."""
    (q, p), (dq, dp), alloc, per_mm = state, change, system.alloc, system.per_mm
    d_along_q, radial = dot(dp, q) + dot(p, dq), dot(q, dq)
    dpt = dp - d_along_q * q
    rho = control.rho(q, alloc)
    drho = 2 * (q * dq * alloc).sum(0, keepdim=True) - 2 * rho * radial
    drho = torch.where(rho > control.RHO_MIN, drho, 0.0)
    alpha, beta2 = rho.sqrt(), 1 - rho
    dalpha = drho / (2 * alpha)
    dims = len(system.spacing)
    slopes, dslopes = differences(q, dims), differences(dq, dims)
    m = momentum_map(p, slopes) * per_mm
    dm = (momentum_map(dpt, slopes) + momentum_map(p, dslopes)) * per_mm
    v, dv = -system.kernel(alpha * m), -system.kernel(dalpha * m + alpha * dm)
    w, dw = alpha * v * per_mm, (dalpha * v + alpha * dv) * per_mm
    pushed = beta2 * p - combine(w, slopes)
    dpushed = beta2 * dpt - drho * p - combine(dw, slopes) - combine(w, dslopes)
    off, doff = dot(pushed, q), dot(dpushed, q) + dot(pushed, dq)
    work, dwork = (m * v).sum(0, keepdim=True), (dm * v + m * dv).sum(0, keepdim=True)
    force = work / alpha + dot(p, p)
    dforce = (dwork - work * dalpha / alpha) / alpha + 2 * dot(p, dpt) - 2 * radial * force
    out_p = (dforce * q + force * dq) * (alloc - rho) - force * drho * q
    out_p += doff * p + off * dp + d_along_q * pushed
    for d, axis in enumerate(grid_axes(system.spacing)):
        out_p += adjoint_difference(dw[d] * p + w[d] * dpt, axis)
    return State(dpushed - doff * q - off * dq, out_p)


def pull_back_flow(state: State, rate: Flow, cotangent: State, system: System) -> State:
    """Cotangent of the state from that of its rate of change (E7), the gauge term included.

    With b_n = <b, q>: the direction is (-b + b_n q, a - b_n p), and what the gauge adds is
    gauge b - b_n dp/dt for q and -b_n dq/dt for p, up to parts that no change of the state can see.
    """
    a, b = cotangent
    normal = dot(b, state.q)
    flat = b - normal * state.q
    back = flow_derivative(state, State(-flat, a - normal * state.p), system)
    q = rate.gauge * flat - normal * rate.dp - back.p
    return State(q, back.q - normal * (rate.transport + rate.source))


def pull_back_step(state: State, end: State, system: System, duration: float) -> State:
    """Cotangent of the state before a step from that of the state after it, ``end``."""
    first = flow(state, system)
    half = advance(state, first, duration / 2)
    middle = settle(half)
    second = flow(middle, system)
    cot = _unsettle(advance(state, second, duration), end)
    inner = pull_back_flow(middle, second, State(duration * cot.q, duration * cot.p), system)
    inner = _unsettle(half, inner)
    short = State(duration / 2 * inner.q, duration / 2 * inner.p)
    outer = pull_back_flow(state, first, short, system)
    return State(cot.q + inner.q + outer.q, cot.p + inner.p + outer.p)


def _unsettle(state: State, cotangent: State) -> State:
    """Adjoint of :func:`settle` at a state that has not settled yet."""
    length = dot(state.q, state.q).sqrt()
    q = state.q / length
    along = dot(cotangent.p, q)
    turned = cotangent.q - along * state.p - dot(state.p, q) * cotangent.p
    return State(tangent(turned, q) / length, cotangent.p - along * q)

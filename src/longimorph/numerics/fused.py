"""The passes of :mod:`longimorph.numerics.passes` for a CPU: each is one traversal of the rows of a volume.

Every function applies to planes ``start`` to ``stop`` of the first grid axis what the function of the same
name in ``passes`` applies to whole arrays, with all classes of a block of rows in the cache. Arrays are (K,
x, y z), contiguous, with ``row`` voxels along z. ``u`` holds 1 / (2 h) per axis. The caller may process parts
of the first axis on any number of threads: the GIL is released, and no two parts write the same plane.

The innermost loops come first, one formula each, on stretches of voxels of equal length and type. A stretch
that is written must not overlap any other argument: the compiler is promised this, and vectorises without
checking. ``x_up``, ``x_down``, ``y_up``, ``y_down`` are the neighbours of a stretch, and ``w``, a velocity,
is divided by 2 h. Indices are unsigned, because a negative index would wrap around to the end.

All loops are in one file because machine code on disk is compiled anew only when the file of the function
itself changes. RHO_MIN is compiled in: after a change of it in ``control``, touch this file.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from longimorph.numerics.compiling import compiled, loop
from longimorph.numerics.control import RHO_MIN, STIFF

BLOCK = 960
"""Voxels, in whole rows, that are processed together: few enough that all their values stay in the cache."""


@loop
def _slope(values: Any, out: Any, row: int) -> None:
    """values[z + 1] - values[z - 1] along each row of ``row`` voxels, the border value repeated outside."""
    n, one, length = np.uintp(out.size), np.uintp(1), np.uintp(row)
    for z in range(one, n - one):
        out[z] = values[z + one] - values[z - one]
    for first in range(np.uintp(0), n, length):
        last = first + length - one
        out[first] = values[min(first + one, last)] - values[first]
        out[last] = values[last] - values[max(last, first + one) - one]


@loop
def _add_adjoint_slope(values: Any, out: Any, row: int) -> None:
    """Add the adjoint of :func:`_slope` applied to ``values``."""
    if row == 1:
        return
    n, one, length = np.uintp(out.size), np.uintp(1), np.uintp(row)
    for first in range(np.uintp(0), n, length):
        last = first + length - one
        for z in range(first + one, last):
            out[z] += values[z - one] - values[z + one]
        out[first] -= values[first] + values[first + one]
        out[last] += values[last - one] + values[last]


@loop
def _add_density(
    q: Any, p: Any, alloc: Any, x_up: Any, x_down: Any, y_up: Any, y_down: Any, along_z: Any,
    rho: Any, m_x: Any, m_y: Any, m_z: Any,
) -> None:  # fmt: skip
    """Add one class's contribution to rho and to m."""
    for z in range(np.uintp(q.size)):
        rho[z] += q[z] * q[z] * alloc[z]
        m_x[z] += p[z] * (x_up[z] - x_down[z])
        m_y[z] += p[z] * (y_up[z] - y_down[z])
        m_z[z] += p[z] * along_z[z]


@loop
def _scale_density(u: Any, rho: Any, m_x: Any, m_y: Any, m_z: Any) -> None:
    """Apply the lower bound of rho and turn m into alpha m."""
    least = rho.dtype.type(RHO_MIN)
    for z in range(np.uintp(rho.size)):
        rho[z] = max(rho[z], least)
        alpha = math.sqrt(rho[z])
        m_x[z] *= u[0] * alpha
        m_y[z] *= u[1] * alpha
        m_z[z] *= u[2] * alpha


@loop
def _difference(up: Any, down: Any, out: Any) -> None:
    """up - down."""
    for z in range(np.uintp(out.size)):
        out[z] = up[z] - down[z]


@loop
def _add_product(a: Any, b: Any, out: Any) -> None:
    """Add a b."""
    for z in range(np.uintp(out.size)):
        out[z] += a[z] * b[z]


@loop
def _add_rho(q: Any, alloc: Any, rho: Any) -> None:
    """Add one class's contribution to rho."""
    for z in range(np.uintp(q.size)):
        rho[z] += q[z] * q[z] * alloc[z]


@loop
def _finish_metric(rho: Any, off_d: Any, off_e: Any, scale: Any, out: Any) -> None:
    """An entry of alpha^2 A A^T from the product of two slopes, minus the component along q."""
    least = rho.dtype.type(RHO_MIN)
    for z in range(np.uintp(out.size)):
        out[z] = max(rho[z], least) * scale * (out[z] - off_d[z] * off_e[z])


@loop
def _weigh(rho: Any, v: Any, factor: Any, w: Any) -> None:
    """Compute a component of w from that of v; the factor is 1 / (2 h) with a sign."""
    for z in range(np.uintp(w.size)):
        w[z] = factor * math.sqrt(rho[z]) * v[z]


@loop
def _weigh_change(rho: Any, drho: Any, v: Any, dv: Any, factor: Any, w: Any, dw: Any) -> None:
    """Compute a component of w and its change."""
    half = rho.dtype.type(0.5)
    for z in range(np.uintp(w.size)):
        alpha = factor * math.sqrt(rho[z])
        w[z] = alpha * v[z]
        dw[z] = alpha * (dv[z] + half * drho[z] / rho[z] * v[z])


@loop
def _transport(
    q: Any, x_up: Any, x_down: Any, y_up: Any, y_down: Any, along_z: Any, w_x: Any, w_y: Any, w_z: Any,
    dq: Any, off: Any,
) -> None:  # fmt: skip
    """One class's -w . grad q, and its contribution to the component along q."""
    for z in range(np.uintp(q.size)):
        dq[z] = -(w_x[z] * (x_up[z] - x_down[z]) + w_y[z] * (y_up[z] - y_down[z]) + w_z[z] * along_z[z])
        off[z] += dq[z] * q[z]


@loop
def _add_source(q: Any, p: Any, rho: Any, off: Any, dq: Any) -> None:
    """Add the source, and remove the transport's component along q."""
    one = q.dtype.type(1)
    for z in range(np.uintp(q.size)):
        dq[z] += (one - rho[z]) * p[z] - off[z] * q[z]


@loop
def _add_work(am_x: Any, am_y: Any, am_z: Any, v_x: Any, v_y: Any, v_z: Any, rho: Any, force: Any) -> None:
    """Add <m, v> / alpha to |p|^2."""
    for z in range(np.uintp(rho.size)):
        force[z] += (am_x[z] * v_x[z] + am_y[z] * v_y[z] + am_z[z] * v_z[z]) / rho[z]


@loop
def _push_momentum(
    q: Any, p: Any, x_up: Any, x_down: Any, y_up: Any, y_down: Any, alloc: Any, rho: Any, off: Any,
    force: Any, w_z: Any, w_x_up: Any, w_x_down: Any, w_y_up: Any, w_y_down: Any, dp: Any, flux: Any,
) -> None:  # fmt: skip
    """One class's dp/dt without the gauge and the flux along z; the flux is returned in ``flux``."""
    for z in range(np.uintp(q.size)):
        dp[z] = (
            off[z] * p[z]
            + force[z] * q[z] * (alloc[z] - rho[z])
            + w_x_up[z] * x_up[z]
            + w_x_down[z] * x_down[z]
            + w_y_up[z] * y_up[z]
            + w_y_down[z] * y_down[z]
        )
        flux[z] = w_z[z] * p[z]


@loop
def _add_turn(q: Any, p: Any, dq: Any, dp: Any, turn: Any) -> None:
    """Add one class's contribution to d<p, q>/dt."""
    for z in range(np.uintp(q.size)):
        turn[z] += dp[z] * q[z] + p[z] * dq[z]


@loop
def _follow(
    base_q: Any, base_p: Any, q: Any, dq: Any, dp: Any, turn: Any, duration: Any, out_q: Any, out_p: Any,
    square: Any,
) -> None:  # fmt: skip
    """Advance one class by its rates, and add its contribution to |q|^2 there."""
    for z in range(np.uintp(q.size)):
        out_q[z] = base_q[z] + duration * dq[z]
        out_p[z] = base_p[z] + duration * (dp[z] - turn[z] * q[z])
        square[z] += out_q[z] * out_q[z]


@loop
def _square_root(values: Any) -> None:
    """Take the square root in place."""
    for z in range(np.uintp(values.size)):
        values[z] = math.sqrt(values[z])


@loop
def _shorten(length: Any, q: Any, p: Any, along: Any) -> None:
    """q / |q|, and one class's contribution to <p, q>."""
    for z in range(np.uintp(q.size)):
        q[z] /= length[z]
        along[z] += p[z] * q[z]


@loop
def _take_off(along: Any, q: Any, p: Any) -> None:
    """p - <p, q> q."""
    for z in range(np.uintp(q.size)):
        p[z] -= along[z] * q[z]


@loop
def _lengthen(q: Any, p: Any, along: Any, lift: Any, cot_q: Any, cot_p: Any, off: Any) -> None:
    """Adjoint of the renormalisation without the length, and one class's contribution along q."""
    for z in range(np.uintp(q.size)):
        cot_q[z] -= lift[z] * (p[z] + along[z] * q[z]) + along[z] * cot_p[z]
        off[z] += cot_q[z] * q[z]
        cot_p[z] -= lift[z] * q[z]


@loop
def _divide_tangent(q: Any, off: Any, length: Any, cot_q: Any) -> None:
    """Adjoint of q / |q|."""
    for z in range(np.uintp(q.size)):
        cot_q[z] = (cot_q[z] - off[z] * q[z]) / length[z]


@loop
def _add_direction(q: Any, p: Any, cot_q: Any, cot_p: Any, factor: Any, normal: Any, lift: Any) -> None:
    """Add one class's contribution to <b, q> and to <dp, q> + <p, dq>."""
    for z in range(np.uintp(q.size)):
        normal[z] += factor * cot_p[z] * q[z]
        lift[z] += factor * (cot_q[z] * q[z] - p[z] * cot_p[z])


@loop
def _change(
    q: Any, p: Any, cot_q: Any, cot_p: Any, normal: Any, lift: Any, factor: Any, dq: Any, dp: Any
) -> None:
    """One class's dq and the tangent part of dp."""
    for z in range(np.uintp(q.size)):
        dq[z] = normal[z] * q[z] - factor * cot_p[z]
        dp[z] = factor * cot_q[z] - normal[z] * p[z] - lift[z] * q[z]


@loop
def _add_density_change(
    q: Any, p: Any, x_up: Any, x_down: Any, y_up: Any, y_down: Any, along_z: Any, dq: Any, dp: Any,
    change_z: Any, normal_x_up: Any, normal_x_down: Any, normal_y_up: Any, normal_y_down: Any,
    cot_x_up: Any, cot_x_down: Any, cot_y_up: Any, cot_y_down: Any, factor: Any, alloc: Any, drho: Any,
    dm_x: Any, dm_y: Any, dm_z: Any,
) -> None:  # fmt: skip
    """One class's contribution to the changes of rho and m; ``cot`` are the neighbours' cotangents of p."""
    two = q.dtype.type(2)
    for z in range(np.uintp(q.size)):
        drho[z] += two * q[z] * dq[z] * alloc[z]
        change_x = (
            normal_x_up[z] * x_up[z] - normal_x_down[z] * x_down[z] - factor * (cot_x_up[z] - cot_x_down[z])
        )
        change_y = (
            normal_y_up[z] * y_up[z] - normal_y_down[z] * y_down[z] - factor * (cot_y_up[z] - cot_y_down[z])
        )
        dm_x[z] += dp[z] * (x_up[z] - x_down[z]) + p[z] * change_x
        dm_y[z] += dp[z] * (y_up[z] - y_down[z]) + p[z] * change_y
        dm_z[z] += dp[z] * along_z[z] + p[z] * change_z[z]


@loop
def _scale_density_change(
    u: Any, rho: Any, am_x: Any, am_y: Any, am_z: Any, drho: Any, dm_x: Any, dm_y: Any, dm_z: Any
) -> None:
    """The change of alpha m from that of m; the change of rho is zero where rho is at its lower bound."""
    half, none, least = rho.dtype.type(0.5), rho.dtype.type(0), rho.dtype.type(RHO_MIN)
    for z in range(np.uintp(rho.size)):
        drho[z] = drho[z] if rho[z] > least else none
        alpha, grown = math.sqrt(rho[z]), half * drho[z] / rho[z]
        dm_x[z] = u[0] * alpha * dm_x[z] + grown * am_x[z]
        dm_y[z] = u[1] * alpha * dm_y[z] + grown * am_y[z]
        dm_z[z] = u[2] * alpha * dm_z[z] + grown * am_z[z]


@loop
def _weigh_neighbour(w: Any, dw: Any, normal: Any, lift: Any, on_p: Any, on_q: Any) -> None:
    """Weights of a neighbour's p and q in dw p + w dp, where dp = factor a - normal p - lift q."""
    for z in range(np.uintp(w.size)):
        on_p[z] = dw[z] - w[z] * normal[z]
        on_q[z] = -w[z] * lift[z]


@loop
def _weigh_slope(w: Any, dw: Any, normal_up: Any, normal_down: Any, on_up: Any, on_down: Any) -> None:
    """Weights of both neighbours' q in dw (q_up - q_down) + w (dq_up - dq_down), dq = normal q - factor b."""
    for z in range(np.uintp(w.size)):
        on_up[z] = dw[z] + w[z] * normal_up[z]
        on_down[z] = dw[z] + w[z] * normal_down[z]


@loop
def _push(
    q: Any, p: Any, x_up: Any, x_down: Any, y_up: Any, y_down: Any, along_z: Any, dq: Any, dp: Any,
    change_z: Any, cot_x_up: Any, cot_x_down: Any, cot_y_up: Any, cot_y_down: Any, rho: Any, drho: Any,
    w_x: Any, w_y: Any, w_z: Any, dw_z: Any, on_x_up: Any, on_x_down: Any, on_y_up: Any, on_y_down: Any,
    factor: Any, pushed: Any, dpushed: Any, off: Any, doff: Any, force: Any, dforce: Any,
) -> None:  # fmt: skip
    """One class's beta^2 p - w . grad q and its change, and its contribution to four products."""
    one, two = q.dtype.type(1), q.dtype.type(2)
    for z in range(np.uintp(q.size)):
        beta2 = one - rho[z]
        here = (
            beta2 * p[z]
            - w_x[z] * (x_up[z] - x_down[z])
            - w_y[z] * (y_up[z] - y_down[z])
            - w_z[z] * along_z[z]
        )
        changed = (
            beta2 * dp[z]
            - drho[z] * p[z]
            - on_x_up[z] * x_up[z]
            + on_x_down[z] * x_down[z]
            + factor * w_x[z] * (cot_x_up[z] - cot_x_down[z])
            - on_y_up[z] * y_up[z]
            + on_y_down[z] * y_down[z]
            + factor * w_y[z] * (cot_y_up[z] - cot_y_down[z])
            - dw_z[z] * along_z[z]
            - w_z[z] * change_z[z]
        )
        pushed[z] = here
        dpushed[z] = changed
        off[z] += here * q[z]
        doff[z] += changed * q[z] + here * dq[z]
        force[z] += p[z] * p[z]
        dforce[z] += two * p[z] * dp[z]


@loop
def _add_work_change(
    am_x: Any, am_y: Any, am_z: Any, dam_x: Any, dam_y: Any, dam_z: Any, v_x: Any, v_y: Any, v_z: Any,
    dv_x: Any, dv_y: Any, dv_z: Any, rho: Any, drho: Any, force: Any, dforce: Any,
) -> None:  # fmt: skip
    """Add <m, v> / alpha to |p|^2, and its change to the change of |p|^2."""
    one = rho.dtype.type(1)
    for z in range(np.uintp(rho.size)):
        inverse = one / rho[z]
        work = (am_x[z] * v_x[z] + am_y[z] * v_y[z] + am_z[z] * v_z[z]) * inverse
        force[z] += work
        dforce[z] += (
            dam_x[z] * v_x[z]
            + dam_y[z] * v_y[z]
            + dam_z[z] * v_z[z]
            + am_x[z] * dv_x[z]
            + am_y[z] * dv_y[z]
            + am_z[z] * dv_z[z]
            - work * drho[z]
        ) * inverse


@loop
def _fluxes(p: Any, dp: Any, w_z: Any, dw_z: Any, flux: Any, dflux: Any) -> None:
    """One class's flux of momentum along z, and its change."""
    for z in range(np.uintp(p.size)):
        flux[z] = w_z[z] * p[z]
        dflux[z] = dw_z[z] * p[z] + w_z[z] * dp[z]


@loop
def _draw(
    q: Any, p: Any, dq: Any, dp: Any, pushed: Any, alloc: Any, rho: Any, drho: Any, off: Any, doff: Any,
    force: Any, dforce: Any, lift: Any, rate: Any, back: Any,
) -> None:  # fmt: skip
    """The local terms of one class's dp/dt and of its change."""
    for z in range(np.uintp(q.size)):
        spread = alloc[z] - rho[z]
        rate[z] = force[z] * q[z] * spread + off[z] * p[z]
        back[z] = (
            (dforce[z] * spread - force[z] * drho[z]) * q[z]
            + force[z] * spread * dq[z]
            + doff[z] * p[z]
            + off[z] * dp[z]
            + lift[z] * (off[z] * q[z] + pushed[z])
        )


@loop
def _add_neighbours(
    p_up: Any, p_down: Any, q_up: Any, q_down: Any, cot_up: Any, cot_down: Any, w_up: Any, w_down: Any,
    on_p_up: Any, on_p_down: Any, on_q_up: Any, on_q_down: Any, factor: Any, rate: Any, back: Any,
) -> None:  # fmt: skip
    """The contribution of both neighbours on one axis; ``cot`` are their cotangents of q."""
    for z in range(np.uintp(rate.size)):
        rate[z] += w_up[z] * p_up[z] + w_down[z] * p_down[z]
        back[z] += (
            on_p_up[z] * p_up[z]
            + on_q_up[z] * q_up[z]
            + factor * w_up[z] * cot_up[z]
            + on_p_down[z] * p_down[z]
            + on_q_down[z] * q_down[z]
            + factor * w_down[z] * cot_down[z]
        )


@loop
def _make_tangent(
    q: Any, p: Any, dq: Any, off: Any, doff: Any, rate: Any, pushed: Any, dpushed: Any, gauge: Any
) -> None:
    """One class's dq/dt and its change without the component along q, and its contribution to the gauge."""
    for z in range(np.uintp(q.size)):
        dpushed[z] -= doff[z] * q[z] + off[z] * dq[z]
        pushed[z] -= off[z] * q[z]
        gauge[z] -= rate[z] * q[z] + p[z] * pushed[z]


@loop
def _cotangents(
    q: Any, dq: Any, normal: Any, gauge: Any, rate: Any, back: Any, pushed: Any, dpushed: Any, out_q: Any,
    out_p: Any,
) -> None:  # fmt: skip
    """One class's cotangents of q and p."""
    for z in range(np.uintp(q.size)):
        out_q[z] = -gauge[z] * (dq[z] + normal[z] * q[z]) - normal[z] * rate[z] - back[z]
        out_p[z] = dpushed[z] - normal[z] * pushed[z]


@loop
def _add_cotangents(
    q: Any, dq: Any, normal: Any, gauge: Any, rate: Any, back: Any, pushed: Any, dpushed: Any, cot_q: Any,
    cot_p: Any, out_q: Any, out_p: Any,
) -> None:  # fmt: skip
    """Add one class's cotangents of q and p, and those that were pulled back."""
    for z in range(np.uintp(q.size)):
        out_q[z] += cot_q[z] - gauge[z] * (dq[z] + normal[z] * q[z]) - normal[z] * rate[z] - back[z]
        out_p[z] += cot_p[z] + dpushed[z] - normal[z] * pushed[z]


@loop
def _add_momentum(
    p: Any, x_up: Any, x_down: Any, y_up: Any, y_down: Any, along_z: Any, m_x: Any, m_y: Any, m_z: Any
) -> None:
    """Add one class's contribution to m."""
    for z in range(np.uintp(p.size)):
        m_x[z] += p[z] * (x_up[z] - x_down[z])
        m_y[z] += p[z] * (y_up[z] - y_down[z])
        m_z[z] += p[z] * along_z[z]


@loop
def _scale(values: Any, factor: Any, out: Any) -> None:
    """Multiply by a factor."""
    for z in range(np.uintp(out.size)):
        out[z] = factor * values[z]


@loop
def _scale_in_place(factor: Any, values: Any) -> None:
    """Multiply by a factor in place."""
    for z in range(np.uintp(values.size)):
        values[z] *= factor


@loop
def _is_exchanged(values: Any) -> bool:
    """Return whether any value differs from zero."""
    for z in range(np.uintp(values.size)):  # noqa: SIM110 - numba compiles no generators
        if values[z] != 0:
            return True
    return False


@loop
def _freedom(x_i: Any, x_j: Any, free_ij: Any, free_ji: Any, b: Any) -> None:
    """b of a pair of classes."""
    none = b.dtype.type(0)
    for z in range(np.uintp(b.size)):
        b[z] = free_ij * max(-x_i[z], none) * max(x_j[z], none) + free_ji * max(-x_j[z], none) * max(
            x_i[z], none
        )


@loop
def _turn_map(b: Any, q_i: Any, q_j: Any, p_i: Any, p_j: Any, dq_i: Any, dq_j: Any) -> None:
    """Add a pair's rotation of q."""
    for z in range(np.uintp(b.size)):
        rate = b[z] * (q_i[z] * p_j[z] - q_j[z] * p_i[z])
        dq_i[z] -= rate * q_j[z]
        dq_j[z] += rate * q_i[z]


@loop
def _push_carried(
    p: Any, x_up: Any, x_down: Any, y_up: Any, y_down: Any, off: Any, w_z: Any, w_x_up: Any, w_x_down: Any,
    w_y_up: Any, w_y_down: Any, dp: Any, flux: Any,
) -> None:  # fmt: skip
    """One class's dp/dt by transport without the gauge and the flux along z; the flux is in ``flux``."""
    for z in range(np.uintp(p.size)):
        dp[z] = (
            off[z] * p[z]
            + w_x_up[z] * x_up[z]
            + w_x_down[z] * x_down[z]
            + w_y_up[z] * y_up[z]
            + w_y_down[z] * y_down[z]
        )
        flux[z] = w_z[z] * p[z]


@loop
def _add_momentum_change(
    p: Any, x_up: Any, x_down: Any, y_up: Any, y_down: Any, along_z: Any, dp: Any,
    change_z: Any, normal_x_up: Any, normal_x_down: Any, normal_y_up: Any, normal_y_down: Any,
    cot_x_up: Any, cot_x_down: Any, cot_y_up: Any, cot_y_down: Any, factor: Any,
    dm_x: Any, dm_y: Any, dm_z: Any,
) -> None:  # fmt: skip
    """One class's contribution to the change of m; ``cot`` are the neighbours' cotangents of p."""
    for z in range(np.uintp(p.size)):
        change_x = (
            normal_x_up[z] * x_up[z] - normal_x_down[z] * x_down[z] - factor * (cot_x_up[z] - cot_x_down[z])
        )
        change_y = (
            normal_y_up[z] * y_up[z] - normal_y_down[z] * y_down[z] - factor * (cot_y_up[z] - cot_y_down[z])
        )
        dm_x[z] += dp[z] * (x_up[z] - x_down[z]) + p[z] * change_x
        dm_y[z] += dp[z] * (y_up[z] - y_down[z]) + p[z] * change_y
        dm_z[z] += dp[z] * along_z[z] + p[z] * change_z[z]


@loop
def _carry(
    q: Any, x_up: Any, x_down: Any, y_up: Any, y_down: Any, along_z: Any, dq: Any, change_z: Any,
    cot_x_up: Any, cot_x_down: Any, cot_y_up: Any, cot_y_down: Any, w_x: Any, w_y: Any, w_z: Any, dw_z: Any,
    on_x_up: Any, on_x_down: Any, on_y_up: Any, on_y_down: Any, factor: Any, carried: Any, dcarried: Any,
    off: Any, doff: Any,
) -> None:  # fmt: skip
    """One class's -w . grad q and its change, and its contribution to both components along q."""
    for z in range(np.uintp(q.size)):
        here = -(w_x[z] * (x_up[z] - x_down[z]) + w_y[z] * (y_up[z] - y_down[z]) + w_z[z] * along_z[z])
        changed = (
            -on_x_up[z] * x_up[z]
            + on_x_down[z] * x_down[z]
            + factor * w_x[z] * (cot_x_up[z] - cot_x_down[z])
            - on_y_up[z] * y_up[z]
            + on_y_down[z] * y_down[z]
            + factor * w_y[z] * (cot_y_up[z] - cot_y_down[z])
            - dw_z[z] * along_z[z]
            - w_z[z] * change_z[z]
        )
        carried[z] = here
        dcarried[z] = changed
        off[z] += here * q[z]
        doff[z] += changed * q[z] + here * dq[z]


@loop
def _draw_carried(
    q: Any, p: Any, dp: Any, carried: Any, off: Any, doff: Any, lift: Any, rate: Any, back: Any
) -> None:
    """The local terms of one class's dp/dt by transport and of its change."""
    for z in range(np.uintp(q.size)):
        rate[z] = off[z] * p[z]
        back[z] = doff[z] * p[z] + off[z] * dp[z] + lift[z] * (off[z] * q[z] + carried[z])


@loop
def _rotate(free: Any, duration: Any, q_i: Any, q_j: Any, p_i: Any, p_j: Any) -> None:
    """Rotate a pair of classes by the angle that its own momentum gives."""
    for z in range(np.uintp(free.size)):
        if free[z] == 0:
            continue
        angle = duration * free[z] * (q_i[z] * p_j[z] - q_j[z] * p_i[z])
        cosine, sine = math.cos(angle), math.sin(angle)
        q_i[z], q_j[z] = cosine * q_i[z] - sine * q_j[z], sine * q_i[z] + cosine * q_j[z]
        p_i[z], p_j[z] = cosine * p_i[z] - sine * p_j[z], sine * p_i[z] + cosine * p_j[z]


@loop
def _rotate_back(
    free: Any, duration: Any, q_i: Any, q_j: Any, p_i: Any, p_j: Any, a_i: Any, a_j: Any, b_i: Any, b_j: Any
) -> None:
    """Undo the rotation of a pair, and pull back the cotangents a of q and b of p."""
    for z in range(np.uintp(free.size)):
        if free[z] == 0:
            continue
        speed = duration * free[z]
        angle = speed * (q_i[z] * p_j[z] - q_j[z] * p_i[z])
        faster = speed * (a_j[z] * q_i[z] - a_i[z] * q_j[z] + b_j[z] * p_i[z] - b_i[z] * p_j[z])
        cosine, sine = math.cos(angle), math.sin(angle)
        q_i[z], q_j[z] = cosine * q_i[z] + sine * q_j[z], cosine * q_j[z] - sine * q_i[z]
        p_i[z], p_j[z] = cosine * p_i[z] + sine * p_j[z], cosine * p_j[z] - sine * p_i[z]
        a_i[z], a_j[z] = (
            cosine * a_i[z] + sine * a_j[z] + faster * p_j[z],
            cosine * a_j[z] - sine * a_i[z] - faster * p_i[z],
        )
        b_i[z], b_j[z] = (
            cosine * b_i[z] + sine * b_j[z] - faster * q_j[z],
            cosine * b_j[z] - sine * b_i[z] + faster * q_i[z],
        )


@loop
def _remove_along(off: Any, q: Any, slope: Any) -> None:
    """Make a slope tangent to the sphere."""
    for z in range(np.uintp(q.size)):
        slope[z] -= off[z] * q[z]


@compiled
def _together(row: int) -> int:
    """Return the number of rows in a block."""
    return max(1, BLOCK // row)


@compiled
def _scratch(count: int, row: int, like: Any) -> Any:
    """Allocate scratch memory for ``count`` blocks, each aligned to a cache line."""
    per_line = 64 // like.itemsize
    most = -(-_together(row) * row // per_line) * per_line
    room = np.empty(count * most + per_line, like.dtype)
    begin = -room.ctypes.data % 64 // like.itemsize
    return room[begin : begin + count * most].reshape(count, most)


@compiled
def _block(y: int, ys: int, row: int) -> Any:
    """The block of rows from y on: its start and end in a plane, the starts of its neighbours, and the next
    y.

    The first and the last row are blocks of their own; the border is repeated outside the grid.
    """
    end = y + 1 if y == 0 or y == ys - 1 else min(y + _together(row), ys - 1)
    below, above, size = max(y - 1, 0) * row, min(y + 1, ys - 1) * row, (end - y) * row
    begin = y * row
    return (
        np.uintp(begin), np.uintp(begin + size), np.uintp(below), np.uintp(below + size), np.uintp(above),
        np.uintp(above + size), end,
    )  # fmt: skip


@compiled
def density(q: Any, p: Any, alloc: Any, u: Any, rho: Any, am: Any, row: int, start: int, stop: int) -> None:
    """rho and alpha m."""
    classes, xs, plane = q.shape
    slope = _scratch(1, row, q)[0]
    for x in range(start, stop):
        down, up = max(x - 1, 0), min(x + 1, xs - 1)
        y = 0
        while y < plane // row:
            i, j, i_below, j_below, i_above, j_above, y = _block(y, plane // row, row)
            s = slope[: j - i]
            rho[0, x, i:j], am[0, x, i:j], am[1, x, i:j], am[2, x, i:j] = 0, 0, 0, 0
            for c in range(classes):
                _slope(q[c, x, i:j], s, row)
                _add_density(
                    q[c, x, i:j], p[c, x, i:j], alloc[c, x, i:j], q[c, up, i:j], q[c, down, i:j],
                    q[c, x, i_above:j_above], q[c, x, i_below:j_below], s,
                    rho[0, x, i:j], am[0, x, i:j], am[1, x, i:j], am[2, x, i:j],
                )  # fmt: skip
            _scale_density(u, rho[0, x, i:j], am[0, x, i:j], am[1, x, i:j], am[2, x, i:j])


@compiled
def metric(q: Any, alloc: Any, u: Any, out: Any, row: int, start: int, stop: int) -> None:
    """The matrix of p -> alpha m times its transpose: the lower triangle by rows."""
    classes, xs, plane = q.shape
    fields = _scratch(7, row, q)
    for x in range(start, stop):
        down, up = max(x - 1, 0), min(x + 1, xs - 1)
        y = 0
        while y < plane // row:
            i, j, i_below, j_below, i_above, j_above, y = _block(y, plane // row, row)
            n = j - i
            rho = fields[6, :n]
            rho[:], fields[3:6, :n], out[:, x, i:j] = 0, 0, 0
            for c in range(classes):
                _difference(q[c, up, i:j], q[c, down, i:j], fields[0, :n])
                _difference(q[c, x, i_above:j_above], q[c, x, i_below:j_below], fields[1, :n])
                _slope(q[c, x, i:j], fields[2, :n], row)
                _add_rho(q[c, x, i:j], alloc[c, x, i:j], rho)
                for d in range(3):
                    _add_product(fields[d, :n], q[c, x, i:j], fields[3 + d, :n])
                    for e in range(d + 1):
                        entry = d * (d + 1) // 2 + e
                        _add_product(fields[d, :n], fields[e, :n], out[entry, x, i:j])
            for d in range(3):
                for e in range(d + 1):
                    entry = d * (d + 1) // 2 + e
                    off_d, off_e = fields[3 + d, :n], fields[3 + e, :n]
                    _finish_metric(rho, off_d, off_e, u[d] * u[e], out[entry, x, i:j])


@compiled
def rate(q: Any, p: Any, rho: Any, v: Any, u: Any, out: Any, row: int, start: int, stop: int) -> None:
    """dq/dt."""
    classes, xs, plane = q.shape
    fields = _scratch(5, row, q)
    for x in range(start, stop):
        down, up = max(x - 1, 0), min(x + 1, xs - 1)
        y = 0
        while y < plane // row:
            i, j, i_below, j_below, i_above, j_above, y = _block(y, plane // row, row)
            n = j - i
            for axis in range(3):
                _weigh(rho[0, x, i:j], v[axis, x, i:j], u[axis], fields[axis, :n])
            s, off = fields[3, :n], fields[4, :n]
            off[:] = 0
            for c in range(classes):
                _slope(q[c, x, i:j], s, row)
                _transport(
                    q[c, x, i:j], q[c, up, i:j], q[c, down, i:j], q[c, x, i_above:j_above],
                    q[c, x, i_below:j_below], s, fields[0, :n], fields[1, :n], fields[2, :n],
                    out[c, x, i:j], off,
                )  # fmt: skip
            for c in range(classes):
                _add_source(q[c, x, i:j], p[c, x, i:j], rho[0, x, i:j], off, out[c, x, i:j])


@compiled
def advance(
    base_q: Any, base_p: Any, q: Any, p: Any, alloc: Any, rho: Any, am: Any, v: Any, u: Any, duration: Any,
    out_q: Any, out_p: Any, length: Any, along: Any, row: int, start: int, stop: int,
) -> None:  # fmt: skip
    """Half a step or a whole step, and the renormalisation."""
    classes, xs, plane = q.shape
    ys = plane // row
    fields, w = _scratch(5, row, q), _scratch(7, row, q)
    dq, dp = _scratch(classes, row, q), _scratch(classes, row, q)
    for x in range(start, stop):
        down, up = max(x - 1, 0), min(x + 1, xs - 1)
        y = 0
        while y < ys:
            first = y == 0
            i, j, i_below, j_below, i_above, j_above, y = _block(y, ys, row)
            n = j - i
            for axis in range(3):
                _weigh(rho[0, x, i:j], v[axis, x, i:j], u[axis], w[axis, :n])
            _weigh(rho[0, up, i:j], v[0, up, i:j], -u[0] if x < xs - 1 else u[0], w[3, :n])
            _weigh(rho[0, down, i:j], v[0, down, i:j], u[0] if x > 0 else -u[0], w[4, :n])
            _weigh(rho[0, x, i_above:j_above], v[1, x, i_above:j_above], -u[1] if y < ys else u[1], w[5, :n])
            _weigh(rho[0, x, i_below:j_below], v[1, x, i_below:j_below], -u[1] if first else u[1], w[6, :n])
            s, flux, off, force, turn = (
                fields[0, :n],
                fields[1, :n],
                fields[2, :n],
                fields[3, :n],
                fields[4, :n],
            )
            off[:], force[:], turn[:], length[0, x, i:j], along[0, x, i:j] = 0, 0, 0, 0, 0
            for c in range(classes):
                _slope(q[c, x, i:j], s, row)
                _transport(
                    q[c, x, i:j], q[c, up, i:j], q[c, down, i:j], q[c, x, i_above:j_above],
                    q[c, x, i_below:j_below], s, w[0, :n], w[1, :n], w[2, :n], dq[c, :n], off,
                )  # fmt: skip
                _add_product(p[c, x, i:j], p[c, x, i:j], force)
            _add_work(
                am[0, x, i:j], am[1, x, i:j], am[2, x, i:j], v[0, x, i:j], v[1, x, i:j], v[2, x, i:j],
                rho[0, x, i:j], force,
            )  # fmt: skip
            for c in range(classes):
                _push_momentum(
                    q[c, x, i:j], p[c, x, i:j], p[c, up, i:j], p[c, down, i:j], p[c, x, i_above:j_above],
                    p[c, x, i_below:j_below], alloc[c, x, i:j], rho[0, x, i:j], off, force, w[2, :n],
                    w[3, :n], w[4, :n], w[5, :n], w[6, :n], dp[c, :n], flux,
                )  # fmt: skip
                _add_adjoint_slope(flux, dp[c, :n], row)
                _add_source(q[c, x, i:j], p[c, x, i:j], rho[0, x, i:j], off, dq[c, :n])
                _add_turn(q[c, x, i:j], p[c, x, i:j], dq[c, :n], dp[c, :n], turn)
            for c in range(classes):
                _follow(
                    base_q[c, x, i:j], base_p[c, x, i:j], q[c, x, i:j], dq[c, :n], dp[c, :n], turn, duration,
                    out_q[c, x, i:j], out_p[c, x, i:j], length[0, x, i:j],
                )  # fmt: skip
            _square_root(length[0, x, i:j])
            for c in range(classes):
                _shorten(length[0, x, i:j], out_q[c, x, i:j], out_p[c, x, i:j], along[0, x, i:j])
            for c in range(classes):
                _take_off(along[0, x, i:j], out_q[c, x, i:j], out_p[c, x, i:j])


@compiled
def _unsettle_block(
    q: Any, p: Any, length: Any, along: Any, cot_q: Any, cot_p: Any, fields: Any, x: int, i: int, j: int
) -> None:
    """Adjoint of the renormalisation in a block of every class; overwrites the cotangent."""
    lift, off = fields[0, : j - i], fields[1, : j - i]
    lift[:], off[:] = 0, 0
    for c in range(q.shape[0]):
        _add_product(cot_p[c, x, i:j], q[c, x, i:j], lift)
    for c in range(q.shape[0]):
        _lengthen(
            q[c, x, i:j], p[c, x, i:j], along[0, x, i:j], lift, cot_q[c, x, i:j], cot_p[c, x, i:j], off,
        )  # fmt: skip
    for c in range(q.shape[0]):
        _divide_tangent(q[c, x, i:j], off, length[0, x, i:j], cot_q[c, x, i:j])


@compiled
def unsettle(
    q: Any, p: Any, length: Any, along: Any, cot_q: Any, cot_p: Any, row: int, start: int, stop: int
) -> None:
    """Adjoint of the renormalisation; overwrites the cotangent."""
    _, _, plane = q.shape
    fields = _scratch(2, row, q)
    for x in range(start, stop):
        y = 0
        while y < plane // row:
            i, j, _, _, _, _, y = _block(y, plane // row, row)
            _unsettle_block(q, p, length, along, cot_q, cot_p, fields, x, i, j)


@compiled
def _direction_plane(
    q: Any, p: Any, cot_q: Any, cot_p: Any, factor: Any, normal: Any, lift: Any, x: int, row: int
) -> None:
    """The direction of a cotangent in the plane x, to which ``normal`` and ``lift`` are cut already."""
    classes, _, plane = q.shape
    y = 0
    while y < plane // row:
        i, j, _, _, _, _, y = _block(y, plane // row, row)
        normal[i:j], lift[i:j] = 0, 0
        for c in range(classes):
            _add_direction(
                q[c, x, i:j], p[c, x, i:j], cot_q[c, x, i:j], cot_p[c, x, i:j], factor, normal[i:j], lift[i:j]
            )


@compiled
def direction(
    q: Any, p: Any, cot_q: Any, cot_p: Any, factor: Any, normal: Any, lift: Any, row: int, start: int,
    stop: int,
) -> None:  # fmt: skip
    """n = <b, q> and <dp, q> + <p, dq> of the direction of a cotangent."""
    for x in range(start, stop):
        _direction_plane(q, p, cot_q, cot_p, factor, normal[0, x], lift[0, x], x, row)


@compiled
def density_change(
    q: Any, p: Any, cot_q: Any, cot_p: Any, factor: Any, alloc: Any, rho: Any, am: Any, u: Any, normal: Any,
    lift: Any, drho: Any, dam: Any, row: int, start: int, stop: int,
) -> None:  # fmt: skip
    """The direction of a cotangent, one plane ahead, and the changes of rho and alpha m along it.

    The planes on either side of ``start`` to ``stop`` belong to others, who write their directions.
    """
    classes, xs, plane = q.shape
    fields, outside = _scratch(4, row, q), np.empty((3, plane), q.dtype)
    if start < stop:
        _direction_plane(q, p, cot_q, cot_p, factor, normal[0, start], lift[0, start], start, row)
    if 0 < start < stop:
        _direction_plane(q, p, cot_q, cot_p, factor, outside[0], outside[2], start - 1, row)
    for x in range(start, stop):
        down, up = max(x - 1, 0), min(x + 1, xs - 1)
        if x + 1 < stop:
            _direction_plane(q, p, cot_q, cot_p, factor, normal[0, x + 1], lift[0, x + 1], x + 1, row)
        elif x + 1 < xs:
            _direction_plane(q, p, cot_q, cot_p, factor, outside[1], outside[2], x + 1, row)
        normal_down = outside[0] if 0 < start == x else normal[0, down]
        normal_up = outside[1] if x + 1 == stop < xs else normal[0, up]
        y = 0
        while y < plane // row:
            i, j, i_below, j_below, i_above, j_above, y = _block(y, plane // row, row)
            dq, dp, s, ds = fields[0, : j - i], fields[1, : j - i], fields[2, : j - i], fields[3, : j - i]
            drho[0, x, i:j], dam[0, x, i:j], dam[1, x, i:j], dam[2, x, i:j] = 0, 0, 0, 0
            for c in range(classes):
                _change(
                    q[c, x, i:j], p[c, x, i:j], cot_q[c, x, i:j], cot_p[c, x, i:j], normal[0, x, i:j],
                    lift[0, x, i:j], factor, dq, dp,
                )  # fmt: skip
                _slope(q[c, x, i:j], s, row)
                _slope(dq, ds, row)
                _add_density_change(
                    q[c, x, i:j], p[c, x, i:j], q[c, up, i:j], q[c, down, i:j], q[c, x, i_above:j_above],
                    q[c, x, i_below:j_below], s, dq, dp, ds, normal_up[i:j], normal_down[i:j],
                    normal[0, x, i_above:j_above], normal[0, x, i_below:j_below], cot_p[c, up, i:j],
                    cot_p[c, down, i:j], cot_p[c, x, i_above:j_above], cot_p[c, x, i_below:j_below], factor,
                    alloc[c, x, i:j], drho[0, x, i:j], dam[0, x, i:j], dam[1, x, i:j], dam[2, x, i:j],
                )  # fmt: skip
            _scale_density_change(
                u, rho[0, x, i:j], am[0, x, i:j], am[1, x, i:j], am[2, x, i:j], drho[0, x, i:j],
                dam[0, x, i:j], dam[1, x, i:j], dam[2, x, i:j],
            )  # fmt: skip


@compiled
def _put_cotangents(
    q: Any, normal: Any, cot_q: Any, cot_p: Any, maps: Any, gauge: Any, added: Any, x: int, i: int, j: int,
    out_q: Any, out_p: Any,
) -> None:  # fmt: skip
    """Write the cotangents of a block of every class, or add them and those that were pulled back if
    ``added``. ``maps`` (6, C, n): dq and dp, then dq/dt, its change, dp/dt and its change.
    """
    n = j - i
    for c in range(q.shape[0]):
        dq, pushed, dpushed, rate, back = (
            maps[0, c, :n], maps[2, c, :n], maps[3, c, :n], maps[4, c, :n], maps[5, c, :n],
        )  # fmt: skip
        at, ahead = q[c, x, i:j], normal[0, x, i:j]
        if added == 0:
            _cotangents(at, dq, ahead, gauge, rate, back, pushed, dpushed, out_q[c, x, i:j], out_p[c, x, i:j])
        else:
            _add_cotangents(
                at, dq, ahead, gauge, rate, back, pushed, dpushed, cot_q[c, x, i:j], cot_p[c, x, i:j],
                out_q[c, x, i:j], out_p[c, x, i:j],
            )  # fmt: skip


@compiled
def pull_back(
    q: Any, p: Any, cot_q: Any, cot_p: Any, factor: Any, normal: Any, lift: Any, alloc: Any, rho: Any,
    am: Any, v: Any, drho: Any, dam: Any, dv: Any, u: Any, added: Any, settled: Any, length: Any,
    along: Any, out_q: Any, out_p: Any, row: int, start: int, stop: int,
) -> None:  # fmt: skip
    """Cotangent of a state from the cotangent of its rates; both are added to the outputs if ``added``, and
    pulled back through the renormalisation if ``settled``.
    """
    classes, xs, plane = q.shape
    ys, maps = plane // row, _scratch(6 * classes, row, q)
    maps = maps.reshape(6, classes, maps.shape[1])
    fields, w, dw = _scratch(9, row, q), _scratch(7, row, q), _scratch(7, row, q)
    on_p, on_q, on = _scratch(7, row, q), _scratch(7, row, q), _scratch(4, row, q)
    for x in range(start, stop):
        down, up = max(x - 1, 0), min(x + 1, xs - 1)
        y = 0
        while y < ys:
            first = y == 0
            i, j, i_below, j_below, i_above, j_above, y = _block(y, ys, row)
            n = j - i
            for k, axis, at, begin, factor_of_w in (
                (0, 0, x, i, u[0]),
                (1, 1, x, i, u[1]),
                (2, 2, x, i, u[2]),
                (3, 0, up, i, -u[0] if x < xs - 1 else u[0]),
                (4, 0, down, i, u[0] if x > 0 else -u[0]),
                (5, 1, x, i_above, -u[1] if y < ys else u[1]),
                (6, 1, x, i_below, -u[1] if first else u[1]),
            ):
                end = begin + n
                _weigh_change(
                    rho[0, at, begin:end], drho[0, at, begin:end], v[axis, at, begin:end],
                    dv[axis, at, begin:end], factor_of_w, w[k, :n], dw[k, :n],
                )  # fmt: skip
                _weigh_neighbour(
                    w[k, :n], dw[k, :n], normal[0, at, begin:end], lift[0, at, begin:end], on_p[k, :n],
                    on_q[k, :n],
                )  # fmt: skip
            _weigh_slope(w[0, :n], dw[0, :n], normal[0, up, i:j], normal[0, down, i:j], on[0, :n], on[1, :n])
            _weigh_slope(
                w[1, :n], dw[1, :n], normal[0, x, i_above:j_above], normal[0, x, i_below:j_below],
                on[2, :n], on[3, :n],
            )  # fmt: skip
            s, ds, flux, dflux = fields[0, :n], fields[1, :n], fields[2, :n], fields[3, :n]
            off, doff, force, dforce = fields[4, :n], fields[5, :n], fields[6, :n], fields[7, :n]
            gauge = fields[8, :n]
            fields[4:, :n] = 0
            for c in range(classes):
                dq, dp, pushed, dpushed = maps[0, c, :n], maps[1, c, :n], maps[2, c, :n], maps[3, c, :n]
                _change(
                    q[c, x, i:j], p[c, x, i:j], cot_q[c, x, i:j], cot_p[c, x, i:j], normal[0, x, i:j],
                    lift[0, x, i:j], factor, dq, dp,
                )  # fmt: skip
                _slope(q[c, x, i:j], s, row)
                _slope(dq, ds, row)
                _push(
                    q[c, x, i:j], p[c, x, i:j], q[c, up, i:j], q[c, down, i:j], q[c, x, i_above:j_above],
                    q[c, x, i_below:j_below], s, dq, dp, ds, cot_p[c, up, i:j], cot_p[c, down, i:j],
                    cot_p[c, x, i_above:j_above], cot_p[c, x, i_below:j_below], rho[0, x, i:j],
                    drho[0, x, i:j], w[0, :n], w[1, :n], w[2, :n], dw[2, :n], on[0, :n], on[1, :n],
                    on[2, :n], on[3, :n], factor, pushed, dpushed, off, doff, force, dforce,
                )  # fmt: skip
            _add_work_change(
                am[0, x, i:j], am[1, x, i:j], am[2, x, i:j], dam[0, x, i:j], dam[1, x, i:j], dam[2, x, i:j],
                v[0, x, i:j], v[1, x, i:j], v[2, x, i:j], dv[0, x, i:j], dv[1, x, i:j], dv[2, x, i:j],
                rho[0, x, i:j], drho[0, x, i:j], force, dforce,
            )  # fmt: skip
            for c in range(classes):
                dq, dp, pushed, dpushed = maps[0, c, :n], maps[1, c, :n], maps[2, c, :n], maps[3, c, :n]
                rate, back = maps[4, c, :n], maps[5, c, :n]
                _draw(
                    q[c, x, i:j], p[c, x, i:j], dq, dp, pushed, alloc[c, x, i:j], rho[0, x, i:j],
                    drho[0, x, i:j], off, doff, force, dforce, lift[0, x, i:j], rate, back,
                )  # fmt: skip
                _fluxes(p[c, x, i:j], dp, w[2, :n], dw[2, :n], flux, dflux)
                _add_adjoint_slope(flux, rate, row)
                _add_adjoint_slope(dflux, back, row)
                _add_neighbours(
                    p[c, up, i:j], p[c, down, i:j], q[c, up, i:j], q[c, down, i:j], cot_q[c, up, i:j],
                    cot_q[c, down, i:j], w[3, :n], w[4, :n], on_p[3, :n], on_p[4, :n], on_q[3, :n],
                    on_q[4, :n], factor, rate, back,
                )  # fmt: skip
                _add_neighbours(
                    p[c, x, i_above:j_above], p[c, x, i_below:j_below], q[c, x, i_above:j_above],
                    q[c, x, i_below:j_below], cot_q[c, x, i_above:j_above], cot_q[c, x, i_below:j_below],
                    w[5, :n], w[6, :n], on_p[5, :n], on_p[6, :n], on_q[5, :n], on_q[6, :n], factor, rate,
                    back,
                )  # fmt: skip
                _make_tangent(q[c, x, i:j], p[c, x, i:j], dq, off, doff, rate, pushed, dpushed, gauge)
            _put_cotangents(q, normal, cot_q, cot_p, maps, gauge, added, x, i, j, out_q, out_p)
            if settled != 0:
                _unsettle_block(q, p, length, along, out_q, out_p, fields, x, i, j)


@compiled
def momentum(q: Any, p: Any, u: Any, am: Any, row: int, start: int, stop: int) -> None:
    """m."""
    classes, xs, plane = q.shape
    slope = _scratch(1, row, q)[0]
    for x in range(start, stop):
        down, up = max(x - 1, 0), min(x + 1, xs - 1)
        y = 0
        while y < plane // row:
            i, j, i_below, j_below, i_above, j_above, y = _block(y, plane // row, row)
            s = slope[: j - i]
            am[0, x, i:j], am[1, x, i:j], am[2, x, i:j] = 0, 0, 0
            for c in range(classes):
                _slope(q[c, x, i:j], s, row)
                _add_momentum(
                    p[c, x, i:j], q[c, up, i:j], q[c, down, i:j], q[c, x, i_above:j_above],
                    q[c, x, i_below:j_below], s, am[0, x, i:j], am[1, x, i:j], am[2, x, i:j],
                )  # fmt: skip
            for d in range(3):
                _scale_in_place(u[d], am[d, x, i:j])


@compiled
def _factorise(q: Any, field: Any, free: Any, shift: Any, x: int, z: int, lower: Any) -> bool:
    """Cholesky factor of B + shift in one voxel, raised by its changed share; False where nothing changes."""
    classes, none, half = len(free), lower.dtype.type(0), lower.dtype.type(0.5)
    changed = none
    for a in range(classes):
        changed += field[a, x, z] * field[a, x, z]
        for b in range(a + 1):
            lower[a, b] = 0
    if changed == 0:
        return False
    for a in range(classes):
        lower[a, a] += shift + half * lower.dtype.type(STIFF) * changed
        for b in range(a):
            here, there = field[a, x, z], field[b, x, z]
            pair = free[a, b] * max(-here, none) * max(there, none) + free[b, a] * max(-there, none) * max(
                here, none
            )
            q_a, q_b = q[a, x, z], q[b, x, z]
            lower[a, b] -= q_a * pair * q_b
            lower[a, a] += pair * q_b * q_b
            lower[b, b] += pair * q_a * q_a
    for a in range(classes):
        for b in range(a + 1):
            total = lower[a, b]
            for k in range(b):
                total -= lower[a, k] * lower[b, k]
            lower[a, b] = math.sqrt(total) if a == b else total / lower[b, b]
    return True


@compiled
def _substitute(lower: Any, values: Any) -> None:
    """Solve with a Cholesky factor in place."""
    classes = len(lower)
    for a in range(classes):
        for k in range(a):
            values[a] -= lower[a, k] * values[k]
        values[a] /= lower[a, a]
    for a in range(classes - 1, -1, -1):
        for k in range(a + 1, classes):
            values[a] -= lower[k, a] * values[k]
        values[a] /= lower[a, a]


@compiled
def unexchange(
    q: Any, field: Any, free: Any, shift: Any, b: Any, out: Any, row: int, start: int, stop: int
) -> None:
    """(B + shift)^-1 b."""
    classes, _, plane = q.shape
    lower, values = np.empty((classes, classes), q.dtype), np.empty(classes, q.dtype)
    for x in range(start, stop):
        for z in range(plane):
            if _factorise(q, field, free, shift, x, z, lower):
                for c in range(classes):
                    values[c] = b[c, x, z]
                _substitute(lower, values)
                for c in range(classes):
                    out[c, x, z] = values[c]
            else:
                for c in range(classes):
                    out[c, x, z] = b[c, x, z] / shift


@compiled
def pair_metric(
    q: Any, field: Any, free: Any, shift: Any, u: Any, out: Any, row: int, start: int, stop: int
) -> None:
    """The matrix of p -> m times (B + shift)^-1 times its transpose: the lower triangle by rows."""
    classes, xs, plane = q.shape
    fields, slopes = _scratch(3, row, q), _scratch(3 * classes, row, q)
    slopes = slopes.reshape(3, classes, slopes.shape[1])
    lower, values = np.empty((classes, classes), q.dtype), np.empty((3, classes), q.dtype)
    for x in range(start, stop):
        down, up = max(x - 1, 0), min(x + 1, xs - 1)
        y = 0
        while y < plane // row:
            i, j, i_below, j_below, i_above, j_above, y = _block(y, plane // row, row)
            n = j - i
            fields[:, :n] = 0
            for c in range(classes):
                _difference(q[c, up, i:j], q[c, down, i:j], slopes[0, c, :n])
                _difference(q[c, x, i_above:j_above], q[c, x, i_below:j_below], slopes[1, c, :n])
                _slope(q[c, x, i:j], slopes[2, c, :n], row)
                for d in range(3):
                    _add_product(slopes[d, c, :n], q[c, x, i:j], fields[d, :n])
            for c in range(classes):
                for d in range(3):
                    _remove_along(fields[d, :n], q[c, x, i:j], slopes[d, c, :n])
            for z in range(n):
                changed = _factorise(q, field, free, shift, x, i + z, lower)
                for d in range(3):
                    for c in range(classes):
                        values[d, c] = slopes[d, c, z] if changed else slopes[d, c, z] / shift
                    if changed:
                        _substitute(lower, values[d])
                for d in range(3):
                    for e in range(d + 1):
                        total = q.dtype.type(0)
                        for c in range(classes):
                            total += slopes[d, c, z] * values[e, c]
                        out[d * (d + 1) // 2 + e, x, i + z] = total * u[d] * u[e]


@compiled
def pair_rate(
    q: Any, p: Any, field: Any, free: Any, v: Any, u: Any, out: Any, row: int, start: int, stop: int
) -> None:
    """dq/dt."""
    classes, xs, plane = q.shape
    fields = _scratch(6, row, q)
    for x in range(start, stop):
        down, up = max(x - 1, 0), min(x + 1, xs - 1)
        y = 0
        while y < plane // row:
            i, j, i_below, j_below, i_above, j_above, y = _block(y, plane // row, row)
            n = j - i
            for axis in range(3):
                _scale(v[axis, x, i:j], u[axis], fields[axis, :n])
            s, off, free_here = fields[3, :n], fields[4, :n], fields[5, :n]
            off[:] = 0
            for c in range(classes):
                _slope(q[c, x, i:j], s, row)
                _transport(
                    q[c, x, i:j], q[c, up, i:j], q[c, down, i:j], q[c, x, i_above:j_above],
                    q[c, x, i_below:j_below], s, fields[0, :n], fields[1, :n], fields[2, :n],
                    out[c, x, i:j], off,
                )  # fmt: skip
            for c in range(classes):
                _take_off(off, q[c, x, i:j], out[c, x, i:j])
            for b in range(classes):
                if not _is_exchanged(field[b, x, i:j]):
                    continue
                for a in range(b):
                    if (free[a, b] == 0 and free[b, a] == 0) or not _is_exchanged(field[a, x, i:j]):
                        continue
                    _freedom(field[a, x, i:j], field[b, x, i:j], free[a, b], free[b, a], free_here)
                    _turn_map(
                        free_here, q[a, x, i:j], q[b, x, i:j], p[a, x, i:j], p[b, x, i:j], out[a, x, i:j],
                        out[b, x, i:j],
                    )  # fmt: skip


@compiled
def carry(
    base_q: Any, base_p: Any, q: Any, p: Any, v: Any, u: Any, duration: Any, out_q: Any, out_p: Any,
    length: Any, along: Any, row: int, start: int, stop: int,
) -> None:  # fmt: skip
    """Transport for half a step or a whole step, and the renormalisation."""
    classes, xs, plane = q.shape
    ys = plane // row
    fields, w = _scratch(4, row, q), _scratch(7, row, q)
    dq, dp = _scratch(classes, row, q), _scratch(classes, row, q)
    for x in range(start, stop):
        down, up = max(x - 1, 0), min(x + 1, xs - 1)
        y = 0
        while y < ys:
            first = y == 0
            i, j, i_below, j_below, i_above, j_above, y = _block(y, ys, row)
            n = j - i
            for axis in range(3):
                _scale(v[axis, x, i:j], u[axis], w[axis, :n])
            _scale(v[0, up, i:j], -u[0] if x < xs - 1 else u[0], w[3, :n])
            _scale(v[0, down, i:j], u[0] if x > 0 else -u[0], w[4, :n])
            _scale(v[1, x, i_above:j_above], -u[1] if y < ys else u[1], w[5, :n])
            _scale(v[1, x, i_below:j_below], -u[1] if first else u[1], w[6, :n])
            s, flux, off, turn = fields[0, :n], fields[1, :n], fields[2, :n], fields[3, :n]
            off[:], turn[:], length[0, x, i:j], along[0, x, i:j] = 0, 0, 0, 0
            for c in range(classes):
                _slope(q[c, x, i:j], s, row)
                _transport(
                    q[c, x, i:j], q[c, up, i:j], q[c, down, i:j], q[c, x, i_above:j_above],
                    q[c, x, i_below:j_below], s, w[0, :n], w[1, :n], w[2, :n], dq[c, :n], off,
                )  # fmt: skip
            for c in range(classes):
                _take_off(off, q[c, x, i:j], dq[c, :n])
                _push_carried(
                    p[c, x, i:j], p[c, up, i:j], p[c, down, i:j], p[c, x, i_above:j_above],
                    p[c, x, i_below:j_below], off, w[2, :n], w[3, :n], w[4, :n], w[5, :n], w[6, :n],
                    dp[c, :n], flux,
                )  # fmt: skip
                _add_adjoint_slope(flux, dp[c, :n], row)
                _add_turn(q[c, x, i:j], p[c, x, i:j], dq[c, :n], dp[c, :n], turn)
            for c in range(classes):
                _follow(
                    base_q[c, x, i:j], base_p[c, x, i:j], q[c, x, i:j], dq[c, :n], dp[c, :n], turn, duration,
                    out_q[c, x, i:j], out_p[c, x, i:j], length[0, x, i:j],
                )  # fmt: skip
            _square_root(length[0, x, i:j])
            for c in range(classes):
                _shorten(length[0, x, i:j], out_q[c, x, i:j], out_p[c, x, i:j], along[0, x, i:j])
            for c in range(classes):
                _take_off(along[0, x, i:j], out_q[c, x, i:j], out_p[c, x, i:j])


@compiled
def momentum_change(
    q: Any, p: Any, cot_q: Any, cot_p: Any, factor: Any, normal: Any, lift: Any, u: Any, dam: Any, row: int,
    start: int, stop: int,
) -> None:  # fmt: skip
    """Change of m along the direction of a cotangent."""
    classes, xs, plane = q.shape
    fields = _scratch(4, row, q)
    for x in range(start, stop):
        down, up = max(x - 1, 0), min(x + 1, xs - 1)
        y = 0
        while y < plane // row:
            i, j, i_below, j_below, i_above, j_above, y = _block(y, plane // row, row)
            dq, dp, s, ds = fields[0, : j - i], fields[1, : j - i], fields[2, : j - i], fields[3, : j - i]
            dam[0, x, i:j], dam[1, x, i:j], dam[2, x, i:j] = 0, 0, 0
            for c in range(classes):
                _change(
                    q[c, x, i:j], p[c, x, i:j], cot_q[c, x, i:j], cot_p[c, x, i:j], normal[0, x, i:j],
                    lift[0, x, i:j], factor, dq, dp,
                )  # fmt: skip
                _slope(q[c, x, i:j], s, row)
                _slope(dq, ds, row)
                _add_momentum_change(
                    p[c, x, i:j], q[c, up, i:j], q[c, down, i:j], q[c, x, i_above:j_above],
                    q[c, x, i_below:j_below], s, dp, ds, normal[0, up, i:j], normal[0, down, i:j],
                    normal[0, x, i_above:j_above], normal[0, x, i_below:j_below], cot_p[c, up, i:j],
                    cot_p[c, down, i:j], cot_p[c, x, i_above:j_above], cot_p[c, x, i_below:j_below], factor,
                    dam[0, x, i:j], dam[1, x, i:j], dam[2, x, i:j],
                )  # fmt: skip
            for d in range(3):
                _scale_in_place(u[d], dam[d, x, i:j])


@compiled
def carry_back(
    q: Any, p: Any, cot_q: Any, cot_p: Any, factor: Any, normal: Any, lift: Any, v: Any,
    dv: Any, u: Any, added: Any, settled: Any, length: Any, along: Any, out_q: Any, out_p: Any, row: int,
    start: int, stop: int,
) -> None:  # fmt: skip
    """Cotangent of a state from that of its transport; both are added to the outputs if ``added``, and
    pulled back through the renormalisation if ``settled``.
    """
    classes, xs, plane = q.shape
    ys, maps = plane // row, _scratch(6 * classes, row, q)
    maps = maps.reshape(6, classes, maps.shape[1])
    fields, w, dw = _scratch(7, row, q), _scratch(7, row, q), _scratch(7, row, q)
    on_p, on_q, on = _scratch(7, row, q), _scratch(7, row, q), _scratch(4, row, q)
    for x in range(start, stop):
        down, up = max(x - 1, 0), min(x + 1, xs - 1)
        y = 0
        while y < ys:
            first = y == 0
            i, j, i_below, j_below, i_above, j_above, y = _block(y, ys, row)
            n = j - i
            for k, axis, at, begin, factor_of_w in (
                (0, 0, x, i, u[0]),
                (1, 1, x, i, u[1]),
                (2, 2, x, i, u[2]),
                (3, 0, up, i, -u[0] if x < xs - 1 else u[0]),
                (4, 0, down, i, u[0] if x > 0 else -u[0]),
                (5, 1, x, i_above, -u[1] if y < ys else u[1]),
                (6, 1, x, i_below, -u[1] if first else u[1]),
            ):
                end = begin + n
                _scale(v[axis, at, begin:end], factor_of_w, w[k, :n])
                _scale(dv[axis, at, begin:end], factor_of_w, dw[k, :n])
                _weigh_neighbour(
                    w[k, :n], dw[k, :n], normal[0, at, begin:end], lift[0, at, begin:end], on_p[k, :n],
                    on_q[k, :n],
                )  # fmt: skip
            _weigh_slope(w[0, :n], dw[0, :n], normal[0, up, i:j], normal[0, down, i:j], on[0, :n], on[1, :n])
            _weigh_slope(
                w[1, :n], dw[1, :n], normal[0, x, i_above:j_above], normal[0, x, i_below:j_below],
                on[2, :n], on[3, :n],
            )  # fmt: skip
            s, ds, flux, dflux = fields[0, :n], fields[1, :n], fields[2, :n], fields[3, :n]
            off, doff, gauge = fields[4, :n], fields[5, :n], fields[6, :n]
            fields[4:, :n] = 0
            for c in range(classes):
                dq, dp, pushed, dpushed = maps[0, c, :n], maps[1, c, :n], maps[2, c, :n], maps[3, c, :n]
                _change(
                    q[c, x, i:j], p[c, x, i:j], cot_q[c, x, i:j], cot_p[c, x, i:j], normal[0, x, i:j],
                    lift[0, x, i:j], factor, dq, dp,
                )  # fmt: skip
                _slope(q[c, x, i:j], s, row)
                _slope(dq, ds, row)
                _carry(
                    q[c, x, i:j], q[c, up, i:j], q[c, down, i:j], q[c, x, i_above:j_above],
                    q[c, x, i_below:j_below], s, dq, ds, cot_p[c, up, i:j], cot_p[c, down, i:j],
                    cot_p[c, x, i_above:j_above], cot_p[c, x, i_below:j_below], w[0, :n], w[1, :n], w[2, :n],
                    dw[2, :n], on[0, :n], on[1, :n], on[2, :n], on[3, :n], factor, pushed, dpushed, off,
                    doff,
                )  # fmt: skip
            for c in range(classes):
                dq, dp, pushed, dpushed = maps[0, c, :n], maps[1, c, :n], maps[2, c, :n], maps[3, c, :n]
                rate, back = maps[4, c, :n], maps[5, c, :n]
                _draw_carried(q[c, x, i:j], p[c, x, i:j], dp, pushed, off, doff, lift[0, x, i:j], rate, back)
                _fluxes(p[c, x, i:j], dp, w[2, :n], dw[2, :n], flux, dflux)
                _add_adjoint_slope(flux, rate, row)
                _add_adjoint_slope(dflux, back, row)
                _add_neighbours(
                    p[c, up, i:j], p[c, down, i:j], q[c, up, i:j], q[c, down, i:j], cot_q[c, up, i:j],
                    cot_q[c, down, i:j], w[3, :n], w[4, :n], on_p[3, :n], on_p[4, :n], on_q[3, :n],
                    on_q[4, :n], factor, rate, back,
                )  # fmt: skip
                _add_neighbours(
                    p[c, x, i_above:j_above], p[c, x, i_below:j_below], q[c, x, i_above:j_above],
                    q[c, x, i_below:j_below], cot_q[c, x, i_above:j_above], cot_q[c, x, i_below:j_below],
                    w[5, :n], w[6, :n], on_p[5, :n], on_p[6, :n], on_q[5, :n], on_q[6, :n], factor, rate,
                    back,
                )  # fmt: skip
                _make_tangent(q[c, x, i:j], p[c, x, i:j], dq, off, doff, rate, pushed, dpushed, gauge)
            _put_cotangents(q, normal, cot_q, cot_p, maps, gauge, added, x, i, j, out_q, out_p)
            if settled != 0:
                _unsettle_block(q, p, length, along, out_q, out_p, fields, x, i, j)


@compiled
def _pair_of(index: int) -> Any:
    """The classes of a pair; pairs are counted (0, 1), (0, 2), (1, 2), (0, 3) and so on."""
    j = 1
    while index >= j:
        index -= j
        j += 1
    return index, j


@compiled
def turn(
    field: Any, free: Any, duration: Any, reverse: Any, q: Any, p: Any, row: int, start: int, stop: int
) -> None:
    """Reallocation alone, pair by pair; overwrites the state."""
    classes, _, plane = q.shape
    pairs, freedom = classes * (classes - 1) // 2, _scratch(1, row, q)[0]
    for x in range(start, stop):
        y = 0
        while y < plane // row:
            i, j, _, _, _, _, y = _block(y, plane // row, row)
            here = freedom[: j - i]
            for k in range(pairs):
                a, b = _pair_of(pairs - 1 - k if reverse else k)
                if free[a, b] == 0 and free[b, a] == 0:
                    continue
                if _is_exchanged(field[a, x, i:j]) and _is_exchanged(field[b, x, i:j]):
                    _freedom(field[a, x, i:j], field[b, x, i:j], free[a, b], free[b, a], here)
                    _rotate(here, duration, q[a, x, i:j], q[b, x, i:j], p[a, x, i:j], p[b, x, i:j])


@compiled
def turn_back(
    field: Any, free: Any, duration: Any, reverse: Any, q: Any, p: Any, cot_q: Any, cot_p: Any, row: int,
    start: int, stop: int,
) -> None:  # fmt: skip
    """Undo ``turn``; overwrites the state and the cotangent."""
    classes, _, plane = q.shape
    pairs, freedom = classes * (classes - 1) // 2, _scratch(1, row, q)[0]
    for x in range(start, stop):
        y = 0
        while y < plane // row:
            i, j, _, _, _, _, y = _block(y, plane // row, row)
            here = freedom[: j - i]
            for k in range(pairs):
                a, b = _pair_of(k if reverse else pairs - 1 - k)
                if free[a, b] == 0 and free[b, a] == 0:
                    continue
                if _is_exchanged(field[a, x, i:j]) and _is_exchanged(field[b, x, i:j]):
                    _freedom(field[a, x, i:j], field[b, x, i:j], free[a, b], free[b, a], here)
                    _rotate_back(
                        here, duration, q[a, x, i:j], q[b, x, i:j], p[a, x, i:j], p[b, x, i:j],
                        cot_q[a, x, i:j], cot_q[b, x, i:j], cot_p[a, x, i:j], cot_p[b, x, i:j],
                    )  # fmt: skip


LOOPS: dict[str, Any] = {
    "density": density,
    "metric": metric,
    "rate": rate,
    "advance": advance,
    "direction": direction,
    "density_change": density_change,
    "pull_back": pull_back,
    "unsettle": unsettle,
    "momentum": momentum,
    "carry": carry,
    "carry_back": carry_back,
    "turn": turn,
    "turn_back": turn_back,
    "pair_metric": pair_metric,
    "pair_rate": pair_rate,
    "momentum_change": momentum_change,
    "unexchange": unexchange,
}
"""The loop of each pass; passes, formulas and loops share these names."""

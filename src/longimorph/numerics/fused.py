"""The passes of :mod:`longimorph.numerics.passes` for a processor: one walk over the rows of a volume each.

Every function does to rows ``start`` to ``stop`` of the first grid axis what the function of the same name in
``passes`` does to whole arrays, with all classes of a row of voxels in the cache. Arrays are (K, x, y, z) and
contiguous; a plane is a volume of one layer. ``u`` holds 1 / (2 h) per axis. The caller runs pieces of the
first axis on as many threads as it likes: the interpreter's lock is released, and no two
pieces write the same row.
"""

from __future__ import annotations

import math
from typing import Any

import numba
import numpy as np

RHO_MIN = 1e-12


def _compiled(function: Any) -> Any:
    """Compile on first use; keep the machine code on disk where a folder for it can be written."""
    options: Any = {"nogil": True, "error_model": "numpy", "fastmath": {"contract"}}
    try:
        return numba.njit(cache=True, **options)(function)
    except RuntimeError:
        return numba.njit(**options)(function)


@_compiled
def _slope(row: Any, out: Any) -> None:
    """row[z + 1] - row[z - 1], the border value repeated outside."""
    n = row.shape[0]
    for z in range(1, n - 1):
        out[z] = row[z + 1] - row[z - 1]
    out[0] = row[min(1, n - 1)] - row[0]
    out[n - 1] = row[n - 1] - row[max(n - 2, 0)]


@_compiled
def _add_adjoint(row: Any, out: Any) -> None:
    """Add the adjoint of :func:`_slope` applied to ``row``."""
    n = row.shape[0]
    if n == 1:
        return
    for z in range(1, n - 1):
        out[z] += row[z - 1] - row[z + 1]
    out[0] -= row[0] + row[1]
    out[n - 1] += row[n - 2] + row[n - 1]


@_compiled
def density(q: Any, p: Any, alloc: Any, u: Any, rho: Any, am: Any, start: int, stop: int) -> None:
    """rho and alpha m."""
    classes, xs, ys, zs = q.shape
    s = np.empty(zs, q.dtype)
    least = rho.dtype.type(RHO_MIN)
    for x in range(start, stop):
        xm, xp = max(x - 1, 0), min(x + 1, xs - 1)
        for y in range(ys):
            ym, yp = max(y - 1, 0), min(y + 1, ys - 1)
            rho[0, x, y] = 0
            am[0, x, y] = 0
            am[1, x, y] = 0
            am[2, x, y] = 0
            for c in range(classes):
                _slope(q[c, x, y], s)
                for z in range(zs):
                    rho[0, x, y, z] += q[c, x, y, z] * q[c, x, y, z] * alloc[c, x, y, z]
                    am[0, x, y, z] += p[c, x, y, z] * (q[c, xp, y, z] - q[c, xm, y, z])
                    am[1, x, y, z] += p[c, x, y, z] * (q[c, x, yp, z] - q[c, x, ym, z])
                    am[2, x, y, z] += p[c, x, y, z] * s[z]
            for z in range(zs):
                rho[0, x, y, z] = max(rho[0, x, y, z], least)
                alpha = math.sqrt(rho[0, x, y, z])
                am[0, x, y, z] *= u[0] * alpha
                am[1, x, y, z] *= u[1] * alpha
                am[2, x, y, z] *= u[2] * alpha


@_compiled
def rate(q: Any, p: Any, rho: Any, v: Any, u: Any, out: Any, start: int, stop: int) -> None:
    """dq/dt."""
    classes, xs, ys, zs = q.shape
    s, off = np.empty(zs, q.dtype), np.empty(zs, q.dtype)
    w = np.empty((3, zs), q.dtype)
    one = q.dtype.type(1)
    for x in range(start, stop):
        xm, xp = max(x - 1, 0), min(x + 1, xs - 1)
        for y in range(ys):
            ym, yp = max(y - 1, 0), min(y + 1, ys - 1)
            for z in range(zs):
                alpha = math.sqrt(rho[0, x, y, z])
                w[0, z] = u[0] * alpha * v[0, x, y, z]
                w[1, z] = u[1] * alpha * v[1, x, y, z]
                w[2, z] = u[2] * alpha * v[2, x, y, z]
                off[z] = 0
            for c in range(classes):
                _slope(q[c, x, y], s)
                for z in range(zs):
                    out[c, x, y, z] = -(
                        w[0, z] * (q[c, xp, y, z] - q[c, xm, y, z])
                        + w[1, z] * (q[c, x, yp, z] - q[c, x, ym, z])
                        + w[2, z] * s[z]
                    )
                    off[z] += out[c, x, y, z] * q[c, x, y, z]
            for c in range(classes):
                for z in range(zs):
                    out[c, x, y, z] += (one - rho[0, x, y, z]) * p[c, x, y, z] - off[z] * q[c, x, y, z]


@_compiled
def _weights(rho: Any, v: Any, u: Any, axis: int, x: int, y: int, sign: int, out: Any) -> None:
    """w_axis / (2 h), with a sign, on one row."""
    r, vr, factor = rho[0, x, y], v[axis, x, y], u[axis] * rho.dtype.type(sign)
    for z in range(out.shape[0]):
        out[z] = factor * math.sqrt(r[z]) * vr[z]


@_compiled
def advance(
    base_q: Any, base_p: Any, q: Any, p: Any, alloc: Any, rho: Any, am: Any, v: Any, u: Any, duration: Any,
    out_q: Any, out_p: Any, length: Any, along: Any, start: int, stop: int,
) -> None:  # fmt: skip
    """One half or whole step, and what settling takes off."""
    classes, xs, ys, zs = q.shape
    one = q.dtype.type(1)
    rows = np.empty((6, zs), q.dtype)
    s, g, off, pp, force, turn = rows[0], rows[1], rows[2], rows[3], rows[4], rows[5]
    w, dq, dp = np.empty((7, zs), q.dtype), np.empty((classes, zs), q.dtype), np.empty((classes, zs), q.dtype)
    for x in range(start, stop):
        xm, xp = max(x - 1, 0), min(x + 1, xs - 1)
        for y in range(ys):
            ym, yp = max(y - 1, 0), min(y + 1, ys - 1)
            for axis in range(3):
                _weights(rho, v, u, axis, x, y, 1, w[axis])
            _weights(rho, v, u, 0, xm, y, 1 if x > 0 else -1, w[3])
            _weights(rho, v, u, 0, xp, y, 1 if x < xs - 1 else -1, w[4])
            _weights(rho, v, u, 1, x, ym, 1 if y > 0 else -1, w[5])
            _weights(rho, v, u, 1, x, yp, 1 if y < ys - 1 else -1, w[6])
            off[:] = 0
            pp[:] = 0
            for c in range(classes):
                _slope(q[c, x, y], s)
                for z in range(zs):
                    dq[c, z] = -(
                        w[0, z] * (q[c, xp, y, z] - q[c, xm, y, z])
                        + w[1, z] * (q[c, x, yp, z] - q[c, x, ym, z])
                        + w[2, z] * s[z]
                    )
                    off[z] += dq[c, z] * q[c, x, y, z]
                    pp[z] += p[c, x, y, z] * p[c, x, y, z]
            for z in range(zs):
                force[z] = (
                    am[0, x, y, z] * v[0, x, y, z]
                    + am[1, x, y, z] * v[1, x, y, z]
                    + am[2, x, y, z] * v[2, x, y, z]
                ) / rho[0, x, y, z] + pp[z]
                turn[z] = 0
            for c in range(classes):
                for z in range(zs):
                    dp[c, z] = off[z] * p[c, x, y, z] + force[z] * q[c, x, y, z] * (
                        alloc[c, x, y, z] - rho[0, x, y, z]
                    )
                    dp[c, z] += (
                        w[3, z] * p[c, xm, y, z]
                        - w[4, z] * p[c, xp, y, z]
                        + w[5, z] * p[c, x, ym, z]
                        - w[6, z] * p[c, x, yp, z]
                    )
                    g[z] = w[2, z] * p[c, x, y, z]
                _add_adjoint(g, dp[c])
                for z in range(zs):
                    dq[c, z] += (one - rho[0, x, y, z]) * p[c, x, y, z] - off[z] * q[c, x, y, z]
                    turn[z] += dp[c, z] * q[c, x, y, z] + p[c, x, y, z] * dq[c, z]
            length[0, x, y] = 0
            along[0, x, y] = 0
            for c in range(classes):
                for z in range(zs):
                    out_q[c, x, y, z] = base_q[c, x, y, z] + duration * dq[c, z]
                    out_p[c, x, y, z] = base_p[c, x, y, z] + duration * (dp[c, z] - turn[z] * q[c, x, y, z])
                    length[0, x, y, z] += out_q[c, x, y, z] * out_q[c, x, y, z]
            for z in range(zs):
                length[0, x, y, z] = math.sqrt(length[0, x, y, z])
            for c in range(classes):
                for z in range(zs):
                    out_q[c, x, y, z] /= length[0, x, y, z]
                    along[0, x, y, z] += out_p[c, x, y, z] * out_q[c, x, y, z]
            for c in range(classes):
                for z in range(zs):
                    out_p[c, x, y, z] -= along[0, x, y, z] * out_q[c, x, y, z]


@_compiled
def unsettle(q: Any, p: Any, length: Any, along: Any, cot_q: Any, cot_p: Any, start: int, stop: int) -> None:
    """Adjoint of settling, over the cotangent."""
    classes, _, ys, zs = q.shape
    a, t = np.empty(zs, q.dtype), np.empty(zs, q.dtype)
    for x in range(start, stop):
        for y in range(ys):
            a[:] = 0
            t[:] = 0
            for c in range(classes):
                for z in range(zs):
                    a[z] += cot_p[c, x, y, z] * q[c, x, y, z]
            for c in range(classes):
                for z in range(zs):
                    cot_q[c, x, y, z] -= (
                        a[z] * (p[c, x, y, z] + along[0, x, y, z] * q[c, x, y, z])
                        + along[0, x, y, z] * cot_p[c, x, y, z]
                    )
                    t[z] += cot_q[c, x, y, z] * q[c, x, y, z]
                    cot_p[c, x, y, z] -= a[z] * q[c, x, y, z]
            for c in range(classes):
                for z in range(zs):
                    cot_q[c, x, y, z] = (cot_q[c, x, y, z] - t[z] * q[c, x, y, z]) / length[0, x, y, z]


@_compiled
def direction(
    q: Any, p: Any, cot_q: Any, cot_p: Any, factor: Any, normal: Any, lift: Any, start: int, stop: int
) -> None:
    """n = <b, q> and <dp, q> + <p, dq> of the direction of a cotangent."""
    classes, _, ys, zs = q.shape
    for x in range(start, stop):
        for y in range(ys):
            normal[0, x, y] = 0
            lift[0, x, y] = 0
            for c in range(classes):
                for z in range(zs):
                    normal[0, x, y, z] += cot_p[c, x, y, z] * q[c, x, y, z]
                    lift[0, x, y, z] += cot_q[c, x, y, z] * q[c, x, y, z] - p[c, x, y, z] * cot_p[c, x, y, z]
            for z in range(zs):
                normal[0, x, y, z] *= factor
                lift[0, x, y, z] *= factor


@_compiled
def density_change(
    q: Any, p: Any, cot_q: Any, cot_p: Any, factor: Any, normal: Any, lift: Any, alloc: Any, rho: Any,
    am: Any, u: Any, drho: Any, dam: Any, start: int, stop: int,
) -> None:  # fmt: skip
    """Changes of rho and alpha m along that direction."""
    classes, xs, ys, zs = q.shape
    s, dq, ds = np.empty(zs, q.dtype), np.empty(zs, q.dtype), np.empty(zs, q.dtype)
    half, two = q.dtype.type(0.5), q.dtype.type(2)
    least = rho.dtype.type(RHO_MIN)
    for x in range(start, stop):
        xm, xp = max(x - 1, 0), min(x + 1, xs - 1)
        for y in range(ys):
            ym, yp = max(y - 1, 0), min(y + 1, ys - 1)
            drho[0, x, y] = 0
            dam[0, x, y] = 0
            dam[1, x, y] = 0
            dam[2, x, y] = 0
            for c in range(classes):
                for z in range(zs):
                    dq[z] = normal[0, x, y, z] * q[c, x, y, z] - factor * cot_p[c, x, y, z]
                    drho[0, x, y, z] += two * q[c, x, y, z] * dq[z] * alloc[c, x, y, z]
                _slope(q[c, x, y], s)
                _slope(dq, ds)
                for z in range(zs):
                    dpt = (
                        factor * cot_q[c, x, y, z]
                        - normal[0, x, y, z] * p[c, x, y, z]
                        - lift[0, x, y, z] * q[c, x, y, z]
                    )
                    dx = (
                        normal[0, xp, y, z] * q[c, xp, y, z]
                        - normal[0, xm, y, z] * q[c, xm, y, z]
                        - factor * (cot_p[c, xp, y, z] - cot_p[c, xm, y, z])
                    )
                    dy = (
                        normal[0, x, yp, z] * q[c, x, yp, z]
                        - normal[0, x, ym, z] * q[c, x, ym, z]
                        - factor * (cot_p[c, x, yp, z] - cot_p[c, x, ym, z])
                    )
                    dam[0, x, y, z] += dpt * (q[c, xp, y, z] - q[c, xm, y, z]) + p[c, x, y, z] * dx
                    dam[1, x, y, z] += dpt * (q[c, x, yp, z] - q[c, x, ym, z]) + p[c, x, y, z] * dy
                    dam[2, x, y, z] += dpt * s[z] + p[c, x, y, z] * ds[z]
            for z in range(zs):
                if rho[0, x, y, z] <= least:
                    drho[0, x, y, z] = 0
                alpha, grown = math.sqrt(rho[0, x, y, z]), half * drho[0, x, y, z] / rho[0, x, y, z]
                dam[0, x, y, z] = u[0] * alpha * dam[0, x, y, z] + grown * am[0, x, y, z]
                dam[1, x, y, z] = u[1] * alpha * dam[1, x, y, z] + grown * am[1, x, y, z]
                dam[2, x, y, z] = u[2] * alpha * dam[2, x, y, z] + grown * am[2, x, y, z]


@_compiled
def _add(out: Any, a: Any, b: Any) -> None:
    for z in range(out.shape[0]):
        out[z] += a[z] * b[z]


@_compiled
def _neighbour_weights(
    w: Any, dw: Any, normal: Any, lift: Any, factor: Any, on_p: Any, on_a: Any, on_q: Any
) -> None:
    """Weights of p, a and q of a row in dw p + w dp_t, with dp_t = factor a - normal p - lift q."""
    for z in range(w.shape[0]):
        on_p[z] = dw[z] - w[z] * normal[z]
    for z in range(w.shape[0]):
        on_a[z] = factor * w[z]
    for z in range(w.shape[0]):
        on_q[z] = -w[z] * lift[z]


@_compiled
def _changed_weights(
    rho: Any, drho: Any, v: Any, dv: Any, u: Any, axis: int, x: int, y: int, sign: int, out: Any, changed: Any
) -> None:
    """w_axis / (2 h) and its change, with a sign, on one row."""
    factor, half = u[axis] * rho.dtype.type(sign), rho.dtype.type(0.5)
    for z in range(out.shape[0]):
        out[z] = factor * math.sqrt(rho[0, x, y, z])
    for z in range(out.shape[0]):
        changed[z] = (
            out[z] * dv[axis, x, y, z] + half * drho[0, x, y, z] / rho[0, x, y, z] * out[z] * v[axis, x, y, z]
        )
    for z in range(out.shape[0]):
        out[z] *= v[axis, x, y, z]


@_compiled
def pull_back(
    q: Any, p: Any, cot_q: Any, cot_p: Any, factor: Any, normal: Any, lift: Any, alloc: Any, rho: Any,
    am: Any, v: Any, drho: Any, dam: Any, dv: Any, u: Any, out_q: Any, out_p: Any, start: int, stop: int,
) -> None:  # fmt: skip
    """Cotangent of a state from that of its rates."""
    classes, xs, ys, zs = q.shape
    one, two = q.dtype.type(1), q.dtype.type(2)
    rows = np.empty((11, zs), q.dtype)
    sz, dz, g, h, off, doff = rows[0], rows[1], rows[2], rows[3], rows[4], rows[5]
    force, dforce, gauge, spread, beta2 = rows[6], rows[7], rows[8], rows[9], rows[10]
    w, dw = np.empty((7, zs), q.dtype), np.empty((7, zs), q.dtype)
    on_p, on_a, on_q = np.empty((7, zs), q.dtype), np.empty((7, zs), q.dtype), np.empty((7, zs), q.dtype)
    ahead, behind = np.empty((2, zs), q.dtype), np.empty((2, zs), q.dtype)
    ahead_x, ahead_y, behind_x, behind_y = ahead[0], ahead[1], behind[0], behind[1]
    maps = np.empty((6, classes, zs), q.dtype)
    dq, dpt, push, dpush, e, f = maps[0], maps[1], maps[2], maps[3], maps[4], maps[5]
    for x in range(start, stop):
        xm, xp = max(x - 1, 0), min(x + 1, xs - 1)
        for y in range(ys):
            ym, yp = max(y - 1, 0), min(y + 1, ys - 1)
            for axis in range(3):
                _changed_weights(rho, drho, v, dv, u, axis, x, y, 1, w[axis], dw[axis])
            _changed_weights(rho, drho, v, dv, u, 0, xm, y, 1 if x > 0 else -1, w[3], dw[3])
            _changed_weights(rho, drho, v, dv, u, 0, xp, y, -1 if x < xs - 1 else 1, w[4], dw[4])
            _changed_weights(rho, drho, v, dv, u, 1, x, ym, 1 if y > 0 else -1, w[5], dw[5])
            _changed_weights(rho, drho, v, dv, u, 1, x, yp, -1 if y < ys - 1 else 1, w[6], dw[6])
            _neighbour_weights(
                w[3], dw[3], normal[0, xm, y], lift[0, xm, y], factor, on_p[3], on_a[3], on_q[3]
            )
            _neighbour_weights(
                w[4], dw[4], normal[0, xp, y], lift[0, xp, y], factor, on_p[4], on_a[4], on_q[4]
            )
            _neighbour_weights(
                w[5], dw[5], normal[0, x, ym], lift[0, x, ym], factor, on_p[5], on_a[5], on_q[5]
            )
            _neighbour_weights(
                w[6], dw[6], normal[0, x, yp], lift[0, x, yp], factor, on_p[6], on_a[6], on_q[6]
            )
            for z in range(zs):
                ahead_x[z] = dw[0, z] + w[0, z] * normal[0, xp, y, z]
            for z in range(zs):
                behind_x[z] = dw[0, z] + w[0, z] * normal[0, xm, y, z]
            for z in range(zs):
                ahead_y[z] = dw[1, z] + w[1, z] * normal[0, x, yp, z]
            for z in range(zs):
                behind_y[z] = dw[1, z] + w[1, z] * normal[0, x, ym, z]
            off[:] = 0
            doff[:] = 0
            force[:] = 0
            dforce[:] = 0
            gauge[:] = 0
            for z in range(zs):
                beta2[z] = one - rho[0, x, y, z]
            for c in range(classes):
                for z in range(zs):
                    dq[c, z] = normal[0, x, y, z] * q[c, x, y, z] - factor * cot_p[c, x, y, z]
                for z in range(zs):
                    dpt[c, z] = (
                        factor * cot_q[c, x, y, z]
                        - normal[0, x, y, z] * p[c, x, y, z]
                        - lift[0, x, y, z] * q[c, x, y, z]
                    )
                _slope(q[c, x, y], sz)
                _slope(dq[c], dz)
                for z in range(zs):
                    push[c, z] = beta2[z] * p[c, x, y, z] - w[2, z] * sz[z]
                for z in range(zs):
                    push[c, z] -= w[0, z] * (q[c, xp, y, z] - q[c, xm, y, z]) + w[1, z] * (
                        q[c, x, yp, z] - q[c, x, ym, z]
                    )
                for z in range(zs):
                    dpush[c, z] = (
                        beta2[z] * dpt[c, z]
                        - drho[0, x, y, z] * p[c, x, y, z]
                        - dw[2, z] * sz[z]
                        - w[2, z] * dz[z]
                    )
                for z in range(zs):
                    dpush[c, z] -= (
                        ahead_x[z] * q[c, xp, y, z]
                        - behind_x[z] * q[c, xm, y, z]
                        - factor * w[0, z] * (cot_p[c, xp, y, z] - cot_p[c, xm, y, z])
                    )
                for z in range(zs):
                    dpush[c, z] -= (
                        ahead_y[z] * q[c, x, yp, z]
                        - behind_y[z] * q[c, x, ym, z]
                        - factor * w[1, z] * (cot_p[c, x, yp, z] - cot_p[c, x, ym, z])
                    )
                _add(off, push[c], q[c, x, y])
                for z in range(zs):
                    doff[z] += dpush[c, z] * q[c, x, y, z] + push[c, z] * dq[c, z]
                _add(force, p[c, x, y], p[c, x, y])
                _add(dforce, p[c, x, y], dpt[c])
            for z in range(zs):
                dforce[z] *= two
            for axis in range(3):
                for z in range(zs):
                    force[z] += am[axis, x, y, z] * v[axis, x, y, z] / rho[0, x, y, z]
                for z in range(zs):
                    dforce[z] += (
                        dam[axis, x, y, z] * v[axis, x, y, z]
                        + am[axis, x, y, z]
                        * (dv[axis, x, y, z] - v[axis, x, y, z] * drho[0, x, y, z] / rho[0, x, y, z])
                    ) / rho[0, x, y, z]
            for c in range(classes):
                for z in range(zs):
                    spread[z] = alloc[c, x, y, z] - rho[0, x, y, z]
                for z in range(zs):
                    e[c, z] = force[z] * q[c, x, y, z] * spread[z] + off[z] * p[c, x, y, z]
                for z in range(zs):
                    f[c, z] = (dforce[z] * spread[z] - force[z] * drho[0, x, y, z]) * q[c, x, y, z]
                for z in range(zs):
                    f[c, z] += force[z] * spread[z] * dq[c, z] + doff[z] * p[c, x, y, z] + off[z] * dpt[c, z]
                for z in range(zs):
                    f[c, z] += lift[0, x, y, z] * (off[z] * q[c, x, y, z] + push[c, z])
                for z in range(zs):
                    g[z] = w[2, z] * p[c, x, y, z]
                for z in range(zs):
                    h[z] = dw[2, z] * p[c, x, y, z] + w[2, z] * dpt[c, z]
                _add_adjoint(g, e[c])
                _add_adjoint(h, f[c])
                for z in range(zs):
                    e[c, z] += w[3, z] * p[c, xm, y, z] + w[4, z] * p[c, xp, y, z]
                for z in range(zs):
                    e[c, z] += w[5, z] * p[c, x, ym, z] + w[6, z] * p[c, x, yp, z]
                for z in range(zs):
                    f[c, z] += (
                        on_p[3, z] * p[c, xm, y, z]
                        + on_a[3, z] * cot_q[c, xm, y, z]
                        + on_q[3, z] * q[c, xm, y, z]
                    )
                for z in range(zs):
                    f[c, z] += (
                        on_p[4, z] * p[c, xp, y, z]
                        + on_a[4, z] * cot_q[c, xp, y, z]
                        + on_q[4, z] * q[c, xp, y, z]
                    )
                for z in range(zs):
                    f[c, z] += (
                        on_p[5, z] * p[c, x, ym, z]
                        + on_a[5, z] * cot_q[c, x, ym, z]
                        + on_q[5, z] * q[c, x, ym, z]
                    )
                for z in range(zs):
                    f[c, z] += (
                        on_p[6, z] * p[c, x, yp, z]
                        + on_a[6, z] * cot_q[c, x, yp, z]
                        + on_q[6, z] * q[c, x, yp, z]
                    )
                for z in range(zs):
                    dpush[c, z] -= doff[z] * q[c, x, y, z] + off[z] * dq[c, z]
                for z in range(zs):
                    push[c, z] -= off[z] * q[c, x, y, z]
                for z in range(zs):
                    gauge[z] -= e[c, z] * q[c, x, y, z] + p[c, x, y, z] * push[c, z]
            for c in range(classes):
                for z in range(zs):
                    out_q[c, x, y, z] = (
                        -gauge[z] * (dq[c, z] + normal[0, x, y, z] * q[c, x, y, z])
                        - normal[0, x, y, z] * e[c, z]
                        - f[c, z]
                    )
                for z in range(zs):
                    out_p[c, x, y, z] = dpush[c, z] - normal[0, x, y, z] * push[c, z]

"""The passes of :mod:`longimorph.numerics.passes` for a processor: one walk over the rows of a volume each.

Every function does to planes ``start`` to ``stop`` of the first grid axis what the function of the same name
in ``passes`` does to whole arrays, with all classes of a block of rows in the cache. Arrays are (K, x, y z),
contiguous, with ``row`` voxels along z. ``u`` holds 1 / (2 h) per axis. The caller runs pieces of the first
axis on as many threads as it likes: the interpreter's lock is released, and no two pieces write the same
plane.

Loops are short and write one array each, and indices are unsigned: so the compiler makes vector code of them.
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


_ROWS = 4
"""Rows of voxels that are worked on together: long enough loops, all of whose values stay in the cache."""


@_compiled
def _next(y: int, ys: int) -> int:
    """End of the block of rows that begins at y; the first and the last row are blocks of their own."""
    return y + 1 if y == 0 or y == ys - 1 else min(y + _ROWS, ys - 1)


@_compiled
def _slope(values: Any, out: Any, n: int, row: int) -> None:
    """values[z + 1] - values[z - 1] along each row of ``row`` voxels, the border value repeated outside."""
    for i in range(0, int(n), row):
        for z in range(i + 1, i + row - 1):
            out[z] = values[z + 1] - values[z - 1]
        last = i + row - 1
        out[i] = values[min(i + 1, last)] - values[i]
        out[last] = values[last] - values[max(last - 1, i)]


@_compiled
def _add_adjoint(values: Any, out: Any, n: int, row: int) -> None:
    """Add the adjoint of :func:`_slope` applied to ``values``."""
    if row == 1:
        return
    for i in range(0, int(n), row):
        for z in range(i + 1, i + row - 1):
            out[z] += values[z - 1] - values[z + 1]
        last = i + row - 1
        out[i] -= values[i] + values[i + 1]
        out[last] += values[last - 1] + values[last]


@_compiled
def density(q: Any, p: Any, alloc: Any, u: Any, rho: Any, am: Any, row: int, start: int, stop: int) -> None:
    """rho and alpha m."""
    classes, xs, plane = q.shape
    ys, zs = plane // row, _ROWS * row
    s = np.empty(zs, q.dtype)
    least = rho.dtype.type(RHO_MIN)
    for x in range(start, stop):
        xm, xp = max(x - 1, 0), min(x + 1, xs - 1)
        y, stop_y = 0, 0
        while stop_y < ys:
            y, stop_y = stop_y, _next(stop_y, ys)
            here, n = np.uintp(y * row), np.uintp((stop_y - y) * row)
            below = np.uintp((y - 1 if y > 0 else 0) * row)
            above = np.uintp((y + 1 if stop_y < ys else y) * row)
            rho[0, x, here : here + n] = 0
            am[0, x, here : here + n] = 0
            am[1, x, here : here + n] = 0
            am[2, x, here : here + n] = 0
            for c in range(classes):
                _slope(q[c, x, here : here + n], s, n, row)
                for z in range(n):
                    rho[0, x, here + z] += q[c, x, here + z] * q[c, x, here + z] * alloc[c, x, here + z]
                    am[0, x, here + z] += p[c, x, here + z] * (q[c, xp, here + z] - q[c, xm, here + z])
                    am[1, x, here + z] += p[c, x, here + z] * (q[c, x, above + z] - q[c, x, below + z])
                    am[2, x, here + z] += p[c, x, here + z] * s[z]
            for z in range(n):
                rho[0, x, here + z] = max(rho[0, x, here + z], least)
                alpha = math.sqrt(rho[0, x, here + z])
                am[0, x, here + z] *= u[0] * alpha
                am[1, x, here + z] *= u[1] * alpha
                am[2, x, here + z] *= u[2] * alpha


@_compiled
def metric(q: Any, alloc: Any, u: Any, out: Any, row: int, start: int, stop: int) -> None:
    """The matrix of p -> alpha m times its transpose, its lower half row by row."""
    classes, xs, plane = q.shape
    ys, zs = plane // row, _ROWS * row
    s, off = np.empty((3, zs), q.dtype), np.empty((3, zs), q.dtype)
    rho = np.empty(zs, q.dtype)
    least = q.dtype.type(RHO_MIN)
    for x in range(start, stop):
        xm, xp = max(x - 1, 0), min(x + 1, xs - 1)
        y, stop_y = 0, 0
        while stop_y < ys:
            y, stop_y = stop_y, _next(stop_y, ys)
            here, n = np.uintp(y * row), np.uintp((stop_y - y) * row)
            below = np.uintp((y - 1 if y > 0 else 0) * row)
            above = np.uintp((y + 1 if stop_y < ys else y) * row)
            rho[:n], off[:, :n] = 0, 0
            out[:, x, here : here + n] = 0
            for c in range(classes):
                _slope(q[c, x, here : here + n], s[2], n, row)
                for z in range(n):
                    value = q[c, x, here + z]
                    s[0, z] = q[c, xp, here + z] - q[c, xm, here + z]
                    s[1, z] = q[c, x, above + z] - q[c, x, below + z]
                    rho[z] += value * value * alloc[c, x, here + z]
                    off[0, z] += s[0, z] * value
                    off[1, z] += s[1, z] * value
                    off[2, z] += s[2, z] * value
                for z in range(n):
                    out[0, x, here + z] += s[0, z] * s[0, z]
                    out[1, x, here + z] += s[1, z] * s[0, z]
                    out[2, x, here + z] += s[1, z] * s[1, z]
                    out[3, x, here + z] += s[2, z] * s[0, z]
                    out[4, x, here + z] += s[2, z] * s[1, z]
                    out[5, x, here + z] += s[2, z] * s[2, z]
            entry = 0
            for d in range(3):
                for e in range(d + 1):
                    for z in range(n):
                        rest = out[entry, x, here + z] - off[d, z] * off[e, z]
                        out[entry, x, here + z] = max(rho[z], least) * u[d] * u[e] * rest
                    entry += 1


@_compiled
def rate(q: Any, p: Any, rho: Any, v: Any, u: Any, out: Any, row: int, start: int, stop: int) -> None:
    """dq/dt."""
    classes, xs, plane = q.shape
    ys, zs = plane // row, _ROWS * row
    s, off = np.empty(zs, q.dtype), np.empty(zs, q.dtype)
    w = np.empty((3, zs), q.dtype)
    one = q.dtype.type(1)
    for x in range(start, stop):
        xm, xp = max(x - 1, 0), min(x + 1, xs - 1)
        y, stop_y = 0, 0
        while stop_y < ys:
            y, stop_y = stop_y, _next(stop_y, ys)
            here, n = np.uintp(y * row), np.uintp((stop_y - y) * row)
            below = np.uintp((y - 1 if y > 0 else 0) * row)
            above = np.uintp((y + 1 if stop_y < ys else y) * row)
            for z in range(n):
                alpha = math.sqrt(rho[0, x, here + z])
                w[0, z] = u[0] * alpha * v[0, x, here + z]
                w[1, z] = u[1] * alpha * v[1, x, here + z]
                w[2, z] = u[2] * alpha * v[2, x, here + z]
                off[z] = 0
            for c in range(classes):
                _slope(q[c, x, here : here + n], s, n, row)
                for z in range(n):
                    out[c, x, here + z] = -(
                        w[0, z] * (q[c, xp, here + z] - q[c, xm, here + z])
                        + w[1, z] * (q[c, x, above + z] - q[c, x, below + z])
                        + w[2, z] * s[z]
                    )
                    off[z] += out[c, x, here + z] * q[c, x, here + z]
            for c in range(classes):
                for z in range(n):
                    out[c, x, here + z] += (one - rho[0, x, here + z]) * p[c, x, here + z] - off[z] * q[
                        c, x, here + z
                    ]


@_compiled
def _weights(rho: Any, v: Any, u: Any, axis: int, x: int, at: int, n: int, sign: int, out: Any) -> None:
    """w_axis / (2 h), with a sign, on one row."""
    factor = u[axis] * rho.dtype.type(sign)
    for z in range(n):
        out[z] = factor * math.sqrt(rho[0, x, at + z]) * v[axis, x, at + z]


@_compiled
def advance(
    base_q: Any, base_p: Any, q: Any, p: Any, alloc: Any, rho: Any, am: Any, v: Any, u: Any, duration: Any,
    out_q: Any, out_p: Any, length: Any, along: Any, row: int, start: int, stop: int,
) -> None:  # fmt: skip
    """One half or whole step, and what settling takes off."""
    classes, xs, plane = q.shape
    ys, zs = plane // row, _ROWS * row
    one = q.dtype.type(1)
    rows = np.empty((6, zs), q.dtype)
    s, g, off, pp, force, turn = rows[0], rows[1], rows[2], rows[3], rows[4], rows[5]
    w, dq, dp = np.empty((7, zs), q.dtype), np.empty((classes, zs), q.dtype), np.empty((classes, zs), q.dtype)
    for x in range(start, stop):
        xm, xp = max(x - 1, 0), min(x + 1, xs - 1)
        y, stop_y = 0, 0
        while stop_y < ys:
            y, stop_y = stop_y, _next(stop_y, ys)
            here, n = np.uintp(y * row), np.uintp((stop_y - y) * row)
            below = np.uintp((y - 1 if y > 0 else 0) * row)
            above = np.uintp((y + 1 if stop_y < ys else y) * row)
            for axis in range(3):
                _weights(rho, v, u, axis, x, here, n, 1, w[axis])
            _weights(rho, v, u, 0, xm, here, n, 1 if x > 0 else -1, w[3])
            _weights(rho, v, u, 0, xp, here, n, 1 if x < xs - 1 else -1, w[4])
            _weights(rho, v, u, 1, x, below, n, 1 if y > 0 else -1, w[5])
            _weights(rho, v, u, 1, x, above, n, 1 if stop_y < ys else -1, w[6])
            off[:] = 0
            pp[:] = 0
            for c in range(classes):
                _slope(q[c, x, here : here + n], s, n, row)
                for z in range(n):
                    dq[c, z] = -(
                        w[0, z] * (q[c, xp, here + z] - q[c, xm, here + z])
                        + w[1, z] * (q[c, x, above + z] - q[c, x, below + z])
                        + w[2, z] * s[z]
                    )
                    off[z] += dq[c, z] * q[c, x, here + z]
                    pp[z] += p[c, x, here + z] * p[c, x, here + z]
            for z in range(n):
                force[z] = (
                    am[0, x, here + z] * v[0, x, here + z]
                    + am[1, x, here + z] * v[1, x, here + z]
                    + am[2, x, here + z] * v[2, x, here + z]
                ) / rho[0, x, here + z] + pp[z]
                turn[z] = 0
            for c in range(classes):
                for z in range(n):
                    dp[c, z] = off[z] * p[c, x, here + z] + force[z] * q[c, x, here + z] * (
                        alloc[c, x, here + z] - rho[0, x, here + z]
                    )
                    dp[c, z] += (
                        w[3, z] * p[c, xm, here + z]
                        - w[4, z] * p[c, xp, here + z]
                        + w[5, z] * p[c, x, below + z]
                        - w[6, z] * p[c, x, above + z]
                    )
                    g[z] = w[2, z] * p[c, x, here + z]
                _add_adjoint(g, dp[c], n, row)
                for z in range(n):
                    dq[c, z] += (one - rho[0, x, here + z]) * p[c, x, here + z] - off[z] * q[c, x, here + z]
                    turn[z] += dp[c, z] * q[c, x, here + z] + p[c, x, here + z] * dq[c, z]
            length[0, x, here : here + n] = 0
            along[0, x, here : here + n] = 0
            for c in range(classes):
                for z in range(n):
                    out_q[c, x, here + z] = base_q[c, x, here + z] + duration * dq[c, z]
                    out_p[c, x, here + z] = base_p[c, x, here + z] + duration * (
                        dp[c, z] - turn[z] * q[c, x, here + z]
                    )
                    length[0, x, here + z] += out_q[c, x, here + z] * out_q[c, x, here + z]
            for z in range(n):
                length[0, x, here + z] = math.sqrt(length[0, x, here + z])
            for c in range(classes):
                for z in range(n):
                    out_q[c, x, here + z] /= length[0, x, here + z]
                    along[0, x, here + z] += out_p[c, x, here + z] * out_q[c, x, here + z]
            for c in range(classes):
                for z in range(n):
                    out_p[c, x, here + z] -= along[0, x, here + z] * out_q[c, x, here + z]


@_compiled
def unsettle(
    q: Any, p: Any, length: Any, along: Any, cot_q: Any, cot_p: Any, row: int, start: int, stop: int
) -> None:
    """Adjoint of settling, over the cotangent."""
    classes, _, plane = q.shape
    ys, zs = plane // row, _ROWS * row
    a, t = np.empty(zs, q.dtype), np.empty(zs, q.dtype)
    for x in range(start, stop):
        y, stop_y = 0, 0
        while stop_y < ys:
            y, stop_y = stop_y, _next(stop_y, ys)
            here, n = np.uintp(y * row), np.uintp((stop_y - y) * row)
            a[:] = 0
            t[:] = 0
            for c in range(classes):
                for z in range(n):
                    a[z] += cot_p[c, x, here + z] * q[c, x, here + z]
            for c in range(classes):
                for z in range(n):
                    cot_q[c, x, here + z] -= (
                        a[z] * (p[c, x, here + z] + along[0, x, here + z] * q[c, x, here + z])
                        + along[0, x, here + z] * cot_p[c, x, here + z]
                    )
                    t[z] += cot_q[c, x, here + z] * q[c, x, here + z]
                    cot_p[c, x, here + z] -= a[z] * q[c, x, here + z]
            for c in range(classes):
                for z in range(n):
                    cot_q[c, x, here + z] = (cot_q[c, x, here + z] - t[z] * q[c, x, here + z]) / length[
                        0, x, here + z
                    ]


@_compiled
def direction(
    q: Any,
    p: Any,
    cot_q: Any,
    cot_p: Any,
    factor: Any,
    normal: Any,
    lift: Any,
    row: int,
    start: int,
    stop: int,
) -> None:
    """n = <b, q> and <dp, q> + <p, dq> of the direction of a cotangent."""
    classes, _, plane = q.shape
    ys = plane // row
    for x in range(start, stop):
        y, stop_y = 0, 0
        while stop_y < ys:
            y, stop_y = stop_y, _next(stop_y, ys)
            here, n = np.uintp(y * row), np.uintp((stop_y - y) * row)
            normal[0, x, here : here + n] = 0
            lift[0, x, here : here + n] = 0
            for c in range(classes):
                for z in range(n):
                    normal[0, x, here + z] += cot_p[c, x, here + z] * q[c, x, here + z]
                    lift[0, x, here + z] += (
                        cot_q[c, x, here + z] * q[c, x, here + z] - p[c, x, here + z] * cot_p[c, x, here + z]
                    )
            for z in range(n):
                normal[0, x, here + z] *= factor
                lift[0, x, here + z] *= factor


@_compiled
def density_change(
    q: Any, p: Any, cot_q: Any, cot_p: Any, factor: Any, normal: Any, lift: Any, alloc: Any, rho: Any,
    am: Any, u: Any, drho: Any, dam: Any, row: int, start: int, stop: int,
) -> None:  # fmt: skip
    """Changes of rho and alpha m along that direction."""
    classes, xs, plane = q.shape
    ys, zs = plane // row, _ROWS * row
    s, dq, ds = np.empty(zs, q.dtype), np.empty(zs, q.dtype), np.empty(zs, q.dtype)
    half, two = q.dtype.type(0.5), q.dtype.type(2)
    least = rho.dtype.type(RHO_MIN)
    for x in range(start, stop):
        xm, xp = max(x - 1, 0), min(x + 1, xs - 1)
        y, stop_y = 0, 0
        while stop_y < ys:
            y, stop_y = stop_y, _next(stop_y, ys)
            here, n = np.uintp(y * row), np.uintp((stop_y - y) * row)
            below = np.uintp((y - 1 if y > 0 else 0) * row)
            above = np.uintp((y + 1 if stop_y < ys else y) * row)
            drho[0, x, here : here + n] = 0
            dam[0, x, here : here + n] = 0
            dam[1, x, here : here + n] = 0
            dam[2, x, here : here + n] = 0
            for c in range(classes):
                for z in range(n):
                    dq[z] = normal[0, x, here + z] * q[c, x, here + z] - factor * cot_p[c, x, here + z]
                    drho[0, x, here + z] += two * q[c, x, here + z] * dq[z] * alloc[c, x, here + z]
                _slope(q[c, x, here : here + n], s, n, row)
                _slope(dq, ds, n, row)
                for z in range(n):
                    dpt = (
                        factor * cot_q[c, x, here + z]
                        - normal[0, x, here + z] * p[c, x, here + z]
                        - lift[0, x, here + z] * q[c, x, here + z]
                    )
                    dx = (
                        normal[0, xp, here + z] * q[c, xp, here + z]
                        - normal[0, xm, here + z] * q[c, xm, here + z]
                        - factor * (cot_p[c, xp, here + z] - cot_p[c, xm, here + z])
                    )
                    dy = (
                        normal[0, x, above + z] * q[c, x, above + z]
                        - normal[0, x, below + z] * q[c, x, below + z]
                        - factor * (cot_p[c, x, above + z] - cot_p[c, x, below + z])
                    )
                    dam[0, x, here + z] += (
                        dpt * (q[c, xp, here + z] - q[c, xm, here + z]) + p[c, x, here + z] * dx
                    )
                    dam[1, x, here + z] += (
                        dpt * (q[c, x, above + z] - q[c, x, below + z]) + p[c, x, here + z] * dy
                    )
                    dam[2, x, here + z] += dpt * s[z] + p[c, x, here + z] * ds[z]
            for z in range(n):
                if rho[0, x, here + z] <= least:
                    drho[0, x, here + z] = 0
                alpha, grown = (
                    math.sqrt(rho[0, x, here + z]),
                    half * drho[0, x, here + z] / rho[0, x, here + z],
                )
                dam[0, x, here + z] = u[0] * alpha * dam[0, x, here + z] + grown * am[0, x, here + z]
                dam[1, x, here + z] = u[1] * alpha * dam[1, x, here + z] + grown * am[1, x, here + z]
                dam[2, x, here + z] = u[2] * alpha * dam[2, x, here + z] + grown * am[2, x, here + z]


@_compiled
def _add(out: Any, a: Any, b: Any, n: int) -> None:
    for z in range(n):
        out[z] += a[z] * b[z]


@_compiled
def _neighbour_weights(
    w: Any, dw: Any, normal: Any, lift: Any, factor: Any, on_p: Any, on_a: Any, on_q: Any
) -> None:
    """Weights of p, a and q of a row in dw p + w dp_t, with dp_t = factor a - normal p - lift q."""
    for z in range(normal.shape[0]):
        on_p[z] = dw[z] - w[z] * normal[z]
    for z in range(normal.shape[0]):
        on_a[z] = factor * w[z]
    for z in range(normal.shape[0]):
        on_q[z] = -w[z] * lift[z]


@_compiled
def _changed_weights(
    rho: Any,
    drho: Any,
    v: Any,
    dv: Any,
    u: Any,
    axis: int,
    x: int,
    at: int,
    n: int,
    sign: int,
    out: Any,
    changed: Any,
) -> None:
    """w_axis / (2 h) and its change, with a sign, on one row."""
    factor, half = u[axis] * rho.dtype.type(sign), rho.dtype.type(0.5)
    for z in range(n):
        out[z] = factor * math.sqrt(rho[0, x, at + z])
    for z in range(n):
        changed[z] = (
            out[z] * dv[axis, x, at + z]
            + half * drho[0, x, at + z] / rho[0, x, at + z] * out[z] * v[axis, x, at + z]
        )
    for z in range(n):
        out[z] *= v[axis, x, at + z]


@_compiled
def pull_back(
    q: Any, p: Any, cot_q: Any, cot_p: Any, factor: Any, normal: Any, lift: Any, alloc: Any, rho: Any,
    am: Any, v: Any, drho: Any, dam: Any, dv: Any, u: Any, out_q: Any, out_p: Any, row: int, start: int,
    stop: int,
) -> None:  # fmt: skip
    """Cotangent of a state from that of its rates."""
    classes, xs, plane = q.shape
    ys, zs = plane // row, _ROWS * row
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
        y, stop_y = 0, 0
        while stop_y < ys:
            y, stop_y = stop_y, _next(stop_y, ys)
            here, n = np.uintp(y * row), np.uintp((stop_y - y) * row)
            below = np.uintp((y - 1 if y > 0 else 0) * row)
            above = np.uintp((y + 1 if stop_y < ys else y) * row)
            for axis in range(3):
                _changed_weights(rho, drho, v, dv, u, axis, x, here, n, 1, w[axis], dw[axis])
            _changed_weights(rho, drho, v, dv, u, 0, xm, here, n, 1 if x > 0 else -1, w[3], dw[3])
            _changed_weights(rho, drho, v, dv, u, 0, xp, here, n, -1 if x < xs - 1 else 1, w[4], dw[4])
            _changed_weights(rho, drho, v, dv, u, 1, x, below, n, 1 if y > 0 else -1, w[5], dw[5])
            _changed_weights(rho, drho, v, dv, u, 1, x, above, n, -1 if stop_y < ys else 1, w[6], dw[6])
            _neighbour_weights(
                w[3],
                dw[3],
                normal[0, xm, here : here + n],
                lift[0, xm, here : here + n],
                factor,
                on_p[3],
                on_a[3],
                on_q[3],
            )
            _neighbour_weights(
                w[4],
                dw[4],
                normal[0, xp, here : here + n],
                lift[0, xp, here : here + n],
                factor,
                on_p[4],
                on_a[4],
                on_q[4],
            )
            _neighbour_weights(
                w[5],
                dw[5],
                normal[0, x, below : below + n],
                lift[0, x, below : below + n],
                factor,
                on_p[5],
                on_a[5],
                on_q[5],
            )
            _neighbour_weights(
                w[6],
                dw[6],
                normal[0, x, above : above + n],
                lift[0, x, above : above + n],
                factor,
                on_p[6],
                on_a[6],
                on_q[6],
            )
            for z in range(n):
                ahead_x[z] = dw[0, z] + w[0, z] * normal[0, xp, here + z]
            for z in range(n):
                behind_x[z] = dw[0, z] + w[0, z] * normal[0, xm, here + z]
            for z in range(n):
                ahead_y[z] = dw[1, z] + w[1, z] * normal[0, x, above + z]
            for z in range(n):
                behind_y[z] = dw[1, z] + w[1, z] * normal[0, x, below + z]
            off[:] = 0
            doff[:] = 0
            force[:] = 0
            dforce[:] = 0
            gauge[:] = 0
            for z in range(n):
                beta2[z] = one - rho[0, x, here + z]
            for c in range(classes):
                for z in range(n):
                    dq[c, z] = normal[0, x, here + z] * q[c, x, here + z] - factor * cot_p[c, x, here + z]
                for z in range(n):
                    dpt[c, z] = (
                        factor * cot_q[c, x, here + z]
                        - normal[0, x, here + z] * p[c, x, here + z]
                        - lift[0, x, here + z] * q[c, x, here + z]
                    )
                _slope(q[c, x, here : here + n], sz, n, row)
                _slope(dq[c], dz, n, row)
                for z in range(n):
                    push[c, z] = beta2[z] * p[c, x, here + z] - w[2, z] * sz[z]
                for z in range(n):
                    push[c, z] -= w[0, z] * (q[c, xp, here + z] - q[c, xm, here + z]) + w[1, z] * (
                        q[c, x, above + z] - q[c, x, below + z]
                    )
                for z in range(n):
                    dpush[c, z] = (
                        beta2[z] * dpt[c, z]
                        - drho[0, x, here + z] * p[c, x, here + z]
                        - dw[2, z] * sz[z]
                        - w[2, z] * dz[z]
                    )
                for z in range(n):
                    dpush[c, z] -= (
                        ahead_x[z] * q[c, xp, here + z]
                        - behind_x[z] * q[c, xm, here + z]
                        - factor * w[0, z] * (cot_p[c, xp, here + z] - cot_p[c, xm, here + z])
                    )
                for z in range(n):
                    dpush[c, z] -= (
                        ahead_y[z] * q[c, x, above + z]
                        - behind_y[z] * q[c, x, below + z]
                        - factor * w[1, z] * (cot_p[c, x, above + z] - cot_p[c, x, below + z])
                    )
                _add(off, push[c], q[c, x, here : here + n], n)
                for z in range(n):
                    doff[z] += dpush[c, z] * q[c, x, here + z] + push[c, z] * dq[c, z]
                _add(force, p[c, x, here : here + n], p[c, x, here : here + n], n)
                _add(dforce, p[c, x, here : here + n], dpt[c], n)
            for z in range(n):
                dforce[z] *= two
            for axis in range(3):
                for z in range(n):
                    force[z] += am[axis, x, here + z] * v[axis, x, here + z] / rho[0, x, here + z]
                for z in range(n):
                    dforce[z] += (
                        dam[axis, x, here + z] * v[axis, x, here + z]
                        + am[axis, x, here + z]
                        * (
                            dv[axis, x, here + z]
                            - v[axis, x, here + z] * drho[0, x, here + z] / rho[0, x, here + z]
                        )
                    ) / rho[0, x, here + z]
            for c in range(classes):
                for z in range(n):
                    spread[z] = alloc[c, x, here + z] - rho[0, x, here + z]
                for z in range(n):
                    e[c, z] = force[z] * q[c, x, here + z] * spread[z] + off[z] * p[c, x, here + z]
                for z in range(n):
                    f[c, z] = (dforce[z] * spread[z] - force[z] * drho[0, x, here + z]) * q[c, x, here + z]
                for z in range(n):
                    f[c, z] += (
                        force[z] * spread[z] * dq[c, z] + doff[z] * p[c, x, here + z] + off[z] * dpt[c, z]
                    )
                for z in range(n):
                    f[c, z] += lift[0, x, here + z] * (off[z] * q[c, x, here + z] + push[c, z])
                for z in range(n):
                    g[z] = w[2, z] * p[c, x, here + z]
                for z in range(n):
                    h[z] = dw[2, z] * p[c, x, here + z] + w[2, z] * dpt[c, z]
                _add_adjoint(g, e[c], n, row)
                _add_adjoint(h, f[c], n, row)
                for z in range(n):
                    e[c, z] += w[3, z] * p[c, xm, here + z] + w[4, z] * p[c, xp, here + z]
                for z in range(n):
                    e[c, z] += w[5, z] * p[c, x, below + z] + w[6, z] * p[c, x, above + z]
                for z in range(n):
                    f[c, z] += (
                        on_p[3, z] * p[c, xm, here + z]
                        + on_a[3, z] * cot_q[c, xm, here + z]
                        + on_q[3, z] * q[c, xm, here + z]
                    )
                for z in range(n):
                    f[c, z] += (
                        on_p[4, z] * p[c, xp, here + z]
                        + on_a[4, z] * cot_q[c, xp, here + z]
                        + on_q[4, z] * q[c, xp, here + z]
                    )
                for z in range(n):
                    f[c, z] += (
                        on_p[5, z] * p[c, x, below + z]
                        + on_a[5, z] * cot_q[c, x, below + z]
                        + on_q[5, z] * q[c, x, below + z]
                    )
                for z in range(n):
                    f[c, z] += (
                        on_p[6, z] * p[c, x, above + z]
                        + on_a[6, z] * cot_q[c, x, above + z]
                        + on_q[6, z] * q[c, x, above + z]
                    )
                for z in range(n):
                    dpush[c, z] -= doff[z] * q[c, x, here + z] + off[z] * dq[c, z]
                for z in range(n):
                    push[c, z] -= off[z] * q[c, x, here + z]
                for z in range(n):
                    gauge[z] -= e[c, z] * q[c, x, here + z] + p[c, x, here + z] * push[c, z]
            for c in range(classes):
                for z in range(n):
                    out_q[c, x, here + z] = (
                        -gauge[z] * (dq[c, z] + normal[0, x, here + z] * q[c, x, here + z])
                        - normal[0, x, here + z] * e[c, z]
                        - f[c, z]
                    )
                for z in range(n):
                    out_p[c, x, here + z] = dpush[c, z] - normal[0, x, here + z] * push[c, z]

"""The passes of :mod:`longimorph.numerics.passes` for a GPU: each is one Triton kernel over the whole volume.

Every kernel applies to all voxels what the function of the same name in ``passes`` applies to whole arrays.
Each thread has one voxel and all its classes, one after the other. It reads its neighbours at indices that
end at the border and writes its own voxel alone, so each map is read and written once, as far as the caches
hold the planes between a voxel and its neighbours. What a class needs before a sum over the classes is known
waits in the output, where only its own thread reads it. Registers and the time to compile thus do not grow
with the number of classes.

Arrays are (K, x, y, z), contiguous. ``u`` holds 1 / (2 h) per axis. ``near`` are the indices of the
neighbours x_up, x_down, y_up, y_down, z_up, z_down. Loops over classes have bounds that are known to the
compiler: with TRITON_INTERPRET=1 in the environment, Triton runs the same code on a CPU, and needs that.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import torch
import triton
import triton.language as tl
from torch import Tensor

from longimorph.numerics import control

BLOCK, WARPS = 128, 4
"""Voxels of a block of threads, one for each of its threads."""
MOST_OFFSETS = 2**31
"""Elements of a map from which on offsets take 64 bits, and registers nearly twice as many."""
RHO_MIN = tl.constexpr(control.RHO_MIN)


def kernel(function: Any) -> Any:
    """Compile for a GPU on first use; interpret where the environment says so."""
    return triton.jit(function)


@kernel
def _sizes(nx, ny, nz, INDEX: tl.constexpr):
    """Voxels of a field, in the type of offsets: 64 bits where 32 do not reach the last class."""
    return tl.full((), nx, INDEX) * ny * nz


@kernel
def _voxel(size, BLOCK: tl.constexpr):
    """The voxel of each thread, and whether there is one: threads beyond the end repeat the last voxel."""
    index = tl.program_id(0) * BLOCK + tl.arange(0, BLOCK)
    return tl.minimum(index, size.to(tl.int32) - 1), index < size


@kernel
def _neighbours(here, nx, ny, nz):
    """Indices of the six neighbours; at the border, of the voxel itself."""
    z, row, plane = here % nz, here // nz, ny * nz
    y, x = row % ny, row // ny
    return (
        here + tl.where(x < nx - 1, plane, 0),
        here - tl.where(x > 0, plane, 0),
        here + tl.where(y < ny - 1, nz, 0),
        here - tl.where(y > 0, nz, 0),
        here + tl.where(z < nz - 1, 1, 0),
        here - tl.where(z > 0, 1, 0),
    )


@kernel
def _read(field, channel, size, where):
    """A channel of a field at some voxels."""
    return tl.load(field + (channel * size + where))


@kernel
def _write(field, channel, size, where, value, inside):
    """Set a channel of a field at the thread's own voxel."""
    tl.store(field + (channel * size + where), value, mask=inside)


@kernel
def _slope(field, channel, size, near, axis: tl.constexpr):
    """2 h D f along an axis."""
    return _read(field, channel, size, near[2 * axis]) - _read(field, channel, size, near[2 * axis + 1])


@kernel
def _sided(value, here, near, side: tl.constexpr):
    """What a neighbour's value contributes to the adjoint of a difference: its sign turns at the border."""
    if side % 2 == 0:
        return tl.where(near[side] == here, value, -value)
    return tl.where(near[side] == here, -value, value)


@kernel
def _speed(rho, v, u, axis: tl.constexpr, size, where):
    """w / (2 h) along an axis, at some voxels."""
    return tl.load(u + axis) * tl.sqrt(tl.load(rho + where)) * _read(v, axis, size, where)


@kernel
def _speed_change(rho, v, drho, dv, u, axis: tl.constexpr, size, where):
    """The change of w / (2 h) along an axis, at some voxels."""
    share = tl.load(rho + where)
    relative = 0.5 * tl.load(drho + where) / share
    change = _read(dv, axis, size, where) + relative * _read(v, axis, size, where)
    return tl.load(u + axis) * tl.sqrt(share) * change


@kernel
def density(
    q, p, alloc, u, rho, am, nx, ny, nz,
    CLASSES: tl.constexpr, INDEX: tl.constexpr, BLOCK: tl.constexpr,
):  # fmt: skip
    """rho and alpha m (E1)."""
    size = _sizes(nx, ny, nz, INDEX)
    here, inside = _voxel(size, BLOCK)
    near = _neighbours(here, nx, ny, nz)
    zero = tl.zeros((BLOCK,), q.dtype.element_ty)
    share, m_x, m_y, m_z = zero, zero, zero, zero
    for c in range(CLASSES):
        at_q, at_p = _read(q, c, size, here), _read(p, c, size, here)
        share += at_q * at_q * _read(alloc, c, size, here)
        m_x += at_p * _slope(q, c, size, near, 0)
        m_y += at_p * _slope(q, c, size, near, 1)
        m_z += at_p * _slope(q, c, size, near, 2)
    share = tl.maximum(share, tl.full((), RHO_MIN, q.dtype.element_ty))
    alpha = tl.sqrt(share)
    _write(rho, 0, size, here, share, inside)
    _write(am, 0, size, here, alpha * tl.load(u) * m_x, inside)
    _write(am, 1, size, here, alpha * tl.load(u + 1) * m_y, inside)
    _write(am, 2, size, here, alpha * tl.load(u + 2) * m_z, inside)


@kernel
def metric(
    q, alloc, u, out, nx, ny, nz,
    CLASSES: tl.constexpr, INDEX: tl.constexpr, BLOCK: tl.constexpr,
):  # fmt: skip
    """The matrix of p -> alpha m times its transpose, for tangent p: the lower triangle by rows."""
    size = _sizes(nx, ny, nz, INDEX)
    here, inside = _voxel(size, BLOCK)
    near = _neighbours(here, nx, ny, nz)
    zero = tl.zeros((BLOCK,), q.dtype.element_ty)
    share, off_x, off_y, off_z = zero, zero, zero, zero
    xx, yx, yy, zx, zy, zz = zero, zero, zero, zero, zero, zero
    for c in range(CLASSES):
        at_q = _read(q, c, size, here)
        share += at_q * at_q * _read(alloc, c, size, here)
        x = _slope(q, c, size, near, 0)
        y = _slope(q, c, size, near, 1)
        z = _slope(q, c, size, near, 2)
        off_x, off_y, off_z = off_x + at_q * x, off_y + at_q * y, off_z + at_q * z
        xx, yx, yy = xx + x * x, yx + y * x, yy + y * y
        zx, zy, zz = zx + z * x, zy + z * y, zz + z * z
    share = tl.maximum(share, tl.full((), RHO_MIN, q.dtype.element_ty))
    u_x, u_y, u_z = tl.load(u), tl.load(u + 1), tl.load(u + 2)
    _write(out, 0, size, here, share * u_x * u_x * (xx - off_x * off_x), inside)
    _write(out, 1, size, here, share * u_y * u_x * (yx - off_y * off_x), inside)
    _write(out, 2, size, here, share * u_y * u_y * (yy - off_y * off_y), inside)
    _write(out, 3, size, here, share * u_z * u_x * (zx - off_z * off_x), inside)
    _write(out, 4, size, here, share * u_z * u_y * (zy - off_z * off_y), inside)
    _write(out, 5, size, here, share * u_z * u_z * (zz - off_z * off_z), inside)


@kernel
def rate(
    q, p, rho, v, u, out, nx, ny, nz,
    CLASSES: tl.constexpr, INDEX: tl.constexpr, BLOCK: tl.constexpr,
):  # fmt: skip
    """dq/dt (E3)."""
    size = _sizes(nx, ny, nz, INDEX)
    here, inside = _voxel(size, BLOCK)
    near = _neighbours(here, nx, ny, nz)
    off = tl.zeros((BLOCK,), q.dtype.element_ty)
    w_x = _speed(rho, v, u, 0, size, here)
    w_y = _speed(rho, v, u, 1, size, here)
    w_z = _speed(rho, v, u, 2, size, here)
    rest = 1 - tl.load(rho + here)
    for c in range(CLASSES):
        along = w_x * _slope(q, c, size, near, 0) + w_y * _slope(q, c, size, near, 1)
        along += w_z * _slope(q, c, size, near, 2)
        off -= along * _read(q, c, size, here)
        _write(out, c, size, here, rest * _read(p, c, size, here) - along, inside)
    tl.debug_barrier()
    for c in range(CLASSES):
        found = _read(out, c, size, here) - off * _read(q, c, size, here)
        _write(out, c, size, here, found, inside)


@kernel
def advance(
    base_q, base_p, q, p, alloc, rho, am, v, u, duration: tl.float64,
    out_q, out_p, length, along, nx, ny, nz,
    CLASSES: tl.constexpr, INDEX: tl.constexpr, BLOCK: tl.constexpr,
):  # fmt: skip
    """The state after a duration (E3, E4), and the renormalisation."""
    size = _sizes(nx, ny, nz, INDEX)
    here, inside = _voxel(size, BLOCK)
    near = _neighbours(here, nx, ny, nz)
    kind = q.dtype.element_ty
    zero, time = tl.zeros((BLOCK,), kind), tl.full((), duration, kind)
    share = tl.load(rho + here)
    work, ahead, sides = zero, (), ()
    for d in tl.static_range(3):
        work += _read(am, d, size, here) * _read(v, d, size, here)
        ahead = ahead + (_speed(rho, v, u, d, size, here),)  # noqa: RUF005
        for s in tl.static_range(2):
            there = _speed(rho, v, u, d, size, near[2 * d + s])
            sides = sides + (_sided(there, here, near, 2 * d + s),)  # noqa: RUF005
    off, squares, pulled, turned = zero, zero, zero, zero
    for c in range(CLASSES):
        at_q, at_p = _read(q, c, size, here), _read(p, c, size, here)
        moved, spread = zero, zero
        for d in tl.static_range(3):
            moved -= ahead[d] * _slope(q, c, size, near, d)
            spread += sides[2 * d] * _read(p, c, size, near[2 * d])
            spread += sides[2 * d + 1] * _read(p, c, size, near[2 * d + 1])
        off += moved * at_q
        squares += at_p * at_p
        pulled += at_q * at_q * (_read(alloc, c, size, here) - share)
        turned += spread * at_q + at_p * moved
        end_q = _read(base_q, c, size, here) + time * (moved + (1 - share) * at_p)
        _write(out_q, c, size, here, end_q, inside)
        _write(out_p, c, size, here, _read(base_p, c, size, here) + time * spread, inside)
    tl.debug_barrier()
    force = work / share + squares
    gauge = -(force * pulled + turned + (1 - share) * squares)  # <dp, q> + <p, dq>, where off drops out
    square, product = zero, zero
    for c in range(CLASSES):
        at_q, at_p = _read(q, c, size, here), _read(p, c, size, here)
        weight = force * (_read(alloc, c, size, here) - share) + gauge
        end_q = _read(out_q, c, size, here) - time * off * at_q
        end_p = _read(out_p, c, size, here) + time * (off * at_p + weight * at_q)
        square += end_q * end_q
        product += end_p * end_q
    norm = tl.sqrt(square)
    lost = product / norm
    for c in range(CLASSES):
        at_q, at_p = _read(q, c, size, here), _read(p, c, size, here)
        weight = force * (_read(alloc, c, size, here) - share) + gauge
        end_q = (_read(out_q, c, size, here) - time * off * at_q) / norm
        end_p = _read(out_p, c, size, here) + time * (off * at_p + weight * at_q)
        _write(out_q, c, size, here, end_q, inside)
        _write(out_p, c, size, here, end_p - lost * end_q, inside)
    _write(length, 0, size, here, norm, inside)
    _write(along, 0, size, here, lost, inside)


@kernel
def _side_of_q(q, cot_p, normal, scale, channel, size, where):
    """q and its change dq along a direction, at some voxels where n of the direction is ``normal``."""
    there = _read(q, channel, size, where)
    return there, normal * there - scale * _read(cot_p, channel, size, where)


@kernel
def _product(a, b, channel, size, where):
    """The product of two maps in a class, at some voxels."""
    return _read(a, channel, size, where) * _read(b, channel, size, where)


@kernel
def density_change(
    q, p, cot_q, cot_p, factor: tl.float64, alloc, rho, am, u, normal, lift, drho, dam, nx, ny, nz,
    CLASSES: tl.constexpr, INDEX: tl.constexpr, BLOCK: tl.constexpr,
):  # fmt: skip
    """The direction of a cotangent, and the changes of rho and alpha m along it."""
    size = _sizes(nx, ny, nz, INDEX)
    here, inside = _voxel(size, BLOCK)
    near = _neighbours(here, nx, ny, nz)
    kind = q.dtype.element_ty
    zero, scale = tl.zeros((BLOCK,), kind), tl.full((), factor, kind)
    n, raised, n_0, n_1, n_2, n_3, n_4, n_5 = zero, zero, zero, zero, zero, zero, zero, zero
    for c in range(CLASSES):
        at_q, b = _read(q, c, size, here), _read(cot_p, c, size, here)
        n += scale * b * at_q
        raised += scale * (_read(cot_q, c, size, here) * at_q - _read(p, c, size, here) * b)
        n_0 += scale * _product(q, cot_p, c, size, near[0])
        n_1 += scale * _product(q, cot_p, c, size, near[1])
        n_2 += scale * _product(q, cot_p, c, size, near[2])
        n_3 += scale * _product(q, cot_p, c, size, near[3])
        n_4 += scale * _product(q, cot_p, c, size, near[4])
        n_5 += scale * _product(q, cot_p, c, size, near[5])
    _write(normal, 0, size, here, n, inside)
    _write(lift, 0, size, here, raised, inside)
    dshare, dm_x, dm_y, dm_z = zero, zero, zero, zero
    for c in range(CLASSES):
        at_q, at_p = _read(q, c, size, here), _read(p, c, size, here)
        dq = n * at_q - scale * _read(cot_p, c, size, here)
        dp = scale * _read(cot_q, c, size, here) - n * at_p - raised * at_q
        dshare += at_q * dq * _read(alloc, c, size, here)
        dm_x += _slope_change(q, cot_p, n_0, n_1, scale, dp, at_p, c, size, near, 0)
        dm_y += _slope_change(q, cot_p, n_2, n_3, scale, dp, at_p, c, size, near, 1)
        dm_z += _slope_change(q, cot_p, n_4, n_5, scale, dp, at_p, c, size, near, 2)
    share = tl.load(rho + here)
    dshare = tl.where(share > tl.full((), RHO_MIN, kind), 2 * dshare, 0.0)
    alpha, relative = tl.sqrt(share), 0.5 * dshare / share
    _write(drho, 0, size, here, dshare, inside)
    for d in tl.static_range(3):
        dm = dm_x if d == 0 else (dm_y if d == 1 else dm_z)
        found = alpha * tl.load(u + d) * dm + relative * _read(am, d, size, here)
        _write(dam, d, size, here, found, inside)


@kernel
def _slope_change(
    q, cot_p, normal_up, normal_down, scale, dp, p, channel, size, near,
    axis: tl.constexpr,
):  # fmt: skip
    """dp 2 h D q + p 2 h D dq of a class along an axis."""
    up, dup = _side_of_q(q, cot_p, normal_up, scale, channel, size, near[2 * axis])
    down, ddown = _side_of_q(q, cot_p, normal_down, scale, channel, size, near[2 * axis + 1])
    return dp * (up - down) + p * (dup - ddown)


@kernel
def _unsettle_voxel(
    q, p, length, along, cot_q, cot_p, size, here, inside, CLASSES: tl.constexpr, BLOCK: tl.constexpr
):  # fmt: skip
    """Adjoint of the renormalisation in each thread's voxel; overwrites the cotangent."""
    zero = tl.zeros((BLOCK,), q.dtype.element_ty)
    lost, aq, bq, pq, qq = tl.load(along + here), zero, zero, zero, zero
    for c in range(CLASSES):
        at_q = _read(q, c, size, here)
        aq += at_q * _read(cot_q, c, size, here)
        bq += at_q * _read(cot_p, c, size, here)
        pq += at_q * _read(p, c, size, here)
        qq += at_q * at_q
    off, norm = aq - bq * (pq + lost * qq) - lost * bq, tl.load(length + here)
    tl.debug_barrier()
    for c in range(CLASSES):
        at_q, b = _read(q, c, size, here), _read(cot_p, c, size, here)
        turned = _read(cot_q, c, size, here) - bq * (_read(p, c, size, here) + lost * at_q) - lost * b
        _write(cot_q, c, size, here, (turned - off * at_q) / norm, inside)
        _write(cot_p, c, size, here, b - bq * at_q, inside)


@kernel
def pull_back(
    q, p, cot_q, cot_p, factor: tl.float64, normal, lift, alloc, rho, am,
    v, drho, dam, dv, u, added: tl.float64, settled: tl.float64, length, along, out_q, out_p, nx, ny, nz,
    CLASSES: tl.constexpr, INDEX: tl.constexpr, BLOCK: tl.constexpr,
):  # fmt: skip
    """Cotangent of a state from that of its rates (E7); both are added to the outputs if ``added``, and
    pulled back through the renormalisation if ``settled``.
    """
    size = _sizes(nx, ny, nz, INDEX)
    here, inside = _voxel(size, BLOCK)
    near = _neighbours(here, nx, ny, nz)
    kind = q.dtype.element_ty
    zero, scale = tl.zeros((BLOCK,), kind), tl.full((), factor, kind)
    n, raised = tl.load(normal + here), tl.load(lift + here)
    share, dshare = tl.load(rho + here), tl.load(drho + here)
    rest, work, dwork, ahead, dahead = 1 - share, zero, zero, (), ()
    on_p, on_q, plain = (), (), ()
    for d in tl.static_range(3):
        at_am, at_v = _read(am, d, size, here), _read(v, d, size, here)
        work += at_am * at_v
        dwork += _read(dam, d, size, here) * at_v + at_am * _read(dv, d, size, here)
        ahead = ahead + (_speed(rho, v, u, d, size, here),)  # noqa: RUF005
        dahead = dahead + (_speed_change(rho, v, drho, dv, u, d, size, here),)  # noqa: RUF005
        for s in tl.static_range(2):
            there = near[2 * d + s]
            w = _sided(_speed(rho, v, u, d, size, there), here, near, 2 * d + s)
            dw = _sided(_speed_change(rho, v, drho, dv, u, d, size, there), here, near, 2 * d + s)
            on_p = on_p + (dw + w * (n - tl.load(normal + there)),)  # noqa: RUF005
            on_q, plain = on_q + (-w * tl.load(lift + there),), plain + (w,)  # noqa: RUF005
    off, doff, squares, dsquares, pulled, turned = zero, zero, zero, zero, zero, zero
    for c in range(CLASSES):
        at_q, at_p, b = _read(q, c, size, here), _read(p, c, size, here), _read(cot_p, c, size, here)
        dq = n * at_q - scale * b
        dp = scale * _read(cot_q, c, size, here) - n * at_p - raised * at_q
        carried, dcarried, flux, dflux = rest * at_p, rest * dp - dshare * at_p, zero, zero
        for d in tl.static_range(3):
            n_up, n_down = tl.load(normal + near[2 * d]), tl.load(normal + near[2 * d + 1])
            q_up, dq_up = _side_of_q(q, cot_p, n_up, scale, c, size, near[2 * d])
            q_down, dq_down = _side_of_q(q, cot_p, n_down, scale, c, size, near[2 * d + 1])
            p_up, p_down = _read(p, c, size, near[2 * d]), _read(p, c, size, near[2 * d + 1])
            a_up, a_down = _read(cot_q, c, size, near[2 * d]), _read(cot_q, c, size, near[2 * d + 1])
            carried -= ahead[d] * (q_up - q_down)
            dcarried -= dahead[d] * (q_up - q_down) + ahead[d] * (dq_up - dq_down)
            flux += plain[2 * d] * p_up + plain[2 * d + 1] * p_down
            dflux += on_p[2 * d] * p_up + on_q[2 * d] * q_up + scale * plain[2 * d] * a_up
            dflux += on_p[2 * d + 1] * p_down + on_q[2 * d + 1] * q_down
            dflux += scale * plain[2 * d + 1] * a_down
        off += carried * at_q
        doff += dcarried * at_q + carried * dq
        squares += at_p * at_p
        dsquares += at_p * dp
        pulled += at_q * at_q * (_read(alloc, c, size, here) - share)
        turned += flux * at_q + at_p * carried
        total_q, total_p = zero, zero
        if added != 0:
            total_q = _read(out_q, c, size, here) + _read(cot_q, c, size, here)
            total_p = _read(out_p, c, size, here) + _read(cot_p, c, size, here)
        _write(out_q, c, size, here, total_q - dflux - raised * carried, inside)
        _write(out_p, c, size, here, total_p + dcarried - n * carried, inside)
    tl.debug_barrier()
    force = work / share + squares
    dforce = (dwork - work * dshare / share) / share + 2 * dsquares
    gauge = -(force * pulled + turned)
    for c in range(CLASSES):
        at_q, at_p, b = _read(q, c, size, here), _read(p, c, size, here), _read(cot_p, c, size, here)
        dq, excess = n * at_q - scale * b, _read(alloc, c, size, here) - share
        back = (dforce * at_q + force * (dq + n * at_q)) * excess - force * dshare * at_q
        back += doff * at_p + off * scale * _read(cot_q, c, size, here) + gauge * (dq + n * at_q)
        _write(out_q, c, size, here, _read(out_q, c, size, here) - back, inside)
        moved = doff * at_q + off * (dq - n * at_q)
        _write(out_p, c, size, here, _read(out_p, c, size, here) - moved, inside)
    if settled != 0:
        tl.debug_barrier()
        _unsettle_voxel(q, p, length, along, out_q, out_p, size, here, inside, CLASSES, BLOCK)


@kernel
def unsettle(
    q, p, length, along, cot_q, cot_p, nx, ny, nz,
    CLASSES: tl.constexpr, INDEX: tl.constexpr, BLOCK: tl.constexpr,
):  # fmt: skip
    """Adjoint of the renormalisation; overwrites the cotangent."""
    size = _sizes(nx, ny, nz, INDEX)
    here, inside = _voxel(size, BLOCK)
    _unsettle_voxel(q, p, length, along, cot_q, cot_p, size, here, inside, CLASSES, BLOCK)


KERNELS: dict[str, Any] = {
    "density": density,
    "metric": metric,
    "rate": rate,
    "advance": advance,
    "density_change": density_change,
    "pull_back": pull_back,
    "unsettle": unsettle,
}
"""The kernel of each pass that has one; passes, formulas and kernels share these names."""


def run(name: str, arguments: Sequence[Any], maps: Tensor) -> None:
    """Launch the kernel of a pass for the classes and the grid of ``maps`` (C, x, y, z): its fields and
    numbers in their order, the outputs last.
    """
    classes, *grid = maps.shape
    index = tl.int32 if (classes + 1) * math.prod(grid) < MOST_OFFSETS else tl.int64
    blocks = triton.cdiv(math.prod(grid), BLOCK)
    with torch.cuda.device_of(maps):
        KERNELS[name][(blocks,)](
            *arguments, *grid, CLASSES=classes, INDEX=index, BLOCK=BLOCK, num_warps=WARPS
        )


def run_once(device: str) -> None:
    """Run a kernel on a few voxels of a device, to see whether Triton works there; raises what it raises."""
    maps = torch.full((2, 2, 2, 2), 0.5, device=device)
    rho, am = maps.new_empty(1, 2, 2, 2), maps.new_empty(3, 2, 2, 2)
    run("density", (maps, maps, maps, maps.new_ones(3), rho, am), maps)
    if not bool((rho == 0.25).all()):
        raise RuntimeError("a trial kernel gives wrong numbers")

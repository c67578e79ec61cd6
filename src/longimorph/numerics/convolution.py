"""Separable symmetric filters on a CPU, banded and blocked for the cache.

A filter along one axis is w_0 f(i) + sum over k >= 1 of w_k (f(i - k) + f(i + k)), zero outside the grid. A
block is copied into a buffer with zeros around it, so that no border needs care. Taps come in groups of four;
``weights`` are filled up with zeros.

Along the first two axes, the neighbours of a row of voxels are rows. Four rows are filtered together, since
they share most of their neighbours, and lie at multiples of a cache line. Along the last axis, every tap is
one long stretch of neighbours.

The machine code of this file is kept as :mod:`longimorph.numerics.compiling` explains.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from longimorph.numerics.compiling import compiled, loop

COLUMNS, STRETCH, LINE = 128, 4096, 16
"""Columns that are filtered along the first axis together, voxels of a buffer that stay in the cache, and
voxels that fill a cache line, or two.
"""


@loop
def _first(
    out: Any, f: Any, a: Any, b: Any, c: Any, d: Any, e: Any, g: Any, w: Any, w_1: Any, w_2: Any, w_3: Any
) -> None:
    """The taps 0 to 3."""
    for z in range(np.uintp(out.size)):
        out[z] = w * f[z] + w_1 * (a[z] + b[z]) + (w_2 * (c[z] + d[z]) + w_3 * (e[z] + g[z]))


@loop
def _further(
    out: Any, a: Any, b: Any, c: Any, d: Any, e: Any, f: Any, g: Any, h: Any,
    w: Any, w_1: Any, w_2: Any, w_3: Any,
) -> None:  # fmt: skip
    """Add the next four taps."""
    for z in range(np.uintp(out.size)):
        out[z] += (w * (a[z] + b[z]) + w_1 * (c[z] + d[z])) + (w_2 * (e[z] + f[z]) + w_3 * (g[z] + h[z]))


@loop
def _copy_rows(
    source: Any, start: int, apart: int, out: Any, first: int, further: int, rows: int, n: int
) -> None:
    """Copy ``rows`` rows of n numbers, which begin ``apart`` from each other there and ``further`` here."""
    length = np.uintp(n)
    for y in range(rows):
        here, there = np.uintp(start + y * apart), np.uintp(first + y * further)
        for z in range(length):
            out[there + z] = source[here + z]


@loop
def _along_rows(buffer: Any, weights: Any, length: int, fours: int, out: Any) -> None:
    """Filter 4 ``fours`` rows of ``length`` numbers; the buffer has as many rows of zeros on either side as
    there are weights but one.
    """
    one, four, row, size = np.uintp(1), np.uintp(4), np.uintp(length), np.uintp(weights.size)
    two, three = one + one, four - one
    for first in range(np.uintp(0), np.uintp(fours) * four * row, four * row):
        centre = first + (size - one) * row
        w, w_1, w_2, w_3 = weights[0], weights[1], weights[2], weights[3]
        for z in range(row):
            o, i = first + z, centre + z
            a, b, c, d = buffer[i - three * row], buffer[i - two * row], buffer[i - row], buffer[i]
            i += row
            e, f, g = buffer[i], buffer[i + row], buffer[i + two * row]
            i += three * row
            h, p, q = buffer[i], buffer[i + row], buffer[i + two * row]
            out[o] = w * d + w_1 * (c + e) + w_2 * (b + f) + w_3 * (a + g)
            out[o + row] = w * e + w_1 * (d + f) + w_2 * (c + g) + w_3 * (b + h)
            out[o + two * row] = w * f + w_1 * (e + g) + w_2 * (d + h) + w_3 * (c + p)
            out[o + three * row] = w * g + w_1 * (f + h) + w_2 * (e + p) + w_3 * (d + q)
        for k in range(four, size, four):
            w, w_1, w_2, w_3 = weights[k], weights[k + one], weights[k + two], weights[k + three]
            below, above = centre - (k + three) * row, centre + k * row
            for z in range(row):
                o, i, j = first + z, below + z, above + z
                a, b, c, d = buffer[i], buffer[i + row], buffer[i + two * row], buffer[i + three * row]
                i += four * row
                e, f, g = buffer[i], buffer[i + row], buffer[i + two * row]
                p, q, r, s = buffer[j], buffer[j + row], buffer[j + two * row], buffer[j + three * row]
                j += four * row
                t, u, v = buffer[j], buffer[j + row], buffer[j + two * row]
                out[o] += w * (d + p) + w_1 * (c + q) + w_2 * (b + r) + w_3 * (a + s)
                out[o + row] += w * (e + q) + w_1 * (d + r) + w_2 * (c + s) + w_3 * (b + t)
                out[o + two * row] += w * (f + r) + w_1 * (e + s) + w_2 * (d + t) + w_3 * (c + u)
                out[o + three * row] += w * (g + s) + w_1 * (f + t) + w_2 * (e + u) + w_3 * (d + v)


@compiled
def _along_stretch(buffer: Any, weights: Any, out: Any) -> None:
    """Filter a buffer of neighbours, with as many zeros on either side as there are weights but one."""
    reach = weights.size - 1
    for first in range(0, out.size, STRETCH):
        n = min(STRETCH, out.size - first)
        o, at = out[first : first + n], reach + first
        _first(
            o, buffer[at : at + n], buffer[at - 1 : at - 1 + n], buffer[at + 1 : at + 1 + n],
            buffer[at - 2 : at - 2 + n], buffer[at + 2 : at + 2 + n],
            buffer[at - 3 : at - 3 + n], buffer[at + 3 : at + 3 + n],
            weights[0], weights[1], weights[2], weights[3],
        )  # fmt: skip
        for k in range(4, reach, 4):
            m, p = at - k, at + k
            _further(
                o, buffer[m : m + n], buffer[p : p + n], buffer[m - 1 : m - 1 + n], buffer[p + 1 : p + 1 + n],
                buffer[m - 2 : m - 2 + n], buffer[p + 2 : p + 2 + n],
                buffer[m - 3 : m - 3 + n], buffer[p + 3 : p + 3 + n],
                weights[k], weights[k + 1], weights[k + 2], weights[k + 3],
            )  # fmt: skip


@compiled
def _zeros(rows: int, length: int, like: Any) -> Any:
    """Zeros for rows of ``length`` numbers, from a cache line on."""
    room = np.zeros(rows * length + LINE, like.dtype)
    begin = -room.ctypes.data % 64 // like.itemsize
    return room[begin : begin + rows * length]


@compiled
def along_first(field: Any, weights: Any, out: Any, start: int, stop: int) -> None:
    """Filter (d, x, y z) along x, the blocks ``start`` to ``stop`` of COLUMNS columns of all channels."""
    _, planes, columns = field.shape
    blocks, reach, fours = -(-columns // COLUMNS), weights.size - 1, -(-planes // 4)
    buffer, found = _zeros(4 * fours + 2 * reach, COLUMNS, field), _zeros(4 * fours, COLUMNS, field)
    for block in range(start, stop):
        channel, first = block // blocks, block % blocks * COLUMNS
        n = min(COLUMNS, columns - first)
        source, target = field[channel].reshape(-1), out[channel].reshape(-1)
        _copy_rows(source, first, columns, buffer, reach * COLUMNS, COLUMNS, planes, n)
        _along_rows(buffer, weights, COLUMNS, fours, found)
        _copy_rows(found, 0, COLUMNS, target, first, columns, planes, n)


@compiled
def along_others(field: Any, second: Any, third: Any, start: int, stop: int) -> None:
    """Filter the planes ``start`` to ``stop`` of (n, y, z) along y and along z, in place."""
    _, rows, row = field.shape
    above, beside, fours = second.size - 1, third.size - 1, -(-rows // 4)
    wide, length = -(-row // LINE) * LINE, row + beside
    stacked, found = _zeros(4 * fours + 2 * above, wide, field), _zeros(4 * fours, wide, field)
    apart, last = np.zeros(rows * length + 2 * beside, field.dtype), np.empty(rows * length, field.dtype)
    for plane in range(start, stop):
        here = field[plane].reshape(-1)
        _copy_rows(here, 0, row, stacked, above * wide, wide, rows, row)
        _along_rows(stacked, second, wide, fours, found)
        _copy_rows(found, 0, wide, apart, beside, length, rows, row)
        _along_stretch(apart, third, last)
        _copy_rows(last, 0, length, here, 0, row, rows, row)

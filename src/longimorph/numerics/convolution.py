"""Separable symmetric filters on a CPU, banded and blocked for the cache.

A filter along one axis is w_0 f(i) + sum over k >= 1 of w_k (f(i - k) + f(i + k)), zero outside the grid. A
block is copied into a buffer with zeros around it, so that every tap is one long stretch of neighbours at a
fixed distance, and no border needs care. Taps come in groups of four; ``weights`` are filled up with zeros.

The machine code of this file is kept as :mod:`longimorph.numerics.compiling` explains.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from longimorph.numerics.compiling import compiled, loop

COLUMNS, STRETCH = 128, 4096
"""Columns that are filtered along the first axis together, and voxels of a buffer that stay in the cache."""


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


@compiled
def _filtered(buffer: Any, out: Any, weights: Any, step: int) -> None:
    """Filter a buffer whose neighbours along the axis are ``step`` apart, with reach * step zeros around."""
    reach = weights.size - 1
    for first in range(0, out.size, STRETCH):
        n = min(STRETCH, out.size - first)
        o, at = out[first : first + n], reach * step + first
        m, p = at, at
        _first(
            o, buffer[at : at + n],
            buffer[m - step : m - step + n], buffer[p + step : p + step + n],
            buffer[m - 2 * step : m - 2 * step + n], buffer[p + 2 * step : p + 2 * step + n],
            buffer[m - 3 * step : m - 3 * step + n], buffer[p + 3 * step : p + 3 * step + n],
            weights[0], weights[1], weights[2], weights[3],
        )  # fmt: skip
        for k in range(4, reach, 4):
            m, p = at - k * step, at + k * step
            _further(
                o, buffer[m : m + n], buffer[p : p + n],
                buffer[m - step : m - step + n], buffer[p + step : p + step + n],
                buffer[m - 2 * step : m - 2 * step + n], buffer[p + 2 * step : p + 2 * step + n],
                buffer[m - 3 * step : m - 3 * step + n], buffer[p + 3 * step : p + 3 * step + n],
                weights[k], weights[k + 1], weights[k + 2], weights[k + 3],
            )  # fmt: skip


@compiled
def along_first(field: Any, weights: Any, out: Any, start: int, stop: int) -> None:
    """Filter (d, x, y z) along x, the blocks ``start`` to ``stop`` of COLUMNS columns of all channels."""
    _, planes, columns = field.shape
    blocks, reach = -(-columns // COLUMNS), weights.size - 1
    buffer = np.zeros((planes + 2 * reach) * COLUMNS, field.dtype)
    found = np.empty(planes * COLUMNS, field.dtype)
    for block in range(start, stop):
        channel, first = block // blocks, block % blocks * COLUMNS
        n = min(COLUMNS, columns - first)
        source, target = field[channel].reshape(-1), out[channel].reshape(-1)
        _copy_rows(source, first, columns, buffer, reach * COLUMNS, COLUMNS, planes, n)
        _filtered(buffer, found, weights, COLUMNS)
        _copy_rows(found, 0, COLUMNS, target, first, columns, planes, n)


@compiled
def along_others(field: Any, second: Any, third: Any, start: int, stop: int) -> None:
    """Filter the planes ``start`` to ``stop`` of (n, y, z) along y and along z, in place."""
    _, rows, row = field.shape
    above, beside = second.size - 1, third.size - 1
    length = row + beside
    stacked, found = np.zeros((rows + 2 * above) * row, field.dtype), np.empty(rows * row, field.dtype)
    apart, last = np.zeros(rows * length + 2 * beside, field.dtype), np.empty(rows * length, field.dtype)
    for plane in range(start, stop):
        here = field[plane].reshape(-1)
        _copy_rows(here, 0, 0, stacked, above * row, 0, 1, rows * row)
        _filtered(stacked, found, second, row)
        _copy_rows(found, 0, row, apart, beside, length, rows, row)
        _filtered(apart, last, third, 1)
        _copy_rows(last, 0, length, here, 0, row, rows, row)

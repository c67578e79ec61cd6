"""The updates of conjugate gradients on a CPU, each one traversal of its fields.

Fields are (K, x, y z), contiguous, and handled from plane ``start`` to ``stop``; the caller may share the
planes among threads. Products are rounded to the type of the fields and summed in float64, plane by plane,
into ``sums`` (x,), so that a sum does not depend on the number of threads.

The machine code of this file is kept as :mod:`longimorph.numerics.compiling` explains.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from longimorph.numerics.compiling import compiled, loop

STRETCH, SHORT = 2048, 512
"""Voxels that are handled together: few enough that their sums, or all their values, stay in the cache."""


@loop
def _add_product(a: Any, b: Any, sums: Any) -> None:
    """Add a b voxel by voxel."""
    for z in range(np.uintp(a.size)):
        sums[z] += a[z] * b[z]


@loop
def _add_products(
    xx: Any, yx: Any, yy: Any, zx: Any, zy: Any, zz: Any, r_x: Any, r_y: Any, r_z: Any,
    x: Any, y: Any, z: Any, along: Any, across: Any,
) -> None:  # fmt: skip
    """Add <r, d> and <d, G d> voxel by voxel, with d = (x, y, z) and G the symmetric matrix."""
    for i in range(np.uintp(x.size)):
        along[i] += r_x[i] * x[i] + r_y[i] * y[i] + r_z[i] * z[i]
        along_x = xx[i] * x[i] + yx[i] * y[i] + zx[i] * z[i]
        along_y = yx[i] * x[i] + yy[i] * y[i] + zy[i] * z[i]
        along_z = zx[i] * x[i] + zy[i] * y[i] + zz[i] * z[i]
        across[i] += x[i] * along_x + y[i] * along_y + z[i] * along_z


@loop
def _renew_and_go(
    smooth: Any, rest: Any, ratio: Any, length: Any, direction: Any, unsmoothed: Any, found: Any
) -> None:
    """One component's smooth + ratio d and rest + ratio K^-1 d, and found + length d."""
    for i in range(np.uintp(found.size)):
        direction[i] = smooth[i] + ratio * direction[i]
        unsmoothed[i] = rest[i] + ratio * unsmoothed[i]
        found[i] += length * direction[i]


@loop
def _shrink(
    first: Any, second: Any, third: Any, x: Any, y: Any, z: Any, unsmoothed: Any, length: Any, rest: Any
) -> None:
    """One component's rest - length (G d + K^-1 d), with a row of G."""
    for i in range(np.uintp(x.size)):
        rest[i] -= length * (first[i] * x[i] + second[i] * y[i] + third[i] * z[i] + unsmoothed[i])


@loop
def _renew(new: Any, ratio: Any, old: Any) -> None:
    """new + ratio old, in place of the old."""
    for i in range(np.uintp(old.size)):
        old[i] = new[i] + ratio * old[i]


@loop
def _move(direction: Any, image: Any, length: Any, found: Any, rest: Any, sums: Any) -> None:
    """found + length direction, rest - length image, and add the square of the rest voxel by voxel."""
    for i in range(np.uintp(found.size)):
        found[i] += length * direction[i]
        rest[i] -= length * image[i]
        sums[i] += rest[i] * rest[i]


@compiled
def product(a: Any, b: Any, sums: Any, start: int, stop: int) -> None:
    """The sums of a b over channels and voxels, plane by plane."""
    channels, _, size = a.shape
    room = np.empty(STRETCH, np.float64)
    for x in range(start, stop):
        room[:] = 0
        for i in range(0, size, STRETCH):
            j = min(i + STRETCH, size)
            for c in range(channels):
                _add_product(a[c, x, i:j], b[c, x, i:j], room[: j - i])
        sums[x] = room.sum()


@compiled
def products(metric: Any, rest: Any, smooth: Any, sums: Any, start: int, stop: int) -> None:
    """The sums of <rest, smooth> and <smooth, G smooth>, plane by plane, (2, x): ``metric`` is the lower
    triangle of G by rows.
    """
    size = smooth.shape[2]
    room = np.empty((2, STRETCH), np.float64)
    for x in range(start, stop):
        room[:] = 0
        for i in range(0, size, STRETCH):
            j = min(i + STRETCH, size)
            _add_products(
                metric[0, x, i:j], metric[1, x, i:j], metric[2, x, i:j], metric[3, x, i:j],
                metric[4, x, i:j], metric[5, x, i:j], rest[0, x, i:j], rest[1, x, i:j], rest[2, x, i:j],
                smooth[0, x, i:j], smooth[1, x, i:j], smooth[2, x, i:j], room[0, : j - i],
                room[1, : j - i],
            )  # fmt: skip
        sums[0, x], sums[1, x] = room[0].sum(), room[1].sum()


@compiled
def descend(
    metric: Any, smooth: Any, ratio: Any, length: Any, direction: Any, unsmoothed: Any, found: Any,
    rest: Any, start: int, stop: int,
) -> None:  # fmt: skip
    """Renew d and K^-1 d, then ``found`` + length d and ``rest`` - length (G d + K^-1 d), all in place."""
    size = direction.shape[2]
    rows = ((0, 1, 3), (1, 2, 4), (3, 4, 5))
    for x in range(start, stop):
        for i in range(0, size, SHORT):
            j = min(i + SHORT, size)
            for axis in range(3):
                _renew_and_go(
                    smooth[axis, x, i:j], rest[axis, x, i:j], ratio, length, direction[axis, x, i:j],
                    unsmoothed[axis, x, i:j], found[axis, x, i:j],
                )  # fmt: skip
            for axis in range(3):
                first, second, third = rows[axis]
                _shrink(
                    metric[first, x, i:j], metric[second, x, i:j], metric[third, x, i:j],
                    direction[0, x, i:j], direction[1, x, i:j], direction[2, x, i:j],
                    unsmoothed[axis, x, i:j], length, rest[axis, x, i:j],
                )  # fmt: skip


@compiled
def renew(new: Any, ratio: Any, old: Any, start: int, stop: int) -> None:
    """``new`` + ratio ``old``, in place of the old."""
    for x in range(start, stop):
        for c in range(old.shape[0]):
            _renew(new[c, x], ratio, old[c, x])


@compiled
def move(
    direction: Any, image: Any, length: Any, found: Any, rest: Any, sums: Any, start: int, stop: int
) -> None:
    """``found`` + length direction and ``rest`` - length image, in place, and the sums of rest^2."""
    channels, _, size = found.shape
    room = np.empty(STRETCH, np.float64)
    for x in range(start, stop):
        room[:] = 0
        for i in range(0, size, STRETCH):
            j = min(i + STRETCH, size)
            for c in range(channels):
                _move(
                    direction[c, x, i:j], image[c, x, i:j], length, found[c, x, i:j], rest[c, x, i:j],
                    room[: j - i],
                )  # fmt: skip
        sums[x] = room.sum()

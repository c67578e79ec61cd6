"""The updates of conjugate gradients on a CPU, each one traversal of its fields.

Fields are (K, x, y z), contiguous, and handled from plane ``start`` to ``stop``; the caller may share the
planes among threads. Products are rounded to the type of the fields and summed in float64, plane by plane,
into ``sums`` (x,), so that a sum does not depend on the number of threads.

Numba caches the machine code of this file as explained in :mod:`longimorph.numerics.fused`.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from longimorph.numerics.fused import compiled, loop

STRETCH = 2048
"""Voxels that are handled together: few enough that their sums stay in the cache."""


@loop
def _add_product(a: Any, b: Any, sums: Any) -> None:
    """Add a b voxel by voxel."""
    for z in range(np.uintp(a.size)):
        sums[z] += a[z] * b[z]


@loop
def _add_curved(
    xx: Any, yx: Any, yy: Any, zx: Any, zy: Any, zz: Any, x: Any, y: Any, z: Any,
    x_0: Any, y_0: Any, z_0: Any, sums: Any,
) -> None:  # fmt: skip
    """Add <d, G d + d_0> voxel by voxel, with d = (x, y, z) and G the symmetric matrix."""
    for i in range(np.uintp(x.size)):
        along_x = xx[i] * x[i] + yx[i] * y[i] + zx[i] * z[i] + x_0[i]
        along_y = yx[i] * x[i] + yy[i] * y[i] + zy[i] * z[i] + y_0[i]
        along_z = zx[i] * x[i] + zy[i] * y[i] + zz[i] * z[i] + z_0[i]
        sums[i] += x[i] * along_x + y[i] * along_y + z[i] * along_z


@loop
def _descend(
    first: Any, second: Any, third: Any, x: Any, y: Any, z: Any, whole: Any, unsmoothed: Any, length: Any,
    found: Any, rest: Any,
) -> None:  # fmt: skip
    """One component's found + length d and rest - length (G d + d_0), with a row of G."""
    for i in range(np.uintp(x.size)):
        found[i] += length * whole[i]
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
def curved(metric: Any, direction: Any, unsmoothed: Any, sums: Any, start: int, stop: int) -> None:
    """The sums of <d, G d + unsmoothed>, plane by plane: ``metric`` is the lower triangle of G by rows."""
    size = direction.shape[2]
    room = np.empty(STRETCH, np.float64)
    for x in range(start, stop):
        room[:] = 0
        for i in range(0, size, STRETCH):
            j = min(i + STRETCH, size)
            _add_curved(
                metric[0, x, i:j], metric[1, x, i:j], metric[2, x, i:j], metric[3, x, i:j],
                metric[4, x, i:j], metric[5, x, i:j], direction[0, x, i:j], direction[1, x, i:j],
                direction[2, x, i:j], unsmoothed[0, x, i:j], unsmoothed[1, x, i:j], unsmoothed[2, x, i:j],
                room[: j - i],
            )  # fmt: skip
        sums[x] = room.sum()


@compiled
def descend(
    metric: Any, direction: Any, unsmoothed: Any, length: Any, found: Any, rest: Any, start: int, stop: int
) -> None:
    """``found`` + length d and ``rest`` - length (G d + unsmoothed), in place."""
    size = direction.shape[2]
    rows = ((0, 1, 3), (1, 2, 4), (3, 4, 5))
    for x in range(start, stop):
        for i in range(0, size, STRETCH):
            j = min(i + STRETCH, size)
            for axis in range(3):
                first, second, third = rows[axis]
                _descend(
                    metric[first, x, i:j], metric[second, x, i:j], metric[third, x, i:j],
                    direction[0, x, i:j], direction[1, x, i:j], direction[2, x, i:j],
                    direction[axis, x, i:j], unsmoothed[axis, x, i:j], length,
                    found[axis, x, i:j], rest[axis, x, i:j],
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

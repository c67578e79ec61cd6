"""The updates of conjugate gradients on a GPU, each one Triton kernel over its fields.

Fields are contiguous, (K, x, y, z). Products are rounded to the type of the fields and summed in float64,
block by block of voxels, into ``sums``; the order of every sum is fixed, so a solve can be repeated bit by
bit. ``metric`` is the lower triangle by rows of a symmetric matrix G per voxel. Nothing here waits for the
GPU.
"""

from __future__ import annotations

from typing import Any

import torch
import triton
import triton.language as tl
from torch import Tensor

from longimorph.numerics.triton_passes import WARPS, kernel

BLOCK = 1024
"""Numbers of a block of threads, several for each of its threads."""


@kernel
def _place(size, BLOCK: tl.constexpr):
    """Offsets of a block of threads, in 64 bits, and which of them lie within the field."""
    here = tl.program_id(0).to(tl.int64) * BLOCK + tl.arange(0, BLOCK)
    return here, here < size


@kernel
def product(a, b, sums, size, BLOCK: tl.constexpr):
    """The sums of a b."""
    here, inside = _place(size, BLOCK)
    found = tl.load(a + here, mask=inside, other=0.0) * tl.load(b + here, mask=inside, other=0.0)
    tl.store(sums + tl.program_id(0), tl.sum(found.to(tl.float64)))


@kernel
def _vector(field, size, here, inside):
    """The three components of a field."""
    return (
        tl.load(field + here, mask=inside, other=0.0),
        tl.load(field + (here + size), mask=inside, other=0.0),
        tl.load(field + (here + 2 * size), mask=inside, other=0.0),
    )


@kernel
def _image(metric, x, y, z, size, here, inside):
    """G d with d = (x, y, z)."""
    xx, yx, yy = _vector(metric, size, here, inside)
    zx, zy, zz = _vector(metric, size, here + 3 * size, inside)
    return xx * x + yx * y + zx * z, yx * x + yy * y + zy * z, zx * x + zy * y + zz * z


@kernel
def curved(metric, rest, smooth, sums, size, BLOCK: tl.constexpr):
    """The sums of <rest, smooth> and, behind them, of <smooth, G smooth>."""
    here, inside = _place(size, BLOCK)
    x, y, z = _vector(smooth, size, here, inside)
    r_x, r_y, r_z = _vector(rest, size, here, inside)
    along_x, along_y, along_z = _image(metric, x, y, z, size, here, inside)
    along, across = r_x * x + r_y * y + r_z * z, x * along_x + y * along_y + z * along_z
    tl.store(sums + tl.program_id(0), tl.sum(along.to(tl.float64)))
    tl.store(sums + (tl.num_programs(0) + tl.program_id(0)), tl.sum(across.to(tl.float64)))


@kernel
def descend(
    metric, smooth, ratio: tl.float64, length: tl.float64, direction, unsmoothed, found, rest, size,
    BLOCK: tl.constexpr,
):  # fmt: skip
    """Renew d and K^-1 d, then ``found`` + length d and ``rest`` - length (G d + K^-1 d), all in place."""
    here, inside = _place(size, BLOCK)
    kind = found.dtype.element_ty
    far, share = tl.full((), length, kind), tl.full((), ratio, kind)
    x, y, z = _renewed(direction, share, _vector(smooth, size, here, inside), size, here, inside)
    x_0, y_0, z_0 = _renewed(unsmoothed, share, _vector(rest, size, here, inside), size, here, inside)
    along_x, along_y, along_z = _image(metric, x, y, z, size, here, inside)
    _go(found, far, (x, y, z), size, here, inside)
    _go(rest, -far, (along_x + x_0, along_y + y_0, along_z + z_0), size, here, inside)


@kernel
def _renewed(old, share, new, size, here, inside):
    """``new`` + share ``old``, which it overwrites: three components."""
    x, y, z = _vector(old, size, here, inside)
    x, y, z = new[0] + share * x, new[1] + share * y, new[2] + share * z
    tl.store(old + here, x, mask=inside)
    tl.store(old + (here + size), y, mask=inside)
    tl.store(old + (here + 2 * size), z, mask=inside)
    return x, y, z


@kernel
def _go(field, far, by, size, here, inside):
    """Add far times a vector to a field, in place."""
    for d in tl.static_range(3):
        place = field + (here + d * size)
        tl.store(place, tl.load(place, mask=inside, other=0.0) + far * by[d], mask=inside)


@kernel
def move(direction, image, length: tl.float64, found, rest, sums, size, BLOCK: tl.constexpr):
    """``found`` + length direction and ``rest`` - length image, in place, and the sums of rest^2."""
    here, inside = _place(size, BLOCK)
    far = tl.full((), length, found.dtype.element_ty)
    whole = tl.load(found + here, mask=inside) + far * tl.load(direction + here, mask=inside)
    left = tl.load(rest + here, mask=inside, other=0.0) - far * tl.load(image + here, mask=inside, other=0.0)
    tl.store(found + here, whole, mask=inside)
    tl.store(rest + here, left, mask=inside)
    tl.store(sums + tl.program_id(0), tl.sum((left * left).to(tl.float64)))


KERNELS = (product, curved, descend, move)


def _launch(one: Any, size: int, *arguments: Any) -> None:
    with torch.cuda.device_of(arguments[0]):
        one[(triton.cdiv(size, BLOCK),)](*arguments, size, BLOCK=BLOCK, num_warps=WARPS)


def _sums(size: int, like: Tensor) -> Tensor:
    return like.new_empty(triton.cdiv(size, BLOCK), dtype=torch.float64)


def inner(a: Tensor, b: Tensor) -> Tensor:
    """Scalar product over channels and voxels, a float64 scalar."""
    sums = _sums(a.numel(), a)
    _launch(product, a.numel(), a, b, sums)
    return sums.sum()


def products(metric: Tensor, rest: Tensor, smooth: Tensor) -> Tensor:
    """<rest, smooth> and <smooth, G smooth>, float64 (2,)."""
    size = rest[0].numel()
    sums = rest.new_empty(2, triton.cdiv(size, BLOCK), dtype=torch.float64)
    _launch(curved, size, metric, rest, smooth, sums)
    return sums.sum(1)


def descended(
    metric: Tensor,
    smooth: Tensor,
    ratio: float,
    length: float,
    direction: Tensor,
    unsmoothed: Tensor,
    found: Tensor,
    rest: Tensor,
) -> None:
    """Renew d and K^-1 d, then ``found`` + length d and ``rest`` - length (G d + K^-1 d), all in place."""
    _launch(descend, found[0].numel(), metric, smooth, ratio, length, direction, unsmoothed, found, rest)


def moved(direction: Tensor, image: Tensor, length: float, found: Tensor, rest: Tensor) -> Tensor:
    """``found`` + length direction and ``rest`` - length image, in place; returns |rest|^2."""
    sums = _sums(found.numel(), found)
    _launch(move, found.numel(), direction, image, length, found, rest, sums)
    return sums.sum()

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
def _image(metric, unsmoothed, x, y, z, size, here, inside):
    """G d + unsmoothed with d = (x, y, z)."""
    xx, yx, yy = _vector(metric, size, here, inside)
    zx, zy, zz = _vector(metric, size, here + 3 * size, inside)
    x_0, y_0, z_0 = _vector(unsmoothed, size, here, inside)
    return (
        xx * x + yx * y + zx * z + x_0,
        yx * x + yy * y + zy * z + y_0,
        zx * x + zy * y + zz * z + z_0,
    )


@kernel
def curved(metric, direction, unsmoothed, sums, size, BLOCK: tl.constexpr):
    """The sums of <d, G d + unsmoothed>."""
    here, inside = _place(size, BLOCK)
    x, y, z = _vector(direction, size, here, inside)
    along_x, along_y, along_z = _image(metric, unsmoothed, x, y, z, size, here, inside)
    found = x * along_x + y * along_y + z * along_z
    tl.store(sums + tl.program_id(0), tl.sum(found.to(tl.float64)))


@kernel
def descend(metric, direction, unsmoothed, length, found, rest, size, BLOCK: tl.constexpr):
    """``found`` + length d and ``rest`` - length (G d + unsmoothed), in place; ``length`` is in memory."""
    here, inside = _place(size, BLOCK)
    far = tl.load(length).to(found.dtype.element_ty)
    x, y, z = _vector(direction, size, here, inside)
    images = _image(metric, unsmoothed, x, y, z, size, here, inside)
    _go(found, far, (x, y, z), size, here, inside)
    _go(rest, -far, images, size, here, inside)


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


def descended(
    metric: Tensor, direction: Tensor, unsmoothed: Tensor, rz: float, found: Tensor, rest: Tensor
) -> None:
    """``found`` + s d and ``rest`` - s (G d + unsmoothed), in place, with s the ``rz`` over <d, G d +
    unsmoothed>.
    """
    size = found[0].numel()
    sums = _sums(size, found)
    _launch(curved, size, metric, direction, unsmoothed, sums)
    _launch(descend, size, metric, direction, unsmoothed, rz / sums.sum(), found, rest)


def moved(direction: Tensor, image: Tensor, length: float, found: Tensor, rest: Tensor) -> Tensor:
    """``found`` + length direction and ``rest`` - length image, in place; returns |rest|^2."""
    sums = _sums(found.numel(), found)
    _launch(move, found.numel(), direction, image, length, found, rest, sums)
    return sums.sum()

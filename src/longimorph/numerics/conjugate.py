"""Conjugate gradients for the solves of the preconditioner.

On a CPU their updates are the fused loops of :mod:`longimorph.numerics.fused_solves`, on a GPU the kernels of
:mod:`longimorph.numerics.triton_solves`; where these cannot be used, and in other than three dimensions, they
are the same formulas in torch. The results differ only by rounding.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from types import ModuleType
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from longimorph.numerics import passes
from longimorph.numerics.blocks import new_field

LinearMap = Callable[[Tensor], Tensor]


def conjugate_gradients(apply: LinearMap, b: Tensor, iterations: int, tolerance: float) -> Tensor:
    """Solve A x = b for symmetric positive A; stops at |r| <= tolerance |b| or after ``iterations``.

    Overwrites ``b``.
    """
    x, r, direction = new_field(b).zero_(), b, new_field(b).copy_(b)
    rr = float(inner(r, r))
    stop = tolerance**2 * rr
    for _ in range(iterations):
        if not rr > stop:
            break
        image = apply(direction)
        length = rr / float(inner(direction, image))
        rr, previous = _move(direction, image, length, x, r), rr
        del image
        _renew(r, rr / previous, direction)
    return x


def smooth_solution(
    metric: Tensor, kernel: LinearMap, b: Tensor, iterations: int, tolerance: float
) -> Tensor:
    """Solve (K^-1 + G) y = b for y (d, *grid), with G the symmetric matrices ``metric`` (d (d + 1) / 2,
    *grid).

    Stops when the residual, in the norm of K, has fallen to ``tolerance`` times its initial value, or after
    ``iterations``. Overwrites ``b``. The length of a step follows from products with the smoothed residual
    (Chronopoulos and Gear, 1989), so that an iteration traverses its fields twice.
    """
    y, r, z = new_field(b).zero_(), b, kernel(b)
    direction, unsmoothed = new_field(b).zero_(), new_field(b).zero_()  # unsmoothed = K^-1 direction
    rz, curved = _products(metric, r, z)
    stop, ratio, length = tolerance**2 * rz, 0.0, 1.0
    for _ in range(iterations):
        if not rz > stop:
            break
        along = curved - ratio * rz / length  # <direction, (K^-1 + G) direction>
        if not along > 0:  # lost to rounding
            break
        length = rz / along
        _descend(metric, z, ratio, length, direction, unsmoothed, y, r)
        z = kernel(r)
        previous = rz
        rz, curved = _products(metric, r, z)
        ratio = rz / previous
    return y


def inner(a: Tensor, b: Tensor) -> Tensor:
    """Scalar product over channels and voxels, float64 scalar; its products have the type of the fields."""
    if (kernels := _kernels(a, b)) is not None:
        found: Tensor = kernels.inner(a, b)
        return found
    loops = _loops(a, b)
    if loops is None:
        return torch.stack([(x * y).sum(dtype=torch.float64) for x, y in zip(a, b, strict=True)]).sum()
    sums = np.empty(a.shape[1])
    one, other = _arrays(a, b)
    passes.in_parts(lambda part: loops.product(one, other, sums, *part), len(sums))
    return torch.tensor(sums.sum(), dtype=torch.float64)


def multiply(metric: Tensor, field: Tensor) -> Tensor:
    """Multiply a vector field (d, *grid) by a symmetric matrix per voxel, (d (d + 1) / 2, *grid)."""
    out = torch.zeros_like(field)
    entries = iter(metric)
    for row in range(len(field)):
        for column in range(row + 1):
            entry = next(entries)
            out[row].addcmul_(entry, field[column])
            if column < row:
                out[column].addcmul_(entry, field[row])
    return out


def _products(metric: Tensor, rest: Tensor, smooth: Tensor) -> tuple[float, float]:
    """<r, z> and <z, G z + r> of a residual r and its smoothed version z = K r."""
    if (kernels := _kernels(metric, rest, smooth)) is not None:
        along, across = kernels.products(metric, rest, smooth).tolist()
    elif (loops := _loops(metric, rest, smooth)) is not None:
        sums, given = np.empty((2, smooth.shape[1])), _arrays(metric, rest, smooth)
        passes.in_parts(lambda part: loops.products(*given, sums, *part), sums.shape[1])
        along, across = sums.sum(1).tolist()
    else:
        along, across = float(inner(rest, smooth)), float(inner(smooth, multiply(metric, smooth)))
    return along, along + across


def _descend(
    metric: Tensor,
    smooth: Tensor,
    ratio: float,
    length: float,
    direction: Tensor,
    unsmoothed: Tensor,
    found: Tensor,
    rest: Tensor,
) -> None:
    """Renew d = ``smooth`` + ratio d and K^-1 d = ``rest`` + ratio K^-1 d, then take the step: ``found`` +
    length d and ``rest`` - length (G d + K^-1 d), all in place.
    """
    written = direction, unsmoothed, found, rest
    if (kernels := _kernels(metric, smooth, *written)) is not None:
        kernels.descended(metric, smooth, ratio, length, *written)
        return
    loops = _loops(metric, smooth, *written)
    if loops is None:
        torch.add(smooth, direction, alpha=ratio, out=direction)
        torch.add(rest, unsmoothed, alpha=ratio, out=unsmoothed)
        found.add_(direction, alpha=length)
        rest.sub_(multiply(metric, direction).add_(unsmoothed), alpha=length)
        return
    given = *_arrays(metric, smooth), _like(found, ratio), _like(found, length), *_arrays(*written)
    passes.in_parts(lambda part: loops.descend(*given, *part), found.shape[1])


def _renew(new: Tensor, ratio: float, old: Tensor) -> None:
    """``new`` + ratio ``old``, in place of the old."""
    loops = _loops(new, old)
    if loops is None:
        torch.add(new, old, alpha=ratio, out=old)
        return
    (source, target), share = _arrays(new, old), _like(old, ratio)
    passes.in_parts(lambda part: loops.renew(source, share, target, *part), old.shape[1])


def _move(direction: Tensor, image: Tensor, length: float, found: Tensor, rest: Tensor) -> float:
    """``found`` + length direction and ``rest`` - length image, in place; returns |rest|^2."""
    if (kernels := _kernels(direction, image, found, rest)) is not None:
        return float(kernels.moved(direction, image, length, found, rest))
    loops = _loops(direction, image, found, rest)
    if loops is None:
        found.add_(direction, alpha=length)
        rest.sub_(image, alpha=length)
        return float(inner(rest, rest))
    sums, far = np.empty(found.shape[1]), _like(found, length)
    given, written = _arrays(direction, image), _arrays(found, rest)
    passes.in_parts(lambda part: loops.move(*given, far, *written, sums, *part), len(sums))
    return float(sums.sum())


def _loops(*fields: Tensor) -> ModuleType | None:
    """The fused updates, where they can process these fields."""
    recorded = any(field.requires_grad for field in fields)
    return _module() if not recorded and passes.can_fuse(fields) else None


def _kernels(*fields: Tensor) -> ModuleType | None:
    """The kernels for a GPU, where they can process these fields."""
    if any(field.requires_grad for field in fields) or passes.kernels_for(fields) is None:
        return None
    from longimorph.numerics import triton_solves  # needs Triton

    return triton_solves


@functools.cache
def _module() -> ModuleType:
    from longimorph.numerics import fused_solves  # needs numba

    return fused_solves


def _arrays(*fields: Tensor) -> list[NDArray[Any]]:
    return [field.flatten(2).numpy() for field in fields]


def _like(field: Tensor, number: float) -> np.generic:
    """A number of the type of a field."""
    kind: np.generic = field.numpy().dtype.type(number)
    return kind

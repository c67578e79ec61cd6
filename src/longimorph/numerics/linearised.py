"""The shooting linearised at p0 = 0, q(1) = q0 + M p0, and its regularised inverse.

    M p = A^T K A p + beta^2 p,     A p = alpha sum_n p_n grad q0_n   (grad q0 tangent to the sphere),

symmetric and non-negative on tangent p. (M + s) x = b is solved for a velocity y instead of the momentum x:
with D = beta^2 + s, one number per voxel,

    (K^-1 + A D^-1 A^T) y = A D^-1 b,     x = D^-1 (b - A^T y).

A velocity has d values per voxel, a momentum one per class. The division by D is exact, although beta^2
varies by many orders of magnitude between voxels. A D^-1 A^T is a small matrix per voxel; conjugate gradients
preconditioned by K take one convolution per iteration and never need K^-1.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from longimorph.numerics import control, passes
from longimorph.numerics.control import Exchange
from longimorph.numerics.dynamics import System, drive
from longimorph.numerics.phases import phase
from longimorph.numerics.states import State

LinearMap = Callable[[Tensor], Tensor]


def inner(a: Tensor, b: Tensor) -> Tensor:
    """Scalar product over channels and voxels, float64 scalar; summed channel by channel to save memory."""
    return torch.stack([(x * y).sum(dtype=torch.float64) for x, y in zip(a, b, strict=True)]).sum()


@dataclass(frozen=True)
class LinearisedShooting:
    """M at a source q0 (C, *grid); ``iterations`` and ``tolerance`` bound the solves of its inverse."""

    q0: Tensor
    system: System
    iterations: int = 100
    tolerance: float = 1e-3

    def __call__(self, p: Tensor) -> Tensor:
        """dq/dt for a tangent momentum p (C, *grid)."""
        rho, _, v = drive(State(self.q0, p), self.system)
        return passes.rate(self.q0, p, self.system.control, rho, v, self.system.per_mm)

    @phase("solve")
    def inverse(self, b: Tensor, shift: float) -> Tensor:
        """(M + shift)^-1 b, tangent, for a tangent b (C, *grid) and a positive shift."""
        priced, u = self.system.control, self.system.per_mm
        if isinstance(priced, Exchange):
            return self._inverse_of_pairs(b, shift, priced)
        rho = control.rho(self.q0, priced.shares)
        scale = 1 - rho + shift
        _, density = passes.density(self.q0, b / scale, priced, u)
        metric = passes.metric(self.q0, priced, u).div_(scale)
        y = _velocity(metric, self.system.kernel, density, self.iterations, self.tolerance)
        del metric, density
        x = passes.rate(self.q0, b, priced, rho, y, u)  # beta^2 b - A^T y
        return x.addcmul_(rho, b).div_(scale)

    def _inverse_of_pairs(self, b: Tensor, shift: float, priced: Exchange) -> Tensor:
        """The same with D = B + shift, a small symmetric matrix per voxel."""
        q, u = self.q0, self.system.per_mm
        x = passes.unexchange(q, priced, shift, b)
        _, density = passes.density(q, x, priced, u)
        metric = passes.pair_metric(q, priced, shift, u)
        y = _velocity(metric, self.system.kernel, density, self.iterations, self.tolerance)
        del metric, density
        carried = passes.rate(q, torch.zeros_like(q), priced, x.new_empty(0), y, u)  # -A^T y
        return x.add_(passes.unexchange(q, priced, shift, carried))


def _velocity(metric: Tensor, kernel: LinearMap, b: Tensor, iterations: int, tolerance: float) -> Tensor:
    """Solve (K^-1 + G) y = b for y (d, *grid), with G the symmetric matrices ``metric`` (d (d + 1) / 2,
    *grid).

    Stops when the residual, in the norm of K, has fallen to ``tolerance`` times its initial value, or after
    ``iterations``. Overwrites ``b``.
    """
    y, r, direction, unsmoothed = torch.zeros_like(b), b, kernel(b), b.clone()  # unsmoothed = K^-1 direction
    rz = float(inner(r, direction))
    stop = tolerance**2 * rz
    for _ in range(iterations):
        if not rz > stop:
            break
        image = multiply(metric, direction).add_(unsmoothed)
        length = rz / float(inner(direction, image))
        y.add_(direction, alpha=length)
        r.sub_(image, alpha=length)
        del image
        z = kernel(r)
        rz, previous = float(inner(r, z)), rz
        direction.mul_(rz / previous).add_(z)
        del z
        unsmoothed.mul_(rz / previous).add_(r)
    return y


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

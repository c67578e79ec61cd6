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

from dataclasses import dataclass

import torch
from torch import Tensor

from longimorph.numerics import control, passes
from longimorph.numerics.blocks import new_field
from longimorph.numerics.conjugate import smooth_solution
from longimorph.numerics.control import Allocation, Exchange
from longimorph.numerics.dynamics import System, drive
from longimorph.numerics.phases import phase
from longimorph.numerics.states import State


@dataclass(frozen=True)
class LinearisedShooting:
    """M at a source q0 (C, *grid); ``iterations`` and ``tolerance`` bound the solves of its inverse."""

    q0: Tensor
    system: System
    iterations: int = 100
    tolerance: float = 3e-3

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
        rho = _rho(self.q0, priced)
        scale = new_field(rho).copy_(rho).neg_().add_(1).add_(shift)
        _, density = passes.density(self.q0, torch.div(b, scale, out=new_field(b)), priced, u)
        metric = passes.metric(self.q0, priced, u).div_(scale)
        y = smooth_solution(metric, self.system.kernel, density, self.iterations, self.tolerance)
        del metric, density
        x = passes.rate(self.q0, b, priced, rho, y, u)  # beta^2 b - A^T y
        return x.addcmul_(rho, b).div_(scale)

    def _inverse_of_pairs(self, b: Tensor, shift: float, priced: Exchange) -> Tensor:
        """The same with D = B + shift, a small symmetric matrix per voxel."""
        q, u = self.q0, self.system.per_mm
        x = passes.unexchange(q, priced, shift, b)
        _, density = passes.density(q, x, priced, u)
        metric = passes.pair_metric(q, priced, shift, u)
        y = smooth_solution(metric, self.system.kernel, density, self.iterations, self.tolerance)
        del metric, density
        carried = passes.rate(q, torch.zeros_like(q), priced, x.new_empty(0), y, u)  # -A^T y
        return x.add_(passes.unexchange(q, priced, shift, carried))


def _rho(q: Tensor, priced: Allocation) -> Tensor:
    """rho (1, *grid) of a map q (C, *grid), slab by slab."""
    out = new_field(q, 1)
    for start, stop in passes.slabs(q):
        out[:, start:stop] = control.rho(q[:, start:stop], priced.shares[:, start:stop])
    return out

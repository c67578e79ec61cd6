"""Preconditioner of the momentum's optimisation, from the shooting linearised at p0 = 0.

There q(1) = q0 + M p0 with M symmetric and non-negative. With the curvature of the mismatch (0 to 2 for
probabilities, 1 for their roots) taken as 1, the Hessian of the cost E5 is M (M + lambda). Its inverse is
applied as regularised solves by conjugate gradients, times M (M + shift)^-1: directions that hardly move the
map (the kernel of M) are left alone, where a momentum would only grow.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from longimorph.numerics.dynamics import InfinitesimalShooting

LinearMap = Callable[[Tensor], Tensor]


def inner(a: Tensor, b: Tensor) -> Tensor:
    """Scalar product over classes and voxels, float64 scalar; class by class, so as to need little room."""
    return torch.stack([(x * y).sum(dtype=torch.float64) for x, y in zip(a, b, strict=True)]).sum()


def conjugate_gradients(apply: LinearMap, b: Tensor, iterations: int, tolerance: float) -> Tensor:
    """Solve A x = b for symmetric positive A; stops at |r| <= tolerance |b| or after the iterations."""
    x, r, direction = torch.zeros_like(b), b.clone(), b.clone()
    rr = float(inner(r, r))
    stop = tolerance**2 * rr
    for _ in range(iterations):
        if not rr > stop:
            break
        image = apply(direction)
        length = rr / float(inner(direction, image))
        x.add_(direction, alpha=length)
        r.sub_(image, alpha=length)
        del image
        rr, previous = float(inner(r, r)), rr
        direction.mul_(rr / previous).add_(r)
    return x


@dataclass(frozen=True)
class Preconditioner:
    """M (M + shift)^-2 (M + shift + lambda)^-1, each solve by at most ``iterations`` conjugate gradients."""

    shooting: InfinitesimalShooting
    regularisation: float
    iterations: int = 20
    tolerance: float = 1e-2

    def __call__(self, gradient: Tensor, shift: float) -> Tensor:
        """Apply to a tangent gradient (C, *grid)."""
        first = self._solve(gradient, shift + self.regularisation)
        return self._solve(self.shooting(self._solve(first, shift)), shift)

    def _solve(self, b: Tensor, shift: float) -> Tensor:
        return conjugate_gradients(
            lambda x: self.shooting(x).add_(x, alpha=shift), b, self.iterations, self.tolerance
        )

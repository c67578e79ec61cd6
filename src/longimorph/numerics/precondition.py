"""Preconditioner of the momentum's optimisation, from the shooting linearised at p0 = 0.

There q(1) = q0 + M p0 with M symmetric and non-negative, and the Hessian of the cost E5 is M W M + lambda M
with W the curvature of the mismatch. Its inverse is approximated by regularised solves with conjugate
gradients.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

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


CURVATURE_FLOOR = 8.0
"""Added to W, whose eigenvalues lie between 0 and 4 (1 + w): the voxels that W hardly sees stay in bounds."""


@dataclass(frozen=True)
class Preconditioner:
    """(M + s)^-1 (W + CURVATURE_FLOOR)^-1 (M + s)^-1 with s the damping plus lambda.

    ``shooting`` is M and ``curvature`` is W, both on tangent fields (C, *grid); ``iterations`` and
    ``tolerance`` bound each solve with M, and half as many iterations that with W.
    """

    shooting: LinearMap
    curvature: LinearMap
    regularisation: float
    iterations: int = 20
    tolerance: float = 1e-2

    def __call__(self, gradient: Tensor, damping: float) -> Tensor:
        """Apply to a tangent gradient (C, *grid)."""
        shift = damping + self.regularisation
        first = self._inverse(gradient, shift)
        return self._inverse(self._solve(self.curvature, first, CURVATURE_FLOOR, 2), shift)

    def momentum(self, rate: Tensor, shift: float) -> Tensor:
        """A momentum for a tangent rate of change (C, *grid): M^2 (M + shift)^-3 rate, about.

        Directions that hardly move the map (the kernel of M), where it would only grow, are left alone.
        """
        found = self._inverse(self.shooting(rate), shift + self.regularisation)
        return self._inverse(self.shooting(self._inverse(found, shift)), shift)

    def _inverse(self, b: Tensor, shift: float) -> Tensor:
        return self._solve(self.shooting, b, shift)

    def _solve(self, a: LinearMap, b: Tensor, shift: float, fewer: int = 1) -> Tensor:
        return conjugate_gradients(
            lambda x: a(x).add_(x, alpha=shift), b, self.iterations // fewer, self.tolerance
        )

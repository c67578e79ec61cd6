"""Preconditioner for the optimisation of the momentum, from the shooting linearised at p0 = 0.

There q(1) = q0 + M p0, and the Hessian of the cost E5 is M W M + lambda M with W the curvature of the
mismatch. Its inverse is approximated by two regularised solves with M and, between them, one with W.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

from torch import Tensor

from longimorph.numerics.conjugate import LinearMap, conjugate_gradients
from longimorph.numerics.linearised import LinearisedShooting

START_TOLERANCE = 1e-3
"""Largest tolerance of the solves for a momentum along the great circles."""
CURVATURE_FLOOR = 4.0
"""Added to W, whose eigenvalues lie between 0 and 2 (1 + w), to bound voxels to which W is nearly blind."""


@dataclass(frozen=True)
class Preconditioner:
    """(M + s)^-1 (W + CURVATURE_FLOOR)^-1 (M + s)^-1 with s the damping plus lambda.

    ``shooting`` is M and ``curvature`` is W, on tangent fields (C, *grid); ``iterations`` and ``tolerance``
    bound the solve with W.
    """

    shooting: LinearisedShooting
    curvature: LinearMap
    regularisation: float
    iterations: int = 3
    tolerance: float = 1e-2

    def __call__(self, gradient: Tensor, damping: float) -> Tensor:
        """Apply to a tangent gradient (C, *grid)."""
        shift = damping + self.regularisation
        found = self._inverse_curvature(self.shooting.inverse(gradient, shift))
        return self.shooting.inverse(found, shift)

    def _inverse_curvature(self, b: Tensor) -> Tensor:
        def shifted(x: Tensor) -> Tensor:
            return self.curvature(x).add_(x, alpha=CURVATURE_FLOOR)

        return conjugate_gradients(shifted, b, self.iterations, self.tolerance)

    def momentum(self, rate: Tensor, shift: float) -> Tensor:
        """Return a momentum for a tangent rate of change (C, *grid): approximately M^2 (M + shift)^-3 rate.

        Directions that hardly move the map (the kernel of M) are left alone; the momentum would only grow
        there, as it would by what a solve leaves there: these solves are more precise.
        """
        shooting = replace(self.shooting, tolerance=min(self.shooting.tolerance, START_TOLERANCE))
        found = shooting.inverse(shooting(rate), shift + self.regularisation)
        return shooting.inverse(shooting(shooting.inverse(found, shift)), shift)

    def handed_over(self, rate: Tensor, shift: float) -> Tensor:
        """Return a momentum for the tangent rate of change (C, *grid) of a coarser level's optimum, which is
        smooth enough for a single solve: (M + shift)^-1 rate.
        """
        return self.shooting.inverse(rate, shift)

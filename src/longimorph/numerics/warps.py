"""The diffeomorphism of a geodesic: where each point goes, where it came from, and its Jacobian.

phi(x) is the position at the target visit of the point x of the source visit: d phi/dt = w(t, phi), phi(0) =
x. Both maps are integrated from the same velocities, so they invert each other up to the integration error.
Displacements are in mm along the grid's axes.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from longimorph.numerics.fields import difference, grid_axes, interpolate, positions
from longimorph.numerics.parking import Parked, park_beside
from longimorph.numerics.phases import phase


@dataclass(frozen=True)
class Warps:
    """``inverse`` u with phi(x) = x + u(x) on the source's grid; ``forward`` w with phi^-1(y) = y + w(y).

    ``forward`` is the field that a resampler needs to bring the source to the target (pull-back). Both are
    (d, *grid) in mm along the grid's axes. ``log_jacobian`` (*grid) is log det of D phi on the source's grid:
    positive where tissue expands from source to target. ``folded`` is the share of voxels where the
    determinant of ``inverse`` as sampled, from differences of neighbours, is <= 0: phi may vary faster than
    the grid can resolve. ``inverse_error`` is the mean of |phi^-1(phi(x)) - x| in mm. ``mean_volume`` (*grid)
    is, on the target's grid, the mean volume over time of the tissue that has 1 mm^3 there (m of E12).
    """

    forward: Tensor
    inverse: Tensor
    log_jacobian: Tensor
    folded: float
    inverse_error: float
    mean_volume: Tensor


class Warping:
    """Both maps from the velocities of a path, (d, *grid) in mm per unit of time, as they are shot.

    Points of the source are advanced while each velocity is available; the velocity is then parked, and
    fetched once more for the backward integration.
    """

    def __init__(self, spacing: Sequence[float], steps: int, like: Tensor) -> None:
        """``steps`` equal steps over the grid of ``like`` (C, *grid), on its device."""
        self._spacing, self._duration = spacing, 1.0 / steps
        self._x = positions(like.shape[1:], spacing, like)
        self._ahead, self._grown = self._x, torch.zeros_like(self._x[0])
        self._velocities: list[Parked] = []

    def follow(self, w: Tensor) -> None:
        """Take the velocity at the midpoint of the next step.

        The log of the volume around each point grows by the integral of the divergence along its path
        (Liouville); it stays finite for any expansion.
        """
        with park_beside(w) as parked:
            self._ahead, rate = _moved(self._ahead, w, self._spacing, self._duration)
            self._grown.add_(rate, alpha=self._duration)
        self._velocities += parked

    @phase("warps")
    def finish(self) -> Warps:
        """Integrate back from the target's grid and return both maps; releases the velocities."""
        back, x, spacing = self._x, self._x, self._spacing
        shrunk, mean = torch.zeros_like(self._grown), torch.full_like(self._grown, self._duration / 2)
        while self._velocities:
            w = self._velocities.pop().fetch()
            if self._velocities:
                self._velocities[-1].prefetch()
            back, rate = _moved(back, w, spacing, -self._duration)
            shrunk.sub_(rate, alpha=self._duration)
            mean.add_(shrunk.exp(), alpha=self._duration if self._velocities else self._duration / 2)
        forward, inverse = back - x, self._ahead - x
        returned = self._ahead + interpolate(forward, self._ahead, spacing)
        return Warps(
            forward,
            inverse,
            self._grown,
            float((jacobian(inverse, spacing) <= 0).float().mean()),
            float((returned - x).square().sum(0).sqrt().mean()),
            mean,
        )


def _moved(points: Tensor, w: Tensor, spacing: Sequence[float], duration: float) -> tuple[Tensor, Tensor]:
    """Points (d, *grid) at the end of a midpoint step along a velocity, and its divergence half-way, (*grid)
    per unit of time.
    """
    middle = points + 0.5 * duration * interpolate(w, points, spacing)
    found = interpolate(torch.cat([w, _divergence(w, spacing)]), middle, spacing)
    return points + duration * found[:-1], found[-1]


def _divergence(w: Tensor, spacing: Sequence[float]) -> Tensor:
    """div w of a velocity (d, *grid) in mm per unit of time: (1, *grid)."""
    parts = [
        difference(one[None], a) / (2 * h) for one, a, h in zip(w, grid_axes(spacing), spacing, strict=True)
    ]
    return torch.stack(parts).sum(0)


def jacobian(displacement: Tensor, spacing: Sequence[float]) -> Tensor:
    """det of the derivative of x + u(x): u (d, *grid) in mm, d = 2 or 3, returns (*grid)."""
    sides = list(zip(grid_axes(spacing), spacing, strict=True))
    rows = [
        [_slope(u, axis, h, own=i == j) for j, (axis, h) in enumerate(sides)]
        for i, u in enumerate(displacement)
    ]
    return _determinant(rows)


def _slope(u: Tensor, axis: int, h: float, own: bool) -> Tensor:
    """One entry of the derivative of x + u(x); ``own`` marks the diagonal."""
    slope = difference(u[None], axis)[0].div_(2 * h)
    return slope.add_(1.0) if own else slope


def _determinant(rows: Sequence[Sequence[Tensor]]) -> Tensor:
    """det of a 2 x 2 or 3 x 3 matrix whose entries are fields."""
    if len(rows) == 2:
        (a, b), (c, d) = rows
        return a * d - b * c
    a, b, c = rows[0]
    return (
        a * _determinant([rows[1][1:], rows[2][1:]])
        - b * _determinant([rows[1][::2], rows[2][::2]])
        + c * _determinant([rows[1][:2], rows[2][:2]])
    )


def integrate(velocities: Sequence[Tensor], spacing: Sequence[float], like: Tensor) -> Warps:
    """Both maps from velocities (d, *grid), mm per unit of time, in the middle of N equal steps.

    ``like`` (C, *grid) gives the grid and the device.
    """
    found = Warping(spacing, len(velocities), like)
    for w in velocities:
        found.follow(w)
    return found.finish()

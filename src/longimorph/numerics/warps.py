"""The diffeomorphism of a geodesic: where each point goes, where it came from, and its Jacobian.

phi(x) is where the point x of the source visit lies at the target visit: d phi/dt = w(t, phi), phi(0) = x.
Both maps are integrated from the same velocities, so that they invert each other up to the error of the
integration. Displacements are in mm along the grid's axes.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from longimorph.numerics.fields import difference, grid_axes, interpolate, positions

SMALLEST_JACOBIAN = 1e-3


@dataclass(frozen=True)
class Warps:
    """``inverse`` u with phi(x) = x + u(x) on the source's grid; ``forward`` w with phi^-1(y) = y + w(y).

    Forward is the field that a resampler needs to bring the source to the target (pull-back); both are
    (d, *grid) in mm along the grid's axes. ``log_jacobian`` (*grid) is log det of D phi on the source's grid:
    + where tissue expands from source to target. ``folded`` is the share of voxels with det <= 0 (their
    log is that of SMALLEST_JACOBIAN), ``inverse_error`` the mean of |phi^-1(phi(x)) - x| in mm.
    """

    forward: Tensor
    inverse: Tensor
    log_jacobian: Tensor
    folded: float
    inverse_error: float


def _follow(velocities: Iterable[Tensor], start: Tensor, spacing: Sequence[float], duration: float) -> Tensor:
    points = start
    for resting in velocities:
        w = resting.to(start.device)
        middle = points + 0.5 * duration * interpolate(w, points, spacing)
        points = points + duration * interpolate(w, middle, spacing)
    return points


def jacobian(displacement: Tensor, spacing: Sequence[float]) -> Tensor:
    """det of the derivative of x + u(x): u (d, *grid) in mm, returns (*grid)."""
    rows = torch.stack(
        [difference(displacement, a) / (2 * h) for a, h in zip(grid_axes(spacing), spacing, strict=True)]
    )
    matrix = rows.movedim((0, 1), (-1, -2)) + torch.eye(len(spacing), dtype=rows.dtype, device=rows.device)
    determinant: Tensor = torch.linalg.det(matrix)
    return determinant


def integrate(velocities: Sequence[Tensor], spacing: Sequence[float], like: Tensor) -> Warps:
    """Both maps from the velocities (d, *grid), mm per unit of time, in the middle of N equal steps.

    They may wait on the host; ``like`` gives the device to work on.
    """
    duration = 1.0 / len(velocities)
    x = positions(velocities[0].shape[1:], spacing, like)
    ahead = _follow(velocities, x, spacing, duration)
    back = _follow(reversed(velocities), x, spacing, -duration)
    forward, inverse = back - x, ahead - x
    determinant = jacobian(inverse, spacing)
    returned = ahead + interpolate(forward, ahead, spacing)
    return Warps(
        forward,
        inverse,
        determinant.clamp(min=SMALLEST_JACOBIAN).log(),
        float((determinant <= 0).float().mean()),
        float((returned - x).square().sum(0).sqrt().mean()),
    )

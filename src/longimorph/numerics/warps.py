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


@dataclass(frozen=True)
class Warps:
    """``inverse`` u with phi(x) = x + u(x) on the source's grid; ``forward`` w with phi^-1(y) = y + w(y).

    Forward is the field that a resampler needs to bring the source to the target (pull-back); both are
    (d, *grid) in mm along the grid's axes. ``log_jacobian`` (*grid) is log det of D phi on the source's grid:
    + where tissue expands from source to target. ``folded`` is the share of voxels where the determinant of
    ``inverse`` as sampled, from differences of neighbours, is <= 0: phi may change faster than the grid can
    show. ``inverse_error`` is the mean of |phi^-1(phi(x)) - x| in mm.
    """

    forward: Tensor
    inverse: Tensor
    log_jacobian: Tensor
    folded: float
    inverse_error: float


def _follow(
    velocities: Iterable[Tensor], start: Tensor, spacing: Sequence[float], duration: float
) -> tuple[Tensor, Tensor]:
    """Where points (d, *grid) get to, and by how much the log of the volume around each grew (*grid).

    The latter is the integral of the divergence along the path (Liouville), finite however much it expands.
    """
    points, grown = start, torch.zeros_like(start[0])
    for resting in velocities:
        w = resting.to(start.device)
        middle = points + 0.5 * duration * interpolate(w, points, spacing)
        grown.add_(interpolate(_divergence(w, spacing), middle, spacing)[0], alpha=duration)
        points = points + duration * interpolate(w, middle, spacing)
    return points, grown


def _divergence(w: Tensor, spacing: Sequence[float]) -> Tensor:
    """div w of a velocity (d, *grid) in mm per unit of time: (1, *grid)."""
    parts = [
        difference(one[None], a) / (2 * h) for one, a, h in zip(w, grid_axes(spacing), spacing, strict=True)
    ]
    return torch.stack(parts).sum(0)


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
    ahead, log_jacobian = _follow(velocities, x, spacing, duration)
    back, _ = _follow(reversed(velocities), x, spacing, -duration)
    forward, inverse = back - x, ahead - x
    returned = ahead + interpolate(forward, ahead, spacing)
    return Warps(
        forward,
        inverse,
        log_jacobian,
        float((jacobian(inverse, spacing) <= 0).float().mean()),
        float((returned - x).square().sum(0).sqrt().mean()),
    )

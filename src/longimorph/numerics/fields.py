"""Differences and interpolation on a regular grid with spacing in mm.

Grid axes are the last axes of a tensor; leading axes are treated as a batch. The derivative D is the central
difference with the border value repeated outside. Its adjoint is exact, so a discrete Hamiltonian built from
it has an exact gradient. The plain difference f[i+1] - f[i-1] is 2 h D f: the factor 1/(2 h) is left to the
caller, who can apply it to a field with fewer channels.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, cast

import torch
from torch import Tensor
from torch.nn.functional import grid_sample


def _difference(f: Tensor, axis: int) -> Tensor:
    n = f.shape[axis]
    out = torch.empty_like(f)
    torch.sub(f.narrow(axis, 2, n - 2), f.narrow(axis, 0, n - 2), out=out.narrow(axis, 1, n - 2))
    torch.sub(f.narrow(axis, 1, 1), f.narrow(axis, 0, 1), out=out.narrow(axis, 0, 1))
    torch.sub(f.narrow(axis, n - 1, 1), f.narrow(axis, n - 2, 1), out=out.narrow(axis, n - 1, 1))
    return out


def _adjoint_difference(g: Tensor, axis: int) -> Tensor:
    n = g.shape[axis]
    out = torch.empty_like(g)
    torch.sub(g.narrow(axis, 0, n - 2), g.narrow(axis, 2, n - 2), out=out.narrow(axis, 1, n - 2))
    torch.add(g.narrow(axis, 0, 1), g.narrow(axis, 1, 1), out=out.narrow(axis, 0, 1)).neg_()
    torch.add(g.narrow(axis, n - 2, 1), g.narrow(axis, n - 1, 1), out=out.narrow(axis, n - 1, 1))
    return out


class _Difference(torch.autograd.Function):
    """A linear map whose backward pass is its adjoint; it saves nothing for the backward pass."""

    @staticmethod
    def forward(ctx: Any, f: Tensor, axis: int, transposed: bool) -> Tensor:
        ctx.spec = axis, transposed
        return (_adjoint_difference if transposed else _difference)(f, axis)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, None, None]:
        axis, transposed = ctx.spec
        return _apply(grads[0], axis, not transposed), None, None


def _apply(f: Tensor, axis: int, transposed: bool) -> Tensor:
    if not (f.requires_grad and torch.is_grad_enabled()):
        return (_adjoint_difference if transposed else _difference)(f, axis)
    return cast(Tensor, _Difference.apply(f, axis, transposed))  # type: ignore[no-untyped-call]


def difference(f: Tensor, axis: int) -> Tensor:
    """f[i+1] - f[i-1] = 2 h D f along a grid axis (negative index) of at least 3 nodes."""
    return _apply(f, axis, False)


def adjoint_difference(g: Tensor, axis: int) -> Tensor:
    """Adjoint of :func:`difference`: minus the difference, except at the border."""
    return _apply(g, axis, True)


def grid_axes(spacing: Sequence[float]) -> range:
    """Negative indices of the grid's axes, in the order of the spacing."""
    return range(-len(spacing), 0)


def positions(shape: Sequence[int], spacing: Sequence[float], like: Tensor) -> Tensor:
    """Coordinates of the nodes in mm along the grid axes from node 0: (d, *shape)."""
    sides = zip(shape, spacing, strict=True)
    axes = [torch.arange(n, dtype=like.dtype, device=like.device) * h for n, h in sides]
    return torch.stack(torch.meshgrid(*axes, indexing="ij"))


def interpolate(f: Tensor, points: Tensor, spacing: Sequence[float]) -> Tensor:
    """Interpolate f (K, *grid) at points (d, *any) in mm from node 0: multilinear, border value outside.

    Non-finite points raise ``FloatingPointError`` (grid_sample would crash on them).
    """
    if not bool(torch.isfinite(points).all()):
        raise FloatingPointError("interpolation at points that are not finite")
    shape = f.shape[1:]
    scaled = [2 * points[d] / (h * (n - 1)) - 1 for d, (h, n) in enumerate(zip(spacing, shape, strict=True))]
    where = torch.stack(scaled[::-1], -1)[None]
    return grid_sample(f[None], where, mode="bilinear", padding_mode="border", align_corners=True)[0]

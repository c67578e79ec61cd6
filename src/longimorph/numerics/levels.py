"""Coarser versions of a pair, and transfer of rates from one level to the next."""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor
from torch.nn.functional import avg_pool2d, avg_pool3d, interpolate, pad

SMALLEST_SIDE = 8


def coarser(maps: Tensor, axes: Sequence[bool]) -> Tensor:
    """Average pairs of nodes along the chosen grid axes: (K, *grid) -> (K, *smaller grid).

    An axis of odd length is first extended by its border value.
    """
    dims = len(axes)
    extra = [n % 2 if halve else 0 for n, halve in zip(maps.shape[1:], axes, strict=True)]
    widths = [w for e in reversed(extra) for w in (0, e)]
    padded = pad(maps[None], widths, mode="replicate")
    pool = avg_pool2d if dims == 2 else avg_pool3d
    return pool(padded, [2 if halve else 1 for halve in axes])[0]


def finer(fields: Tensor, shape: Sequence[int], axes: Sequence[bool]) -> Tensor:
    """Interpolate fields of a coarser level at the nodes of the finer grid, which has this ``shape``.

    (K, *smaller grid) -> (K, *grid), linear, constant beyond the outermost nodes. Values are per point, so
    they need no rescaling.
    """
    factors = [2.0 if halve else 1.0 for halve in axes]
    mode = "bilinear" if len(axes) == 2 else "trilinear"
    found = interpolate(fields[None], scale_factor=factors, mode=mode, align_corners=False)[0]
    return found[(slice(None), *(slice(n) for n in shape))]


def halved(shape: Sequence[int], spacing: Sequence[float], coarsest: float) -> list[bool] | None:
    """Return which axes to halve for the next coarser level, or None when no axis can be halved.

    An axis is halved while its spacing stays at or below ``coarsest`` mm and it keeps SMALLEST_SIDE nodes.
    """
    finest = min(spacing)
    axes = [
        2 * h <= coarsest and (n + 1) // 2 >= SMALLEST_SIDE and h < 1.5 * finest
        for n, h in zip(shape, spacing, strict=True)
    ]
    return axes if any(axes) else None

"""Noise of the labels, estimated from one pair: what no path explains, at the highest spatial frequencies.

Errors of single voxels at the borders of classes are rough, and flows of tissue are smooth. The residual of a
match therefore keeps the roughest part of the noise, from which the noise of volumes follows (E13). The
tables derive the noise floor (E14) and the intervals (E15) from it.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import product

import torch
from torch import Tensor

from longimorph.free_pairs import FreePairs
from longimorph.numerics import passes
from longimorph.numerics.attribution import Attribution
from longimorph.numerics.uncertainty import open_entries

DIMS = 3
STEEPER = 1.42
"""How much faster, in logarithms, a match absorbs the noise of the edge band than that of the corner band.

Measured on phantoms without change: 1.41 to 1.43 at 4 mm.
"""
ABSORBED, FALL = 0.4, 2.5
"""The least that a match absorbs of the corner band: the logarithm of the share, where the voxel is as wide
as the velocity's kernel, and the power by which it falls with smaller voxels. Phantoms: 0.39 to 0.86 at 4 mm,
0.22 at 3 mm, 0.06 to 0.27 at 2 mm.
"""

BEYOND = 1.15
"""From the low band of an axis to frequency 0 a Gaussian spectrum grows by a further 0.15 of the step between
the bands, whose mean squared frequencies are 6.1 and 0.8.
"""


@dataclass(frozen=True)
class Scale:
    """Lengths in mm that decide what noise looks like in the maps: per axis ``spacing``, and two widths."""

    spacing: tuple[float, ...]
    smoothing_mm: float
    kernel_mm: float


@dataclass(frozen=True)
class LabelNoise:
    """Standard errors per class, (C,) float64 in mm^3, of deformation, reallocation and their sum."""

    deformation: Tensor
    reallocation: Tensor
    change: Tensor


def label_noise(
    source: Tensor,
    target: Tensor,
    attribution: Attribution,
    control: Tensor,
    scale: Scale,
    free: Sequence[FreePairs] = (),
) -> LabelNoise:
    """Estimate the noise of a pair from its maps (C, x, y, z) and its match, E13; ``control`` is (C, C).

    Noise that is alike over many voxels, such as a border that is drawn too wide everywhere, is not seen.
    """
    share = control.to(attribution.final.q.device, torch.float64)
    undecided = open_entries(share, free) | share.isnan()
    share = ((share + share.T) / 2).masked_fill(undecided | undecided.T, 0)
    either = share.masked_fill(undecided | undecided.T, 1)
    other = (1 - share).masked_fill(undecided | undecided.T, 1)
    powers, borders = torch.zeros(2, dtype=torch.float64), torch.zeros_like(share)
    for residual, mean in _slabs(source, target, attribution):
        powers += band_powers(residual).cpu()
        flat = mean.flatten(1).double()
        borders += flat @ flat.T
    borders.fill_diagonal_(0)
    density = noise_density(powers, float((share * borders).sum()), scale)
    voxel_volume = math.prod(scale.spacing)
    return LabelNoise(
        *(
            (density * (part.square() * borders).sum(1)).sqrt() * voxel_volume
            for part in (either, other, torch.ones_like(share))
        )
    )


def noise_density(powers: Tensor, borders: float, scale: Scale) -> float:
    """The variance of the noise per P_a P_b of a voxel, E13, from the powers of the two bands.

    ``borders``: the sum of P_a P_b over voxels and ordered pairs of classes whose noise the match leaves.
    """
    if borders <= 0 or not bool((powers > 0).all()):
        return 0.0
    corner, edge = (powers / band_gains(scale) / borders).tolist()
    relative = math.prod(scale.spacing) ** (1 / DIMS) / scale.kernel_mm
    least = ABSORBED * min(1.0, relative) ** FALL
    absorbed = max(least, math.log(corner / edge) / (STEEPER - 1))
    corner, edge = corner * math.exp(absorbed), edge * math.exp(STEEPER * absorbed)
    return float(corner * max(1.0, edge / corner) ** (DIMS * BEYOND))


def band_powers(residual: Tensor) -> Tensor:
    """Sums of squares (2,) float64 of maps (C, x, y, z) in the corner band and in the three edge bands.

    The corner band is high-passed along all three axes, an edge band along two, and low-passed along the
    third. The filters are (-1, 2, -1) / 4 and (1, 2, 1) / 4; the outermost voxels only serve as neighbours.
    """
    sums = torch.zeros(2, dtype=torch.float64, device=residual.device)
    for highs in product((True, False), repeat=DIMS):
        if sum(highs) >= DIMS - 1:
            part = residual
            for axis, high in enumerate(highs, 1):
                part = _filtered(part, axis, high)
            sums[DIMS - sum(highs)] += part.square().sum(dtype=torch.float64)
    return sums


def band_gains(scale: Scale) -> Tensor:
    """Power (2,) that the smoothing of the maps leaves of white noise of variance 1 in the two bands.

    The transform of the discrete Gaussian of variance t, in voxels, is exp(t (cos w - 1)).
    """
    cosine = torch.cos(2 * math.pi * torch.arange(256, dtype=torch.float64) / 256)
    high, low = [], []
    for spacing in scale.spacing:
        left = (2 * (scale.smoothing_mm / spacing) ** 2 * (cosine - 1)).exp()
        high.append(float((((1 - cosine) / 2).square() * left).mean()))
        low.append(float((((1 + cosine) / 2).square() * left).mean()))
    corner = math.prod(high)
    return torch.tensor([corner, corner * sum(b / a for a, b in zip(high, low, strict=True))])


def _filtered(maps: Tensor, axis: int, high: bool) -> Tensor:
    """Filter maps along a grid axis; they become two voxels shorter."""
    count, others = max(maps.shape[axis] - 2, 0), (slice(None),) * axis
    before, here, after = (maps[(*others, slice(start, start + count))] for start in range(3))
    around = before + after
    return (2 * here - around if high else 2 * here + around) / 4


def _slabs(source: Tensor, target: Tensor, attribution: Attribution) -> Iterator[tuple[Tensor, Tensor]]:
    """Residual with a plane more on either side, and mean of the two maps, slab by slab."""
    q = attribution.final.q
    for start, stop in passes.slabs(q):
        wide = slice(max(start - 1, 0), stop + 1)
        residual = target[:, wide].to(q) - attribution.modelled(wide)
        yield residual, (source[:, start:stop].to(q) + target[:, start:stop].to(q)) / 2

"""Random smooth pairs for the benchmark on a graphics card, and the settings that they are matched with."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn.functional import interpolate

from longimorph.numerics.objective import Matching
from longimorph.numerics.solve import Pair, Settings
from longimorph.numerics.sphere import tangent

SPACING = (1.0, 1.0, 1.0)
NODES_APART = 12
DEFAULTS = Settings(
    kernel_mm=(4.0,),
    amplitude_mm=1.0,
    regularisation=3e-4,
    max_evaluations=40,
    tolerance=0.005,
    volume_mm=6.0,
    volume_weight=10.0,
    steps=None,
)
"""The defaults of a study, which would take more than torch to read."""


def smooth(shape: Sequence[int], channels: int, seed: int) -> Tensor:
    """Noise between nodes some 12 voxels apart, interpolated: (channels, *shape), on the processor."""
    generator = torch.Generator().manual_seed(seed)
    nodes = [max(2, 1 + n // NODES_APART) for n in shape]
    noise = torch.randn(1, channels, *nodes, generator=generator)
    return interpolate(noise, size=tuple(shape), mode="trilinear", align_corners=True)[0]


def random_pair(shape: Sequence[int], classes: int) -> tuple[Tensor, Tensor, Tensor]:
    """Two maps (C, *shape) that resemble each other and a control matrix (C, C), float32 on the processor.

    What the last class gains or loses is reallocation, everything else deformation.
    """
    score = 3 * smooth(shape, classes, 1)
    source = torch.softmax(score, 0)
    target = torch.softmax(score.add_(smooth(shape, classes, 2)), 0)
    control = torch.full((classes, classes), 0.999999)
    control[-1], control[:, -1] = 1e-4, 1e-4
    return source, target, control


def posed(
    pair: Sequence[Tensor], settings: Settings, device: torch.device, kind: torch.dtype = torch.float32
) -> tuple[Tensor, Matching]:
    """A small momentum tangent to the source, and the problem, both on the device."""
    source, target, control = (part.to(device, kind) for part in pair)
    matching = Pair(source, target, control, SPACING).matching(settings)
    noise = 0.01 * smooth(source.shape[1:], len(source), 3)
    return tangent(noise.to(device, kind), matching.source), matching

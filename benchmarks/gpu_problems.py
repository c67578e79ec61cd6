"""Pairs for the benchmark on a GPU, made with torch alone, and the settings to match them with."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn.functional import interpolate

from longimorph.numerics.objective import Matching
from longimorph.numerics.solve import MapPair, Settings
from longimorph.numerics.sphere import tangent

SPACING = (1.0, 1.0, 1.0)
NODES_APART = 12
CPU = torch.device("cpu")
DEFAULTS = Settings(
    kernel_mm=None,
    amplitude_mm=1.0,
    regularisation=3e-4,
    max_evaluations=40,
    tolerance=0.005,
    volume_mm=6.0,
    volume_weight=30.0,
    steps=None,
)
"""The defaults of a study, which would take more than torch to read."""

Maps = tuple[Tensor, Tensor, Tensor]
"""Source and target (C, *shape) and a control matrix (C, C)."""


def smooth(shape: Sequence[int], channels: int, seed: int, device: torch.device = CPU) -> Tensor:
    """Noise between nodes some 12 voxels apart, interpolated: (channels, *shape)."""
    generator = torch.Generator().manual_seed(seed)
    nodes = [max(2, 1 + n // NODES_APART) for n in shape]
    noise = torch.randn(1, channels, *nodes, generator=generator).to(device)
    return interpolate(noise, size=tuple(shape), mode="trilinear", align_corners=True)[0]


def random_pair(shape: Sequence[int], device: torch.device = CPU, seed: int = 1) -> Maps:
    """Two float32 maps of a shape (x, y, z, classes) that resemble each other, and a control matrix.

    What the last class gains or loses is reallocation, everything else deformation.
    """
    *grid, classes = shape
    score = smooth(grid, classes, seed, device).mul_(3)
    source = torch.softmax(score, 0)
    target = torch.softmax(score.add_(smooth(grid, classes, seed + 1, device)), 0)
    return source, target, _lesion_last(classes, device)


def _lesion_last(classes: int, device: torch.device) -> Tensor:
    control = torch.full((classes, classes), 0.999999, device=device)
    control[-1], control[:, -1] = 1e-4, 1e-4
    return control


def posed(
    pair: Sequence[Tensor],
    settings: Settings,
    device: torch.device,
    kind: torch.dtype = torch.float32,
    seed: int = 3,
) -> tuple[Tensor, Matching]:
    """A small momentum tangent to the source, and the problem, both on the device."""
    source, target, control = (part.to(device, kind) for part in pair)
    matching = MapPair(source, target, control, SPACING).matching(settings)
    noise = smooth(source.shape[1:], len(source), seed).mul_(0.01)
    return tangent(noise.to(device, kind), matching.source), matching


OUTSIDE, SKULL, CSF, GREY, WHITE, VENTRICLE, DEEP, LESION = range(8)
SOFT_MM, FLOOR = 0.6, 1e-9
"""How blurred boundaries are, as by a Gaussian of 1 mm, and the least probability, as in a study."""
WIDER, LESION_MM = 1.15, 6.0

Ellipsoid = tuple[int, tuple[float, float, float], tuple[float, float, float]]
"""A class, and the centre and half axes as shares of half the grid's extent."""
HEAD: tuple[Ellipsoid, ...] = (
    (SKULL, (0.0, 0.0, 0.0), (0.80, 0.90, 0.92)),
    (CSF, (0.0, 0.0, 0.0), (0.73, 0.83, 0.84)),
    (GREY, (0.0, 0.0, 0.0), (0.69, 0.79, 0.79)),
    (WHITE, (0.0, 0.0, 0.0), (0.60, 0.70, 0.68)),
    (DEEP, (-0.20, 0.05, -0.05), (0.11, 0.17, 0.16)),
    (DEEP, (0.20, 0.05, -0.05), (0.11, 0.17, 0.16)),
)
VENTRICLES: tuple[Ellipsoid, ...] = (
    (VENTRICLE, (-0.10, 0.0, 0.15), (0.07, 0.32, 0.13)),
    (VENTRICLE, (0.10, 0.0, 0.15), (0.07, 0.32, 0.13)),
)


def anatomy(shape: Sequence[int], spacing: float, device: torch.device = CPU) -> Maps:
    """A head of nested ellipsoids at two visits: at the second the ventricles are wider and a lesion is new.

    ``shape`` (x, y, z, 8), spacing in mm; float32.
    """
    grid, wider = shape[:3], tuple((c, centre, _scaled(axes)) for c, centre, axes in VENTRICLES)
    half = [0.5 * spacing * (n - 1) for n in grid]
    lesion: Ellipsoid = (LESION, (0.35, -0.25, 0.2), _ball(LESION_MM, half))
    source = _painted((*HEAD, *VENTRICLES), grid, half, device)
    target = _painted((*HEAD, *wider, lesion), grid, half, device)
    return source, target, _lesion_last(LESION + 1, device)


def _scaled(axes: tuple[float, float, float]) -> tuple[float, float, float]:
    x, y, z = (WIDER * a for a in axes)
    return x, y, z


def _ball(radius: float, half: Sequence[float]) -> tuple[float, float, float]:
    x, y, z = (radius / h for h in half)
    return x, y, z


def _painted(
    ellipsoids: Sequence[Ellipsoid], grid: Sequence[int], half: Sequence[float], device: torch.device
) -> Tensor:
    """Paint each ellipsoid over the earlier ones, on a background of the class OUTSIDE: (8, *grid)."""
    maps = torch.zeros(LESION + 1, *grid, device=device)
    maps[OUTSIDE] = 1.0
    for one in ellipsoids:
        inside = _inside(one, grid, half, device)
        maps.mul_(1 - inside)
        maps[one[0]].add_(inside)
    return maps.mul_(1 - FLOOR * len(maps)).add_(FLOOR)


def _inside(one: Ellipsoid, grid: Sequence[int], half: Sequence[float], device: torch.device) -> Tensor:
    """Share of an ellipsoid at each voxel: 1/2 on its surface, which undulates slightly like the cortex."""
    _, centre, axes = one
    radius = torch.zeros(tuple(grid), device=device)
    wave = torch.full((), 0.03, device=device)
    for axis, (n, h, c, a) in enumerate(zip(grid, half, centre, axes, strict=True)):
        x = torch.linspace(-1.0, 1.0, n, device=device).reshape([n if k == axis else 1 for k in range(3)])
        radius = radius + ((x - c) / a).square()
        wave = wave * torch.cos(h * x * math.pi / 10.0)
    size_mm = min(a * h for a, h in zip(axes, half, strict=True))
    return torch.sigmoid((1 + wave - radius.sqrt()) * size_mm / SOFT_MM)

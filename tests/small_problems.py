"""Random smooth problems on grids small enough to check laws in float64, and pairs of blobs."""

from __future__ import annotations

import torch
from torch import Tensor

from longimorph.numerics.control import allocation, exchange
from longimorph.numerics.dynamics import System
from longimorph.numerics.kernels import gaussian_kernel
from longimorph.numerics.memory_strategies import Offloadable
from longimorph.numerics.objective import Matching, follow
from longimorph.numerics.shooting import drift
from longimorph.numerics.solve import Settings
from longimorph.numerics.sphere import tangent, to_sphere
from longimorph.numerics.states import State

SHAPES = {2: (9, 8), 3: (6, 5, 7)}
SPACINGS = {2: (1.0, 1.3), 3: (1.0, 1.3, 0.9)}
SCALAR = ("mixed", "all deformation", "all reallocation", "one share")
"""Kinds of problems in which one rho per voxel prices reallocation."""
CONTROLS = (*SCALAR, "pairs")
"""These, and prices per pair of classes from a random matrix."""


def smooth(generator: torch.Generator, channels: int, shape: tuple[int, ...], nodes: float = 1.0) -> Tensor:
    """Noise blurred over about ``nodes`` nodes, standard deviation 1: (channels, *shape) float64."""
    field = torch.randn(channels, *shape, generator=generator, dtype=torch.float64)
    for axis, n in enumerate(shape, 1):
        x = torch.arange(n, dtype=torch.float64)
        blur = torch.exp(-((x[:, None] - x) ** 2) / (2 * nodes**2))
        field = torch.tensordot(field, blur, ([axis], [0])).movedim(-1, axis)
    return field / field.std()


def control_matrix(kind: str, classes: int, generator: torch.Generator) -> Tensor:
    """A control matrix of one of the CONTROLS: (C, C) float64."""
    mixed = torch.rand(classes, classes, generator=generator, dtype=torch.float64)
    share = {"all deformation": 1.0, "all reallocation": 0.0, "one share": 0.37}
    return mixed if kind in ("mixed", "pairs") else torch.full_like(mixed, share[kind])


def random_maps(generator: torch.Generator, classes: int, shape: tuple[int, ...]) -> Tensor:
    """Probability maps without zeros: (C, *shape) float64."""
    return torch.softmax(1.5 * smooth(generator, classes, shape), 0)


def random_problem(
    seed: int, dims: int = 2, kind: str = "mixed", classes: int = 4, speed: float = 1.0
) -> tuple[State, System]:
    """A point of the sphere with a tangent momentum of about ``speed``, and a system: float64."""
    generator = torch.Generator().manual_seed(seed)
    shape, spacing = SHAPES[dims], SPACINGS[dims]
    source, target = random_maps(generator, classes, shape), random_maps(generator, classes, shape)
    q = to_sphere(source)
    p = tangent(speed * smooth(generator, classes, shape), q)
    kernel = gaussian_kernel(shape, spacing, [1.2, 2.5], 6.0, q)
    matrix = control_matrix(kind, classes, generator)
    priced = exchange(matrix, source, target) if kind == "pairs" else allocation(matrix, target)
    return State(q, p), System(kernel, priced, spacing)


def is_tame(state: State, system: System, steps: int) -> bool:
    """Whether the steps are short enough for the momentum: along other paths H, and rounding with it, may
    grow a million times.
    """
    return drift(state, system, steps) < 10


def cost(momentum: Tensor, matching: Matching) -> float:
    """J(p0), the cost (E5), without its gradient."""
    return follow(momentum, matching).cost(matching)


def random_matching(seed: int, dims: int = 2, steps: int = 4, kind: str = "mixed") -> tuple[Tensor, Matching]:
    """A tangent momentum and the problem of matching one random map with another."""
    state, system = random_problem(seed, dims, kind, speed=0.15)
    target = random_maps(torch.Generator().manual_seed(seed + 1_000_000), len(state.q), state.q.shape[1:])
    volumes = gaussian_kernel(SHAPES[dims], SPACINGS[dims], [1.5], 2.0, state.q)
    return state.p, Matching(state.q, Offloadable(target), system, volumes, 0.02, steps)


def ball_maps(
    shape: tuple[int, ...], spacing: tuple[float, ...], balls: list[tuple[tuple[float, ...], float]]
) -> Tensor:
    """Soft balls (centre and radius in mm from node 0) on a background: (1 + balls, *shape) float64."""
    axes = [torch.arange(n, dtype=torch.float64) * h for n, h in zip(shape, spacing, strict=True)]
    x = torch.stack(torch.meshgrid(*axes, indexing="ij"))
    values = []
    for centre, radius in balls:
        c = torch.tensor(centre, dtype=torch.float64).reshape(-1, *(1 for _ in shape))
        values.append(torch.sigmoid(2 * (radius - (x - c).square().sum(0).sqrt()) / max(spacing)))
    inside = torch.stack(values)
    maps = torch.cat([(1 - inside.sum(0, keepdim=True)).clamp(min=0), inside]).clamp(min=1e-6)
    return maps / maps.sum(0)


def settings(**changes: object) -> Settings:
    """Settings of a quick registration, with changes by name."""
    chosen = {
        "kernel_mm": (3.0,),
        "amplitude_mm": 8.0,
        "regularisation": 1e-3,
        "max_evaluations": 20,
        "volume_mm": 3.0,
        "volume_weight": 4.0,
        "tolerance": 1e-3,
        "steps": 5,
    }
    return Settings(**(chosen | changes))  # type: ignore[arg-type]

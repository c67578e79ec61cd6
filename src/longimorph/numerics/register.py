"""One pair from two probability maps to its geodesic: coarse to fine, then attribution and health."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from longimorph.numerics import control, levels
from longimorph.numerics.attribution import Attribution, attribute
from longimorph.numerics.dynamics import State, System, infinitesimal
from longimorph.numerics.kernels import gaussian_kernel
from longimorph.numerics.objective import Matching, cost, evaluate
from longimorph.numerics.optimise import Iteration, Optimum, minimise
from longimorph.numerics.precondition import Preconditioner
from longimorph.numerics.shooting import Divergence, drift, shoot
from longimorph.numerics.sphere import log_map, tangent, to_sphere
from longimorph.numerics.warps import Warps, integrate

FEWEST_STEPS, MOST_STEPS = 5, 80
CFL_LIMIT = 0.5
DRIFT_LIMIT = 0.02
FIRST_DAMPING = 1e-3
COARSEST_VOXELS_PER_SIGMA = 0.8


@dataclass(frozen=True)
class Settings:
    """How to match: lengths in mm, ``regularisation`` and ``tolerance`` without unit.

    ``steps`` None lets the displacement and the drift of H decide; ``tolerance`` is the share of the first
    mismatch that a step must gain to count.
    """

    kernel_mm: tuple[float, ...]
    amplitude_mm: float
    regularisation: float
    max_evaluations: int
    tolerance: float
    steps: int | None = None


@dataclass(frozen=True)
class Registration:
    """A matched pair. ``mismatch_before`` and ``mismatch_after`` in mm^3; ``drift`` is a fraction of H."""

    momentum: Tensor
    attribution: Attribution
    warps: Warps
    steps: int
    drift: float
    mismatch_before: float
    mismatch_after: float
    energy: float
    evaluations: int
    converged: bool
    reason: str


Report = Callable[[float, Iteration], None]


def register(
    source: Tensor,
    target: Tensor,
    matrix: Tensor,
    spacing: Sequence[float],
    settings: Settings,
    report: Report = lambda spacing, iteration: None,
) -> Registration:
    """Match the source's probability map to the target's, (C, *grid) each, spacing in mm.

    ``matrix`` is the control allocation matrix (C, C). ``report`` hears of each iteration, with the spacing
    of its level. Raises :class:`Divergence` when no momentum can be shot.
    """
    torch.set_flush_denormal(True)
    matching = _matching(source, target, matrix, tuple(spacing), settings)
    if torch.equal(source, target):
        optimum = _nothing_to_explain(matching)
    else:
        optimum, matching = _solve(source, target, matrix, matching, settings, report)
    return _describe(optimum, matching)


def _matching(
    source: Tensor, target: Tensor, matrix: Tensor, spacing: tuple[float, ...], settings: Settings
) -> Matching:
    resolved = [max(sigma, 0.6 * max(spacing)) for sigma in settings.kernel_mm]
    kernel = gaussian_kernel(source.shape[1:], spacing, resolved, settings.amplitude_mm, source)
    system = System(kernel, control.allocation(matrix, target), spacing)
    steps = settings.steps or FEWEST_STEPS
    return Matching(to_sphere(source), to_sphere(target), system, settings.regularisation, steps)


def _solve(
    source: Tensor, target: Tensor, matrix: Tensor, matching: Matching, settings: Settings, report: Report
) -> tuple[Optimum, Matching]:
    """The optimum of one level, started from the better of a coarser level's and the great circles'."""
    system = matching.system
    shooting = infinitesimal(matching.source, system)
    precondition = Preconditioner(shooting, settings.regularisation)
    rates = [log_map(matching.source, matching.target)]
    axes = levels.halved(source.shape[1:], system.spacing, COARSEST_VOXELS_PER_SIGMA * min(settings.kernel_mm))
    if axes is not None:
        rates.append(_coarse_rate(source, target, matrix, system.spacing, axes, settings, report))
    starts = [precondition(shooting(tangent(rate, matching.source)), FIRST_DAMPING) for rate in rates]
    start, matching = _best_start(starts, matching)
    least_gain = settings.tolerance * cost(torch.zeros_like(start), matching)
    used = 0
    while True:
        current = matching
        optimum = minimise(
            lambda p: evaluate(p, current),  # noqa: B023
            start,
            precondition,
            FIRST_DAMPING,
            system.voxel_volume,
            max(settings.max_evaluations - used, 2),
            least_gain,
            lambda iteration: report(min(system.spacing), replace(iteration, evaluations=iteration.evaluations + used)),
        )
        used += optimum.evaluations
        enough = settings.steps or _steps_needed(optimum, matching)
        if enough <= matching.steps or used >= settings.max_evaluations:
            return replace(optimum, evaluations=used), matching
        matching, start = replace(matching, steps=enough), optimum.momentum


def _coarse_rate(
    source: Tensor,
    target: Tensor,
    matrix: Tensor,
    spacing: tuple[float, ...],
    axes: Sequence[bool],
    settings: Settings,
    report: Report,
) -> Tensor:
    """dq/dt at time 0 of the coarser level's optimum, on this level's grid.

    The rate is handed over rather than the momentum, which scales with the sharpness of the boundaries.
    """
    small = [levels.coarser(maps, axes) for maps in (source, target)]
    wide = tuple(h * (2 if halve else 1) for h, halve in zip(spacing, axes, strict=True))
    optimum, matching = _solve(*small, matrix, _matching(*small, matrix, wide, settings), settings, report)
    rate = infinitesimal(matching.source, matching.system)(optimum.momentum)
    return levels.finer(rate, source.shape[1:], spacing, axes)


def _best_start(starts: Sequence[Tensor], matching: Matching) -> tuple[Tensor, Matching]:
    """The start of lowest cost, each halved until it can be shot and beats no movement at all."""
    best, lowest = torch.zeros_like(matching.source), cost(torch.zeros_like(matching.source), matching)
    for start in starts:
        for _ in range(6):
            try:
                value = cost(start, matching)
            except Divergence:
                value = math.inf
            if value < lowest:
                best, lowest = start, value
                break
            start = start / 2
    return best, matching


def _steps_needed(optimum: Optimum, matching: Matching) -> int:
    """Number of steps that keeps the path per step and the drift of H small; may exceed the present one."""
    start = State(matching.source, optimum.momentum)
    velocities = attribute(start, matching.system, matching.steps).velocities
    voxels = max(
        float(w[d].abs().max()) / h for w in velocities for d, h in enumerate(matching.system.spacing)
    )
    needed = math.ceil(voxels / CFL_LIMIT)
    if drift(shoot(start, matching.system, matching.steps), matching.system) > DRIFT_LIMIT:
        needed = max(needed, 2 * matching.steps)
    return min(needed, MOST_STEPS)


def _nothing_to_explain(matching: Matching) -> Optimum:
    zero = torch.zeros_like(matching.source)
    return Optimum(zero, evaluate(zero, matching), 1, "The two maps are identical: nothing to explain.", True)


def _describe(optimum: Optimum, matching: Matching) -> Registration:
    system = matching.system
    start = State(matching.source, optimum.momentum)
    attribution = attribute(start, system, matching.steps)
    before = 0.5 * float((matching.source - matching.target).square().sum(dtype=torch.float64))
    return Registration(
        optimum.momentum,
        attribution,
        integrate(attribution.velocities, system.spacing),
        matching.steps,
        drift(shoot(start, system, matching.steps), system),
        before * system.voxel_volume,
        optimum.evaluation.mismatch,
        optimum.evaluation.energy,
        optimum.evaluations,
        optimum.converged,
        optimum.reason,
    )

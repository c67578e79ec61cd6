"""Registration of one pair: from two probability maps to the geodesic, its attribution and its quality."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from longimorph.free_pairs import FreePairs
from longimorph.numerics.attribution import Attribution, attribute
from longimorph.numerics.blocks import FIELDS
from longimorph.numerics.memory_strategies import Ladder
from longimorph.numerics.objective import Matching, evaluate, mismatch
from longimorph.numerics.open_question import PathVolumes, Swelling, with_exchanges
from longimorph.numerics.optimise import Optimum
from longimorph.numerics.phases import phase
from longimorph.numerics.pinned import PINNED
from longimorph.numerics.precision import full_precision
from longimorph.numerics.run import Run
from longimorph.numerics.shooting import drift
from longimorph.numerics.solve import MapPair, Settings, Solution, solve
from longimorph.numerics.states import State
from longimorph.numerics.uncertainty import Uncertainty, uncertainty
from longimorph.numerics.warps import Warping, Warps


@dataclass(frozen=True)
class Registration:
    """A matched pair. ``mismatch_before`` and ``mismatch_after`` in mm^3; ``drift`` as a fraction of H."""

    momentum: Tensor
    attribution: Attribution
    uncertainty: Uncertainty
    warps: Warps
    steps: int
    drift: float
    mismatch_before: float
    mismatch_after: float
    energy: float
    evaluations: int
    converged: bool
    reason: str


def register(
    source: Tensor,
    target: Tensor,
    control: Tensor,
    spacing: Sequence[float],
    settings: Settings,
    run: Run | None = None,
    free: tuple[FreePairs, ...] = (),
) -> Registration:
    """Match the source's probability map to the target's, (C, *grid) each, spacing in mm.

    ``control`` is the control allocation matrix (C, C). The exchange of ``free`` pairs of classes is read
    from the maps at the end of the path; where these are open, the matrix may be NaN. Identical maps give
    exact zeros. Raises ``Divergence`` when no momentum can be shot.
    """
    run = run or Run()
    pair = MapPair(source, target, control, tuple(spacing), run.device, run.apart, free)
    ladder = run.ladder
    try:
        with _denormals_flushed(), full_precision():
            if torch.equal(source, target):
                return _describe(pair, ladder.attempt(lambda: _still(pair, settings)), ladder)
            return _describe(pair, solve(pair, settings, run), ladder)
    finally:
        PINNED.trim()
        FIELDS.clear()


@contextmanager
def _denormals_flushed() -> Iterator[None]:
    """Flush denormal numbers to zero within this context: a CPU is about thirty times slower on them."""
    torch.set_flush_denormal(True)
    try:
        yield
    finally:
        torch.set_flush_denormal(False)


def _still(pair: MapPair, settings: Settings) -> Solution:
    matching = replace(pair, free=()).matching(settings)  # rounding is no exchange
    zero = torch.zeros_like(matching.source)
    reason = "The two maps are identical: there is no change to explain."
    return Solution(Optimum(zero, evaluate(zero, matching), 1, reason, True), matching, 0.0)


@phase("attribution")
def _describe(pair: MapPair, solution: Solution, ladder: Ladder) -> Registration:
    FIELDS.clear()
    optimum, matching, moved_off = solution
    start = State(matching.source, optimum.momentum)
    attribution, warps = ladder.attempt(lambda: _follow(start, matching))
    if moved_off is None:
        moved_off = ladder.attempt(lambda: drift(start, matching.system, matching.steps))
    return Registration(
        optimum.momentum,
        attribution,
        ladder.attempt(lambda: _uncertainty(attribution, matching, pair)),
        warps,
        matching.steps,
        moved_off,
        ladder.attempt(lambda: mismatch(matching.source, matching)),
        optimum.evaluation.mismatch,
        optimum.evaluation.energy,
        optimum.evaluations,
        optimum.converged,
        optimum.reason,
    )


def _uncertainty(attribution: Attribution, matching: Matching, pair: MapPair) -> Uncertainty:
    target, voxel_volume = matching.target.get(), matching.system.voxel_volume
    return uncertainty(attribution, target, pair.control, voxel_volume, pair.free)


def _follow(start: State, matching: Matching) -> tuple[Attribution, Warps]:
    """Compute the attribution along the geodesic, and the warps of its points."""
    system, free = matching.system, matching.free
    warping = Warping(system.spacing, matching.steps, start.q)
    swelling = Swelling([exchange.pairs for exchange in free.exchanges], system, start.q)
    attribution = attribute(start, system, matching.steps, warping.follow, swelling.follow)
    warps = warping.finish()
    if free.exchanges:
        along = PathVolumes(warps.mean_volume[None], swelling.volume)
        attribution = with_exchanges(attribution, matching.target.get(), free, along, system.spacing)
    return attribution, warps

"""The momentum of one pair: coarse to fine, from the better of two starts, with as many steps as needed."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial
from itertools import chain
from typing import Literal, NamedTuple

import torch
from torch import Tensor

from longimorph.footprint import PAIRS_KEPT
from longimorph.free_pairs import FreePairs
from longimorph.numerics import control, levels
from longimorph.numerics.conjugate import inner
from longimorph.numerics.control import Allocation, Control
from longimorph.numerics.dynamics import System, drive, source_rate, transport_velocity
from longimorph.numerics.equations import combine, differences
from longimorph.numerics.kernels import gaussian_kernel
from longimorph.numerics.linearised import LinearisedShooting
from longimorph.numerics.memory_strategies import Ladder, Offloadable
from longimorph.numerics.objective import Course, Matching, curvature, difference, evaluate, follow, mismatch
from longimorph.numerics.optimise import DescentOptions, Iteration, Optimum, minimise
from longimorph.numerics.precondition import Preconditioner
from longimorph.numerics.projection import projection
from longimorph.numerics.run import Run
from longimorph.numerics.shooting import Divergence
from longimorph.numerics.sphere import log_map, tangent, to_sphere
from longimorph.numerics.states import State

FEWEST_STEPS, MOST_STEPS = 3, 80
"""Bounds on the number of steps. A diverging step of the optimiser doubles it; at the maximum the step is
shortened instead, and drift of H beyond DRIFT_LIMIT already counts as divergence.
"""
CFL_LIMIT = 0.5
DRIFT_LIMIT, DESCENT_DRIFT = 0.02, 0.05
"""Relative drift of H of a result, and that of an accepted path at which a descent ends to take more steps:
early, rough paths drift more than the optimum.
"""
DRIFT_MARGIN, MOST_AT_ONCE = 1.2, 1.5
"""Steps taken, as a multiple of those that the drift asks for, and the largest multiple of the present ones:
rough paths drift more than the optimum.
"""
NEGLIGIBLE = 1e-7
"""Cost, as a share of the difference between the maps, at which there is nothing left to match."""
START_DAMPINGS, HANDED_DAMPINGS = (3e-4, 3e-3, 3e-2), (2e-3, 2e-2)
"""Dampings of a start along the great circles, and of one that follows a coarser level."""
FIRST_DAMPING = 1e-3
HALVINGS = 5
GOOD_START = 0.25
"""Share of the cost without movement below which a start is taken without trying another."""
CHEAP = 0.05
"""Share of the great circles, in squares, that reallocation alone may miss where they are tried first."""
USUAL_KERNEL_MM, OPEN_KERNEL_MM = (4.0,), (4.0, 8.0, 16.0)
FEWEST_VOXELS_PER_SIGMA = 0.6


@dataclass(frozen=True)
class Settings:
    """Settings of a match: lengths in mm, ``regularisation`` and ``tolerance`` dimensionless.

    ``volume_mm`` and ``volume_weight`` are s and w of E5. With ``steps`` None the displacement and the drift
    of H determine the number of steps; with ``kernel_mm`` None the pair determines the kernel. ``tolerance``
    is the share of the cost that a step must gain to count; ``pairs_kept`` is the number of curvature pairs
    that L-BFGS keeps. ``reallocation`` along the path is priced per pair of classes with
    ``pairs``, otherwise by one rho per voxel.
    """

    kernel_mm: tuple[float, ...] | None
    amplitude_mm: float
    regularisation: float
    max_evaluations: int
    tolerance: float
    volume_mm: float
    volume_weight: float
    steps: int | None = None
    pairs_kept: int = PAIRS_KEPT
    reallocation: Literal["projected", "scalar", "pairs"] = "projected"


@dataclass(frozen=True)
class MapPair:
    """Two maps on the simplex, (C, *grid) each, the control matrix (C, C) and the spacing in mm.

    ``free`` are the pairs of classes whose exchange leaves the mismatch. The maps may lie on a device other
    than ``device``, on which they are matched (None: where the source lies); with ``apart`` they count as if
    they did.
    """

    source: Tensor
    target: Tensor
    control: Tensor
    spacing: tuple[float, ...]
    device: torch.device | None = None
    apart: bool = False
    free: tuple[FreePairs, ...] = ()

    @property
    def at_hand(self) -> bool:
        """Whether the maps already lie on the device, so that storing one elsewhere would save nothing."""
        return not self.apart and (self.device is None or self.target.device.type == self.device.type)

    def kernel_mm(self, settings: Settings) -> tuple[float, ...]:
        """The standard deviations of the kernel: where the surroundings decide, it reaches further."""
        usual = OPEN_KERNEL_MM if any(pairs.open for pairs in self.free) else USUAL_KERNEL_MM
        return settings.kernel_mm or usual

    def matching(self, settings: Settings, ladder: Ladder | None = None) -> Matching:
        """Return the problem on this grid; a kernel that the grid cannot resolve is widened until it can.

        The target is stored where the ladder says.
        """
        narrowest = FEWEST_VOXELS_PER_SIGMA * max(self.spacing)
        sigmas = [max(sigma, narrowest) for sigma in self.kernel_mm(settings)]
        shape, device = self.source.shape[1:], self.device or self.source.device
        source, target = to_sphere(self.source.to(device)), self.target.to(device)
        kernel = gaussian_kernel(shape, self.spacing, sigmas, settings.amplitude_mm, source)
        system = System(kernel, self._priced(target, source, settings), self.spacing)
        steps = settings.steps or FEWEST_STEPS
        volume_sigma, weight = max(settings.volume_mm, narrowest), math.sqrt(settings.volume_weight)
        volumes = gaussian_kernel(shape, self.spacing, [volume_sigma], weight, source)
        kept = Offloadable(target) if self.at_hand or ladder is None else ladder.keep(target)
        free = projection(source.square(), target, self.free, self.spacing)
        return Matching(source, kept, system, volumes, settings.regularisation, steps, free=free)

    def _priced(self, target: Tensor, source: Tensor, settings: Settings) -> Control:
        matrix = control.along_path(self.control.to(target), self.free)
        if settings.reallocation == "pairs":
            return control.exchange(matrix, source.square(), target)
        return control.allocation(matrix, target)

    def coarser(self, axes: Sequence[bool]) -> MapPair:
        """Return the same pair with the chosen axes halved."""
        small = [levels.coarser(maps, axes) for maps in (self.source, self.target)]
        wide = tuple(h * (2 if halve else 1) for h, halve in zip(self.spacing, axes, strict=True))
        return replace(self, source=small[0], target=small[1], spacing=wide)


class Solution(NamedTuple):
    """The optimal momentum, the problem with as many steps as its path needs, and the relative drift of H
    along that path; None where the steps are given, so that it was not needed.
    """

    optimum: Optimum
    matching: Matching
    drift: float | None


def solve(pair: MapPair, settings: Settings, run: Run, coarse: bool = False) -> Solution:
    """Find the optimal momentum of a pair whose maps differ. Raises ``Divergence``.

    At a ``coarse`` level, which is only a start, a converged path needs no more steps, however H drifts.
    """
    ladder = run.ladder
    matching = ladder.attempt(lambda: pair.matching(settings, ladder))
    precondition = _preconditioner(matching)
    start, survey, matching = _start(pair, matching, precondition, settings, run)
    waiting, tried = [start], matching.steps
    del start
    used = 0
    if settings.steps is None:
        matching = _finer(matching, _enough(survey, matching.steps))
    while True:
        if matching.steps > tried:
            waiting = [_best([_halved(waiting.pop())], matching, ladder)[0]]
        optimum = _descend(waiting, matching, precondition, settings, used, run)
        used = optimum.evaluations
        if settings.steps is None:
            enough, moved_off = _steps_needed(optimum.momentum, matching, ladder)
        else:
            enough, moved_off = settings.steps, None
        if optimum.too_few_steps:
            enough = min(max(enough, 2 * matching.steps), MOST_STEPS)
        if enough <= matching.steps or (coarse and optimum.converged):
            return Solution(optimum, _finer(matching, enough), moved_off)
        matching = _finer(matching, enough)
        if used >= settings.max_evaluations:
            return _with_steps_enough(optimum, matching, ladder)
        waiting = [optimum.momentum]
        del optimum


def _finer(matching: Matching, steps: int) -> Matching:
    """Take as many steps, if these are more; at the maximum, H must be conserved to the accuracy required of
    the result.
    """
    if steps <= matching.steps:
        return matching
    return replace(
        matching, steps=steps, most_drift=DRIFT_LIMIT if steps >= MOST_STEPS else matching.most_drift
    )


def _preconditioner(matching: Matching) -> Preconditioner:
    shooting = LinearisedShooting(matching.source, matching.system)
    return Preconditioner(shooting, curvature(matching), matching.regularisation)


def _with_steps_enough(optimum: Optimum, matching: Matching, ladder: Ladder) -> Solution:
    """Increase the steps for the same momentum, when no evaluations are left to optimise with them."""

    def course() -> Course:
        return ladder.attempt(lambda: follow(optimum.momentum, matching))

    while (enough := _enough(path := course(), matching.steps)) > matching.steps:
        matching = replace(matching, steps=enough)
    left = ladder.attempt(lambda: mismatch(path.end, matching))
    total = left + matching.regularisation * optimum.evaluation.energy
    evaluation = replace(optimum.evaluation, cost=total, mismatch=left)
    return Solution(replace(optimum, evaluation=evaluation), matching, path.drift)


def _descend(
    start: list[Tensor],
    matching: Matching,
    precondition: Preconditioner,
    settings: Settings,
    used: int,
    run: Run,
) -> Optimum:
    """Optimise with the present number of steps; ``used`` evaluations count against the cap.

    ``start`` holds one momentum, popped from the list so that it can be freed.
    """

    options = DescentOptions(
        FIRST_DAMPING,
        matching.system.voxel_volume,
        settings.max_evaluations,
        settings.tolerance,
        shorten=settings.steps is not None or matching.steps >= MOST_STEPS,
        spent=used,
        pairs_kept=settings.pairs_kept,
        most_drift=DESCENT_DRIFT if settings.steps is None and matching.steps < MOST_STEPS else math.inf,
        negligible=NEGLIGIBLE * run.ladder.attempt(lambda: difference(matching)),
    )

    def tell(iteration: Iteration) -> None:
        run.report(min(matching.system.spacing), iteration)

    return minimise(
        lambda momentum: run.ladder.attempt(lambda: evaluate(momentum, matching, run.ladder.current)),
        start,
        precondition,
        options,
        tell,
        run.ladder,
        run.journal,
    )


def _start(
    pair: MapPair,
    matching: Matching,
    precondition: Preconditioner,
    settings: Settings,
    run: Run,
) -> tuple[Tensor, _Survey, Matching]:
    """Return the momentum to start from, its survey, and the problem with as many steps as the coarser level
    needed.

    It follows the optimum of the coarser level. Where there is none, or it is not much better than no
    movement, the momentum along the great circles is tried too, and the better one taken. Where reallocation
    is cheap, the great circles come first: they contain the details of this level, which a coarser one
    blurs. If they are a good start, there is no coarser level.
    """
    coarsest, ladder = min(pair.kernel_mm(settings)) / FEWEST_VOXELS_PER_SIGMA, run.ladder
    axes = levels.halved(pair.source.shape[1:], pair.spacing, coarsest)

    def straight() -> Iterator[Iterator[Tensor]]:
        rate = ladder.attempt(lambda: _straight(matching))
        yield _damped(rate, precondition.momentum, START_DAMPINGS, ladder)

    if axes is not None and ladder.attempt(lambda: _is_cheap(matching)):
        found, survey = _best(straight(), matching, ladder)
        if survey.cost < GOOD_START * _still(matching, ladder):
            return found, survey, matching
        del found
    handed: list[Tensor] = []
    if axes is not None:
        rate, steps = _coarse_rate(pair, matching, axes, settings, run)
        matching = _finer(matching, steps)
        handed.append(rate)
        del rate

    def following() -> Iterator[Iterator[Tensor]]:
        while handed:
            yield _damped(handed.pop(), precondition.handed_over, HANDED_DAMPINGS, ladder)

    return *_best(chain(following(), straight()), matching, ladder), matching


def _is_cheap(matching: Matching) -> bool:
    """Whether reallocation alone, with beta^2 = 1 - rho, can follow the great circles."""
    priced = matching.system.control
    if not isinstance(priced, Allocation):
        return False
    rate = _straight(matching)
    shift = START_DAMPINGS[0] + matching.regularisation
    missed = rate * (shift / (1 - control.rho(matching.source, priced.shares) + shift))
    return float(inner(missed, missed)) <= CHEAP * float(inner(rate, rate))


def _still(matching: Matching, ladder: Ladder) -> float:
    """The cost without movement."""
    return ladder.attempt(lambda: mismatch(matching.source, matching))


def _straight(matching: Matching) -> Tensor:
    """dq/dt along the great circle to the target, without free exchanges: tangent, (C, *grid)."""
    return tangent(log_map(matching.source, to_sphere(_wanted(matching))), matching.source)


def _wanted(matching: Matching) -> Tensor:
    """The target, without free exchanges, which must not drive the start either: (C, *grid)."""
    return matching.free.without(matching.source.square(), matching.target.get())


def _damped(
    rate: Tensor, invert: Callable[[Tensor, float], Tensor], dampings: Sequence[float], ladder: Ladder
) -> Iterator[Tensor]:
    """Yield increasingly conservative momenta for a tangent rate of change: with more damping, which
    preserves smooth components, then halved.
    """
    for damping in dampings:
        momentum = ladder.attempt(partial(invert, rate, damping))
        yield momentum
    yield from _halved(momentum / 2)


def _halved(momentum: Tensor) -> Iterator[Tensor]:
    """Yield a momentum and its successive halves."""
    for _ in range(1 + HALVINGS):
        yield momentum
        momentum = momentum / 2


def _coarse_rate(
    pair: MapPair,
    matching: Matching,
    axes: Sequence[bool],
    settings: Settings,
    run: Run,
) -> tuple[Tensor, int]:
    """dq/dt at time 0 when this level's source moves and changes as the coarser level's optimum does, and the
    number of steps that it took.

    Velocity and source are transferred, since they are smooth or local, and are applied to this level's own
    boundaries. The momentum, and dq/dt itself, scale with the sharpness of the boundaries.
    """
    optimum, coarse, _ = solve(pair.coarser(axes), settings, run, coarse=True)
    at = State(coarse.source, optimum.momentum)
    return run.ladder.attempt(lambda: _handed_over(at, coarse.system, pair, matching, axes)), coarse.steps


def _handed_over(
    at: State, coarse: System, pair: MapPair, matching: Matching, axes: Sequence[bool]
) -> Tensor:
    """dq/dt of this level's source (C, *grid) under the velocity and source of a coarser level's state."""
    found = drive(at, coarse)
    w, source = transport_velocity(found), source_rate(at, found, coarse)
    w, source = (levels.finer(x, pair.source.shape[1:], axes) for x in (w, source))
    q = matching.source
    moved = combine(-matching.system.per_mm * w, differences(q, len(w)))
    return tangent(moved + source, q)


class _Survey(NamedTuple):
    """The cost of a momentum in mm^3, and of its path the fastest movement in voxels per unit of time and the
    relative drift of H.
    """

    cost: float
    pace: float = 0.0
    drift: float = 0.0


def _best(starts: Iterable[Iterable[Tensor]], matching: Matching, ladder: Ladder) -> tuple[Tensor, _Survey]:
    """Return the momentum of lowest cost among the starts, each given in increasingly conservative forms, and
    zero, and its survey.

    The forms of each start are tried until one is worse than the one before, or good enough.
    """
    best = torch.zeros_like(matching.source)
    still = _still(matching, ladder)
    known = _Survey(still)
    for forms in starts:
        before = math.inf
        for momentum in forms:
            found = _surveyed(momentum, matching, ladder)
            if found.cost < known.cost:
                best, known = momentum, found
            elif before < found.cost < math.inf:
                break
            if known.cost < GOOD_START * still:
                return best, known
            before = min(found.cost, before)
    return best, known


def _surveyed(momentum: Tensor, matching: Matching, ladder: Ladder) -> _Survey:
    """The survey of a momentum; its cost is infinite where it cannot be shot."""

    def survey() -> _Survey:
        course = follow(momentum, matching)
        return _Survey(course.cost(matching), course.pace, course.drift)

    try:
        return ladder.attempt(survey)
    except Divergence:
        return _Survey(math.inf)


class _Needed(NamedTuple):
    """A number of steps, and the relative drift of H with the present one."""

    steps: int
    drift: float


def _steps_needed(momentum: Tensor, matching: Matching, ladder: Ladder) -> _Needed:
    """Number of steps that the path of a momentum needs; may exceed the present one."""
    course = ladder.attempt(lambda: follow(momentum, matching))
    return _Needed(_enough(course, matching.steps), course.drift)


def _enough(path: Course | _Survey, steps: int) -> int:
    """Number of steps that keeps the path per step and the drift of H small, from what ``steps`` show."""
    needed = math.ceil(path.pace / CFL_LIMIT)
    if path.drift > DRIFT_LIMIT:  # it falls with the square of the number of steps
        more = min(DRIFT_MARGIN * math.sqrt(path.drift / DRIFT_LIMIT), MOST_AT_ONCE)
        needed = max(needed, math.ceil(more * steps))
    return min(needed, MOST_STEPS)

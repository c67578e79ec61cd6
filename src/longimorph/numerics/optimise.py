"""L-BFGS whose initial inverse Hessian is a damped preconditioner; a trial that diverges is a failed trial.

The damping follows Levenberg and Marquardt: it decreases after a step that gained what was predicted, and
increases when a full step fails; that step is then tried again before it is shortened.
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from functools import partial

import torch
from torch import Tensor

from longimorph.footprint import PAIRS_KEPT
from longimorph.numerics.blocks import new_field
from longimorph.numerics.conjugate import inner
from longimorph.numerics.journal import Journal, OptimiserState, Vector
from longimorph.numerics.memory_strategies import CHECKPOINT, Ladder, Offloadable
from longimorph.numerics.objective import Evaluation
from longimorph.numerics.phases import phase
from longimorph.numerics.shooting import Divergence

SUFFICIENT_DECREASE = 1e-4
SHORTEST_STEP = 2.0**-12
LESS_DAMPED, MORE_DAMPED, LEAST_DAMPING = 0.2, 5.0, 3e-4
WORTHWHILE = 0.8
"""Share of the cost reduction predicted by the slope that a step must reach for the damping to decrease."""
MORE_THAN_FAILED = 2.0
"""The damping stays above so many times one with which a full step failed."""


@dataclass(frozen=True)
class Iteration:
    """One accepted step: its number, the evaluations so far, the step length, the evaluation there, and the
    number of curvature pairs after it.
    """

    number: int
    evaluations: int
    step_length: float
    evaluation: Evaluation
    pairs: int = 0


@dataclass(frozen=True)
class Optimum:
    """Where the optimisation ended, why (a sentence), and whether it converged. No gradient is kept.

    ``too_few_steps``: it ended because a full step diverged, which more shooting steps might prevent.
    """

    momentum: Tensor
    evaluation: Evaluation
    evaluations: int
    reason: str
    converged: bool
    too_few_steps: bool = False


@dataclass
class History:
    """Curvature pairs of L-BFGS: two maps each, and their scalar product."""

    pairs: deque[tuple[Offloadable, Offloadable, float]] = field(
        default_factory=lambda: deque(maxlen=PAIRS_KEPT)
    )

    @classmethod
    def of(cls, most: int) -> History:
        """Create an empty history that keeps at most ``most`` pairs."""
        return cls(deque(maxlen=most))

    def add(self, s: Tensor, y: Tensor, ladder: Ladder) -> None:
        """Add a pair of step and gradient change if its curvature is positive."""
        sy = float(inner(s, y))
        if sy > 1e-8 * float(inner(s, s)) ** 0.5 * float(inner(y, y)) ** 0.5:
            self.pairs.append((ladder.keep(s), ladder.keep(y), sy))

    @phase("direction")
    def direction(self, gradient: Tensor, precondition: Callable[[Tensor], Tensor]) -> Tensor:
        """Return minus the inverse Hessian times the gradient, by the two-loop recursion."""
        q, weights = new_field(gradient).copy_(gradient), []
        for s, y, sy in reversed(self.pairs):
            weights.append(float(inner(s.get(), q)) / sy)
            q.sub_(y.get(), alpha=weights[-1])
        r = precondition(q)
        del q
        for (s, y, sy), a in zip(self.pairs, reversed(weights), strict=True):
            r.add_(s.get(), alpha=a - float(inner(y.get(), r)) / sy)
        return r.neg_()


@dataclass
class _Trials:
    """Evaluations counted against a cap; a non-finite trial counts, sets ``diverged``, and gives None."""

    evaluate: Callable[[Tensor], Evaluation]
    most: int
    ladder: Ladder
    count: int = 0
    diverged: bool = False

    def __call__(self, momentum: Tensor) -> Evaluation | None:
        self.count, self.diverged = self.count + 1, False
        try:
            found = self.evaluate(momentum)
            if math.isfinite(self.ladder.attempt(lambda: float(found.gradient.sum()))):
                return found
        except Divergence:
            pass
        self.diverged = True
        return None

    @property
    def exhausted(self) -> bool:
        return self.count >= self.most


@dataclass
class _Point:
    """A momentum, its gradient and a search direction, stored while another is evaluated; cost in mm^3."""

    momentum: Offloadable
    gradient: Offloadable
    cost: float


def _moved(momentum: Offloadable, direction: Offloadable, length: float) -> Tensor:
    start = momentum.get()
    return torch.add(start, direction.get(), alpha=length, out=new_field(start))


def _line_search(
    trial: _Trials, here: _Point, direction: Offloadable, slope: float, shortest: float, shorten: bool
) -> tuple[float, Evaluation, Tensor] | None:
    """Return step length (1 to ``shortest``), evaluation and momentum of a point of sufficient decrease, or
    None.

    A step that diverges is shortened only if ``shorten``.
    """
    length = 1.0
    while length >= shortest and not trial.exhausted:
        momentum = trial.ladder.attempt(partial(_moved, here.momentum, direction, length))
        there = trial(momentum)
        if there is None and not shorten:
            return None
        if there is None:
            length *= 0.25
        elif there.cost <= here.cost + SUFFICIENT_DECREASE * length * slope:
            return length, there, momentum
        else:
            ratio = -slope * length / (2 * (there.cost - here.cost - slope * length))
            length *= min(max(ratio, 0.1), 0.5)
        del there, momentum
    return None


@dataclass(frozen=True)
class DescentOptions:
    """Starting conditions and stopping criteria of a descent.

    ``damping`` applies to the first direction; ``voxel_volume`` in mm^3 turns products of gradients into
    changes of cost. The descent ends when two consecutive steps each lower the cost by less than a share
    ``least_gain`` of itself, at a cost of at most ``negligible`` mm^3, or at ``most_evaluations``, of which
    ``spent`` were used before. A full step that still diverges with more damping is shortened if ``shorten``;
    otherwise it ends the descent, as does a step to a path whose H drifts by more than a fraction
    ``most_drift``. L-BFGS keeps ``pairs_kept`` curvature pairs.
    """

    damping: float
    voxel_volume: float
    most_evaluations: int
    least_gain: float
    shorten: bool = True
    spent: int = 0
    pairs_kept: int = PAIRS_KEPT
    most_drift: float = math.inf
    negligible: float = 0.0


def minimise(
    evaluate: Callable[[Tensor], Evaluation],
    start: list[Tensor],
    precondition: Callable[[Tensor, float], Tensor],
    options: DescentOptions,
    report: Callable[[Iteration], None] = lambda _: None,
    ladder: Ladder | None = None,
    journal: Journal | None = None,
) -> Optimum:
    """Minimise from a finite start: the one tensor in ``start``, popped from the list so it can be freed.

    ``precondition(gradient, damping)`` is an approximate inverse Hessian. ``ladder`` decides where vectors
    are stored in the meantime. ``journal`` records every step, and may supply steps recorded earlier. Raises
    :class:`Divergence` when the start itself cannot be evaluated.
    """
    ladder, journal = ladder or Ladder([CHECKPOINT]), journal or Journal()
    damping, least_gain, shorten = options.damping, options.least_gain, options.shorten
    trial = _Trials(evaluate, options.most_evaluations, ladder, options.spent)
    momentum, known = start.pop(), journal.begin()
    if isinstance(known, Optimum):
        return replace(known, momentum=known.momentum.to(momentum))
    history, number, small, again = History.of(options.pairs_kept), 0, 0, False
    least = LEAST_DAMPING

    def stand() -> None:
        vectors = here.momentum, here.gradient, history.pairs
        journal.on_step(OptimiserState(*vectors, last, damping, least, number, trial.count, small, again))

    if known is None:
        found = trial(momentum)
        if found is None:
            raise Divergence("the shooting diverges at the start of the optimisation")
        here, last = _point(momentum, found, ladder), _without_gradient(found)
        with journal.uninterruptible():
            report(Iteration(0, trial.count, 0.0, found))
            stand()
        del found
    else:
        here, last = _restored(known, history, momentum, ladder), known.evaluation
        damping, least, number = known.damping, known.least_damping, known.number
        small, again = known.small, known.again
        trial.count = known.evaluations
    del momentum, known

    def optimum(reason: str, converged: bool, too_few_steps: bool = False) -> Optimum:
        momentum = ladder.attempt(here.momentum.get)
        found = Optimum(momentum, last, trial.count, reason, converged, too_few_steps)
        journal.on_end(found)
        return found

    while True:
        if last.drift > options.most_drift:
            return optimum("H drifts: the shooting needs more steps.", False)
        if last.cost <= options.negligible:
            return optimum(f"Converged: a cost of {last.cost:.2g} mm3 leaves nothing to match.", True)
        if small >= 2:
            return optimum(
                f"Converged: two steps in a row each lowered the cost by less than {100 * least_gain:.3g} %.",
                True,
            )
        if trial.exhausted:
            break
        direction, slope = ladder.attempt(lambda: _direction(history, here, precondition, damping, ladder))  # noqa: B023
        shortest = SHORTEST_STEP if again else 1.0
        slope *= options.voxel_volume
        better = _line_search(trial, here, direction, slope, shortest, shorten) if slope < 0 else None
        if better is None and trial.exhausted:
            break
        if better is None and slope < 0 and not again:
            least = max(least, MORE_THAN_FAILED * damping)
            damping, again = damping * MORE_DAMPED, True
            continue
        if better is None and slope < 0 and trial.diverged and not shorten:
            return optimum("A full step diverges: the shooting needs more steps.", False, True)
        if better is None:
            if not history.pairs:
                return optimum("No shorter step lowers the cost: it is minimal to rounding precision.", True)
            with journal.uninterruptible():
                history.pairs.clear()
                damping *= 10
                stand()
            continue
        length, there, momentum = better
        del better
        gain = here.cost - there.cost
        if length < 1.0:
            damping *= 2
        elif not again and gain > -0.5 * WORTHWHILE * slope:
            damping = max(damping * LESS_DAMPED, min(damping, least))
        number, again = number + 1, False
        small = small + 1 if gain < least_gain * here.cost else 0
        with journal.uninterruptible():
            _remember(history, direction, length, here, there, ladder)
            here, last = _point(momentum, there, ladder), _without_gradient(there)
            report(Iteration(number, trial.count, length, there, len(history.pairs)))
            del there, momentum
            stand()
    return optimum(
        f"The cap of {options.most_evaluations} evaluations (max_evaluations) was reached before the cost "
        "settled.",
        False,
    )


def _direction(
    history: History,
    here: _Point,
    precondition: Callable[[Tensor, float], Tensor],
    damping: float,
    ladder: Ladder,
) -> tuple[Offloadable, float]:
    """Return a descent direction from a point, and its product with the gradient."""
    gradient = here.gradient.get()
    found = history.direction(gradient, lambda g: precondition(g, damping))
    return ladder.keep(found), float(inner(gradient, found))


def _remember(
    history: History, direction: Offloadable, length: float, here: _Point, there: Evaluation, ladder: Ladder
) -> None:
    """Add the step from ``here`` to ``there`` to the history."""

    def add() -> None:
        way, before = direction.get(), here.gradient.get()
        step = torch.mul(way, length, out=new_field(way))
        history.add(step, torch.sub(there.gradient, before, out=new_field(before)), ladder)

    ladder.attempt(add)


def _point(momentum: Tensor, found: Evaluation, ladder: Ladder) -> _Point:
    return ladder.attempt(lambda: _Point(ladder.keep(momentum), ladder.keep(found.gradient), found.cost))


def _restored(known: OptimiserState, history: History, like: Tensor, ladder: Ladder) -> _Point:
    """Restore the point of an interrupted descent and its pairs in ``history``, on the device of ``like``."""

    def restored(vector: Vector) -> Offloadable:
        return ladder.attempt(lambda: ladder.keep(vector.get().to(like)))

    for s, y, sy in known.pairs:
        history.pairs.append((restored(s), restored(y), sy))
    return _Point(restored(known.momentum), restored(known.gradient), known.evaluation.cost)


def _without_gradient(evaluation: Evaluation) -> Evaluation:
    return replace(evaluation, gradient=evaluation.gradient.new_empty(0))

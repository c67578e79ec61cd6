"""L-BFGS whose initial inverse Hessian is a damped preconditioner; a trial that diverges is a failed trial.

The damping follows Levenberg and Marquardt: less after a full step, more after a shortened one.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field

from torch import Tensor

from longimorph.numerics.objective import Evaluation
from longimorph.numerics.precondition import inner
from longimorph.numerics.shooting import Divergence

SUFFICIENT_DECREASE = 1e-4
SHORTEST_STEP = 2.0**-12


@dataclass(frozen=True)
class Iteration:
    """One accepted step: number, evaluations so far, step length, and the evaluation there."""

    number: int
    evaluations: int
    step_length: float
    evaluation: Evaluation


@dataclass(frozen=True)
class Optimum:
    """Where the optimisation ended, why (a sentence), and whether the cap on evaluations ended it."""

    momentum: Tensor
    evaluation: Evaluation
    evaluations: int
    reason: str
    converged: bool


@dataclass
class History:
    """Curvature pairs of L-BFGS: two maps each."""

    pairs: deque[tuple[Tensor, Tensor, float]] = field(default_factory=lambda: deque(maxlen=8))

    def add(self, s: Tensor, y: Tensor) -> None:
        """Keep a pair of step and change of gradient when it has positive curvature."""
        sy = float(inner(s, y))
        if sy > 1e-8 * float(inner(s, s)) ** 0.5 * float(inner(y, y)) ** 0.5:
            self.pairs.append((s, y, sy))

    def direction(self, gradient: Tensor, precondition: Callable[[Tensor], Tensor]) -> Tensor:
        """Minus the inverse Hessian times the gradient, by the two-loop recursion."""
        q, weights = gradient, []
        for s, y, sy in reversed(self.pairs):
            weights.append(float(inner(s, q)) / sy)
            q = q - weights[-1] * y
        r = precondition(q)
        for (s, y, sy), a in zip(self.pairs, reversed(weights), strict=True):
            r = r + (a - float(inner(y, r)) / sy) * s
        return -r


@dataclass
class _Trials:
    """Evaluations counted against a cap; a trial that is not finite counts and gives None."""

    evaluate: Callable[[Tensor], Evaluation]
    most: int
    count: int = 0

    def __call__(self, momentum: Tensor) -> Evaluation | None:
        self.count += 1
        try:
            found = self.evaluate(momentum)
        except Divergence:
            return None
        return found if bool(found.gradient.isfinite().all()) else None

    @property
    def exhausted(self) -> bool:
        return self.count >= self.most


def _line_search(
    trial: _Trials, momentum: Tensor, here: Evaluation, direction: Tensor, slope: float
) -> tuple[float, Evaluation] | None:
    length = 1.0
    while length >= SHORTEST_STEP and not trial.exhausted:
        there = trial(momentum + length * direction)
        if there is None:
            length *= 0.25
        elif there.cost <= here.cost + SUFFICIENT_DECREASE * length * slope:
            return length, there
        else:
            ratio = -slope * length / (2 * (there.cost - here.cost - slope * length))
            length *= min(max(ratio, 0.1), 0.5)
    return None


def minimise(
    evaluate: Callable[[Tensor], Evaluation],
    start: Tensor,
    precondition: Callable[[Tensor, float], Tensor],
    damping: float,
    voxel_volume: float,
    most_evaluations: int,
    least_gain: float,
    report: Callable[[Iteration], None] = lambda _: None,
) -> Optimum:
    """Minimise from a finite start.

    ``precondition(gradient, damping)`` is an approximate inverse Hessian. Stops when two steps in a row each
    lower the cost by less than ``least_gain`` (mm^3), or at the cap on evaluations. Raises
    :class:`Divergence` when the start itself cannot be evaluated.
    """
    trial = _Trials(evaluate, most_evaluations)
    here = trial(start)
    if here is None:
        raise Divergence("the shooting diverges at the start of the optimisation")
    momentum, history, small = start, History(), 0
    report(Iteration(0, trial.count, 0.0, here))
    number = 0
    while not trial.exhausted:
        direction = history.direction(here.gradient, lambda g: precondition(g, damping))  # noqa: B023
        slope = float(inner(here.gradient, direction)) * voxel_volume
        found = _line_search(trial, momentum, here, direction, slope) if slope < 0 else None
        if found is None and trial.exhausted:
            break
        if found is None:
            if not history.pairs:
                reason = "No shorter step lowers the cost: it is as low as rounding lets it go."
                return Optimum(momentum, here, trial.count, reason, True)
            history.pairs.clear()
            damping *= 10
            continue
        length, there = found
        damping *= 0.2 if length == 1.0 else 1 / length
        number += 1
        history.add(length * direction, there.gradient - here.gradient)
        small = small + 1 if here.cost - there.cost < least_gain else 0
        momentum, here = momentum + length * direction, there
        report(Iteration(number, trial.count, length, here))
        if small >= 2:
            reason = f"Converged: two steps in a row each lowered the cost by less than {least_gain:.3g} mm3."
            return Optimum(momentum, here, trial.count, reason, True)
    reason = f"The cap of {most_evaluations} evaluations ended it; raise max_evaluations for a closer match."
    return Optimum(momentum, here, trial.count, reason, False)

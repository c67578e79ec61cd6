"""The state that an interrupted registration needs to resume: a journal of its descents, kept by the caller.

A registration is a sequence of descents, first coarse to fine and then with more steps, determined by its
inputs alone. Everything between two descents is recomputed, so the journal only needs to record the completed
descents and the progress of the current one.
"""

from __future__ import annotations

from collections.abc import Iterable
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

from torch import Tensor

if TYPE_CHECKING:
    from longimorph.numerics.objective import Evaluation
    from longimorph.numerics.optimise import Optimum


class Vector(Protocol):
    """A stored tensor, on a device or in a file."""

    def get(self) -> Tensor:
        """Return the tensor, on any device; it must not be overwritten."""

    def cpu(self) -> Tensor:
        """Return the tensor on the host, valid while this object lives; allocates no device memory."""


@dataclass(frozen=True)
class OptimiserState:
    """The state of a descent after a step.

    ``evaluation`` is that of the momentum, without its gradient; ``pairs`` are the pairs of L-BFGS, oldest
    first. ``small`` counts the consecutive last steps with little gain; ``again`` tells that a full step has
    failed.
    """

    momentum: Vector
    gradient: Vector
    pairs: Iterable[tuple[Vector, Vector, float]]
    evaluation: Evaluation
    damping: float
    least_damping: float
    number: int
    evaluations: int
    small: int
    again: bool


class Journal:
    """A journal that records nothing; callers that can store the state override its methods."""

    def begin(self) -> Optimum | OptimiserState | None:
        """Begin the next descent; return its result or its state when interrupted, or None if it is new."""
        return None

    def on_step(self, state: OptimiserState) -> None:
        """Called after each step of the current descent, and after the evaluation of its starting point."""

    def on_end(self, optimum: Optimum) -> None:
        """Called when the current descent ends."""

    def uninterruptible(self) -> AbstractContextManager[None]:
        """Return a context within which the registration is not interrupted."""
        return nullcontext()

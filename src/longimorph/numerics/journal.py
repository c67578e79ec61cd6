"""What a registration that is broken off needs to go on: a journal of its descents, kept by the caller.

A registration is a sequence of descents, coarse to fine and then with more steps, set by its inputs alone.
What lies between two descents is computed again, so it is enough to know those that have ended and where the
present one stands.
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
    """A tensor at rest, on a device or in a file."""

    def get(self) -> Tensor:
        """The tensor, on any device; not to be written over."""

    def cpu(self) -> Tensor:
        """The tensor on the host, good while the vector lives; takes no memory on a device."""


@dataclass(frozen=True)
class OptimiserState:
    """Where a descent stands after a step.

    ``evaluation`` is that of the momentum, without its gradient; ``pairs`` are those of L-BFGS, oldest first;
    ``small`` counts the last steps in a row that gained little, ``again`` says that a full step has failed.
    """

    momentum: Vector
    gradient: Vector
    pairs: Iterable[tuple[Vector, Vector, float]]
    evaluation: Evaluation
    damping: float
    number: int
    evaluations: int
    small: int
    again: bool


class Journal:
    """A journal that remembers nothing; callers that can keep something override its methods."""

    def begin(self) -> Optimum | OptimiserState | None:
        """The next descent begins: how it ended or where it stood when the registration was broken off."""
        return None

    def on_step(self, state: OptimiserState) -> None:
        """The present descent has taken a step, or has evaluated its start."""

    def on_end(self, optimum: Optimum) -> None:
        """The present descent has ended."""

    def uninterruptible(self) -> AbstractContextManager[None]:
        """Nothing breaks off the registration within this context."""
        return nullcontext()

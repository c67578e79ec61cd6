"""Sizes of the problems in the GPU benchmark: full size, and small sizes for a trial on a CPU."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

MIB = 1 << 20


@dataclass(frozen=True)
class CardSizes:
    """Shapes are (x, y, z, classes).

    ``full`` is timed and registered, ``small`` is where launches count, ``compared`` is compared with the
    CPU and ``held`` is where each strategy's memory is measured. ``steps`` are those of a shooting,
    ``few_steps`` those of the sweep of slabs (``slabs``, bytes); ``copied`` floats are copied; ``draws``
    random problems are made for the passes, with at most ``widest`` voxels per axis; ``spacing`` is that of
    the anatomy, in mm, and ``most_evaluations`` caps its registrations; ``to_fill`` evaluations give L-BFGS
    all the pairs that it keeps.
    """

    full: tuple[int, ...]
    small: tuple[int, ...]
    compared: tuple[int, ...]
    held: tuple[int, ...]
    steps: int
    few_steps: int
    repeats: int
    copied: int
    slabs: tuple[int, ...]
    draws: int
    widest: int
    spacing: float
    most_evaluations: int
    to_fill: int


FULL = CardSizes(
    full=(240, 240, 155, 8),
    small=(96, 80, 72, 8),
    compared=(48, 48, 48, 5),
    held=(96, 80, 72, 8),
    steps=10,
    few_steps=4,
    repeats=3,
    copied=1 << 28,
    slabs=tuple(n * MIB for n in (16, 32, 64, 128, 512)),
    draws=6,
    widest=70,
    spacing=1.0,
    most_evaluations=40,
    to_fill=12,
)
QUICK = CardSizes(
    full=(20, 18, 16, 8),
    small=(16, 14, 12, 3),
    compared=(16, 15, 14, 3),
    held=(32, 12, 10, 3),
    steps=4,
    few_steps=2,
    repeats=2,
    copied=1 << 20,
    slabs=(1 << 14, 1 << 20),
    draws=2,
    widest=12,
    spacing=9.0,
    most_evaluations=4,
    to_fill=3,
)


def cross(shape: Sequence[int]) -> str:
    """A shape as text."""
    return " × ".join(map(str, shape))

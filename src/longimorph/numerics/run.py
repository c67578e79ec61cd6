"""How a registration is run: what none of its results depends on beyond rounding."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

import torch

from longimorph.numerics.journal import Journal
from longimorph.numerics.memory_strategies import CHECKPOINT, Ladder
from longimorph.numerics.optimise import Iteration

Report = Callable[[float, Iteration], None]


def silent(spacing_mm: float, iteration: Iteration) -> None:
    """Report nothing."""


@dataclass(frozen=True)
class Run:
    """Who hears of a registration, and where it works.

    ``report`` hears of each iteration, with the spacing of its level in mm; ``ladder`` says what is kept
    where (one state per step by default); ``journal`` lets a registration that was interrupted go on;
    ``device`` is where to work (None: where the source lies). With ``apart`` the maps count as lying on
    another device, as they do for a card: measurements of memory on a processor ask for it.
    """

    report: Report = silent
    ladder: Ladder = field(default_factory=lambda: Ladder([CHECKPOINT]))
    journal: Journal = field(default_factory=Journal)
    device: torch.device | None = None
    apart: bool = False

"""How a registration is run; the results do not depend on these settings beyond rounding."""

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
    """Who observes a registration, and where it runs.

    ``report`` receives each iteration, with the spacing of its level in mm. ``ladder`` decides what is kept
    where (one state per step by default). ``journal`` lets an interrupted registration resume. ``device`` is
    where to run (None: where the source lies). With ``apart`` the maps count as lying on another device, as
    they do for a GPU; memory measurements on a CPU use this.
    """

    report: Report = silent
    ladder: Ladder = field(default_factory=lambda: Ladder([CHECKPOINT]))
    journal: Journal = field(default_factory=Journal)
    device: torch.device | None = None
    apart: bool = False

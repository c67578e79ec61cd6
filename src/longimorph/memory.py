"""The memory model: peak bytes of a registration from its size alone. Arithmetic only, no torch.

D is the size of one probability map, classes x voxels x 4 bytes; N the number of steps; M the pairs that
L-BFGS keeps. Peak = (PER_PAIR * M + PER_STEP * N + CONSTANT) * D.
"""

from __future__ import annotations

STRATEGY = "one checkpoint per step"

PAIRS_KEPT = 8
PER_PAIR = 2.0
PER_STEP = 2.0
CONSTANT = 40.0


def predicted_peak(map_bytes: int, steps: int, pairs: int = PAIRS_KEPT) -> int:
    """Peak bytes of tensors during a registration; ``map_bytes`` is D."""
    return round((PER_PAIR * pairs + PER_STEP * steps + CONSTANT) * map_bytes)

"""The memory model: peak bytes of a registration from its size alone. Arithmetic only, no torch.

D is the size of one probability map, classes x voxels x 4 bytes, and F that of a field of one number per
voxel, D / classes; N is the number of steps and M the pairs that L-BFGS keeps:

    peak = (PER_PAIR M + PER_STEP N + MAPS) D + FIELDS F.

The constants were fitted to what ``numerics.live_bytes`` counted around whole registrations of 24 x 24 x 24
voxels, two levels each and all pairs in use: 3 to 13 classes, 5 to 20 steps, 2 to 8 pairs. The instrument
agrees with PyTorch's allocator to one part in a thousand, and the model with the instrument to 1 % on shapes
that were not fitted. Of MAPS, 11 are what the optimiser holds besides its pairs (the visits, the control
allocated to the target, the preconditioner); the rest is what one step of the adjoint works with.
"""

from __future__ import annotations

STRATEGY = "one checkpoint per step"

USUAL_STEPS = 20
"""Steps to reckon with where the run chooses them itself (it begins with 5)."""

PAIRS_KEPT = 8
PER_PAIR = 2.0
PER_STEP = 2.0
MAPS = 49.0
FIELDS = 41.0


def predicted_peak(map_bytes: int, classes: int, steps: int, pairs: int = PAIRS_KEPT) -> int:
    """Peak bytes of tensors during a registration; ``map_bytes`` is D."""
    maps = PER_PAIR * pairs + PER_STEP * steps + MAPS
    return round(maps * map_bytes + FIELDS * map_bytes / classes)

"""Overlap of probability maps."""

from __future__ import annotations

import torch
from torch import Tensor

PRESENT = 1e-3


def dice(a: Tensor, b: Tensor) -> Tensor:
    """Dice of each class for two probability maps (C, *grid): 2 sum min(a, b) / sum (a + b), float64 (C,).

    For binary maps this is the usual Dice coefficient. A class that does not reach PRESENT in any voxel of
    either map is absent from both and gives NaN.
    """
    shared = torch.minimum(a, b).flatten(1).sum(1, dtype=torch.float64)
    total = (a + b).flatten(1).sum(1, dtype=torch.float64)
    present = torch.maximum(a, b).flatten(1).amax(1) > PRESENT
    return torch.where(present, 2 * shared / total, torch.nan)

"""Overlap of probability maps."""

from __future__ import annotations

import torch
from torch import Tensor


def dice(a: Tensor, b: Tensor) -> Tensor:
    """Dice of each class for two probability maps (C, *grid): 2 sum min(a, b) / sum (a + b), float64 (C,).

    For maps of zeros and ones it is the usual Dice; a class absent from both (under one millionth of a
    voxel) gives NaN.
    """
    shared = torch.minimum(a, b).flatten(1).sum(1, dtype=torch.float64)
    total = (a + b).flatten(1).sum(1, dtype=torch.float64)
    return torch.where(total > 1e-6, 2 * shared / total, torch.nan)

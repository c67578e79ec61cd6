"""Tensors put away in the host's memory while the device has no use for them.

On a processor host and device are one memory; a copy is made all the same, so that what a strategy would
hold on a device can be counted there (``numerics.live_bytes`` counts parked tensors apart).
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import Tensor

_depth = 0


def parking() -> bool:
    """Whether tensors made at this moment are meant to lie in the host's memory."""
    return _depth > 0


@contextmanager
def _on_host() -> Iterator[None]:
    global _depth
    _depth += 1
    try:
        yield
    finally:
        _depth -= 1


def park(tensor: Tensor) -> Tensor:
    """A copy in the host's memory, pinned where that speeds up copies; same shape and type."""
    with _on_host():
        if tensor.device.type == "cpu":
            return tensor.clone()
        away = torch.empty(tensor.shape, dtype=tensor.dtype, pin_memory=True)
        return away.copy_(tensor, non_blocking=True)


def fetch(parked: Tensor, device: torch.device) -> Tensor:
    """A copy on the device of what was parked."""
    return parked.clone() if device.type == "cpu" else parked.to(device, non_blocking=True)

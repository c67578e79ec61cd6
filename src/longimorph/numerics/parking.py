"""Tensors put away in the host's memory while the device has no use for them.

On a processor host and device are one memory; a copy is made all the same, so that what a strategy would
hold on a device can be counted there (``numerics.live_bytes`` counts parked tensors apart).
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import Tensor

from longimorph.numerics.lanes import lane

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


class Parked:
    """A copy of a tensor in the host's memory."""

    def __init__(self, tensor: Tensor) -> None:
        """Begin to copy; the tensor must stay as it is until :meth:`settle` or the end of the copy."""
        self._device, self._lane = tensor.device, lane(tensor.device)
        with _on_host():
            self._away, self._block = self._lane.room(tensor)
            self._end = self._lane.copy(self._away, tensor)
        self._ahead: tuple[Tensor, object] | None = None

    def settle(self) -> None:
        """What the device is given from now on begins after the copy, and may write over the tensor."""
        self._lane.join(self._end)

    def prefetch(self) -> None:
        """Begin to bring it back beside what the device computes; takes its memory on the device now."""
        if self._ahead is None:
            tensor = torch.empty_like(self._away, device=self._device)
            self._ahead = tensor, self._lane.copy(tensor, self._away)

    def fetch(self) -> Tensor:
        """A copy on the device."""
        self.prefetch()
        assert self._ahead is not None
        tensor, end = self._ahead
        self._ahead = None
        self._lane.join(end)
        return tensor

    def cpu(self) -> Tensor:
        """The copy on the host itself, good while this object lives; takes no memory on the device."""
        self._lane.finish(self._end)
        return self._away

    def __del__(self) -> None:
        if getattr(self, "_ahead", None) is not None:  # its memory must not be given away under the copy
            self.fetch()


def park(tensor: Tensor) -> Parked:
    """Put a copy on the host; the tensor may be written over or let go of at once."""
    parked = Parked(tensor)
    parked.settle()
    return parked


@contextmanager
def park_beside(*tensors: Tensor) -> Iterator[tuple[Parked, ...]]:
    """Put copies on the host beside what the device computes within; the tensors live until its end."""
    parked = tuple(Parked(tensor) for tensor in tensors)
    try:
        yield parked
    finally:
        for one in parked:
            one.settle()

"""Tensors kept in host memory while the device does not need them.

On a CPU host and device share one memory. A copy is made nevertheless, so that the tensors a strategy would
hold on a device can be counted there (``numerics.live_bytes`` counts parked tensors separately).
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import Tensor

from longimorph.numerics.lanes import lane

_depth = 0


def parking() -> bool:
    """Return whether tensors created now are meant for host memory."""
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
    """A copy of a tensor in host memory."""

    def __init__(self, tensor: Tensor) -> None:
        """Start copying; the tensor must not change until :meth:`settle` or the end of the copy."""
        self._device, self._lane = tensor.device, lane(tensor.device)
        with _on_host():
            self._away, self._block = self._lane.room(tensor)
            self._end = self._lane.copy(self._away, tensor)
        self._ahead: tuple[Tensor, object] | None = None

    def settle(self) -> None:
        """Order all later device work after the copy; that work may overwrite the tensor."""
        self._lane.join(self._end)

    def prefetch(self) -> None:
        """Start copying back in parallel with the computation; allocates the device memory now."""
        if self._ahead is None:
            tensor = torch.empty_like(self._away, device=self._device)
            self._ahead = tensor, self._lane.copy(tensor, self._away)

    def fetch(self) -> Tensor:
        """Return a copy on the device."""
        self.prefetch()
        assert self._ahead is not None
        tensor, end = self._ahead
        self._ahead = None
        self._lane.join(end)
        return tensor

    def cpu(self) -> Tensor:
        """Return the host copy itself, valid while this object lives; allocates no device memory."""
        self._lane.finish(self._end)
        return self._away

    def __del__(self) -> None:
        if getattr(self, "_ahead", None) is not None:  # its memory must not be given away under the copy
            self.fetch()


def park(tensor: Tensor) -> Parked:
    """Copy a tensor to the host; the tensor may be overwritten or released immediately."""
    parked = Parked(tensor)
    parked.settle()
    return parked


@contextmanager
def park_beside(*tensors: Tensor) -> Iterator[tuple[Parked, ...]]:
    """Copy tensors to the host while the device computes within; the tensors live until the context ends."""
    parked = tuple(Parked(tensor) for tensor in tensors)
    try:
        yield parked
    finally:
        for one in parked:
            one.settle()

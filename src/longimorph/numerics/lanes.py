"""Copies between a device and the host's memory, in order with the device's work or beside it.

A lane belongs to one device. Work on a graphics card is queued: the card computes in the order of its
compute stream while Python runs ahead. A copy that the card makes on a second stream goes on beside what it
computes; events keep the two in order. On a processor host and device are one memory, and copies are made at
once.
"""

from __future__ import annotations

import functools

import torch
from torch import Tensor

from longimorph.numerics.pinned import PINNED, Block


class Lane:
    """Copies made at once: for a processor, whose memory is the host's."""

    def room(self, like: Tensor) -> tuple[Tensor, Block | None]:
        """Memory on the host for a copy of ``like``, and the page-locked block that it lies in, if any."""
        return torch.empty_like(like), None

    def copy(self, into: Tensor, source: Tensor) -> object:
        """Copy beside what the device computes, after all it was given so far; returns the copy's end."""
        into.copy_(source)
        return None

    def join(self, end: object) -> None:
        """What the device is given from now on begins after the end of a copy."""

    def finish(self, end: object) -> None:
        """Wait until the end of a copy."""


class CudaLane(Lane):
    """Copies on a stream of their own, to and from page-locked memory."""

    def __init__(self, device: torch.device) -> None:
        self._stream = torch.cuda.Stream(device)

    def room(self, like: Tensor) -> tuple[Tensor, Block | None]:
        """Memory of the exact size from the pool of page-locked blocks."""
        block = PINNED.take(like.numel() * like.element_size())
        return block.memory.view(like.dtype).view(like.shape), block

    def copy(self, into: Tensor, source: Tensor) -> object:
        """Queue the copy after what the compute stream holds now."""
        self._stream.wait_stream(torch.cuda.current_stream(self._stream.device))
        with torch.cuda.stream(self._stream):
            into.copy_(source, non_blocking=True)
            return self._stream.record_event()

    def join(self, end: object) -> None:
        """Let the compute stream wait; Python does not."""
        if isinstance(end, torch.cuda.Event):
            torch.cuda.current_stream(self._stream.device).wait_event(end)

    def finish(self, end: object) -> None:
        """Let Python wait."""
        if isinstance(end, torch.cuda.Event):
            end.synchronize()


@functools.cache
def _cuda_lane(index: int) -> Lane:
    return CudaLane(torch.device("cuda", index))


AT_ONCE = Lane()


def lane(device: torch.device) -> Lane:
    """The lane of a device."""
    if device.type != "cuda":
        return AT_ONCE
    return _cuda_lane(torch.cuda.current_device() if device.index is None else device.index)

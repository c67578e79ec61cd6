"""Copies between a device and host memory, ordered with the device's work or overlapping it.

A lane belongs to one device. Work on a GPU is queued: it runs in the order of the compute stream while Python
runs ahead. A copy on a second stream overlaps the computation; events keep the two streams in order. On a CPU
host and device share one memory, and copies are made immediately.
"""

from __future__ import annotations

import functools

import torch
from torch import Tensor

from longimorph.numerics.pinned import PINNED, Block


class Lane:
    """Immediate copies: for a CPU, whose memory is the host's."""

    def room(self, like: Tensor) -> tuple[Tensor, Block | None]:
        """Allocate host memory for a copy of ``like``; return it with its page-locked block, if any."""
        return torch.empty_like(like), None

    def copy(self, into: Tensor, source: Tensor) -> object:
        """Copy in parallel with the computation, after all work queued so far; return its end event."""
        into.copy_(source)
        return None

    def join(self, end: object) -> None:
        """Make all work queued from now on start after a copy has completed."""

    def finish(self, end: object) -> None:
        """Wait until a copy has completed."""


class CudaLane(Lane):
    """Copies on a separate stream, to and from page-locked memory."""

    def __init__(self, device: torch.device) -> None:
        self._stream = torch.cuda.Stream(device)

    def room(self, like: Tensor) -> tuple[Tensor, Block | None]:
        """Allocate memory of the exact size from the pool of page-locked blocks."""
        block = PINNED.take(like.numel() * like.element_size())
        return block.memory.view(like.dtype).view(like.shape), block

    def copy(self, into: Tensor, source: Tensor) -> object:
        """Queue the copy after the present contents of the compute stream."""
        self._stream.wait_stream(torch.cuda.current_stream(self._stream.device))
        with torch.cuda.stream(self._stream):
            into.copy_(source, non_blocking=True)
            return self._stream.record_event()

    def join(self, end: object) -> None:
        """Make the compute stream wait for a copy; Python does not wait."""
        if isinstance(end, torch.cuda.Event):
            torch.cuda.current_stream(self._stream.device).wait_event(end)

    def finish(self, end: object) -> None:
        """Make Python wait for a copy."""
        if isinstance(end, torch.cuda.Event):
            end.synchronize()


@functools.cache
def _cuda_lane(index: int) -> Lane:
    return CudaLane(torch.device("cuda", index))


AT_ONCE = Lane()


def lane(device: torch.device) -> Lane:
    """Return the lane of a device."""
    if device.type != "cuda":
        return AT_ONCE
    return _cuda_lane(torch.cuda.current_device() if device.index is None else device.index)

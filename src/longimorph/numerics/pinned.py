"""Page-locked host memory in blocks of the exact size.

A GPU overlaps copies with computation only for page-locked ("pinned") memory. PyTorch's own pool rounds each
block up to a power of two, which can nearly double what a cluster's scheduler counts. Here a block is exactly
as large as its contents. A returned block is reused for the same size, as long as the locked bytes do not
exceed the bytes in use at the peak (:mod:`longimorph.numerics.blocks`).
"""

from __future__ import annotations

import logging
import mmap
import weakref
from collections.abc import Callable
from contextlib import suppress

import torch
from torch import Tensor

from longimorph.numerics.blocks import Shelf

LOGGER = logging.getLogger(__name__)


def _lock(address: int, size: int) -> bool:
    """Page-lock memory for the GPU; return False where the driver refuses."""
    refused = int(torch.cuda.cudart().cudaHostRegister(address, size, 0)) != 0
    if refused:
        _forget_the_last_error()
    return not refused


def _forget_the_last_error() -> None:
    """Clear the pending CUDA error, which the next operation would otherwise report."""
    with suppress(RuntimeError):
        torch.zeros(1, device="cuda")


def _unlock(address: int) -> None:
    torch.cuda.synchronize()  # a copy may be in progress
    torch.cuda.cudart().cudaHostUnregister(address)


class Block:
    """Memory of ``size`` bytes, (size,) uint8; returns to its pool when the last reference is dropped."""

    def __init__(self, memory: Tensor) -> None:
        self.memory = memory


class Pool:
    """Blocks in use and blocks for reuse. ``bytes`` are locked now, ``peak`` is the maximum so far.

    ``lock`` takes an address and a size and returns whether the memory was locked. Memory that cannot be
    locked is used nevertheless; copies are then slower. Not thread-safe.
    """

    def __init__(
        self, lock: Callable[[int, int], bool] = _lock, unlock: Callable[[int], None] = _unlock
    ) -> None:
        self._lock, self._unlock = lock, unlock
        self._blocks = Shelf(self._obtain, self._release)
        self._refused = False
        self.bytes = self.peak = 0

    def take(self, size: int) -> Block:
        """Return a block of ``size`` bytes."""
        memory, locked = self._blocks.take(size)
        block = Block(memory)
        weakref.finalize(block, self._blocks.put, size, (memory, locked)).atexit = False
        return block

    def trim(self) -> None:
        """Unlock the unused blocks and return their memory to the system."""
        self._blocks.clear()

    def reset_peak(self) -> None:
        """Reset ``peak`` to the bytes locked now."""
        self.peak = self.bytes

    def _obtain(self, size: int) -> tuple[Tensor, bool]:
        memory = torch.frombuffer(mmap.mmap(-1, max(size, 1)), dtype=torch.uint8, count=size)
        locked = self._lock(memory.data_ptr(), size)
        if locked:
            self.bytes += size
            self.peak = max(self.peak, self.bytes)
        elif not self._refused:
            self._refused = True
            LOGGER.warning("the driver refuses to page-lock host memory: copies to the GPU are slower")
        return memory, locked

    def _release(self, block: tuple[Tensor, bool]) -> None:
        memory, locked = block
        if locked:
            self._unlock(memory.data_ptr())
            self.bytes -= len(memory)


PINNED = Pool()
"""The pool of this process."""

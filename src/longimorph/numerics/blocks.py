"""Host memory in blocks of the exact size, used again for the next block of the same size.

The operating system clears each page that it hands out, and a large tensor's pages go back when the tensor
is released. At 128^3 x 5, that took a quarter of the time of a cost and gradient. Large results of the passes
are therefore written to blocks that are kept when their tensor is released.
"""

from __future__ import annotations

import math
import mmap
import weakref
from collections import deque
from collections.abc import Callable
from contextlib import suppress
from typing import Generic, TypeVar

import torch
from torch import Tensor

LARGE = 1 << 20
"""Bytes from which a tensor gets a block. Smaller ones come from the heap, which keeps its pages."""

M = TypeVar("M")


class Shelf(Generic[M]):
    """Blocks in use, and unused ones, the latest to return first.

    ``obtain`` allocates a block of a size in bytes; ``release`` returns one to the system. All blocks
    together take no more than those in use took at their peak, which counts from the last ``clear``. One
    thread takes blocks; any thread may put them back, also while one is taken.
    """

    def __init__(self, obtain: Callable[[int], M], release: Callable[[M], None] = lambda _: None) -> None:
        self._obtain, self._release = obtain, release
        self._returned: deque[tuple[int, M]] = deque()
        self._unused: list[tuple[int, M]] = []
        self._used = self._waiting = self._peak = 0

    def take(self, size: int) -> M:
        """Return an unused block of this size, else a new one, for which the oldest unused are released."""
        self._sort_in()
        sizes = [other for other, _ in self._unused]
        if size in sizes:
            _, block = self._unused.pop(sizes.index(size))
            self._waiting -= size
        else:
            most = max(self._peak, self._used + size)
            while self._unused and self._used + size + self._waiting > most:
                self._drop()
            block = self._obtained(size)
        self._used += size
        self._peak = max(self._peak, self._used)
        return block

    def _obtained(self, size: int) -> M:
        try:
            return self._obtain(size)
        except OSError:
            if not self._unused:
                raise
        self.clear()
        return self._obtain(size)

    def put(self, size: int, block: M) -> None:
        """Keep a block for reuse."""
        self._returned.append((size, block))

    def clear(self) -> None:
        """Return all unused blocks to the system."""
        self._sort_in()
        while self._unused:
            self._drop()
        self._peak = self._used

    def _sort_in(self) -> None:
        """Enter the blocks that were put back."""
        while self._returned:
            size, block = self._returned.popleft()
            self._unused.insert(0, (size, block))
            self._used -= size
            self._waiting += size

    def _drop(self) -> None:
        size, block = self._unused.pop()
        self._waiting -= size
        self._release(block)


def pages(size: int) -> mmap.mmap:
    """Map ``size`` bytes of zeros, in huge pages where the system offers them."""
    memory = mmap.mmap(-1, max(size, 1), flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
    with suppress(AttributeError, OSError):  # only Linux has huge pages, and not every kernel
        memory.madvise(mmap.MADV_HUGEPAGE)
    return memory


FIELDS: Shelf[mmap.mmap] = Shelf(pages)
"""The unused blocks of this process: those returned after a registration stay until the next one."""


def new_field(like: Tensor, channels: int | None = None) -> Tensor:
    """Allocate (channels, *grid) for a tensor like (C, *grid), uninitialised; by default with C channels.

    On a CPU, large ones are blocks, which return to ``FIELDS`` when the last view of them is dropped.
    """
    shape = len(like) if channels is None else channels, *like.shape[1:]
    size = math.prod(shape) * like.element_size()
    if like.device.type != "cpu" or size < LARGE:
        return like.new_empty(shape)
    block = FIELDS.take(size)
    handle = memoryview(block)  # the tensor holds it, so its end is the tensor's
    weakref.finalize(handle, FIELDS.put, size, block).atexit = False
    return torch.frombuffer(handle, dtype=like.dtype).view(shape)

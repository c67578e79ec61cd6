"""Where a registration keeps the states it needs again: the ladder from fastest to leanest.

Every rung gives the same numbers. The backward pass over N steps needs the state before each step; states
that are not kept are recomputed. The pairs of L-BFGS, the optimiser's vectors and, on a GPU, the target's map
can be kept in host memory.
"""

from __future__ import annotations

import errno
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TypeVar
from weakref import WeakSet

import torch
from torch import Tensor

from longimorph.numerics.blocks import FIELDS
from longimorph.numerics.parking import Parked, park

NESTED_SLOTS = 3

T = TypeVar("T")


@dataclass(frozen=True)
class Strategy:
    """One rung of the ladder.

    ``traces``: also keep the trace of every step. ``slots``: keep this many states and nest (None: all).
    ``host_states``: keep states in host memory. ``host_vectors``: keep pairs, stored vectors and a GPU's
    target in host memory.
    """

    name: str
    sentence: str
    traces: bool = False
    slots: int | None = None
    host_states: bool = False
    host_vectors: bool = False


STORE = Strategy("store", "keeps all values of every step", traces=True)
CHECKPOINT = Strategy("checkpoint", "keeps one state per step and recomputes the values within a step")
OFFLOAD = Strategy(
    "offload", "keeps one state per step, and the optimiser's vectors on the host", host_vectors=True
)
HOST = Strategy(
    "host",
    "keeps the states and the optimiser's vectors on the host",
    host_states=True,
    host_vectors=True,
)
NESTED = Strategy(
    "nested",
    f"keeps {NESTED_SLOTS} states, recomputes the others, and keeps the optimiser's vectors on the host",
    slots=NESTED_SLOTS,
    host_vectors=True,
)

LADDERS = {"cuda": (STORE, CHECKPOINT, OFFLOAD, HOST, NESTED), "cpu": (STORE, CHECKPOINT, NESTED)}
"""From fastest to leanest; offloading to host memory does not help on a CPU."""

BY_NAME = {rung.name: rung for rung in (STORE, CHECKPOINT, OFFLOAD, HOST, NESTED)}


def ladder(device: str) -> tuple[Strategy, ...]:
    """Return the rungs for a type of device, fastest first."""
    return LADDERS.get(device, LADDERS["cpu"])


SPELLINGS = (
    "out of memory",
    "can't allocate memory",
    "cudaErrorMemoryAllocation",
    "_STATUS_ALLOC_FAILED",
    "calling `cublasCreate",
)
"""Messages by which PyTorch and the libraries below it report that memory ran out, where the type of the
error does not tell.

cuBLAS, cuSOLVER, cuFFT, cuSPARSE and cuDNN each have a status of their own. A cuBLAS handle that cannot be
created is reported as "not initialized", usually for lack of memory.
"""


def out_of_memory(error: BaseException) -> bool:
    """Return whether an error means that the device or the host is out of memory."""
    if isinstance(error, torch.OutOfMemoryError | MemoryError):
        return True
    if isinstance(error, OSError):
        return error.errno == errno.ENOMEM
    return isinstance(error, RuntimeError) and any(text in str(error) for text in SPELLINGS)


class Offloadable:
    """A tensor stored until it is needed again, on the device or parked on the host."""

    def __init__(self, tensor: Tensor, on_host: bool = False) -> None:
        self._resting: Tensor | Parked = park(tensor) if on_host else tensor

    def get(self) -> Tensor:
        """Return the tensor on its device; it must not be overwritten."""
        return self._resting.fetch() if isinstance(self._resting, Parked) else self._resting

    def cpu(self) -> Tensor:
        """Return the tensor on the host, valid while this object lives; allocates no device memory."""
        return self._resting.cpu()

    def park(self) -> None:
        """Move the tensor to the host, if it is not there yet."""
        if isinstance(self._resting, Tensor):
            self._resting = park(self._resting)


class Ladder:
    """The strategy in use; steps down to the next rung when memory runs out, and stays there."""

    def __init__(
        self, rungs: Sequence[Strategy], stepped_down: Callable[[Strategy, Strategy], None] = lambda *_: None
    ) -> None:
        self._rungs = list(rungs)
        self._tell = stepped_down
        self._kept: WeakSet[Offloadable] = WeakSet()

    @property
    def current(self) -> Strategy:
        """The rung in use."""
        return self._rungs[0]

    def keep(self, tensor: Tensor) -> Offloadable:
        """Store a vector of the optimiser where the rung in use has room for it."""
        kept = Offloadable(tensor, self.current.host_vectors)
        self._kept.add(kept)
        return kept

    def attempt(self, work: Callable[[], T]) -> T:
        """Run ``work``, again on the next rung each time that memory runs out.

        Raises the error of the last rung if memory runs out there as well.
        """
        while True:
            try:
                return work()
            except (RuntimeError, MemoryError, OSError) as error:
                if not out_of_memory(error) or len(self._rungs) == 1:
                    raise
            self._step_down()

    def _step_down(self) -> None:
        left = self._rungs.pop(0)
        FIELDS.clear()
        if self.current.host_vectors:
            for kept in list(self._kept):
                kept.park()
                FIELDS.clear()
        self._tell(left, self.current)
        if torch.cuda.is_available():
            torch.cuda.empty_cache()

"""Measurements that only a GPU provides, by its events and allocator; a CPU substitutes its clock."""

from __future__ import annotations

import gc
import importlib
import statistics
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from typing import Any

import torch

from benchmarks import report
from longimorph.memory import budget
from longimorph.numerics import passes

GIB = 1 << 30


def is_card(device: torch.device) -> bool:
    """Return whether the device has events and an allocator."""
    return device.type == "cuda"


def name_of(device: torch.device) -> str:
    """The device's name, memory and driver interface."""
    if not is_card(device):
        return f"{report.processor()}, in place of a GPU"
    found = torch.cuda.get_device_properties(device)
    return f"{found.name}, {found.total_memory / GIB:.0f} GiB, CUDA {torch.version.cuda}"


def wait(device: torch.device) -> None:
    """Wait until the device has completed its queued work."""
    if is_card(device):
        torch.cuda.synchronize(device)


def clean(device: torch.device) -> None:
    """Release unreferenced memory; a broken device reports its error at the next use."""
    gc.collect()
    if is_card(device):
        with suppress(RuntimeError):
            torch.cuda.synchronize(device)
            torch.cuda.empty_cache()


class Stopwatch:
    """Time since creation, by the device's own events if it has them."""

    def __init__(self, device: torch.device) -> None:
        self._event = _now(device) if is_card(device) else None
        self._device, self._began = device, time.perf_counter()

    def seconds(self) -> float:
        """Elapsed seconds when all work queued on the device so far is done."""
        if self._event is None:
            return time.perf_counter() - self._began
        end = _now(self._device)
        end.synchronize()
        return float(self._event.elapsed_time(end)) / 1000


def _now(device: torch.device) -> torch.cuda.Event:
    event = torch.cuda.Event(enable_timing=True)
    event.record(torch.cuda.current_stream(device))
    return event


def milliseconds(work: Callable[[], object], device: torch.device, repeats: int, calls: int = 1) -> float:
    """Time of one call: the median of ``repeats`` measurements of ``calls`` in a row, after a warm-up."""
    work()
    return 1000 * statistics.median(_spent(work, device, calls) for _ in range(repeats))


def _spent(work: Callable[[], object], device: torch.device, calls: int) -> float:
    watch = Stopwatch(device)
    for _ in range(calls):
        work()
    return watch.seconds() / calls


@dataclass(frozen=True)
class Peak:
    """Most bytes that tensors took, that the allocator reserved and that were pinned (None: unknown)."""

    allocated: int
    reserved: int
    pinned: int | None


class Meter:
    """Peak memory use of the device from now on, without its libraries' workspaces; None on a CPU."""

    def __init__(self, device: torch.device) -> None:
        self._device, self._before = device, 0
        clean(device)
        if is_card(device):
            self._before = _workspace(device)
            torch.cuda.reset_peak_memory_stats(device)
        if (pinned := pinned_pool()) is not None:
            pinned.reset_peak()

    def peak(self) -> Peak | None:
        """The peak so far."""
        if not is_card(self._device):
            return None
        pinned = pinned_pool()
        return Peak(
            torch.cuda.max_memory_allocated(self._device) - self._before,
            torch.cuda.max_memory_reserved(self._device),
            None if pinned is None else pinned.peak,
        )


def pinned_pool() -> Any:
    """The pool of page-locked host memory, which knows its ``peak``; None where PyTorch's own is used."""
    for name in ("pinned", "parking"):
        with suppress(ImportError):
            found = importlib.import_module(f"longimorph.numerics.{name}")
            if hasattr(found, "PINNED"):
                return found.PINNED
    return None


def _workspace(device: torch.device) -> int:
    """Bytes allocated before any measurement: the first product makes cuBLAS allocate its workspace."""
    a = torch.ones(64, 64, device=device)
    torch.matmul(a, a)
    torch.matmul(a.expand(2, 64, 64), a)
    del a
    clean(device)
    return torch.cuda.memory_allocated(device)


@contextmanager
def limited(device: torch.device, most: int) -> Iterator[None]:
    """Limit PyTorch to ``most`` bytes of the device within this context."""
    if not is_card(device):
        yield
        return
    clean(device)
    total = torch.cuda.get_device_properties(device).total_memory
    torch.cuda.set_per_process_memory_fraction(min(1.0, most / total), device)
    try:
        yield
    finally:
        torch.cuda.set_per_process_memory_fraction(1.0, device)
        clean(device)


def free(device: torch.device, most: int) -> int:
    """Free bytes of the device if at most ``most`` bytes may be used."""
    clean(device)
    held = torch.cuda.memory_allocated(device) if is_card(device) else 0
    return min(most - held, budget.free_bytes(device))


@contextmanager
def by_the_formulas() -> Iterator[None]:
    """Process every volume by PyTorch's formulas within this context, not by compiled loops or kernels."""
    usual = passes.FUSED_LOOPS, passes.KERNEL_DEVICES
    passes.FUSED_LOOPS, passes.KERNEL_DEVICES = False, ()
    try:
        yield
    finally:
        passes.FUSED_LOOPS, passes.KERNEL_DEVICES = usual


def by_kernels(device: torch.device) -> bool:
    """Return whether Triton's kernels process volumes on this device."""
    return passes.kernels_for([torch.empty(1, 2, 2, 2, device=device)]) is not None

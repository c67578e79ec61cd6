"""Where a registration runs: on which kind of GPU and with which memory strategy, or on a CPU.

Uses arithmetic with the memory model only; reads no file and does not need torch.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from math import ceil
from pathlib import Path

from longimorph.footprint import LADDERS
from longimorph.memory.model import DEFAULT_STRATEGY, MARGIN, Size, model
from longimorph.study.gpus import Gpu

CONTEXT_BYTES = 600_000_000
"""GPU memory used by the driver and libraries. A typical figure, not measured here."""


@dataclass(frozen=True)
class Placement:
    """The placement of one registration.

    ``gpu`` is the kind of GPU; None means a CPU or any available GPU. ``device`` is cuda or cpu.
    ``device_bytes`` are the predicted bytes on the GPU; ``host_bytes`` are those of the process in host
    memory, with a margin.
    """

    device: str
    gpu: Gpu | None
    strategy: str
    device_bytes: int
    host_bytes: int


def usable_bytes(gpu: Gpu) -> int:
    """GPU memory available to a registration."""
    return int((1 - MARGIN) * max(gpu.memory_gb * 1e9 - CONTEXT_BYTES, 0))


@lru_cache(maxsize=4096)
def place(size: Size, gpus: Sequence[Gpu], device: str, known: Path | None = None) -> Placement | None:
    """Return the placement of a registration; None when a GPU is required and none is large enough.

    The choice is the smallest GPU on which the fastest strategy fits, else the largest one with the first
    leaner strategy that fits, else a CPU. ``device`` is the setting: auto, cpu or cuda; ``known`` is a model
    file.
    """
    if device == "cpu" or (device == "auto" and not gpus):
        return _on_processor(size, known)
    if not gpus:
        return _on_any_card(size, known)
    fastest, *leaner = LADDERS["cuda"]
    largest = max(gpus, key=lambda gpu: gpu.memory_gb)
    candidates = [(gpu, fastest) for gpu in sorted(gpus, key=lambda gpu: gpu.memory_gb)]
    for gpu, strategy in (*candidates, *((largest, name) for name in leaner)):
        if device_bytes(size, strategy, known) <= usable_bytes(gpu):
            return _on_card(size, gpu, strategy, known)
    return _on_processor(size, known) if device == "auto" else None


def least_bytes(size: Size, known: Path | None = None) -> int:
    """Minimum GPU memory of a registration."""
    return min(device_bytes(size, strategy, known) for strategy in LADDERS["cuda"])


def device_bytes(size: Size, strategy: str, known: Path | None = None) -> int:
    """GPU memory of a registration."""
    return model(known).peak(strategy, size, "cuda").device


def _on_card(size: Size, gpu: Gpu | None, strategy: str, known: Path | None) -> Placement:
    host = model(known).host_peak(strategy, size, "cuda")
    return Placement("cuda", gpu, strategy, device_bytes(size, strategy, known), host)


def _on_any_card(size: Size, known: Path | None) -> Placement:
    """Placement on a GPU of unknown size: the fastest strategy, with host memory for any strategy."""
    placed = [_on_card(size, None, strategy, known) for strategy in LADDERS["cuda"]]
    return Placement(
        "cuda", None, placed[0].strategy, placed[0].device_bytes, max(p.host_bytes for p in placed)
    )


def _on_processor(size: Size, known: Path | None) -> Placement:
    """Placement on a CPU, with enough memory that the run takes this strategy after reserving its margin."""
    found = model(known)
    process = found.process_bytes("cpu")
    tensors = found.host_peak(DEFAULT_STRATEGY, size, "cpu") - process
    return Placement("cpu", None, DEFAULT_STRATEGY, 0, process + ceil(tensors / (1 - MARGIN)))

"""Where a registration runs: on which kind of card, with which strategy of memory, or on a processor.

Arithmetic with the memory model; nothing is read and torch is not needed.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from math import ceil
from pathlib import Path

from longimorph.memory.model import DEFAULT_STRATEGY, MARGIN, Size, model
from longimorph.study.gpus import Gpu

LADDERS = {
    "cuda": ("store", "checkpoint", "offload", "host", "nested"),
    "cpu": ("store", "checkpoint", "nested"),
}
"""Strategies from fastest to leanest, those of ``numerics.strategies``."""

CONTEXT_BYTES = 600_000_000
"""What driver and libraries take of a card for themselves. A usual figure, not measured here."""


@dataclass(frozen=True)
class Placement:
    """The place of one registration.

    ``gpu`` is the kind of card, None for a processor or for whatever card there is; ``device`` is cuda or
    cpu. ``device_bytes`` are predicted on the card, ``host_bytes`` are those of the process in the host's
    memory, with room.
    """

    device: str
    gpu: Gpu | None
    strategy: str
    device_bytes: int
    host_bytes: int


def usable_bytes(gpu: Gpu) -> int:
    """What a registration may take of a card."""
    return int((1 - MARGIN) * max(gpu.memory_gb * 1e9 - CONTEXT_BYTES, 0))


@lru_cache(maxsize=4096)
def place(size: Size, gpus: Sequence[Gpu], device: str, known: Path | None = None) -> Placement | None:
    """Return the place of a registration; None when a card is a must and none holds it.

    The smallest card that holds the fastest strategy, else the largest one with the first leaner strategy
    that it holds, else a processor. ``device`` is the setting: auto, cpu or cuda; ``known`` a model's file.
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
    """What a card has to hold at the least."""
    return min(device_bytes(size, strategy, known) for strategy in LADDERS["cuda"])


def device_bytes(size: Size, strategy: str, known: Path | None = None) -> int:
    """What a registration takes of a card."""
    return model(known).peak(strategy, size, "cuda").device


def _on_card(size: Size, gpu: Gpu | None, strategy: str, known: Path | None) -> Placement:
    host = model(known).host_peak(strategy, size, "cuda")
    return Placement("cuda", gpu, strategy, device_bytes(size, strategy, known), host)


def _on_any_card(size: Size, known: Path | None) -> Placement:
    """On a card of unknown size: as fast as it goes, with host memory for whichever strategy that is."""
    placed = [_on_card(size, None, strategy, known) for strategy in LADDERS["cuda"]]
    return Placement(
        "cuda", None, placed[0].strategy, placed[0].device_bytes, max(p.host_bytes for p in placed)
    )


def _on_processor(size: Size, known: Path | None) -> Placement:
    """With memory such that the run, which leaves a margin of what is free alone, takes this strategy."""
    found = model(known)
    process = found.process_bytes("cpu")
    tensors = found.host_peak(DEFAULT_STRATEGY, size, "cpu") - process
    return Placement("cpu", None, DEFAULT_STRATEGY, 0, process + ceil(tensors / (1 - MARGIN)))

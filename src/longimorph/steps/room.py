"""How much memory a registration may take, and where on the ladder it begins."""

from __future__ import annotations

import logging
import os
import resource
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from longimorph.memory import PROCESS_BYTES, USUAL_STEPS, Size, choose, model
from longimorph.numerics import passes
from longimorph.numerics.strategies import Ladder, Strategy, ladder

LOGGER = logging.getLogger(__name__)

MEMINFO = Path("/proc/meminfo")
CGROUPS = (
    (Path("/sys/fs/cgroup/memory.max"), Path("/sys/fs/cgroup/memory.current")),
    (
        Path("/sys/fs/cgroup/memory/memory.limit_in_bytes"),
        Path("/sys/fs/cgroup/memory/memory.usage_in_bytes"),
    ),
)
"""Files that hold the limit of a container or a cluster's job, and what is used of it, in bytes."""


@dataclass(frozen=True)
class Watched:
    """The memory of one registration: where on the ladder it began, and where it is by now.

    ``maps`` is one of the probability maps (C, *grid), ``device`` is where the registration runs.
    """

    maps: Tensor
    device: torch.device
    begun: str
    ladder: Ladder

    def predicted(self, steps: int | None) -> int:
        """Peak bytes that the model foretells for the strategy in use; ``steps`` None: the usual number."""
        kind = self.device.type
        return model().peak(self.ladder.current.name, size_of(self.maps, steps), kind).needed(kind)

    def report(self, steps: int) -> dict[str, Any]:
        """What status.json says of the memory, after a registration with this number of steps."""
        return {
            "memory_strategy_begun": self.begun,
            "memory_strategy": self.ladder.current.name,
            "predicted_peak_bytes": self.predicted(steps),
            "observed_peak_bytes": observed_peak(self.device),
        }


def size_of(maps: Tensor, steps: int | None) -> Size:
    """What the registration of ``maps`` (C, *grid) needs depends on this; ``steps`` None: not known yet."""
    start, stop = next(passes.slabs(maps))
    slab = min(1.0, (stop - start + 2) / maps.shape[1])
    return Size(maps.numel() * maps.element_size(), len(maps), steps or USUAL_STEPS, slab=slab)


def begin(maps: Tensor, device: torch.device, steps: int | None, asked_mb: int | None) -> Watched:
    """The rungs from the fastest one that fits on; the choice, and every step down, is said in the log.

    ``asked_mb`` is the memory that the job asked for in MB, where it did.
    """
    kind = device.type
    if kind == "cuda":
        torch.cuda.reset_peak_memory_stats(device)
    rungs = ladder(kind)
    names = [rung.name for rung in rungs]
    choice = choose(size_of(maps, steps), free_bytes(device, asked_mb), names, kind)
    LOGGER.info("memory: %s", choice.reason)
    return Watched(maps, device, choice.strategy, Ladder(rungs[names.index(choice.strategy) :], _tell))


def observed_peak(device: torch.device) -> int:
    """Peak bytes: what PyTorch allocated on a GPU; on a CPU the resident memory of the whole process."""
    if device.type == "cuda":
        return int(torch.cuda.max_memory_allocated(device))
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


def _tell(left: Strategy, now: Strategy) -> None:
    LOGGER.warning("memory ran out with '%s'; goes on with '%s': %s", left.name, now.name, now.sentence)


def free_bytes(device: torch.device, asked_mb: int | None = None) -> int:
    """Bytes that tensors may still take on a device.

    On a processor the least of what the machine has free, what its limits leave, and what the job asked for.
    """
    if device.type == "cuda":
        free, _ = torch.cuda.mem_get_info(device)
        held = torch.cuda.memory_reserved(device) - torch.cuda.memory_allocated(device)
        return int(free + held)
    found = [*_available(), *_left_by_limits()]
    if asked_mb is not None:
        found.append(asked_mb * 1_000_000 - PROCESS_BYTES)
    return max(min(found, default=_physical()), 0)


def _available() -> Iterable[int]:
    try:
        lines = MEMINFO.read_text(encoding="ascii").splitlines()
    except OSError:
        return
    for line in lines:
        if line.startswith("MemAvailable:"):
            yield int(line.split()[1]) * 1024


def _left_by_limits() -> Iterable[int]:
    for limit, used in CGROUPS:
        try:
            yield int(limit.read_text(encoding="ascii")) - int(used.read_text(encoding="ascii"))
        except (OSError, ValueError):  # not this kind of system, or "max": no limit
            continue


def _physical() -> int:
    return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")

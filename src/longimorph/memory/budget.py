"""How much memory a registration may use, and on which rung of the ladder it starts."""

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

from longimorph.footprint import PAIRS_KEPT
from longimorph.memory.model import (
    PROCESS_BYTES,
    USUAL_STEPS,
    Model,
    Size,
    choose,
    model,
    slab_share,
)
from longimorph.numerics.memory_strategies import Ladder, Strategy, ladder

LOGGER = logging.getLogger(__name__)

MEMINFO = Path("/proc/meminfo")
STATM = Path("/proc/self/statm")
CGROUPS = (
    (Path("/sys/fs/cgroup/memory.max"), Path("/sys/fs/cgroup/memory.current")),
    (
        Path("/sys/fs/cgroup/memory/memory.limit_in_bytes"),
        Path("/sys/fs/cgroup/memory/memory.usage_in_bytes"),
    ),
)
"""Files that hold the limit of a container or a cluster job, and its current usage, in bytes."""


@dataclass(frozen=True)
class MemoryUse:
    """The memory of one registration: the rung on which it started, and the rung in use.

    ``maps`` is one of the probability maps (C, *grid) and ``device`` is where the registration runs.
    ``process`` is what the process used beforehand, in bytes and without the pair's maps. ``workspace`` is
    the cuBLAS workspace on a GPU, in bytes; it is not a tensor of the registration. ``further_maps`` as in
    ``Size``.
    """

    maps: Tensor
    device: torch.device
    begun: str
    ladder: Ladder
    known: Model
    process: int
    workspace: int = 0
    further_maps: int = 0

    def predicted(self, steps: int | None) -> int:
        """Peak bytes predicted by the model for the strategy in use; ``steps`` None: the usual number."""
        kind = self.device.type
        return self.known.peak(self.ladder.current.name, self._size(steps), kind).needed(kind)

    def _size(self, steps: int | None) -> Size:
        return size_of(self.maps, steps, self.further_maps)

    def observed(self) -> int:
        """Observed peak bytes: of the tensors on a GPU, of the whole process (resident) on a CPU."""
        if self.device.type == "cuda":
            return int(torch.cuda.max_memory_allocated(self.device)) - self.workspace
        return resident_peak()

    def report(self, steps: int | None, iterations: int) -> dict[str, Any]:
        """Return the memory section of status.json: predicted, observed, and the inputs of the prediction.

        ``steps`` None: the usual number. ``iterations`` is the maximum in one descent on the finest level;
        L-BFGS kept the last of them as pairs.
        """
        kind, strategy, size = self.device.type, self.ladder.current.name, self._size(steps)
        on_card = kind == "cuda"
        return {
            "memory_strategy_begun": self.begun,
            "memory_strategy": strategy,
            "predicted_peak_bytes": self.predicted(steps),
            "observed_peak_bytes": self.observed(),
            "memory": {
                "device": kind,
                "strategy_begun": self.begun,
                "strategy": strategy,
                "classes": size.classes,
                "map_bytes": size.map_bytes,
                "slab_share": size.slab,
                "steps": size.steps,
                "pairs_kept": min(iterations, PAIRS_KEPT),
                "further_maps": size.further_maps,
                "process_bytes": self.process,
                "predicted_device_bytes": self.predicted(steps) if on_card else None,
                "observed_device_bytes": self.observed() if on_card else None,
                "reserved_device_bytes": torch.cuda.max_memory_reserved(self.device) if on_card else None,
                "predicted_host_bytes": self.known.host_peak(strategy, size, kind),
                "observed_host_bytes": resident_peak(),
            },
        }


def size_of(maps: Tensor, steps: int | None, further_maps: int = 0) -> Size:
    """The size on which the memory for ``maps`` (C, *grid) depends; ``steps`` None: not known yet."""
    map_bytes = maps.numel() * maps.element_size()
    slab = slab_share(maps.shape[1], map_bytes)
    return Size(map_bytes, len(maps), steps or USUAL_STEPS, slab=slab, further_maps=further_maps)


def begin(
    maps: Tensor,
    device: torch.device,
    steps: int | None,
    asked_mb: int | None,
    known: Model | None = None,
    further_maps: int = 0,
) -> MemoryUse:
    """Choose the rungs from the fastest one that fits; the choice and every step down are logged.

    ``maps`` is one of the two maps that the process holds. ``asked_mb`` is the memory that the job requested
    in MB, if it did. ``known`` is the model to use, by default the one of the package. ``further_maps`` as in
    ``Size``.
    """
    kind, known = device.type, known or model()
    workspace = 0
    if kind == "cuda":
        workspace = cublas_workspace(device)
        torch.cuda.reset_peak_memory_stats(device)
    rungs = ladder(kind)
    names = [rung.name for rung in rungs]
    free = free_bytes(device, asked_mb, known.process_bytes())
    choice = choose(size_of(maps, steps, further_maps), free, names, kind, known)
    LOGGER.info("memory: %s", choice.reason)
    chosen = Ladder(rungs[names.index(choice.strategy) :], _tell)
    process = max(resident() - 2 * maps.numel() * maps.element_size(), 0)
    return MemoryUse(maps, device, choice.strategy, chosen, known, process, workspace, further_maps)


def cublas_workspace(device: torch.device) -> int:
    """Bytes that PyTorch holds on a GPU after a first matrix product, before anything else is allocated."""
    one = torch.ones(1, 1, device=device)
    torch.matmul(one, one)
    del one
    return int(torch.cuda.memory_allocated(device))


def resident_peak() -> int:
    """Peak resident memory of this process in bytes so far."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


def resident() -> int:
    """Current resident memory of this process in bytes; the peak where the system does not report it."""
    try:
        return int(STATM.read_text(encoding="ascii").split()[1]) * os.sysconf("SC_PAGE_SIZE")
    except (OSError, IndexError, ValueError):
        return resident_peak()


def _tell(left: Strategy, now: Strategy) -> None:
    LOGGER.warning("memory ran out with '%s'; continuing with '%s': %s", left.name, now.name, now.sentence)


def free_bytes(device: torch.device, asked_mb: int | None = None, process: int = PROCESS_BYTES) -> int:
    """Bytes still available to tensors on a device.

    On a CPU this is the minimum of the machine's free memory, what its limits leave, and the job's request
    minus ``process``, the memory that the process needs in any case.
    """
    if device.type == "cuda":
        free, _ = torch.cuda.mem_get_info(device)
        held = torch.cuda.memory_reserved(device) - torch.cuda.memory_allocated(device)
        return int(free + held)
    found = [*_available(), *_left_by_limits()]
    if asked_mb is not None:
        found.append(asked_mb * 1_000_000 - process)
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

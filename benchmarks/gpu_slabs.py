"""Optimal size of the slabs in which a GPU traverses a volume."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from functools import partial

import torch
from torch import Tensor

from benchmarks.gpu_card import Meter, by_the_formulas, milliseconds
from benchmarks.gpu_problems import DEFAULTS, posed, random_pair
from benchmarks.gpu_record import Section
from benchmarks.gpu_sizes import MIB, CardSizes, cross
from longimorph.numerics import passes
from longimorph.numerics.memory_strategies import STORE
from longimorph.numerics.objective import Matching, evaluate


@contextmanager
def slab_bytes(most: int, device: torch.device) -> Iterator[None]:
    """Use slabs of at most ``most`` bytes of a map on this type of device within this context."""
    usual: int | dict[str, int] = passes.SLAB_BYTES
    passes.SLAB_BYTES = most if isinstance(usual, int) else {**usual, device.type: most}  # type: ignore[assignment]
    try:
        yield
    finally:
        passes.SLAB_BYTES = usual  # type: ignore[assignment]


def sweep(section: Section, sizes: CardSizes, device: torch.device) -> None:
    """One cost and gradient by the size of a slab: at full size, and where launches count."""
    problems = [
        (shape, *posed(random_pair(shape, device), replace(DEFAULTS, steps=steps), device))
        for shape, steps in ((sizes.full, sizes.few_steps), (sizes.small, sizes.steps))
    ]
    section.write(
        "One cost and gradient with `store` by PyTorch's operations, which go slab by slab:\n"
        f"N = {sizes.few_steps} at {cross(sizes.full)},\n"
        f"N = {sizes.steps} at {cross(sizes.small)}. A slab is never under a sixteenth of the planes;\n"
        "*slabs* is how many a map falls into. Peaks are without the problem's own maps."
    )
    titles = (f"{cross(s)}: {title}" for s, *_ in problems for title in ("slabs", "ms", "peak, GB"))
    section.table("slab, MiB", *titles)
    for most in section.each(sizes.slabs, lambda n: f"{n / MIB:g} MiB"):
        cells = [f"{most / MIB:g}"]
        figures: dict[tuple[str, str], float] = {}
        with slab_bytes(most, device):
            for shape, momentum, matching in problems:
                told, found = _measured(momentum, matching, sizes.repeats, device)
                cells += told
                figures |= {(f"{most / MIB:g} MiB, {cross(shape)}", unit): n for unit, n in found.items()}
        section.row(cells, figures)
    section.end_table()


def _measured(
    momentum: Tensor, matching: Matching, repeats: int, device: torch.device
) -> tuple[list[str], dict[str, float]]:
    """Cells and figures: slabs, milliseconds and the peak of one evaluation."""
    slabs, meter = len(list(passes.slabs(momentum))), Meter(device)
    with by_the_formulas():
        spent = milliseconds(partial(evaluate, momentum, matching, STORE), device, repeats)
    peak = meter.peak()
    figures: dict[str, float] = {"slabs": slabs, "ms": spent}
    if peak is not None:
        figures["GB"] = peak.allocated / 1e9
    return [f"{slabs}", f"{spent:.1f}", "" if peak is None else f"{peak.allocated / 1e9:.2f}"], figures

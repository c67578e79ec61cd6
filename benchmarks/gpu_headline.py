"""The main figures: one cost and gradient at full size, compared with the limit of memory bandwidth."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial

import torch

from benchmarks import report
from benchmarks.gpu_card import by_kernels, milliseconds
from benchmarks.gpu_problems import DEFAULTS, posed, random_pair
from benchmarks.gpu_record import Section
from benchmarks.gpu_sizes import CardSizes, cross
from benchmarks.traffic import counted
from longimorph.numerics.memory_strategies import CHECKPOINT, STORE, Strategy, out_of_memory
from longimorph.numerics.objective import evaluate

MOST_MS = 100
TEXT = """One cost and gradient, {shape}, N = {steps}; medians of {repeats}. *Launches* and *moved* count
PyTorch's operations, each of which reads its inputs and writes its results, and Triton's kernels where a
pass is one. *Once* is what moves if each pass
over the volume reads its inputs once and writes its results once; the floor is what a copy of that takes.
Target: {most} ms."""
TITLES = ("strategy", "ms", "launches", "waits", "moved, GB", "once, GB", "floor, ms", "ms / floor", "")


def headline(section: Section, sizes: CardSizes, device: torch.device) -> None:
    """Copy bandwidth, then milliseconds, launches and bytes with the two fastest strategies."""
    speed = copy_speed(sizes, device)
    section.add({("copy", "GB/s"): speed / 1e9})
    section.write(f"A copy on the device moves {speed / 1e9:.4g} GB/s, read and written together.")
    settings = replace(DEFAULTS, steps=sizes.steps)
    momentum, matching = posed(random_pair(sizes.full, device), settings, device)
    words = {"shape": cross(sizes.full), "steps": sizes.steps, "repeats": sizes.repeats, "most": MOST_MS}
    section.write(TEXT.format(**words))
    section.table(*TITLES)
    for strategy in section.each((STORE, CHECKPOINT), lambda one: one.name):
        work = partial(evaluate, momentum, matching, strategy)
        try:
            _row(section, strategy, work, speed, sizes.repeats, device)
        except RuntimeError as error:
            if not out_of_memory(error):
                raise
            section.row((f"`{strategy.name}`", "does not fit", *(len(TITLES) - 2) * ("",)), {})


def _row(
    section: Section,
    strategy: Strategy,
    work: Callable[[], object],
    speed: float,
    repeats: int,
    device: torch.device,
) -> None:
    name = strategy.name
    spent = milliseconds(work, device, repeats)
    section.add({(f"{name}: cost and gradient", "ms"): spent})
    report.say(f"({name}: {spent:.1f} ms; counting follows)")
    found = count(work, device)
    floor = 1000 * found.once / speed
    verdict = "reached" if spent <= MOST_MS else "**missed**"
    counts = (_whole(found.launches), _whole(found.waits))
    moved = (f"{found.moved / 1e9:.4g}", f"{found.once / 1e9:.4g}")
    section.row(
        (f"`{name}`", f"{spent:.1f}", *counts, *moved, f"{floor:.1f}", f"{spent / floor:.1f}", verdict),
        {
            (f"{name}: launches", "operations"): found.launches,
            (f"{name}: waits for the device", "operations"): found.waits,
            (f"{name}: moved", "GB"): found.moved / 1e9,
            (f"{name}: moved if each pass reads and writes once", "GB"): found.once / 1e9,
            (f"{name}: floor", "ms"): floor,
            (f"{name}: time over floor", "1"): spent / floor,
        },
    )


def _whole(number: float) -> str:
    return "not counted" if math.isnan(number) else f"{number:,.0f}"


def copy_speed(sizes: CardSizes, device: torch.device) -> float:
    """Bytes per second, read and written together, of a copy on the device."""
    source = torch.zeros(sizes.copied, device=device)
    target = torch.empty_like(source)
    spent = milliseconds(lambda: target.copy_(source), device, 5, 5)
    return 2 * source.numel() * source.element_size() / (spent / 1000)


@dataclass(frozen=True)
class Counts:
    """Operations on the device, waits for it, bytes moved by them, and bytes if each pass were one operation.

    Launches and waits are NaN where the meter does not count them.
    """

    launches: float
    waits: float
    moved: int
    once: int


def count(work: Callable[[], object], device: torch.device) -> Counts:
    """Count what a piece of work does on the device: operation by operation, or kernel by kernel."""
    with counted(whole_passes=by_kernels(device)) as meter:
        work()
    with counted(whole_passes=True) as once:
        work()
    syncs = getattr(meter, "syncs", None)
    waits = math.nan if syncs is None else float(sum(syncs.values()))
    return Counts(float(getattr(meter, "launches", math.nan)), waits, meter.bytes, once.bytes)

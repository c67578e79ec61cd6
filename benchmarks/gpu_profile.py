"""The device kernels that take most of the time of one evaluation."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import torch
from torch.profiler import ProfilerActivity, profile

from benchmarks.gpu_card import is_card, wait
from benchmarks.gpu_problems import DEFAULTS, posed, random_pair
from benchmarks.gpu_record import Section
from benchmarks.gpu_sizes import CardSizes, cross
from longimorph.numerics.objective import evaluate

STEPS, SHOWN, LONGEST_NAME = 2, 12, 70


def kernels(section: Section, sizes: CardSizes, device: torch.device) -> None:
    """The slowest kernels of one cost and gradient with few steps."""
    momentum, matching = posed(random_pair(sizes.full, device), replace(DEFAULTS, steps=STEPS), device)
    evaluate(momentum, matching)
    card = is_card(device)
    with profile(activities=[ProfilerActivity.CUDA if card else ProfilerActivity.CPU]) as found:
        evaluate(momentum, matching)
        wait(device)
    side = "self_device_time_total" if card else "self_cpu_time_total"
    events: list[Any] = [e for e in found.key_averages() if getattr(e, side) > 0]
    total, calls = sum(getattr(e, side) for e in events), sum(e.count for e in events)
    figures = {("launched", "kernels"): float(calls), ("kernels", "ms"): total / 1000}
    section.add({(f"{what}, N = {STEPS}", unit): value for (what, unit), value in figures.items()})
    section.write(
        f"{cross(sizes.full)}, N = {STEPS}, `checkpoint`: {calls:,} kernels, {total / 1000:.1f} ms in all."
    )
    section.table("kernel", "calls", "ms", "share")
    for event in sorted(events, key=lambda e: -getattr(e, side))[:SHOWN]:
        spent = getattr(event, side)
        name = event.key.replace("|", "\\|")[:LONGEST_NAME]
        cells = (f"`{name}`", f"{event.count}", f"{spent / 1000:.2f}", f"{100 * spent / (total or 1):.0f} %")
        section.row(cells, {})
    section.end_table()

"""Peaks of whole registrations with each strategy, compared with the prediction of the memory model."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import torch
from torch import Tensor

from benchmarks.gpu_card import Meter, Peak, Stopwatch
from benchmarks.gpu_problems import DEFAULTS, SPACING, random_pair
from benchmarks.gpu_record import Section
from benchmarks.gpu_sizes import CardSizes, cross
from longimorph.footprint import PAIRS_KEPT
from longimorph.memory import budget
from longimorph.memory import model as memory_model
from longimorph.memory.model import Bytes
from longimorph.numerics.memory_strategies import BY_NAME, Ladder, ladder
from longimorph.numerics.optimise import Iteration
from longimorph.numerics.register import register
from longimorph.numerics.run import Run
from longimorph.numerics.solve import Settings

WITHIN = 0.1
TEXT = """{shape}, N = {steps}, {evaluations} evaluations on one level; the maps lie on the host. Peaks in D
({unit:.4g} MB): *device* is what tensors took, less the libraries' workspaces, *reserved* what PyTorch asked
the driver for, *pinned* is on the host. Predicted is by the memory model. Target: within {within} % of it."""


def by_strategy(section: Section, sizes: CardSizes, device: torch.device) -> None:
    """One registration with each strategy of a GPU's ladder, fastest first."""
    pair = random_pair(sizes.held)
    unit = pair[0].numel() * pair[0].element_size()
    one_level = (1.1 * max(SPACING),)
    settings = replace(
        DEFAULTS, steps=sizes.steps, max_evaluations=sizes.to_fill, tolerance=1e-9, kernel_mm=one_level
    )
    words = {"shape": cross(sizes.held), "steps": sizes.steps, "evaluations": sizes.to_fill}
    section.write(TEXT.format(**words, unit=unit / 1e6, within=round(100 * WITHIN)))
    section.table(
        "strategy", "device", "predicted", "device / predicted", "reserved", "pinned", "predicted",
        "iterations", "s", "",
    )  # fmt: skip
    for rung in section.each(ladder("cuda"), lambda one: one.name):
        _held(section, rung.name, pair, settings, device, unit)
    section.end_table()


def _held(
    section: Section, name: str, pair: Sequence[Tensor], settings: Settings, device: torch.device, unit: int
) -> None:
    iterations = 0

    def heard(spacing: float, iteration: Iteration) -> None:
        nonlocal iterations
        iterations = iteration.number
        section.check()

    source, target, control = pair
    meter, watch = Meter(device), Stopwatch(device)
    register(source, target, control, SPACING, settings, Run(heard, Ladder([BY_NAME[name]]), device=device))
    spent, peak = watch.seconds(), meter.peak()
    told = predicted(name, source, settings.steps, iterations)
    *cells, verdict = compared(peak, told, unit)
    section.row(
        (f"`{name}`", *cells, f"{iterations}", f"{spent:.1f}", verdict),
        {**figures_of(name, peak, told), (f"{name}: registration", "s"): spent},
    )


def predicted(name: str, maps: Tensor, steps: int | None, iterations: int) -> Bytes:
    """Peak predicted by the memory model on a GPU, with the L-BFGS pairs that so many iterations keep."""
    size = replace(budget.size_of(maps, steps), pairs=min(iterations, PAIRS_KEPT))
    return memory_model.model().peak(name, size, "cuda")


def compared(peak: Peak | None, told: Bytes, unit: int) -> list[str]:
    """Cells: device, predicted, their ratio, reserved, pinned, predicted, verdict; bytes in units."""
    there, host = f"{told.device / unit:.2f}", f"{told.host / unit:.2f}"
    if peak is None:
        return ["", there, "", "", "", host, ""]
    good = _near(peak.allocated, told.device) and (peak.pinned is None or _near(peak.pinned, told.host))
    pinned = "not counted" if peak.pinned is None else f"{peak.pinned / unit:.2f}"
    verdict = "reached" if good else "**missed**"
    ratio, reserved = f"{peak.allocated / told.device:.3f}", f"{peak.reserved / unit:.2f}"
    return [f"{peak.allocated / unit:.2f}", there, ratio, reserved, pinned, host, verdict]


def _near(found: int, told: int) -> bool:
    return abs(found - told) <= WITHIN * told


def figures_of(name: str, peak: Peak | None, told: Bytes) -> dict[tuple[str, str], float]:
    """Observed and predicted bytes, by kind."""
    found = {"predicted on the device": told.device, "predicted on the host": told.host}
    if peak is not None:
        found |= {"on the device": peak.allocated, "reserved": peak.reserved}
        found |= {} if peak.pinned is None else {"pinned": peak.pinned}
    return {(f"{name}: {what}", "GB"): n / 1e9 for what, n in found.items()}

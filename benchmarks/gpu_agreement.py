"""Agreement of the device's numbers with the formulas, on newly drawn problems each time."""

from __future__ import annotations

import random
from collections.abc import Sequence
from contextlib import nullcontext
from dataclasses import replace

import torch
from torch import Tensor

from benchmarks.gpu_card import by_the_formulas
from benchmarks.gpu_passes import NAMES, Fields, by_formula, by_pass, fields_of
from benchmarks.gpu_problems import CPU, DEFAULTS, posed, random_pair
from benchmarks.gpu_record import Section
from benchmarks.gpu_sizes import CardSizes, cross
from benchmarks.gpu_slabs import slab_bytes
from longimorph.numerics import control
from longimorph.numerics.attribution import attribute
from longimorph.numerics.dynamics import System
from longimorph.numerics.kernels import gaussian_kernel
from longimorph.numerics.memory_strategies import STORE, ladder
from longimorph.numerics.objective import Matching, evaluate
from longimorph.numerics.sphere import tangent
from longimorph.numerics.states import State

PASSES_AGREE, WHOLE_AGREES, STRATEGIES_AGREE = 1e-5, 1e-4, 1e-5
CLASSES = (2, 13)
NARROWEST = 3


def agreement(section: Section, sizes: CardSizes, device: torch.device) -> None:
    """Compare passes with formulas, an evaluation and attribution with the CPU, strategies, and two runs."""
    seed = section.record.seed
    section.write(f"Seed {seed}; a run with `--seed {seed}` draws the same problems again.")
    _passes(section, sizes, device, random.Random(seed))
    _whole(section, sizes, device, seed)


def _passes(section: Section, sizes: CardSizes, device: torch.device, draw: random.Random) -> None:
    section.write(
        "Each pass on the device in float32, and its formula for the whole volume on the CPU in\n"
        "float64, with the same input. Differences are relative and in norm; shown is the largest result's.\n"
        f"Target: at most {PASSES_AGREE:g}."
    )
    section.table("problem", *(f"`{name}`" for name in NAMES), "")
    for k in section.each(range(1, sizes.draws + 1), lambda k: f"problem {k} of {sizes.draws}"):
        shape, seed = _drawn_shape(draw, sizes.widest, flat=k % 2 == 0), draw.randrange(1 << 30)
        exact, thin = _drawn_fields(shape, seed), k // 2 % 2 == 1
        with slab_bytes(1, device) if thin else nullcontext():
            gaps = {name: _pass_gap(name, exact, device) for name in NAMES}
        title = f"{cross(shape)}, {'thinnest' if thin else 'usual'} slabs, seed {seed}"
        cells = (title, *(f"{gap:.1e}" for gap in gaps.values()), _verdict(max(gaps.values()), PASSES_AGREE))
        section.row(cells, {(f"{name}, {title}", "1"): gap for name, gap in gaps.items()})
    section.end_table()


def _drawn_shape(draw: random.Random, widest: int, flat: bool) -> tuple[int, ...]:
    """A grid of three axes (two where ``flat``) and a number of classes."""
    axes = 2 if flat else 3
    return (*(draw.randint(NARROWEST, widest) for _ in range(axes)), draw.randint(*CLASSES))


def _drawn_fields(shape: Sequence[int], seed: int) -> Fields:
    """Fields around a random state, with numbers that float32 represents exactly: float64 on the CPU."""
    *grid, classes = shape
    generator = torch.Generator().manual_seed(seed)
    spacing = tuple((0.7 + 1.3 * torch.rand(len(grid), generator=generator)).tolist())

    def noise(size: float) -> Tensor:
        return size * torch.randn(classes, *grid, generator=generator, dtype=torch.float64)

    q = torch.softmax(noise(1.5), 0).sqrt()
    alloc = control.allocation(
        torch.rand(classes, classes, generator=generator, dtype=torch.float64), torch.softmax(noise(1.5), 0)
    )
    system = System(gaussian_kernel(grid, spacing, [2.5], 3.0, q), alloc, spacing)
    base = torch.softmax(noise(1.5), 0).sqrt()
    here, there = (State(one, tangent(noise(0.3), one)) for one in (q, base))
    found = fields_of(here, there, State(noise(0.3), noise(0.3)), system)
    return found.to(CPU, torch.float32).to(CPU, torch.float64)


def _pass_gap(name: str, exact: Fields, device: torch.device) -> float:
    expected = by_formula(name, exact)
    found = by_pass(name, exact.to(device, torch.float32))
    return max(_gap(a.cpu().double(), b) for a, b in zip(found, expected, strict=True))


def _whole(section: Section, sizes: CardSizes, device: torch.device, seed: int) -> None:
    """One evaluation and its attribution: on the device, and by the formulas on the CPU in float64."""
    pair = random_pair(sizes.compared, seed=seed)
    settings = replace(DEFAULTS, steps=sizes.steps)
    momentum, matching = posed(pair, settings, device)
    section.write(
        f"One momentum, {cross(sizes.compared)}, N = {sizes.steps}: relative differences in norm,\n"
        "of the device from the CPU's formulas in float64, of strategies from `store`, of two runs."
    )
    section.table("", "difference", "target", "")
    here = _numbers(momentum, matching)
    with by_the_formulas():
        exact = _numbers(*posed(pair, settings, CPU, torch.float64))
    for name, found in here.items():
        _row(section, name, _gap(found, exact[name]), WHOLE_AGREES)
    first = evaluate(momentum, matching, STORE)
    for rung in section.each(ladder("cuda")[1:], lambda one: one.name):
        other = evaluate(momentum, matching, rung)
        gaps = (abs(other.cost / first.cost - 1), _gap(other.gradient, first.gradient))
        _row(section, f"`{rung.name}` from `store`", max(gaps), STRATEGIES_AGREE)
    again = evaluate(momentum, matching, STORE)
    same = again.cost == first.cost and torch.equal(again.gradient, first.gradient)
    cells = ("two runs, bit by bit", "none" if same else "some", "none", _reached(same))
    section.row(cells, {("two runs have the same bits", "1"): float(same)})
    section.end_table()


def _numbers(momentum: Tensor, matching: Matching) -> dict[str, Tensor]:
    found = evaluate(momentum, matching)
    split = attribute(State(matching.source, momentum), matching.system, matching.steps)
    numbers = {
        "cost": torch.tensor(found.cost),
        "gradient": found.gradient,
        "deformation": split.deformation,
        "reallocation": split.reallocation,
    }
    return {name: value.cpu().double() for name, value in numbers.items()}


def _row(section: Section, name: str, gap: float, target: float) -> None:
    figure = (name.replace("`", ""), "1")
    section.row((name, f"{gap:.1e}", f"{target:g}", _verdict(gap, target)), {figure: gap})


def _gap(found: Tensor, expected: Tensor) -> float:
    size = float(expected.norm())
    return float((found - expected).norm()) / size if size > 0 else float(found.norm())


def _verdict(gap: float, target: float) -> str:
    return _reached(gap <= target)


def _reached(good: bool) -> str:
    return "reached" if good else "**missed**"

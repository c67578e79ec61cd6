"""What each strategy holds, measured and predicted, whether all give the same numbers, and their time.

python -m benchmarks.memory            all parts (about 15 minutes on an idle core)
python -m benchmarks.memory --quick    small sizes, to see that everything works
"""

from __future__ import annotations

import argparse
import statistics
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import torch
from torch import Tensor

from benchmarks import report
from longimorph.io import atomic
from longimorph.memory.measure import SPACING, Sample, SampleCase, random_pair, sample, settings
from longimorph.memory.model import OPTIMISATION, PHASES, Bytes, model
from longimorph.numerics.memory_strategies import BY_NAME, LADDERS, STORE
from longimorph.numerics.objective import Matching, evaluate
from longimorph.numerics.solve import MapPair
from longimorph.numerics.sphere import tangent

ROOT = Path(__file__).parents[1]
OUT = ROOT / "docs" / "benchmarks" / "memory.md"
QUICK_OUT = ROOT / "build" / "memory-quick.md"
WALKS = {"cpu": "On a CPU", "cuda": "On a GPU (counted on a CPU)"}
PLAIN = {"checkpoint": "history on the device", "offload": "history on the host"}
CLASSES = 8
METHOD = """D is the size of one probability map of all classes (classes × voxels × 4 bytes), N the number of
steps, M the pairs of L-BFGS; a and b the maps on the device per further pair and per further step. Whole
registrations of random pairs of 8 classes; the instrument counts the bytes of every tensor while it lives,
parked ones apart. "Optimisation" is everything but the final attribution and its warps, with the
optimiser's history. Predicted: by the memory model of the package; no size here was fitted.

"""
TALK = """For comparison: the talk that longimorph sets out from gives a = 3.06 and b = 8.69 maps per pair and
step; its code, demeter-metamorphosis, takes 37.6 D per step, measured with an instrument of the same kind.
"""


@dataclass(frozen=True)
class GridSizes:
    """What to measure: shapes by walk, few and many steps and pairs; side, steps, repeats of the timing."""

    shapes: dict[str, tuple[int, int, int]]
    steps: tuple[int, int]
    pairs: tuple[int, int]
    side: int
    timed_steps: int
    repeats: int


FULL = GridSizes({"cpu": (20, 22, 18), "cuda": (64, 10, 10)}, (10, 40), (4, 8), 48, 10, 5)
QUICK = GridSizes({"cpu": (16, 14, 12), "cuda": (32, 10, 10)}, (5, 9), (1, 2), 16, 5, 3)


@dataclass(frozen=True)
class Measured:
    """Peaks of a strategy in D: few steps, many steps, and few steps with few pairs."""

    few: Sample
    many: Sample
    few_pairs: Sample


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure part by part; the report is written anew after each."""
    options = _parser().parse_args(arguments)
    torch.set_num_threads(options.threads)
    torch.set_flush_denormal(True)
    sizes = QUICK if options.quick else FULL
    out = options.out or (QUICK_OUT if options.quick else OUT)
    text = report.heading("Memory", "make bench-memory", options.threads) + METHOD
    parts: list[tuple[str, Callable[[], str]]] = [
        *((WALKS[walk], partial(peaks, sizes, walk)) for walk in options.walks),
        ("The same numbers", agreement),
        ("Time", partial(times, sizes)),
    ]
    for title, part in parts:
        text += f"## {title}\n\n{part()}\n"
        atomic.write_text(out, text)
        report.say(text[text.rindex("## ") :])
    report.say(f"Report: {out}")
    return 0


def peaks(sizes: GridSizes, walk: str) -> str:
    """Tables of peaks, of their growth, and of the targets."""
    found = {name: _measure(sizes, name, walk) for name in BY_NAME}
    few, many = sizes.steps
    lines = [
        f"Shape {_cross(sizes.shapes[walk])}, M = {sizes.pairs[1]}. "
        "Device + host in D; measured (predicted).",
        "",
        f"| strategy | optimisation, N = {few} | N = {many} | registration, N = {few} | N = {many} | a | b |",
        "| --- | --- | --- | --- | --- | --- | --- |",
    ]
    for name, one in found.items():
        cells = [_cell(s, phases, walk) for phases in (OPTIMISATION, PHASES) for s in (one.few, one.many)]
        lines.append(f"| `{name}` | {' | '.join(cells)} | {_a(one):.3f} | {_b(one):.3f} |")
    lines += ["", *_targets(found, sizes, walk)]
    return "\n".join(lines) + "\n"


def _measure(sizes: GridSizes, name: str, walk: str) -> Measured:
    shape, (few, many), (low, high) = sizes.shapes[walk], sizes.steps, sizes.pairs
    cases = (SampleCase(shape, CLASSES, n, m) for n, m in ((few, high), (many, high), (few, low)))
    found = Measured(*(sample(case, name, walk) for case in cases))
    report.say(f"{walk}, {name}: measured")
    return found


def _peak(one: Sample, phases: Sequence[str]) -> Bytes:
    most = Bytes(0, 0, 0)
    for phase in phases:
        most = most.most(one.peaks[phase])
    return most


def _maps(one: Sample) -> float:
    return _peak(one, OPTIMISATION).device / one.size.map_bytes


def _a(one: Measured) -> float:
    """Maps per pair on the device."""
    return (_maps(one.few) - _maps(one.few_pairs)) / (one.few.size.pairs - one.few_pairs.size.pairs)


def _b(one: Measured) -> float:
    """Maps per step on the device."""
    return (_maps(one.many) - _maps(one.few)) / (one.many.size.steps - one.few.size.steps)


def _cell(one: Sample, phases: Sequence[str], walk: str) -> str:
    unit = one.size.map_bytes
    real, told = _peak(one, phases), model().peak(one.strategy, one.size, walk, phases)
    measured, predicted = (f"{p.device / unit:.2f} + {p.host / unit:.1f}" for p in (real, told))
    return f"{measured} ({predicted})"


def _targets(found: dict[str, Measured], sizes: GridSizes, walk: str) -> list[str]:
    few, many = sizes.steps
    leanest = min(found, key=lambda name: _maps(found[name].many))
    best = found[leanest]
    error = max(_error(s, walk) for one in found.values() for s in (one.few, one.many, one.few_pairs))
    rows = [
        (f"leanest (`{leanest}`), optimisation at N = {few}, in D", _maps(best.few), 16),
        (f"leanest (`{leanest}`), optimisation at N = {many}, in D", _maps(best.many), 18),
        (f"a of `{leanest}`", _a(best), 0.1),
        (f"b of `{leanest}`", _b(best), 0.1),
        *(
            (f"plain checkpoints, {where}, at N = {n}, in D", _maps(one), 12 + 2 * n)
            for name, where in PLAIN.items()
            for n, one in ((few, found[name].few), (many, found[name].many))
        ),
        ("largest error of the model, device and host, %", 100 * error, 5),
    ]
    return _table_of_targets(rows)


def _table_of_targets(rows: Sequence[tuple[str, float, float]]) -> list[str]:
    lines = ["| | measured | target: at most | |", "| --- | --- | --- | --- |"]
    for text, value, most in rows:
        verdict = "reached" if value <= most else "**missed**"
        lines.append(f"| {text} | {value:.3g} | {most:g} | {verdict} |")
    return lines


def _error(one: Sample, walk: str) -> float:
    """Largest relative error of the model on a registration's peaks and on those of its optimisation."""
    errors = []
    for phases in (PHASES, OPTIMISATION):
        real, told = _peak(one, phases), model().peak(one.strategy, one.size, walk, phases)
        pairs = ((told.device, real.device), (told.host, real.host))
        errors += [abs(a / b - 1) for a, b in pairs if b > 0]
    return max(errors)


def _problem(shape: Sequence[int], steps: int, kind: torch.dtype) -> tuple[Tensor, Matching]:
    source, target, control = (a.to(kind) for a in random_pair(shape, CLASSES))
    matching = MapPair(source, target, control, SPACING).matching(settings(steps, 1))
    noise = torch.randn(source.shape, generator=torch.Generator().manual_seed(3), dtype=torch.float64)
    return tangent(0.02 * noise.to(kind), matching.source), matching


def agreement() -> str:
    """Cost and gradient of each strategy against those of `store`, in both precisions."""
    lines = [
        "Largest relative difference of cost or gradient (in norm) from `store`, 20 × 18 × 16 × 8, N = 12.",
        "",
    ]
    rows = []
    for kind, most in ((torch.float32, 1e-5), (torch.float64, 1e-10)):
        momentum, matching = _problem((20, 18, 16), 12, kind)
        expected = evaluate(momentum, matching, STORE)
        for name, strategy in BY_NAME.items():
            found = evaluate(momentum, matching, strategy)
            gap = float((found.gradient - expected.gradient).norm() / expected.gradient.norm())
            gap = max(gap, abs(found.cost / expected.cost - 1))
            if strategy is not STORE:
                rows.append((f"`{name}`, {str(kind).removeprefix('torch.')}", gap, most))
    return "\n".join([*lines, *_table_of_targets(rows), "", TALK])


def times(sizes: GridSizes) -> str:
    """Time of one cost and gradient with each strategy, in turn, against `store`: medians."""
    momentum, matching = _problem((sizes.side,) * 3, sizes.timed_steps, torch.float32)
    seconds: dict[str, list[float]] = {name: [] for name in BY_NAME}
    evaluate(momentum, matching, STORE)
    for _ in range(sizes.repeats):
        for name, strategy in BY_NAME.items():
            began = time.perf_counter()
            evaluate(momentum, matching, strategy)
            seconds[name].append(time.perf_counter() - began)
    medians = {name: statistics.median(values) for name, values in seconds.items()}
    ratios = {name: value / medians["store"] for name, value in medians.items()}
    lines = [
        f"One cost and gradient on a CPU, {sizes.side}³ × {CLASSES}, N = {sizes.timed_steps}, medians "
        f"of {sizes.repeats}, in turn. The ladder of a CPU is "
        f"{', '.join(f'`{rung.name}`' for rung in LADDERS['cpu'])}; the others are for GPUs.",
        "",
        "| strategy | seconds | of `store` |",
        "| --- | --- | --- |",
        *(f"| `{name}` | {medians[name]:.3f} | {ratios[name]:.2f} |" for name in BY_NAME),
        "",
        *_table_of_targets([("time of `checkpoint`, of `store`", ratios["checkpoint"], 1.4)]),
    ]
    return "\n".join(lines) + "\n"


def _cross(shape: Sequence[int]) -> str:
    return " × ".join(map(str, shape))


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.memory", description=__doc__)
    parser.add_argument("--quick", action="store_true", help="small sizes, to see that everything works")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--walks", nargs="+", choices=tuple(WALKS), default=tuple(WALKS))
    parser.add_argument("--out", type=Path, help=f"by default {OUT.relative_to(ROOT)}")
    return parser


if __name__ == "__main__":
    sys.exit(main())

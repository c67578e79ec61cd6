"""The parts of the benchmark on a graphics card; each gives a piece of the report in Markdown."""

from __future__ import annotations

import gc
import math
import statistics
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial

import torch
from torch import Tensor

from benchmarks import report
from benchmarks.gpu_problems import DEFAULTS, SPACING, posed, random_pair
from benchmarks.traffic import counted
from longimorph import memory as memory_model
from longimorph.memory import Size
from longimorph.numerics.attribution import attribute
from longimorph.numerics.dynamics import State
from longimorph.numerics.live_bytes import LiveBytes
from longimorph.numerics.objective import Matching, evaluate
from longimorph.numerics.optimise import Iteration
from longimorph.numerics.register import register
from longimorph.numerics.solve import Settings
from longimorph.numerics.strategies import BY_NAME, Ladder, Strategy, ladder
from longimorph.steps import room

GIB = 1 << 30
AGREEMENT, MOST_MS, MOST_SECONDS, MOST_BYTES = 1e-4, 100, 20, 8 * GIB
STEPS, PAIRS_TO_FILL = 10, 11


@dataclass(frozen=True)
class Sizes:
    """Shapes (x, y, z, classes) to compare, time, register and hold; seconds that a registration may take."""

    compared: tuple[int, ...]
    timed: tuple[tuple[int, ...], ...]
    full: tuple[int, ...]
    held: tuple[int, ...]
    steps: int
    repeats: int
    copied: int
    patience: float


FULL = Sizes(
    (48, 48, 48, 5), ((64, 64, 64, 5), (240, 240, 155, 8)), (240, 240, 155, 8), (96, 80, 72, 8), STEPS, 5,
    1 << 28, 180.0,
)  # fmt: skip
QUICK = Sizes((16, 15, 14, 3), ((16, 14, 12, 3),), (20, 18, 16, 3), (32, 12, 10, 3), 4, 2, 1 << 20, 60.0)


class _TooLong(Exception):
    """A registration took longer than the benchmark has patience for."""


def name_of(device: torch.device) -> str:
    """The device's name, memory and driver interface."""
    if device.type != "cuda":
        return f"{report.processor()}, in the stead of a graphics card"
    found = torch.cuda.get_device_properties(device)
    return f"{found.name}, {found.total_memory / GIB:.0f} GiB, CUDA {torch.version.cuda}"


def agreement(sizes: Sizes, device: torch.device) -> str:
    """Cost, gradient, deformation and reallocation of one momentum, beside those of the processor."""
    pair = random_pair(sizes.compared[:3], sizes.compared[3])
    settings = replace(DEFAULTS, steps=sizes.steps)
    here = _numbers(*posed(pair, settings, device))
    there = _numbers(*posed(pair, settings, torch.device("cpu")))
    exact = _numbers(*posed(pair, settings, torch.device("cpu"), torch.float64))
    lines = [
        f"{_cross(sizes.compared)}, N = {sizes.steps}, one momentum: relative difference (in norm)",
        "of the device from the processor, and of each from the processor in float64.",
        f"Target: at most {AGREEMENT:g}.",
        "",
        "| | device from processor | device from float64 | processor from float64 | |",
        "| --- | --- | --- | --- | --- |",
    ]
    for name, found in here.items():
        gaps = [_gap(found, there[name]), _gap(found, exact[name]), _gap(there[name], exact[name])]
        cells = " | ".join(f"{gap:.1e}" for gap in gaps)
        lines.append(f"| {name} | {cells} | {_verdict(gaps[0] <= AGREEMENT)} |")
    return "\n".join(lines) + "\n"


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


def _gap(found: Tensor, expected: Tensor) -> float:
    return float((found - expected).norm() / expected.norm())


TIMES = """N = {steps}, medians of {repeats}. Measured: a copy moves {speed:.3g} GB/s, a product of matrices
does {products:.3g} TFLOP/s. *Moved* are the bytes that the operations as they are read and write at least,
*fused* those if each pass over the volume read its inputs and wrote its results once; the floor is fused
bytes at the speed of a copy. *Kernels* is the arithmetic of the convolutions at the speed of a product.

| size | strategy | ms | moved, GB | fused, GB | floor, ms | time / floor | kernels, ms |
| --- | --- | --- | --- | --- | --- | --- | --- |
"""


def times(sizes: Sizes, device: torch.device) -> str:
    """Seconds per evaluation by size and strategy, and what the bytes that it moves would take at least."""
    speed, products = _copy_speed(sizes, device), _product_speed(sizes, device)
    text = TIMES.format(steps=sizes.steps, repeats=sizes.repeats, speed=speed / 1e9, products=products / 1e12)
    fastest = math.inf
    for shape in sizes.timed:
        rows, fastest = _timed(shape, sizes, device, speed, products)
        text += rows
    last = _cross(sizes.timed[-1])
    verdict = f"target: at most {MOST_MS} ms, {_verdict(fastest <= MOST_MS)}"
    return f"{text}\nFastest at {last}: {fastest:.1f} ms; {verdict}.\n"


def _timed(
    shape: Sequence[int], sizes: Sizes, device: torch.device, speed: float, products: float
) -> tuple[str, float]:
    """Rows of the table for one size, and the fewest milliseconds among them."""
    settings = replace(DEFAULTS, steps=sizes.steps)
    momentum, matching = posed(random_pair(shape[:3], shape[3]), settings, device)
    rows, fastest = "", math.inf
    for strategy in _that_fit(momentum, sizes.steps, device):
        work = partial(evaluate, momentum, matching, strategy)
        milliseconds = 1000 * _median(work, sizes.repeats, device)
        fastest = min(fastest, milliseconds)
        rows += f"| {_cross(shape)} | `{strategy.name}` | {_costs(work, milliseconds, speed, products)} |\n"
    return rows, fastest


def _that_fit(like: Tensor, steps: int, device: torch.device) -> list[Strategy]:
    """The strategies of the device's ladder whose evaluation, without pairs of L-BFGS, fits what is free."""
    rungs = ladder(device.type)
    if device.type != "cuda":
        return list(rungs)
    free, size = _free(device), _size(like, steps, pairs=0)
    told = {r: memory_model.model().peak(r.name, size, "cuda", ("evaluation",)).device for r in rungs}
    return [rung for rung in rungs if told[rung] <= (1 - memory_model.MARGIN) * free]


def _costs(work: Callable[[], object], milliseconds: float, speed: float, products: float) -> str:
    """Cells of the table of times: what the work moves and multiplies, beside how long it takes."""
    with counted(whole_passes=False) as meter:
        work()
    with counted(whole_passes=True) as fused:
        work()
    floor, arithmetic = 1000 * fused.bytes / speed, 1000 * meter.flops / products
    sizes = f"{meter.bytes / 1e9:.3g} | {fused.bytes / 1e9:.3g} | {floor:.3g}"
    return f"{milliseconds:.1f} | {sizes} | {milliseconds / floor:.1f} | {arithmetic:.3g}"


def _product_speed(sizes: Sizes, device: torch.device) -> float:
    """Operations per second of a product of square float32 matrices."""
    side = min(4096, math.isqrt(sizes.copied))
    a = torch.ones(side, side, device=device)
    return 2 * side**3 / _median(lambda: a @ a, 5, device)


def _copy_speed(sizes: Sizes, device: torch.device) -> float:
    """Bytes per second, read and written together, of a copy on the device."""
    source = torch.zeros(sizes.copied, device=device)
    target = torch.empty_like(source)
    seconds = _median(lambda: target.copy_(source), 10, device)
    return 2 * source.numel() * source.element_size() / seconds


def _median(work: Callable[[], object], repeats: int, device: torch.device) -> float:
    work()
    seconds = []
    for _ in range(repeats):
        _wait(device)
        began = time.perf_counter()
        work()
        _wait(device)
        seconds.append(time.perf_counter() - began)
    return statistics.median(seconds)


def _wait(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def profile(sizes: Sizes, device: torch.device) -> str:
    """The operations that take most of the device's time in one evaluation of the largest size."""
    shape = sizes.timed[-1]
    momentum, matching = posed(random_pair(shape[:3], shape[3]), replace(DEFAULTS, steps=2), device)
    evaluate(momentum, matching)
    kinds = [torch.profiler.ProfilerActivity.CPU]
    if device.type == "cuda":
        kinds.append(torch.profiler.ProfilerActivity.CUDA)
    with torch.profiler.profile(activities=kinds) as found:
        evaluate(momentum, matching)
        _wait(device)
    side = "self_device_time_total" if device.type == "cuda" else "self_cpu_time_total"
    events = [e for e in found.key_averages() if e.key.startswith("aten::")]
    total = sum(getattr(e, side) for e in events) or 1.0
    lines = [
        f"{_cross(shape)}, N = 2, `checkpoint`; PyTorch's operations by their own time on the device.",
        "",
        "| operation | calls | ms | share |",
        "| --- | --- | --- | --- |",
    ]
    for event in sorted(events, key=lambda e: -getattr(e, side))[:10]:
        spent = getattr(event, side)
        row = f"{event.count} | {spent / 1000:.2f} | {100 * spent / total:.0f} %"
        lines.append(f"| `{event.key}` | {row} |")
    return "\n".join(lines) + "\n"


def registration(sizes: Sizes, device: torch.device) -> str:
    """Seconds and bytes of one registration with the defaults, within the memory of the target."""
    pair = random_pair(sizes.full[:3], sizes.full[3])
    size = _size(pair[0], memory_model.USUAL_STEPS)
    rungs = [rung.name for rung in ladder(device.type)]
    choice = memory_model.choose(size, MOST_BYTES, rungs, device.type)
    used = Ladder([BY_NAME[name] for name in rungs[rungs.index(choice.strategy) :]])
    meter = _Peak(device)
    began, seen = time.perf_counter(), 0

    def report_to(spacing: float, iteration: Iteration) -> None:
        nonlocal seen
        seen += 1
        if time.perf_counter() - began > sizes.patience:
            raise _TooLong

    head = (
        f"{_cross(sizes.full)}, default settings (steps chosen by the run), with the strategy that the\n"
        f"model foretells to fit {MOST_BYTES / GIB:.0f} GiB: {choice.reason}.\n\n"
    )
    try:
        found = register(*pair, SPACING, DEFAULTS, report_to, used, device)
        _wait(device)
    except _TooLong:
        return head + f"**Not finished** after {sizes.patience:.0f} s and {seen} iterations: target missed.\n"
    seconds, peak = time.perf_counter() - began, meter.peak()
    share = 100 * found.mismatch_after / found.mismatch_before
    held = "" if peak is None else f"peak {peak / GIB:.2f} GiB (target: 8), {_verdict(peak <= MOST_BYTES)}; "
    return head + (
        f"{seconds:.1f} s (target: {MOST_SECONDS}), {_verdict(seconds <= MOST_SECONDS)}; {held}"
        f"{found.evaluations} evaluations on the finest grid, {found.steps} steps, mismatch {share:.1f} % of "
        f"the first, drift of H {100 * found.drift:.2f} %, ended with `{used.current.name}`.\n"
    )


def memory(sizes: Sizes, device: torch.device) -> str:
    """Peaks of whole registrations with each strategy: what the device gave, the instrument and the model."""
    shape, few = sizes.held, sizes.steps
    one_level = (1.1 * max(SPACING),)
    settings = replace(
        DEFAULTS, steps=few, max_evaluations=PAIRS_TO_FILL, tolerance=1e-9, kernel_mm=one_level
    )
    lines = [
        f"{_cross(shape)}, N = {few}, at most {PAIRS_TO_FILL} evaluations; peaks of registrations in D.",
        "The device is `torch.cuda.max_memory_allocated`, the instrument counts the bytes of live tensors,",
        "foretold is by the memory model with 8 pairs. Target: within 10 % of the device.",
        "",
        "| strategy | device | instrument | foretold | device / foretold | |",
        "| --- | --- | --- | --- | --- | --- |",
    ]
    for name in (rung.name for rung in ladder("cuda")):
        lines.append(_held(name, random_pair(shape[:3], shape[3]), settings, device))
    return "\n".join(lines) + "\n"


def _held(name: str, pair: Sequence[Tensor], settings: Settings, device: torch.device) -> str:
    source, target, control = (part.to(device) for part in pair)
    unit, size = source.numel() * source.element_size(), _size(source, settings.steps or STEPS)
    told = memory_model.model().peak(name, size, device.type).device
    meter = _Peak(device)
    with LiveBytes([source, target, control]) as instrument:
        register(source, target, control, SPACING, settings, ladder=Ladder([BY_NAME[name]]))
        _wait(device)
    real = meter.peak()
    maps = f"{instrument.peak / unit:.2f} | {told / unit:.2f}"
    if real is None:
        return f"| `{name}` | | {maps} | | |"
    ratio = real / told
    return f"| `{name}` | {real / unit:.2f} | {maps} | {ratio:.3f} | {_verdict(abs(ratio - 1) <= 0.1)} |"


class _Peak:
    """The most that the device gave since this was made; None on a processor."""

    def __init__(self, device: torch.device) -> None:
        self._device = device
        gc.collect()
        if device.type == "cuda":
            torch.cuda.synchronize(device)
            torch.cuda.empty_cache()
            torch.cuda.reset_peak_memory_stats(device)

    def peak(self) -> int | None:
        """Bytes."""
        return torch.cuda.max_memory_allocated(self._device) if self._device.type == "cuda" else None


def _size(maps: Tensor, steps: int, pairs: int = memory_model.PAIRS_KEPT) -> Size:
    return replace(room.size_of(maps, steps), pairs=pairs)


def _free(device: torch.device) -> int:
    gc.collect()
    torch.cuda.empty_cache()
    return int(torch.cuda.mem_get_info(device)[0])


def _cross(shape: Sequence[int]) -> str:
    return " × ".join(map(str, shape))


def _verdict(good: bool) -> str:
    return "reached" if good else "**missed**"

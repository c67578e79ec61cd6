"""Speed beside demeter-metamorphosis 0.2.11, evaluations until convergence, and how time grows with size.

python -m benchmarks.speed            all parts (about 15 minutes on an idle core)
python -m benchmarks.speed --quick    small sizes, to see that everything works
"""

from __future__ import annotations

import argparse
import json
import math
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from benchmarks import environments, report, speed_threads
from benchmarks.environments import Unavailable
from benchmarks.peers import compare
from benchmarks.phantoms.maps import make_pair
from benchmarks.truth_runs import numerical
from longimorph.free_pairs import FreePairs
from longimorph.io import atomic
from longimorph.numerics.memory_strategies import STORE, Ladder
from longimorph.numerics.objective import Matching, evaluate
from longimorph.numerics.optimise import Iteration
from longimorph.numerics.register import register
from longimorph.numerics.run import Report, Run, silent
from longimorph.numerics.solve import MapPair, Settings
from longimorph.numerics.sphere import tangent
from longimorph.study import presets
from longimorph.study.config import defaults
from longimorph.study.control import free_pairs

OUT = environments.ROOT / "docs" / "benchmarks" / "speed.md"
QUICK_OUT = environments.ROOT / "build" / "speed-quick.md"
DEMETER = {"rho": 0.9, "cost_cst": 1e-3, "steps": 10, "kernel": 2.0}
CAPS = (1, 2, 3, 4, 6, 8, 12, 16, 24, 40)
CLASSES = 5
CONVERGED_EVALUATIONS = 300
METHOD = """Both programs in one run, with the same number of threads. Of demeter-metamorphosis 0.2.11 the
simplex class, with a Gaussian kernel of 2 voxels, rho 0.9 and 10 steps; longimorph keeps everything of
every step (`store`), as it does where memory allows.

"""


@dataclass(frozen=True)
class SpeedSizes:
    """What to measure: side of the cube, repetitions, demeter's iterations, spacing in mm, sides, steps."""

    side: int
    repeats: int
    iterations: int
    spacing: int
    sides: tuple[int, ...]
    steps: tuple[int, ...]


FULL = SpeedSizes(64, 3, 20, 4, (24, 32, 48, 64, 96), (5, 10, 20, 40))
QUICK = SpeedSizes(24, 2, 2, 4, (16, 24, 32), (2, 4, 8))


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure part by part; the report is rewritten after each."""
    options = _parser().parse_args(arguments)
    torch.set_num_threads(options.threads)
    torch.set_flush_denormal(True)
    sizes = QUICK if options.quick else FULL
    out = options.out or (QUICK_OUT if options.quick else OUT)
    text = report.heading("Speed", "make bench", options.threads) + METHOD
    for name in options.parts:
        try:
            part = PARTS[name](sizes, options.threads)
        except Unavailable as error:
            part = f"Not measured: {error}.\n"
        text += f"## {TITLES[name]}\n\n{part}\n"
        atomic.write_text(out, text)
        report.say(f"{TITLES[name]}\n{part}")
    report.say(f"Report: {out}")
    return 0


def gradient(sizes: SpeedSizes, threads: int) -> str:
    """One cost and gradient of both programs, alternating; medians."""
    source, target = shells(sizes.side)
    matching = cube_matching(source, target, 10)
    momentum = start(matching)
    folder = environments.FOLDER / "cases"
    folder.mkdir(parents=True, exist_ok=True)
    with Server(folder / "speed_case.npz", source, target, {**DEMETER, "threads": threads}) as demeter:
        demeter.seconds()
        evaluate(momentum, matching, STORE)
        pairs = [(demeter.seconds(), seconds_of(momentum, matching)) for _ in range(sizes.repeats)]
    theirs, ours = (statistics.median(column) for column in zip(*pairs, strict=True))
    return (
        f"{sizes.side}³ voxels, {CLASSES} classes, 10 steps, medians of {sizes.repeats}, in turn: demeter "
        f"{theirs:.2f} s, longimorph {ours:.3f} s, ratio **{theirs / ours:.1f}** (target: at least 30).\n"
    )


def match(sizes: SpeedSizes, threads: int) -> str:
    """Seconds until longimorph's maps are as close to the target as demeter's after its L-BFGS iterations."""
    pair = make_pair("both", sizes.spacing)
    maps = pair.simplex(defaults().smoothing_mm, defaults().floor)
    settings = {**DEMETER, "threads": threads, "iterations": sizes.iterations}
    case = {"source": maps[0], "target": maps[1], "spacing": pair.spacing}
    found = compare.call(compare.PEERS["demeter"], case, settings)
    wanted, theirs = float(found["trace"][-1, 1]), float(found["seconds"])
    before = float(np.abs(maps[0] - maps[1]).mean())
    lines = [
        f"The mixed phantom at {sizes.spacing} mm ({_shape(maps[0])}), mean absolute error of the "
        f"probabilities, {before:.2e} at first: demeter has {wanted:.2e} after {sizes.iterations} iterations "
        f"({len(found['trace']) - 1} evaluations), {theirs:.1f} s. longimorph with the same rho of "
        f"{DEMETER['rho']} everywhere and the same width of the kernel, matching voxels alone:"
    ]
    for cap in CAPS:
        error, seconds = _reached(pair, maps, cap)
        if error <= wanted:
            ratio = f"ratio **{theirs / seconds:.0f}** (target: at least 150)"
            lines.append(
                f"A whole registration of longimorph that may take {cap} evaluation(s) has {error:.2e} in "
                f"{seconds:.1f} s: {ratio}."
            )
            return "\n".join(lines) + "\n"
    return "\n".join([*lines, f"longimorph does not reach it within {CAPS[-1]} evaluations."]) + "\n"


def evaluations(sizes: SpeedSizes, threads: int) -> str:
    """Evaluations on the finest grid until the cost is within 2 % of that of a long run."""
    pair = make_pair("both", sizes.spacing)
    maps = pair.simplex(defaults().smoothing_mm, defaults().floor)
    usual, first, steps = _traced(pair, maps, numerical(defaults()))
    long = replace(numerical(defaults()), steps=steps, tolerance=1e-9, max_evaluations=CONVERGED_EVALUATIONS)
    trace = [i for spacing, i in _traced(pair, maps, long)[0] if spacing == pair.spacing]
    best = min(i.evaluation.cost for i in trace)
    enough = next(i.evaluations for i in trace if i.evaluation.cost <= 1.02 * best)
    above = 100 * (usual[-1][1].evaluation.cost / best - 1)
    return (
        f"The mixed phantom at {sizes.spacing} mm, {steps} steps: lowest cost {best:.4g} mm³ of a run of up "
        f"to {CONVERGED_EVALUATIONS} evaluations; within 2 % of it after **{enough}** (target: at most "
        f"25). The default tolerance stops after {first} at {above:.1f} % above it. Evaluations "
        f"on coarser grids are not counted.\n"
    )


def growth(sizes: SpeedSizes, threads: int) -> str:
    """Exponents of the time of one evaluation in voxels and in steps."""
    by_voxels = [(side**3, _timed(side, 10)) for side in sizes.sides]
    middle = sizes.sides[len(sizes.sides) // 2]
    by_steps = [(steps, _timed(middle, steps)) for steps in sizes.steps]
    lines = []
    for name, rows, fixed in (("voxels", by_voxels, "10 steps"), ("steps", by_steps, f"{middle}³ voxels")):
        shown = ", ".join(f"{count}: {1000 * seconds:.0f} ms" for count, seconds in rows)
        lines.append(f"- {name} ({CLASSES} classes, {fixed}): exponent **{exponent(rows):.2f}**; {shown}")
    each = [f"{count}: {1e6 * seconds / (count * CLASSES * 10):.3f}" for count, seconds in by_voxels]
    lines.append(f"- microseconds per voxel, class and step (target: at most 0.03): {', '.join(each)}")
    return "\n".join(lines) + "\n"


def threading(sizes: SpeedSizes, threads: int) -> str:
    """Times as fast with more threads, beside the gains of the machine itself."""
    matching = cube_matching(*shells(sizes.sides[-1]), 5)
    momentum = start(matching)
    rows = speed_threads.table(lambda: evaluate(momentum, matching, STORE), sizes.repeats)
    return (
        f"Times as fast as with one thread; {sizes.sides[-1]}³ voxels, {CLASSES} classes, 5 steps, medians "
        f"of {sizes.repeats}. The last two columns are what this machine allows: one copy per thread of a "
        f"loop that calculates in the cache, and of one that reads from memory.\n\n{rows}"
    )


TITLES = {
    "gradient": "One cost and gradient",
    "match": "The match that demeter reaches",
    "evaluations": "Evaluations until the cost is within 2 %",
    "growth": "Growth of the time per evaluation",
    "threads": "Threads",
}
PARTS: dict[str, Callable[[SpeedSizes, int], str]] = {
    "gradient": gradient,
    "match": match,
    "evaluations": evaluations,
    "growth": growth,
    "threads": threading,
}


class Server:
    """demeter in its own environment, answering with the seconds of one cost and gradient at a time."""

    def __init__(
        self, case: Path, source: NDArray[Any], target: NDArray[Any], settings: dict[str, Any]
    ) -> None:
        np.savez(case, source=source, target=target)
        python = environments.python("demeter")
        script = compare.SCRIPTS / compare.PEERS["demeter"].script
        self._command = [str(python), str(script), str(case), "-", json.dumps(settings)]
        self._variables = environments.surroundings(python.parents[1], settings["threads"])
        self._log = case.with_suffix(".log")

    def __enter__(self) -> Server:
        with self._log.open("w", encoding="utf-8") as log:
            self._process = subprocess.Popen(
                self._command,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=log,
                text=True,
                env=self._variables,
            )
        return self

    def __exit__(self, *_: object) -> None:
        self._process.kill()
        self._process.wait()

    def seconds(self) -> float:
        """Seconds of one further evaluation. Raises ``Unavailable`` when the process has ended."""
        assert self._process.stdin is not None and self._process.stdout is not None
        try:
            self._process.stdin.write("go\n")
            self._process.stdin.flush()
            return float(json.loads(self._process.stdout.readline())["seconds"])
        except (OSError, ValueError) as error:
            raise Unavailable(f"demeter ended; its messages are in {self._log}") from error


def shells(side: int) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Five nested soft shells of a cube, (5, side, side, side), and the same widened and moved."""
    axes = np.meshgrid(*(np.linspace(-1, 1, side),) * 3, indexing="ij")
    maps = []
    for shift, scale in ((0.0, 1.0), (0.06, 1.1)):
        radius = np.sqrt((axes[0] - shift) ** 2 + axes[1] ** 2 + axes[2] ** 2) / scale
        score = np.stack([-(((radius - 0.2 * k) / 0.12) ** 2) for k in range(CLASSES)])
        score = np.exp(score - score.max(0)) + 1e-6
        maps.append((score / score.sum(0)).astype(np.float32))
    return maps[0], maps[1]


def cube_matching(source: NDArray[np.float32], target: NDArray[np.float32], steps: int) -> Matching:
    """The problem with the default settings, at 2 mm with the given number of steps."""
    control = torch.full((CLASSES, CLASSES), 0.999)
    settings: Settings = replace(numerical(defaults()), steps=steps)
    pair = MapPair(torch.from_numpy(source), torch.from_numpy(target), control, (2.0, 2.0, 2.0))
    return pair.matching(settings)


def start(matching: Matching) -> torch.Tensor:
    """A small momentum that is tangent to the source."""
    torch.manual_seed(0)
    return tangent(0.01 * torch.randn_like(matching.source), matching.source)


def seconds_of(momentum: torch.Tensor, matching: Matching) -> float:
    """Seconds of one cost and gradient."""
    began = time.perf_counter()
    evaluate(momentum, matching, STORE)
    return time.perf_counter() - began


def exponent(rows: Sequence[tuple[float, float]]) -> float:
    """The slope of log(seconds) over log(count), by least squares."""
    x, y = np.log(np.array(rows, dtype=np.float64)).T
    return float(np.polyfit(x, y, 1)[0])


def _timed(side: int, steps: int) -> float:
    matching = cube_matching(*shells(side), steps)
    momentum = start(matching)
    evaluate(momentum, matching, STORE)
    return min(seconds_of(momentum, matching) for _ in range(3))


def _reached(pair: Any, maps: tuple[NDArray[Any], ...], cap: int) -> tuple[float, float]:
    """Mean absolute error of the probabilities and seconds of a registration with limited evaluations."""
    began = time.perf_counter()
    same = torch.full((len(maps[0]), len(maps[0])), DEMETER["rho"])
    kernel = (DEMETER["kernel"] * pair.spacing,)
    settings = replace(numerical(defaults()), max_evaluations=cap, kernel_mm=kernel, volume_weight=0.0)
    found = _registered(pair, maps, settings, control=same)
    seconds = time.perf_counter() - began
    error = (found.attribution.modelled() - torch.from_numpy(maps[1])).abs().mean()
    return float(error), seconds


def _traced(
    pair: Any, maps: tuple[NDArray[Any], ...], settings: Settings
) -> tuple[list[tuple[float, Iteration]], int, int]:
    """Every iteration with its spacing in mm, the evaluations counted, and the number of steps."""
    trace: list[tuple[float, Iteration]] = []
    found = _registered(pair, maps, settings, lambda spacing, iteration: trace.append((spacing, iteration)))
    return trace, found.evaluations, found.steps


def _registered(
    pair: Any,
    maps: tuple[NDArray[Any], ...],
    settings: Settings,
    report: Report = silent,
    control: torch.Tensor | None = None,
) -> Any:
    """A registration with a control matrix, or as the pipeline does with the preset of the pair."""
    source, target = (torch.from_numpy(one) for one in maps)
    matrix, free = (_preset(pair), _free(pair)) if control is None else (control, ())
    try:
        run = Run(report, Ladder([STORE]))
        return register(source, target, matrix, pair.grid.spacing.tolist(), settings, run, free)
    finally:
        torch.set_flush_denormal(True)


def _preset(pair: Any) -> torch.Tensor:
    control, problems = presets.examine_presets(pair.preset, pair.classes)
    if control is None:
        raise Unavailable("; ".join(str(problem) for problem in problems))
    return torch.from_numpy(control).float()


def _free(pair: Any) -> tuple[FreePairs, ...]:
    return free_pairs(_preset(pair).numpy(), pair.classes, defaults().reallocation == "projected")


def _shape(maps: NDArray[Any]) -> str:
    count, *sides = maps.shape
    return f"{' × '.join(map(str, sides))} voxels, {count} classes, {math.prod(maps.shape):,} values"


def _parser() -> argparse.ArgumentParser:
    summary = (__doc__ or "").splitlines()[0]
    parser = argparse.ArgumentParser(prog="python -m benchmarks.speed", description=summary)
    parser.add_argument("--quick", action="store_true", help="small sizes, to see that everything works")
    parser.add_argument("--out", type=Path, help=f"the report (default {OUT}, with --quick {QUICK_OUT})")
    parser.add_argument("--parts", nargs="*", choices=list(PARTS), default=list(PARTS), help="default: all")
    parser.add_argument("--threads", type=int, default=1, help="threads of both programs (default 1)")
    return parser


if __name__ == "__main__":
    sys.exit(main())

"""Five visits with noisy labels: the slope from all pairs, from consecutive ones, and from the first visit.

python -m benchmarks.visits    some minutes on one core
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations, pairwise
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray

from benchmarks import report, visits_texts
from benchmarks.phantoms import cases
from benchmarks.phantoms.maps import noisy_visits
from benchmarks.truth_runs import numerical
from longimorph.demo import course
from longimorph.demo.anatomy import load_anatomy
from longimorph.demo.course import PhantomState, Truth
from longimorph.io import atomic
from longimorph.numerics.memory_strategies import STORE, Ladder
from longimorph.numerics.register import register
from longimorph.numerics.run import Run
from longimorph.study import presets
from longimorph.study.config import defaults
from longimorph.study.control import free_pairs
from longimorph.tables.fit import fit

Array = NDArray[np.float64]

OUT = Path("docs/benchmarks/visits.md")
SPACING_MM, VISITS = 4, 5
CASE = "both"
KINDS = ("deformation", "reallocation")
CONSECUTIVE, DIRECT, ALL = "consecutive pairs", "pairs with the first visit", "all pairs (`fit.csv`)"
MATRIX = "consecutive pairs, control matrix alone"


@dataclass(frozen=True)
class Errors:
    """Errors of slopes in mm³ per visit, by kind of change and way of estimating: (seeds, classes) each.

    ``volumes``: of the slope of the maps' volumes themselves, which contains the noise of the labels alone.
    """

    slopes: Mapping[tuple[str, str], Array]
    volumes: Array


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure and write the page."""
    options = _parser().parse_args(arguments)
    torch.set_num_threads(1)
    states = [PhantomState(k / (VISITS - 1), 15 * k / (VISITS - 1)) for k in range(VISITS)]
    classes = cases.named(CASE).classes.names
    errors = measured(states, range(options.seeds))
    head = report.heading("More than two visits", "make bench-visits", 1)
    text = visits_texts.HEAD.format(visits=VISITS, spacing=SPACING_MM, seeds=options.seeds)
    atomic.write_text(options.out, "\n".join([head, text, table(errors, classes), visits_texts.TAIL]))
    report.say(f"Report: {options.out}")
    return 0


def measured(states: Sequence[PhantomState], seeds: Sequence[int]) -> Errors:
    """Register all pairs of the visits of every seed, and compare the slopes with the true ones."""
    anatomy = load_anatomy()
    truths = {
        pair: course.truth(anatomy, *(states[k] for k in pair))
        for pair in combinations(range(len(states)), 2)
    }
    found: dict[tuple[str, str], list[Array]] = {(kind, way): [] for kind in KINDS for way in ways()}
    volumes = []
    for seed in seeds:
        maps, voxel = noisy_visits(cases.named(CASE), states, SPACING_MM, seed)
        changes = _changes(maps, voxel)
        for kind in KINDS:
            true = _course({(a, b): getattr(truths[a, b], kind) for a, b in pairwise(range(len(states)))})
            for way, estimated in _courses(changes, kind, len(states)).items():
                found[kind, way].append(slope(estimated - true))
        sums = np.stack([one.sum(axis=(1, 2, 3), dtype=np.float64) * voxel for one in maps])
        volumes.append(slope(sums - _volumes(truths, len(states))))
        report.say(f"seed {seed}: " + ", ".join(f"{root_mean_square(v[-1]):.0f}" for v in found.values()))
    return Errors({key: np.stack(values) for key, values in found.items()}, np.stack(volumes))


def ways() -> tuple[str, ...]:
    """The ways of estimating a course."""
    return CONSECUTIVE, DIRECT, ALL, MATRIX


def slope(course: Array) -> Array:
    """Slope per visit of a course (visits, classes), by least squares: (classes,)."""
    times = np.arange(len(course)) - (len(course) - 1) / 2
    found: Array = times @ course / (times @ times)
    return found


def root_mean_square(values: Array) -> float:
    """Over everything."""
    return float(np.sqrt(np.mean(np.square(values))))


def table(errors: Errors, classes: Sequence[str]) -> str:
    """Root mean square errors per class and of all, and the gain over consecutive pairs."""
    lines = [f"| slope of | from | {' | '.join(classes)} | all classes | less than consecutive by |"]
    lines.append("| --- | --- |" + " --- |" * (len(classes) + 2))
    for (kind, way), found in errors.slopes.items():
        usual, own = (root_mean_square(errors.slopes[kind, one]) for one in (CONSECUTIVE, way))
        cells = [f"{root_mean_square(column):.1f}" for column in found.T]
        lines.append(
            f"| {kind} | {way} | {' | '.join(cells)} | {own:.1f} | {100 * (1 - own / usual):.0f} % |"
        )
    cells = [f"{root_mean_square(column):.1f}" for column in errors.volumes.T]
    lines.append(
        f"| volume | the maps themselves | {' | '.join(cells)} | {root_mean_square(errors.volumes):.1f} | |"
    )
    return "\n".join(lines) + "\n"


def _changes(maps: Sequence[NDArray[np.float32]], voxel: float) -> pd.DataFrame:
    """The rows of ``changes.csv`` that the estimates need, of all pairs of the visits."""
    settings = defaults()
    classes = cases.named(CASE).classes
    matrix, _ = presets.examine_presets(cases.named(CASE).preset, classes)
    assert matrix is not None
    numerics = numerical(settings)
    free, spacing = free_pairs(matrix, classes, True), [float(SPACING_MM)] * 3
    rows = []
    for a, b in combinations(range(len(maps)), 2):
        source, target = (torch.from_numpy(maps[k].copy()) for k in (a, b))
        run = Run(ladder=Ladder([STORE]))
        priced = torch.from_numpy(matrix).float()
        result = register(source, target, priced, spacing, numerics, run, free=free)
        for index, name in enumerate(classes.names):
            row: dict[str, object] = {"patient": "P", "from": str(a), "to": str(b), "class": name}
            for kind in KINDS:
                part = getattr(result.attribution, kind)[index]
                row[f"{kind}_mm3"] = float(part.sum(dtype=torch.float64)) * voxel
                row[f"{kind}_uncertainty_mm3"] = float(getattr(result.uncertainty, kind)[index])
                row[f"{kind}_matrix_mm3"] = float(getattr(result.uncertainty, f"matrix_{kind}")[index])
            rows.append(row | {"status": "ok"})
    return pd.DataFrame(rows)


def _courses(changes: pd.DataFrame, kind: str, visits: int) -> dict[str, Array]:
    """Each way's course since the first visit, (visits, classes)."""
    known, alone = (
        {
            (int(str(a)), int(str(b))): group[f"{name}_mm3"].to_numpy()
            for (a, b), group in changes.groupby(["from", "to"], sort=False)
        }
        for name in (kind, f"{kind}_matrix")
    )
    zero = np.zeros_like(known[0, 1])
    fitted = fit(changes, [str(k) for k in range(visits)])
    return {
        CONSECUTIVE: _course({pair: known[pair] for pair in pairwise(range(visits))}),
        DIRECT: np.stack([zero, *(known[0, k] for k in range(1, visits))]),
        ALL: fitted[f"{kind}_fitted_mm3"].to_numpy().reshape(visits, -1),
        MATRIX: _course({pair: alone[pair] for pair in pairwise(range(visits))}),
    }


def _course(steps: Mapping[tuple[int, int], Array]) -> Array:
    """The sums of consecutive changes since the first visit, (visits, classes)."""
    changes = list(steps.values())
    return np.cumsum([np.zeros_like(changes[0]), *changes], axis=0)


def _volumes(truths: Mapping[tuple[int, int], Truth], visits: int) -> Array:
    return np.stack([truths[0, 1].volume_from, *(truths[0, k].volume_to for k in range(1, visits))])


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.visits", description=__doc__.split("\n")[0])
    parser.add_argument("--seeds", type=int, default=8, metavar="N", help="noisy patients (default 8)")
    parser.add_argument("--out", type=Path, default=OUT, metavar="FILE", help="the page")
    return parser


if __name__ == "__main__":
    sys.exit(main())

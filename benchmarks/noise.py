"""The noise floor and the 90 % intervals on noisy phantoms: how often they hold.

python -m benchmarks.noise    half an hour on one core
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from benchmarks import noise_texts, report
from benchmarks.phantoms.maps import KnownPair, default_data, make_pair, make_segmented
from benchmarks.truth_runs import numerical
from longimorph.io import atomic
from longimorph.numerics.noise import Scale, label_noise
from longimorph.numerics.register import Registration, register
from longimorph.study import presets
from longimorph.study.config import defaults
from longimorph.study.control import free_pairs
from longimorph.tables import floors

OUT = Path("docs/benchmarks/noise.md")
ANATOMIES = ("demo", "ixi_012", "synthseg_01")
CHANGES = ("ventricles25", "both", "mass", "random1", "random2")
USUAL, ALL = "flipped 5 %", "**all**"
KINDS = ("flipped 2 %", USUAL, "flipped 10 %", "segmenter, labels", "segmenter, posteriors")
SPACING_MM, LEAST_MM3 = 4, 1.0

Array = NDArray[np.float64]
Make = Callable[[str, str, int, Path], KnownPair]


@dataclass(frozen=True)
class NoisyRun:
    """One registration; rows are deformation and reallocation, (2, C): errors and standard errors in mm^3.

    ``held``: whether the interval holds the truth. ``matrix``: errors of the control matrix alone.
    """

    anatomy: str
    case: str
    kind: str
    errors: Array
    noise: Array
    held: NDArray[np.bool_]
    matrix: Array

    @property
    def counted(self) -> NDArray[np.bool_]:
        """The numbers that noise can change, (2, C)."""
        return np.asarray(self.noise > LEAST_MM3)


def flipped(share: float) -> Make:
    """Pairs with this share of boundary voxels flipped."""
    return lambda case, anatomy, seed, data: make_pair(case, SPACING_MM, anatomy, seed, data, flipped=share)


def by_labels(case: str, anatomy: str, seed: int, data: Path) -> KnownPair:
    """A pair of a simulated segmenter's labels."""
    return make_segmented(case, SPACING_MM, seed, anatomy=anatomy, data=data)[0]


def by_posteriors(case: str, anatomy: str, seed: int, data: Path) -> KnownPair:
    """A pair of its posteriors."""
    return make_segmented(case, SPACING_MM, seed, anatomy=anatomy, data=data)[1]


MAKERS = dict(zip(KINDS, (*map(flipped, (0.02, 0.05, 0.1)), by_labels, by_posteriors), strict=True))


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure and write the page."""
    options = _parser().parse_args(arguments)
    torch.set_num_threads(1)
    head = report.heading("Noise floor and intervals", "make bench-noise", 1)
    runs = []
    for anatomy, case, kind, seed in plan(options.anatomies, options.cases, options.seeds):
        runs.append(measured(anatomy, case, kind, seed, options.data))
        found = runs[-1]
        report.say(f"{anatomy} {case} {kind} {seed}: {found.held[found.counted].mean():.2f}")
    atomic.write_text(options.out, head + page(runs, options.seeds))
    report.say(f"Report: {options.out}")
    return 0


def plan(anatomies: Sequence[str], cases: Sequence[str], seeds: int) -> Iterator[tuple[str, str, str, int]]:
    """Anatomy, case, noise and seed of each run: changes with the usual noise, no change with every noise."""
    kinds = [*(("null", kind) for kind in KINDS), *((case, USUAL) for case in cases)]
    kinds += [("both", kind) for kind in KINDS[3:]]
    for anatomy in anatomies:
        for case, kind in kinds:
            yield from ((anatomy, case, kind, seed) for seed in range(seeds))


def measured(anatomy: str, case: str, kind: str, seed: int, data: Path) -> NoisyRun:
    """Register a noisy pair with the default settings, and compare its intervals with the truth."""
    settings, pair = defaults(), MAKERS[kind](case, anatomy, seed, data)
    source, target = (torch.from_numpy(m) for m in pair.simplex(settings.smoothing_mm, settings.floor))
    matrix, problems = presets.examine_presets(pair.preset, pair.classes)
    if matrix is None:
        raise RuntimeError("; ".join(str(problem) for problem in problems))
    numerics, spacing = numerical(settings), pair.grid.spacing.tolist()
    free = free_pairs(matrix, pair.classes, numerics.reallocation == "projected")
    found = register(source, target, torch.from_numpy(matrix).float(), spacing, numerics, free=free)
    scale = Scale(tuple(spacing), settings.smoothing_mm, SPACING_MM)
    noise = label_noise(source, target, found.attribution, torch.from_numpy(matrix), scale, free)
    return NoisyRun(anatomy, case, kind, *compared(found, pair, (noise.deformation, noise.reallocation)))


def compared(
    found: Registration, pair: KnownPair, noise: tuple[torch.Tensor, torch.Tensor]
) -> tuple[Array, Array, NDArray[np.bool_], Array]:
    """Errors, standard errors, whether the intervals hold the truth, and errors of the control matrix alone,
    (2, C) each.
    """
    parts, told, volume = found.attribution, found.uncertainty, pair.grid.voxel_volume
    measured = [
        part.flatten(1).sum(1, dtype=torch.float64).numpy() * volume
        for part in (parts.deformation, parts.reallocation)
    ]
    truth = np.stack([pair.truth.deformation, pair.truth.reallocation])
    ranges = (
        (told.deformation_low, told.deformation_high, told.deformation),
        (told.reallocation_low, told.reallocation_high, told.reallocation),
    )
    bounds = np.stack(
        [
            floors.interval((one.numpy() for one in of_kind), floors.Noise(own.numpy()))
            for of_kind, own in zip(ranges, noise, strict=True)
        ]
    )
    held = (bounds[:, 0] <= truth) & (truth <= bounds[:, 1])
    alone = np.stack([told.matrix_deformation.numpy(), told.matrix_reallocation.numpy()])
    return np.stack(measured) - truth, np.stack([own.numpy() for own in noise]), held, alone - truth


def page(runs: Sequence[NoisyRun], seeds: int) -> str:
    """The page below its heading."""
    names = list(dict.fromkeys(run.anatomy for run in runs))
    head = noise_texts.HEAD.format(spacing=SPACING_MM, seeds=seeds, anatomies=", ".join(names))
    told = noise_texts.COVERAGE.format(least=LEAST_MM3)
    parts = [head, told, coverage(runs, names), noise_texts.ERRORS, sizes(runs)]
    return "\n".join([*parts, noise_texts.FLOORS, spreads(runs)])


def coverage(runs: Sequence[NoisyRun], anatomies: Sequence[str]) -> str:
    """The table of coverage: a row per case and kind of noise, a column per anatomy."""
    lines = [
        f"| case | noise | {' | '.join(anatomies)} | all | numbers |",
        "| --- | --- |" + " --- |" * (len(anatomies) + 2),
    ]
    groups = dict.fromkeys((run.case, run.kind) for run in runs)
    for case, kind in (*groups, (ALL, USUAL)):
        own = [run for run in runs if run.kind == kind and case in (run.case, ALL)]
        cells = [_share([run for run in own if run.anatomy == name]) for name in anatomies]
        count = sum(int(run.counted.sum()) for run in own)
        lines.append(f"| {case} | {kind} | {' | '.join(cells)} | {_share(own)} | {count} |")
    return "\n".join(lines) + "\n"


def _share(runs: Sequence[NoisyRun]) -> str:
    held = np.array([one for run in runs for one in run.held[run.counted]])
    return f"{100 * held.mean():.0f} %" if held.size else ""


def sizes(runs: Sequence[NoisyRun]) -> str:
    """The table of errors: root mean squares over the numbers of a row, and of the control matrix alone."""
    lines = ["| case | noise | longimorph | control matrix alone |", "| --- | --- | --- | --- |"]
    for case, kind in dict.fromkeys((run.case, run.kind) for run in runs):
        own = [run for run in runs if (run.case, run.kind) == (case, kind)]
        found = [_root_mean_square([getattr(run, name) for run in own]) for name in ("errors", "matrix")]
        lines.append(f"| {case} | {kind} | {found[0]:.0f} | {found[1]:.0f} |")
    return "\n".join(lines) + "\n"


def _root_mean_square(errors: Sequence[Array]) -> float:
    return float(np.sqrt(np.mean(np.square(np.concatenate([one.ravel() for one in errors])))))


def spreads(runs: Sequence[NoisyRun]) -> str:
    """The table of the pairs without change: the spread of what was measured, and its estimate."""
    lines = ["| anatomy | noise | spread | estimate | below the floor |", "| --- | --- | --- | --- | --- |"]
    still = [run for run in runs if run.case == "null"]
    for anatomy, kind in dict.fromkeys((run.anatomy, run.kind) for run in still):
        own = [run for run in still if (run.anatomy, run.kind) == (anatomy, kind)]
        spread, estimate = (
            np.sqrt(np.mean([np.square(values[0]).sum() for values in found]))
            for found in ([run.errors for run in own], [run.noise for run in own])
        )
        within = [np.abs(run.errors) < floors.Noise(run.noise).reach(floors.FLOOR) for run in own]
        share = np.concatenate([w[run.counted] for w, run in zip(within, own, strict=True)]).mean()
        lines.append(f"| {anatomy} | {kind} | {spread:.0f} | {estimate:.0f} | {100 * share:.0f} % |")
    return "\n".join(lines) + "\n"


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.noise", description=__doc__.split("\n")[0])
    parser.add_argument("--anatomies", nargs="+", default=list(ANATOMIES), metavar="NAME")
    parser.add_argument("--cases", nargs="+", default=list(CHANGES), metavar="CASE")
    parser.add_argument("--seeds", type=int, default=3, metavar="N", help="noisy pairs per row (default 3)")
    parser.add_argument("--data", type=Path, default=default_data(), metavar="FOLDER")
    parser.add_argument("--out", type=Path, default=OUT, metavar="FILE", help="the page")
    return parser


if __name__ == "__main__":
    sys.exit(main())

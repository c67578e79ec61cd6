"""Soft segmentations beside labels: the error of the split on noisy phantoms.

python -m benchmarks.soft    a quarter of an hour on one core
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from statistics import median

import numpy as np
import torch
from numpy.typing import NDArray

from benchmarks import report, soft_texts
from benchmarks.phantoms.maps import FLIPPED_SHARE, LOGIT_NOISE, KnownPair, make_pair, make_segmented
from benchmarks.truth_runs import by_matrix, numerical
from longimorph.demo import compare
from longimorph.io import atomic
from longimorph.numerics.register import register
from longimorph.study import presets
from longimorph.study.config import defaults
from longimorph.study.control import free_pairs

OUT = Path("docs/benchmarks/soft.md")
CASES = ("ventricles25", "both", "oedema15")
SPACING_MM = 4
FLIPPED, LABELS, SOFT = "exact volumes, flipped", "most probable class", "posteriors"
WIDTHS_MM = (0.0, 0.5, 1.0)


@dataclass(frozen=True)
class SoftRun:
    """One registration: errors of the split in % of the gross true change.

    ``alone``: when the control matrix alone splits the change; ``off``: by how much the change of the maps
    misses the true one; ``flipped``: share of the boundary voxels that noise gives another class, in %.
    """

    case: str
    kind: str
    noisy: bool
    smoothing_mm: float
    error: float
    alone: float
    off: float
    flipped: float


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure and write the page."""
    options = _parser().parse_args(arguments)
    torch.set_num_threads(1)
    parts = [report.heading("Soft segmentations", "make bench-soft", 1)]
    runs = [run for case in options.cases for run in measured(case, options.seeds)]
    parts += [
        soft_texts.HEAD.format(seeds=options.seeds, spacing=SPACING_MM, noise=LOGIT_NOISE),
        inputs(runs),
    ]
    parts += [soft_texts.WIDTHS, widths(runs)]
    atomic.write_text(options.out, "\n".join(parts))
    report.say(f"Report: {options.out}")
    return 0


def measured(case: str, seeds: int) -> list[SoftRun]:
    """Every run of a case; other widths than the default only for posteriors with noise."""
    usual, runs = defaults().smoothing_mm, list[SoftRun]()
    for seed in range(seeds):
        labels, soft, wrong = make_segmented(case, SPACING_MM, seed)
        flipped = make_pair(case, SPACING_MM, noise_seed=seed)
        runs.append(one(case, FLIPPED, flipped, usual, FLIPPED_SHARE))
        runs.append(one(case, LABELS, labels, usual, wrong))
        runs += [one(case, SOFT, soft, width, wrong) for width in sorted({*WIDTHS_MM, usual})]
        labels, soft, _ = make_segmented(case, SPACING_MM, seed, noise=0.0)
        runs += [one(case, kind, pair, usual, 0.0) for kind, pair in ((LABELS, labels), (SOFT, soft))]
        report.say(f"{case}, seed {seed}: {', '.join(f'{run.error:.1f}' for run in runs[-7:])}")
    return runs


def one(case: str, kind: str, pair: KnownPair, smoothing_mm: float, wrong: float) -> SoftRun:
    """Register a pair with the default settings and another smoothing."""
    error, alone, off = errors(pair, smoothing_mm)
    return SoftRun(case, kind, wrong > 0, smoothing_mm, error, alone, off, 100 * wrong)


def errors(pair: KnownPair, smoothing_mm: float) -> tuple[float, float, float]:
    """Error of the split, of the control matrix alone, and of the maps' own change, in %."""
    settings = replace(defaults(), smoothing_mm=smoothing_mm)
    source, target = pair.simplex(smoothing_mm, settings.floor)
    matrix, problems = presets.examine_presets(pair.preset, pair.classes)
    if matrix is None:
        raise RuntimeError("; ".join(str(problem) for problem in problems))
    numerics, spacing = numerical(settings), pair.grid.spacing.tolist()
    free = free_pairs(matrix, pair.classes, numerics.reallocation == "projected")
    maps = torch.from_numpy(source), torch.from_numpy(target), torch.from_numpy(matrix).float()
    parts = register(*maps, spacing, numerics, free=free).attribution
    volume = pair.grid.voxel_volume
    moved, changed = (_sums(part.numpy()) * volume for part in (parts.deformation, parts.reallocation))
    error = compare.attribution_error(moved, changed, pair.truth)
    alone = compare.attribution_error(*by_matrix(target - source, matrix, volume), pair.truth)
    observed = _sums(target - source) * volume
    missed = compare.gross(observed - (pair.truth.volume_to - pair.truth.volume_from))
    return error.total or 0.0, alone.total or 0.0, 100 * missed / error.true_mm3


def _sums(maps: NDArray[np.float32]) -> NDArray[np.float64]:
    return np.asarray(maps.sum(axis=(1, 2, 3), dtype=np.float64))


def inputs(runs: Sequence[SoftRun]) -> str:
    """The table of the kinds of input, with the default smoothing."""
    lines = [
        "| case | input | boundary voxels flipped | error | control matrix alone | change of volumes |",
        "| --- | --- | --- | --- | --- | --- |",
    ]
    usual = [run for run in runs if run.smoothing_mm == defaults().smoothing_mm]
    for case, kind, noisy in dict.fromkeys((run.case, run.kind, run.noisy) for run in usual):
        own = [run for run in usual if (run.case, run.kind, run.noisy) == (case, kind, noisy)]
        cells = [f"{median(run.flipped for run in own):.1f} %", _span([run.error for run in own])]
        cells += [
            f"{median(values):.1f} %" for values in zip(*((run.alone, run.off) for run in own), strict=True)
        ]
        lines.append(f"| {case} | {kind} | {' | '.join(cells)} |")
    return "\n".join(lines) + "\n"


def widths(runs: Sequence[SoftRun]) -> str:
    """The table of errors by smoothing width, for noisy posteriors."""
    sizes = sorted({run.smoothing_mm for run in runs})
    lines = [f"| case | {' | '.join(f'{size:g} mm' for size in sizes)} |"]
    lines.append("| --- |" + " --- |" * len(sizes))
    noisy = [run for run in runs if run.noisy and run.kind == SOFT]
    for case in dict.fromkeys(run.case for run in noisy):
        own = [run for run in noisy if run.case == case]
        cells = [_span([run.error for run in own if run.smoothing_mm == size]) for size in sizes]
        lines.append(f"| {case} | {' | '.join(cells)} |")
    return "\n".join(lines) + "\n"


def _span(values: Sequence[float]) -> str:
    """The median, and the range over the seeds."""
    return f"{median(values):.1f} % ({min(values):.1f} to {max(values):.1f})"


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.soft", description=__doc__.split("\n")[0])
    parser.add_argument("--cases", nargs="+", default=list(CASES), metavar="CASE")
    parser.add_argument("--seeds", type=int, default=3, metavar="N", help="noisy pairs per case (default 3)")
    parser.add_argument("--out", type=Path, default=OUT, metavar="FILE", help="the page")
    return parser


if __name__ == "__main__":
    sys.exit(main())

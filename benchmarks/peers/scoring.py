"""Comparison of a program's deformation with the truth, as numbers and as a table."""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby
from statistics import fmean
from typing import Any

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]
OURS, ALONE = "longimorph", "matrix"
_DRAW = re.compile(r" \(\d+\)$")


@dataclass(frozen=True)
class Result:
    """One program on one phantom. ``error`` in % of the gross true change.

    ``missing`` says why there is none; "-" where there is nothing to measure.
    """

    phantom: str
    program: str
    gross_mm3: float
    error: float = math.nan
    seconds: float = math.nan
    missing: str = ""


def deformation_of(source: NDArray[Any], warped: NDArray[Any], spacing: float) -> Array:
    """Volume that a warp gives each class, (C,) mm³: sums of the maps (C, i, j, k) warped less unwarped."""
    change: Array = warped.sum((1, 2, 3), dtype=np.float64) - source.sum((1, 2, 3), dtype=np.float64)
    return change * spacing**3


def gross(volumes: Array) -> float:
    """Half the sum of absolute values: what one class gains another loses."""
    return float(np.abs(volumes).sum()) / 2


def false_deformation(measured: Array, deformation: Array, reallocation: Array) -> float:
    """Gross difference between measured and true deformation in % of the gross true change, all in mm³."""
    return 100 * gross(measured - deformation) / (gross(deformation) + gross(reallocation))


def markdown(results: Sequence[Result], names: Mapping[str, str]) -> str:
    """One row per phantom, one column per program; below it, where longimorph is not the lowest."""
    found = {(result.phantom, result.program): result for result in results}
    phantoms = {result.phantom: result.gross_mm3 for result in results}
    lines = ["| phantom | gross true change | " + " | ".join(names.values()) + " |"]
    lines.append("| --- " * (len(names) + 2) + "|")
    for phantom, change in phantoms.items():
        cells = [_cell(found.get((phantom, program))) for program in names]
        lines.append(f"| {phantom} | {change / 1000:.1f} mL | " + " | ".join(cells) + " |")
    reasons = {f"{names[r.program]}: {r.missing}" for r in results if r.missing and r.missing != "-"}
    worse = [sentence for phantom in phantoms if (sentence := _not_lowest(phantom, found, names))]
    pending = sum((phantom, program) not in found for phantom in phantoms for program in names)
    verdict = worse or ["longimorph has the lowest false deformation on every phantom."]
    if pending:
        verdict = [*worse, f"The run is not finished: {pending} results of these phantoms are pending."]
    verdict = [*verdict, *_means(phantoms, found, names)]
    return "\n".join([*lines, "", *verdict, *sorted(f"Not measured: {reason}." for reason in reasons), ""])


def _not_lowest(phantom: str, found: Mapping[tuple[str, str], Result], names: Mapping[str, str]) -> str:
    ours = found.get((phantom, OURS))
    if ours is None or math.isnan(ours.error):
        return f"On {phantom} longimorph has no result."
    others = ((title, found.get((phantom, name))) for name, title in names.items() if name != OURS)
    better = [title for title, result in others if result is not None and result.error < ours.error]
    return f"On {phantom} longimorph is not the lowest: {', '.join(better)}." if better else ""


def _means(
    phantoms: Iterable[str], found: Mapping[tuple[str, str], Result], names: Mapping[str, str]
) -> list[str]:
    """A sentence for each phantom with several draws of noise: the means of those that ran on every draw."""
    sentences = []
    for stem, drawn in groupby(phantoms, key=lambda phantom: _DRAW.sub("", phantom)):
        draws = list(drawn)
        if len(draws) < 2:
            continue
        errors = {title: [_error(found.get((d, name))) for d in draws] for name, title in names.items()}
        means = {title: fmean(values) for title, values in errors.items()}
        known = [f"{title} {mean:.1f} %" for title, mean in means.items() if not math.isnan(mean)]
        sentences.append(f"Means over the {len(draws)} draws of {stem}: {', '.join(known)}.")
    return sentences


def _error(result: Result | None) -> float:
    return math.nan if result is None else result.error


def _cell(result: Result | None) -> str:
    if result is None:
        return "pending"
    if result.missing:
        return "-" if result.missing == "-" else "not run"
    return f"{result.error:.1f} %, {result.seconds:.0f} s"

"""The table of finished runs as a page: targets beside what was measured, then every case."""

from __future__ import annotations

import datetime
import platform
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch

from benchmarks.truth_runs import FORWARD, RIGID, SWAPPED, numbers
from longimorph.phantom.compare import gross

COUNTS = 0.05
"""A class or a kind of change smaller than this share of the gross true change has no sign to compare."""
_KINDS = ("deformation_mm3", "reallocation_mm3")


@dataclass(frozen=True)
class Target:
    """A target, its limit, the worst figure and where it was measured; ``worst`` None: not measured."""

    name: str
    limit: float
    unit: str
    worst: float | None
    where: str = ""

    @property
    def verdict(self) -> str:
        """Whether the target is met."""
        if self.worst is None:
            return "not measured"
        return "met" if self.worst <= self.limit else "**missed**"


def markdown(table: pd.DataFrame) -> str:
    """The page."""
    parts = [_HEAD.format(**_circumstances(table)), _targets(table)]
    parts += ["## Clean labels\n\n" + _cases(table[_clean(table)])]
    noisy = table[(table["noise"] != "") & (table["visits"] == FORWARD)]
    if len(noisy):
        parts.append("## Noisy labels\n\n" + _NOISE + _cases(noisy))
    for title, note, found in (
        ("Visits swapped", _SWAP, list(swaps(table))),
        ("The same answer on another grid", _GRIDS, list(agreements(table))),
    ):
        if found:
            parts.append(
                f"## {title}\n\n{note}" + _rows(list(found[0]), [list(row.values()) for row in found])
            )
    rigid = table[table["case"] == RIGID]
    if len(rigid):
        columns = ["anatomy", "spacing_mm", "false_of_brain", "drift", "seconds"]
        parts.append("## Head motion alone\n\n" + _RIGID + _rows(columns, rigid[columns].to_numpy().tolist()))
    return "\n".join(parts)


def targets(table: pd.DataFrame) -> list[Target]:
    """Every target with the worst figure of the table."""
    clean = table[_clean(table)]
    changed = clean[clean["true_mm3"] > 0]
    null = clean[clean["case"] == "null"]
    wrong = null.assign(nonzero=[0.0 if _is_true(value) else 1.0 for value in null["exact_zero"]])
    swapped, grids = pd.DataFrame(swaps(table)), pd.DataFrame(agreements(table))
    return [
        _worst("gross error at 2 mm", 5, "%", changed[changed["spacing_mm"] == "2"], "error"),
        _worst("gross error at 4 mm", 8, "%", changed[changed["spacing_mm"] == "4"], "error"),
        _worst("identical visits that do not give exact zeros", 0, "runs", wrong, "nonzero"),
        _worst(
            "head motion alone, of brain volume", 0.5, "%", table[table["case"] == RIGID], "false_of_brain"
        ),
        _worst("drift of H", 2, "%", table, "drift"),
        _worst("folded voxels", 0, "%", table, "folded"),
        _worst("inverse-consistency error, mean", 0.1, "voxel", table, "inverse_voxels"),
        _worst("visits swapped, magnitudes differ by", 10, "%", swapped, "magnitude, %"),
        _worst("visits swapped, signs that do not swap", 0, "classes", swapped, "same sign"),
        _worst("2 mm and 4 mm differ by", 10, "%", grids, "difference, %"),
    ]


def line(row: dict[str, Any]) -> str:
    """One run in a line."""
    name = f"{row['anatomy']} {row['case']} {row['spacing_mm']} mm"
    name += (f" noise {row['noise']}" if row["noise"] else "") + (
        " swapped" if row["visits"] == SWAPPED else ""
    )
    if row.get("error") is None:
        error = f"{row['false_of_brain']:.4f} % of brain volume, nothing happened"
    else:
        error = (
            f"error {row['error']:.1f} % (deformation {row['false_deformation']:.1f}, reallocation "
            f"{row['false_reallocation']:.1f}, unexplained {row['unexplained']:.1f})"
        )
    health = f"drift {row['drift']:.2f} %, {row['steps']} steps, {row['evaluations']} evaluations"
    return f"{name}: {error}; {health}, {row['seconds']:.0f} s"


def swaps(table: pd.DataFrame) -> Iterator[dict[str, Any]]:
    """One row per swapped run: how much the magnitudes differ and how many signs stay the same."""
    place = ["anatomy", "case", "spacing_mm", "noise"]
    both = _pairs(table, place, "visits", FORWARD, SWAPPED)
    for names, forward, back in both:
        there, again = ([numbers(row[kind]) for kind in _KINDS] for row in (forward, back))
        true = forward["true_mm3"]
        sizes = [(gross(a), gross(b)) for a, b in zip(there, again, strict=True)]
        differences = [100 * abs(b / a - 1) for a, b in sizes if a > COUNTS * true]
        same = sum(
            int((((a * b) > 0) & (np.abs(a) > COUNTS * true)).sum())
            for a, b in zip(there, again, strict=True)
        )
        residual = sum(gross(a + b) for a, b in zip(there, again, strict=True)) / sum(a for a, _ in sizes)
        yield {
            "anatomy": names[0],
            "case": names[1],
            "spacing_mm": names[2],
            "magnitude, %": max(differences),
            "same sign": same,
            "gross of the sum, %": 100 * residual,
        }


def agreements(table: pd.DataFrame) -> Iterator[dict[str, Any]]:
    """One row per case measured at 2 and at 4 mm: gross difference in % of the gross change at 2 mm."""
    place = ["anatomy", "case", "visits", "noise"]
    clean = table[_clean(table) & (table["true_mm3"] > 0)]
    for names, fine, coarse in _pairs(clean, place, "spacing_mm", "2", "4"):
        a, b = ([numbers(row[kind]) for kind in _KINDS] for row in (fine, coarse))
        size = sum(gross(part) for part in a)
        off = sum(gross(x - y) for x, y in zip(a, b, strict=True))
        yield {"anatomy": names[0], "case": names[1], "difference, %": 100 * off / size}


def _pairs(
    table: pd.DataFrame, place: list[str], by: str, first: str, second: str
) -> Iterator[tuple[Any, Any, Any]]:
    """Rows of one place that differ in the column ``by``: the names, the first row, the second."""
    for names, rows in table.groupby(place, sort=False):
        chosen = {row[by]: row for _, row in rows.iterrows()}
        if first in chosen and second in chosen:
            yield names, chosen[first], chosen[second]


def _worst(name: str, limit: float, unit: str, rows: pd.DataFrame, column: str) -> Target:
    if column not in rows or rows[column].dropna().empty:
        return Target(name, limit, unit, None)
    worst = rows.iloc[int(np.nanargmax(rows[column].astype(float)))]
    where = ", ".join(str(worst[key]) for key in ("anatomy", "case", "spacing_mm") if key in worst.index)
    return Target(
        name, limit, unit, float(worst[column]), where + (" mm" if "spacing_mm" in worst.index else "")
    )


def _targets(table: pd.DataFrame) -> str:
    found = targets(table)
    rows = [[t.name, f"≤ {t.limit:g} {t.unit}", _figure(t.worst), t.where, t.verdict] for t in found]
    missed = [t.name for t in found if t.worst is not None and t.worst > t.limit]
    absent = [t.name for t in found if t.worst is None]
    text = f"Missed: {'; '.join(missed)}.\n" if missed else "No target that was measured is missed.\n"
    if absent:
        text += f"Not measured: {'; '.join(absent)}.\n"
    return "## Targets\n\n" + _rows(["target", "limit", "worst", "where", "verdict"], rows) + "\n" + text


def _cases(rows: pd.DataFrame) -> str:
    """One line per case and spacing; mean over the anatomies, the worst in brackets."""
    head = ["case", "mm", "runs", "error, %", "deformation", "reallocation", "unexplained", "maps",
            "false, % of brain", "drift, %", "steps", "evaluations", "seconds"]  # fmt: skip
    columns = ["error", "false_deformation", "false_reallocation", "unexplained", "map_error",
               "false_of_brain", "drift", "steps", "evaluations", "seconds"]  # fmt: skip
    lines = []
    for (case, spacing), group in rows[rows["case"] != RIGID].groupby(["case", "spacing_mm"], sort=False):
        lines.append([case, spacing, len(group), *(_mean_and_worst(group[column]) for column in columns)])
    return _rows(head, lines) + "\n"


def _mean_and_worst(values: pd.Series[Any]) -> str:
    known = values.dropna().astype(float)
    if known.empty:
        return ""
    mean, worst = _figure(known.mean()), _figure(known.max())
    return mean if mean == worst else f"{mean} ({worst})"


def _clean(table: pd.DataFrame) -> pd.Series[bool]:
    return (table["noise"] == "") & (table["visits"] == FORWARD) & (table["case"] != RIGID)


def _is_true(value: object) -> bool:
    return str(value) == "True"


def _rows(head: list[str], rows: list[list[Any]]) -> str:
    cells = [[value if isinstance(value, str) else _figure(value) for value in row] for row in rows]
    lines = [head, ["---"] * len(head), *cells]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines) + "\n"


def _figure(value: float | None) -> str:
    if value is None or value != value:
        return ""
    number = float(value)
    if number == int(number) and abs(number) < 1e6:
        return str(int(number))
    return f"{number:.3g}" if abs(number) < 100 else f"{number:.0f}"


def _circumstances(table: pd.DataFrame) -> dict[str, Any]:
    """Date, machine and extent of the measurement."""
    return {
        "date": datetime.date.today().isoformat(),
        "processor": _processor(),
        "python": platform.python_version(),
        "torch": torch.__version__,
        "runs": len(table),
        "anatomies": ", ".join(dict.fromkeys(table["anatomy"])),
        "hours": f"{pd.to_numeric(table['seconds']).sum() / 3600:.1f}",
    }


def _processor() -> str:
    try:
        text = Path("/proc/cpuinfo").read_text(encoding="utf-8")
    except OSError:
        return platform.processor() or platform.machine()
    names = [row.split(":", 1)[1].strip() for row in text.splitlines() if row.startswith("model name")]
    return names[0] if names else platform.machine()


_HEAD = """\
# Attribution against known truth

`make bench-truth`, {date}: {runs} runs, {hours} h of registration, on {processor}, one thread per run,
Python {python}, torch {torch}. Anatomies: {anatomies}. Times are those of a machine that also did other
work.

Each case takes a labelled brain at 1 mm and lets tissue flow, turn into another class in place, or both;
the flow is a diffeomorphism, and what it does to every class is known (`longimorph.phantom.course`). The
box averages of both visits on the registration grid are smoothed and registered with the default
settings and the case's preset. Error: half the sum over classes of |measured - true| deformation, and
the same of reallocation, in % of the gross true change; the two parts are given beside it. Unexplained:
change that the model leaves. Maps: by how much the change of the maps themselves misses the truth.
Figures are means over the anatomies, the worst in brackets; every run is in the CSV file beside this
page.
"""
_NOISE = """\
Each visit's labels are made anew and 5 % of their boundary voxels take the class of a neighbour,
independently at each visit; the truth is that of the clean brain. Where nothing truly changes, what is
measured is given in % of the brain's volume.

"""
_SWAP = """\
The second visit as source, the first as target. Magnitude: by how much the gross deformation or the
gross reallocation differs, whichever differs more. Same sign: classes that grow, or shrink, both ways,
though by more than 5 % of the change. The last column adds both results, which should cancel, in % of
the change.

"""
_GRIDS = """\
Gross difference of the results at 2 mm and at 4 mm in % of the gross change at 2 mm.

"""
_RIGID = """\
One brain in two random poses and on two voxel grids, through alignment, maps and registration: gross
deformation and reallocation that are measured, in % of the brain's volume.

"""

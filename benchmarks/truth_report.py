"""The table of finished runs as a page: targets beside what was measured, then every case."""

from __future__ import annotations

import datetime
import platform
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
import torch

from benchmarks import report, truth_texts, truth_uncertainty
from benchmarks.phantoms.cases import CASES
from benchmarks.truth_runs import FORWARD, KEY, RIGID, SWAPPED, TruthRun, numbers
from longimorph.demo.compare import gross

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


def markdown(table: pd.DataFrame, left_out: Sequence[TruthRun] = ()) -> str:
    """The page; ``left_out`` are runs that it does not include."""
    whole, table = table, table[table["failure"] == ""]
    parts = [truth_texts.HEAD.format(**_circumstances(table)) + _omissions(left_out), _targets(whole)]
    parts.append(truth_texts.CASES)
    parts += ["## Clean labels\n\n" + truth_texts.COLUMNS + _cases(table[_clean(table)])]
    others = table[_unspoilt(table) & ~_suits(table)]
    if len(others):
        parts.append("## With another preset\n\n" + truth_texts.OTHERS + _cases(others))
    noisy = table[(table["noise"] != "") & (table["visits"] == FORWARD)]
    if len(noisy):
        parts.append("## Noisy labels\n\n" + truth_texts.NOISE + _cases(noisy))
    for title, note, found in (
        ("Visits swapped", truth_texts.SWAP, list(swaps(table))),
        ("The same answer on another grid", truth_texts.GRIDS, list(agreements(table))),
        (
            "Does the uncertainty hold the truth?",
            truth_texts.UNCERTAINTY,
            list(truth_uncertainty.coverage(_kinds_of_run(table))),
        ),
    ):
        if found:
            parts.append(
                f"## {title}\n\n{note}" + _rows(list(found[0]), [list(row.values()) for row in found])
            )
    rigid = table[table["case"] == RIGID]
    if len(rigid):
        columns = ["anatomy", "spacing_mm", "false_of_brain", "drift", "seconds"]
        parts.append(
            "## Head motion alone\n\n"
            + truth_texts.RIGID
            + _rows(columns, rigid[columns].to_numpy().tolist())
        )
    return "\n".join(parts)


def targets(table: pd.DataFrame) -> list[Target]:
    """Every target with the worst figure of the table."""
    failed = table.assign(failed=(table["failure"] != "").astype(float))
    table = table[table["failure"] == ""]
    clean = table[_clean(table)]
    null = clean[clean["case"] == "null"]
    wrong = null.assign(nonzero=[0.0 if _is_true(value) else 1.0 for value in null["exact_zero"]])
    swapped, grids = pd.DataFrame(swaps(table)), pd.DataFrame(agreements(table))
    return [
        _worst("runs that end without a result", 0, "runs", failed, "failed"),
        *_accuracy(table),
        _worst("identical visits that do not give exact zeros", 0, "runs", wrong, "nonzero"),
        _worst(
            "head motion alone, of brain volume", 0.5, "%", table[table["case"] == RIGID], "false_of_brain"
        ),
        _worst("drift of H", 2, "%", table, "drift"),
        _worst("folded voxels", 0, "%", table, "folded"),
        _worst("inverse-consistency error, mean", 0.1, "voxel", table, "inverse_voxels"),
        _worst("visits swapped, magnitudes differ by", 2, "%", swapped, "magnitude, %"),
        _worst("visits swapped, signs that do not swap", 0, "classes", swapped, "same sign"),
        _worst("2 mm and 4 mm differ by", 10, "%", grids, "difference, %"),
    ]


def _accuracy(table: pd.DataFrame) -> Iterator[Target]:
    """Gross errors with the case's own preset, also beside those of the matrix alone, and with noise."""
    table = table[_suits(table) & (table["visits"] == FORWARD) & (table["true_mm3"] > 0)]
    alone = table["control_alone"]
    table = table.assign(above=table["error"] - alone, closed_above=table["closed"] - alone)
    carried, noisy = table["case"].isin(truth_texts.CARRIED), table["noise"] != ""
    for spacing in ("2", "4"):
        rows = table[table["spacing_mm"] == spacing]
        for name, limit, chosen, column in (
            ("gross error", 2.5, ~carried & ~noisy, "error"),
            ("gross error, lesions that are pushed about", 5, carried & ~noisy, "error"),
            ("gross error beyond that of the matrix alone", 0.3, ~noisy, "above"),
            ("the same of closed numbers", 0.3, ~noisy, "closed_above"),
            ("gross error, noisy labels", 5, ~carried & noisy, "error"),
            ("gross error beyond that of the matrix alone, noisy labels", 0.3, noisy, "above"),
            ("reallocation that the matrix forbids", 0.5, ~noisy, "forbidden"),
        ):
            yield _worst(f"{name}, at {spacing} mm", limit, "%", rows[chosen[rows.index]], column)


def line(row: dict[str, Any]) -> str:
    """One run as a table line."""
    name = f"{row['anatomy']} {row['case']} {row['spacing_mm']} mm"
    name += (f" noise {row['noise']}" if row["noise"] else "") + (
        " swapped" if row["visits"] == SWAPPED else ""
    )
    if row.get("failure"):
        return f"{name}: {row['failure']}"
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
    place = ["anatomy", "case", "spacing_mm", "preset", "noise"]
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
    place = ["anatomy", "case", "preset", "visits", "noise"]
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
    where += " mm" if "spacing_mm" in worst.index else ""
    if column == "error" and worst["noise"]:
        where += f"; the maps themselves miss by {_figure(worst['map_error'])} %"
    return Target(name, limit, unit, float(worst[column]), where)


def _targets(table: pd.DataFrame) -> str:
    found = targets(table)
    rows = [[t.name, f"≤ {t.limit:g} {t.unit}", _figure(t.worst), t.where, t.verdict] for t in found]
    missed = [t.name for t in found if t.worst is not None and t.worst > t.limit]
    absent = [t.name for t in found if t.worst is None]
    text = f"Missed: {'; '.join(missed)}.\n" if missed else "No target that was measured is missed.\n"
    for _, row in table[table["failure"] != ""].iterrows():
        names = " ".join(str(row[key]) for key in KEY if row[key])
        text += f"No result: {names} ({row['failure']}).\n"
    if absent:
        text += f"Not measured: {'; '.join(absent)}.\n"
    return "## Targets\n\n" + _rows(["target", "limit", "worst", "where", "verdict"], rows) + "\n" + text


def _omissions(jobs: Sequence[TruthRun]) -> str:
    """A sentence that says which runs are missing, those of one kind together."""
    kinds: dict[str, list[str]] = {}
    for job in jobs:
        kind = "swapped" if job.visits == SWAPPED else "noisy" if job.noise is not None else "clean"
        own = job.case == RIGID or CASES[job.case].preset == job.preset
        name = f"{kind if own else 'other presets'} at {job.spacing} mm on {job.anatomy}"
        kinds.setdefault(name, []).append(job.case)
    if not kinds:
        return ""
    parts = [f"{name} ({len(cases)})" for name, cases in kinds.items()]
    return f"\nLeft out for time, with the number of runs (`--thorough` has them): {'; '.join(parts)}.\n"


def _cases(rows: pd.DataFrame) -> str:
    """One line per case, preset and spacing; mean over the anatomies, the worst in brackets."""
    head = ["case", "preset", "mm", "runs", "error, %", "deformation", "reallocation", "unexplained",
            "control alone", "closed", "maps",
            "false, % of brain", "drift, %", "steps", "evaluations", "seconds"]  # fmt: skip
    columns = ["error", "false_deformation", "false_reallocation", "unexplained", "control_alone",
               "closed", "map_error", "false_of_brain", "drift", "steps", "evaluations",
               "seconds"]  # fmt: skip
    lines = []
    for names, group in rows[rows["case"] != RIGID].groupby(["case", "preset", "spacing_mm"], sort=False):
        lines.append([*names, len(group), *(_mean_and_worst(group[column]) for column in columns)])
    return _rows(head, lines) + "\n"


def _mean_and_worst(values: pd.Series[Any]) -> str:
    known = values.dropna().astype(float)
    if known.empty:
        return ""
    mean, worst = _figure(known.mean()), _figure(known.max())
    return mean if mean == worst else f"{mean} ({worst})"


def _clean(table: pd.DataFrame) -> pd.Series[bool]:
    """Rows without noise, visits in order, with the preset that suits the case."""
    return _unspoilt(table) & _suits(table)


def _unspoilt(table: pd.DataFrame) -> pd.Series[bool]:
    return (table["noise"] == "") & (table["visits"] == FORWARD) & (table["case"] != RIGID)


def _suits(table: pd.DataFrame) -> pd.Series[bool]:
    """Whether each row's preset is the one of its case."""
    own = table["case"].map(lambda case: CASES[case].preset if case in CASES else "lesion")
    return table["preset"] == own


def _kinds_of_run(table: pd.DataFrame) -> dict[str, pd.DataFrame]:
    """The runs of each kind, those with a lesion that is pushed about apart from the others."""
    carried = table["case"].isin(truth_texts.CARRIED)
    own, noisy, swapped = _suits(table), table["noise"] != "", table["visits"] == SWAPPED
    clean, rigid = ~noisy & ~swapped, table["case"] == RIGID
    changed = clean & ~rigid & (table["case"] != "null")
    named = {"clean": changed & own & ~carried, "visits swapped": swapped, "head motion alone": rigid}
    named |= {"noisy": noisy & own & ~carried, "a lesion that is pushed about": carried & own}
    named |= {"another preset": changed & ~own}
    return {name: table[chosen] for name, chosen in named.items()}


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
        "processor": report.processor(),
        "python": platform.python_version(),
        "torch": torch.__version__,
        "runs": len(table),
        "anatomies": ", ".join(dict.fromkeys(table["anatomy"])),
        "hours": f"{pd.to_numeric(table['seconds']).sum() / 3600:.1f}",
    }

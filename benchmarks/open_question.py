"""Did it move, or did it change class? Phantoms whose volumes do not tell, with and without an open matrix.

python -m benchmarks.open_question              every case at 4 mm on three anatomies; resumable
python -m benchmarks.open_question --spacing 2  the same on a fine grid (hours)
"""

from __future__ import annotations

import argparse
import datetime
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from benchmarks import open_texts, report
from benchmarks.phantoms import cases
from benchmarks.phantoms.subjects import available
from benchmarks.truth import ANATOMIES, add_common, run_missing
from benchmarks.truth_runs import TruthRun, numbers
from longimorph.io import atomic

OUT = Path("docs/benchmarks/open.md")
OTHERS = ("carried", "periventricular25", "periventricular50", "oedema2", "oedema15", "oedema30", "pushed",
          "resorbing")  # fmt: skip
OPEN = "open"


def main(arguments: Sequence[str] | None = None) -> int:
    """Run what is not in the table yet, then write the page."""
    options = _parser().parse_args(arguments)
    there = available(options.data)
    anatomies = [name for name in options.anatomies if name in there]
    jobs = plan_runs(anatomies, options.spacing, options.noise)
    table = run_missing(jobs, options.data, options.out.with_suffix(".csv"), options.jobs)
    atomic.write_text(options.out, markdown(table, len(jobs)))
    report.say(f"Report: {options.out}")
    return 0


def plan_runs(anatomies: Sequence[str], spacings: Sequence[int], seeds: Sequence[int]) -> list[TruthRun]:
    """Every run, those of one anatomy and case together: presets that decide on the first anatomy only."""
    jobs = []
    for anatomy in anatomies:
        for case in (*cases.OPEN_CASES, *OTHERS):
            known = cases.named(case)
            rivals = {*known.others, known.preset} - {OPEN} if anatomy == anatomies[0] else set()
            for spacing in sorted(spacings, reverse=True):
                jobs.append(TruthRun(anatomy, case, spacing, preset=OPEN))
                jobs += [TruthRun(anatomy, case, spacing, preset=rival) for rival in sorted(rivals)]
                jobs += [TruthRun(anatomy, case, spacing, seed, preset=OPEN) for seed in seeds]
    return jobs


def markdown(table: pd.DataFrame, planned: int) -> str:
    """The page: what holds over all cases, then each case; ``planned``: how many runs it should have."""
    failed = table[table["failure"] != ""]
    rows = pd.DataFrame([_scored(row) for _, row in table[table["failure"] == ""].iterrows()])
    parts = [open_texts.HEAD.format(
        date=datetime.date.today().isoformat(), processor=report.processor(), runs=len(rows), planned=planned,
        anatomies=", ".join(dict.fromkeys(rows["anatomy"])), hours=f"{rows['seconds'].sum() / 3600:.1f}",
    )]  # fmt: skip
    parts += ["## Over all cases\n\n" + open_texts.SUMMARY + _lines(list(summary(rows)))]
    parts += ["## Case by case\n\n" + open_texts.CASES + _lines(list(_by_case(rows)))]
    for _, row in failed.iterrows():
        parts.append(f"No result: {row['anatomy']} {row['case']} {row['preset']} ({row['failure']}).\n")
    return "\n".join(parts)


def _scored(row: pd.Series[Any]) -> dict[str, Any]:
    """One run in mL: growth of the lesions, their true and measured reallocation, and the range."""
    ill = [name in cases.named(row["case"]).pathologies for name in row["classes"].split()]
    names = ("true_deformation_mm3", "true_reallocation_mm3", "deformation_mm3", "reallocation_mm3",
             "deformation_low_mm3", "deformation_high_mm3")  # fmt: skip
    moved, changed, found_moved, found, low, high = (numbers(row[name])[ill].sum() / 1000 for name in names)
    growth = moved + changed
    kind = "grows" if row["case"] in cases.OPEN_CASES else "other"
    return {
        **{key: row[key] for key in ("anatomy", "case", "preset", "spacing_mm", "noise", "error", "seconds")},
        "kind": kind, "growth": growth, "true": changed / growth, "share": found / growth,
        "moved": found_moved, "true_moved": moved, "low": low, "high": high, "held": low <= moved <= high,
        "width": (high - low) / abs(growth), "unexplained": row["unexplained"],
        "forbidden": row["forbidden"], "alone": row["control_alone"], "evaluations": row["evaluations"],
    }  # fmt: skip


def summary(rows: pd.DataFrame) -> Iterator[dict[str, Any]]:
    """One row per preset, spacing and kind of labels, over the masses that grow and over the other cases."""
    marked = rows.assign(labels=np.where(rows["noise"] == "", "clean", "noisy"))
    for (kind, preset, spacing, labels), group in marked.groupby(
        ["kind", "preset", "spacing_mm", "labels"], sort=False
    ):
        alone = group["alone"].dropna()
        found = {
            "cases": "masses that grow" if kind == "grows" else "other lesions",
            "preset": preset, "mm": spacing, "labels": labels, "runs": len(group),
            "error, %": f"{group['error'].mean():.1f} ({group['error'].max():.1f})",
            "alone, %": f"{alone.mean():.1f} ({alone.max():.1f})" if len(alone) else "",
            "forbidden, %": f"{group['forbidden'].max():.2f}",
            "R²": "", "slope": "", "range holds": "", "width, % of growth": "",
        }  # fmt: skip
        if kind == "grows" and group["true"].nunique() > 1:
            r2, slope = _fit(group["true"], group["share"])
            found |= {"R²": f"{r2:.3f}", "slope": f"{slope:.2f}"}
        if preset == OPEN:
            found["range holds"] = f"{100 * group['held'].mean():.0f} %"
            found["width, % of growth"] = f"{100 * group['width'].median():.0f}" if kind == "grows" else ""
        yield found


def _fit(true: pd.Series[Any], share: pd.Series[Any]) -> tuple[float, float]:
    """R² and slope of the straight line of the measured against the true share."""
    slope, _ = np.polyfit(true, share, 1)
    return float(np.corrcoef(true, share)[0, 1] ** 2), float(slope)


def _by_case(rows: pd.DataFrame) -> Iterator[dict[str, Any]]:
    for _, row in rows.sort_values(["case", "preset"], kind="stable").iterrows():
        yield {
            "case": row["case"], "anatomy": row["anatomy"], "preset": row["preset"], "mm": row["spacing_mm"],
            "labels": "noisy" if row["noise"] else "clean", "change, mL": f"{row['growth']:+.2f}",
            "true deformation": f"{row['true_moved']:+.2f}", "deformation": f"{row['moved']:+.2f}",
            "range": f"{row['low']:+.2f} to {row['high']:+.2f}" if row["preset"] == OPEN else "",
            "error, %": f"{row['error']:.1f}", "unexplained": f"{row['unexplained']:.1f}",
            "evaluations": f"{row['evaluations']:.0f}", "seconds": f"{row['seconds']:.0f}",
        }  # fmt: skip


def _lines(rows: list[dict[str, Any]]) -> str:
    if not rows:
        return ""
    head = list(rows[0])
    lines = [head, ["---"] * len(head), *([str(value) for value in row.values()] for row in rows)]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines) + "\n"


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.open_question", description=__doc__.split("\n")[0]
    )
    add = parser.add_argument
    add("--spacing", type=int, nargs="+", default=[4], metavar="MM")
    add("--anatomies", nargs="+", default=list(ANATOMIES), metavar="NAME")
    add_common(parser, OUT)
    return parser


if __name__ == "__main__":
    sys.exit(main())

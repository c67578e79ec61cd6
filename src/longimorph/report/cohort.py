"""The report page of the cohort."""

from __future__ import annotations

import json
import math
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import accumulate
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from longimorph.errors import TEMPLATE
from longimorph.report import courses, outliers, pairs, spread, verdict
from longimorph.report.outliers import Name, Score
from longimorph.report.page import Builder, image_source, write_page
from longimorph.report.pairs import PairResults
from longimorph.report.verdict import Verdict
from longimorph.study import leftovers
from longimorph.study.classes import BACKGROUND, ClassTable
from longimorph.study.leftovers import Leftovers
from longimorph.tables import columns
from longimorph.verdict.status import PairStatus, status_or
from longimorph.verdict.trust import DAYS_PER_YEAR, DISTRUST, ML

_STANDS_OUT = 3.5
_FIRST = 10
_MOST_BYTES = 4_600_000
"""Maximum size of what a page shows per pair and per class; the rest of it is small."""
_KINDS = ("moved", "changed")
_BITS = ((1, "moved"), (2, "changed"), (4, "total"))


@dataclass(frozen=True)
class CohortResults:
    """The cohort's tables, pairs with their numbers, leftovers of earlier runs, scores and verdicts."""

    changes: pd.DataFrame
    failures: pd.DataFrame
    left_out: pd.DataFrame
    memory_rows: int
    pairs: tuple[PairResults, ...]
    leftovers: Leftovers
    scores: Mapping[Name, Score] = field(default_factory=dict)
    verdicts: Mapping[Name, Verdict] = field(default_factory=dict)

    @property
    def patients(self) -> list[str]:
        """Patients with at least one pair, in the order of the tables."""
        return list(dict.fromkeys(pair.patient for pair in self.pairs))


def cohort_report(
    classes: ClassTable, command: str, folder: Path, out: Path, group: Path | None = None
) -> None:
    """Write the page ``out`` from the cohort's tables in ``folder``, and ``administration.html`` beside it.

    ``command`` reproduces the results; ``group`` is the page of the maps on a template, beside ``out``.
    """
    cohort = load_cohort_results(folder, classes)
    build = Builder()
    inner = [name for name in classes.names if name != BACKGROUND]
    colors = dict(zip(classes.names, classes.colors, strict=True))
    data = build.part("The table", table, cohort, inner)
    panels = build.part("The distributions", _spreads, cohort, inner, colors)
    kept = _kept(cohort, inner, data, panels)
    write_page(
        out,
        "cohort.html",
        ["cohort.js"],
        patients=cohort.patients,
        pairs=cohort.pairs,
        failures=cohort.failures.to_dict("records"),
        left_out=cohort.left_out.to_dict("records"),
        first=build.part("The list of outliers", _first, cohort),
        fewest=outliers.FEWEST,
        classes=len(inner),
        kept=len(kept),
        floors=_told_floors(folder, cohort.changes),
        data=_only(data, kept) if isinstance(data, dict) else data,
        spreads=[p for p in panels if p["name"] in kept] if isinstance(panels, list) else panels,
        levels=verdict.LEVELS,
        verdicts=Counter(cohort.verdicts[pair.name_in_cohort].level for pair in cohort.pairs),
        distrusted=_distrusted(cohort),
        leftovers=cohort.leftovers.sentences(),
        command=command,
        group=group.name if group is not None else None,
        unplaced=int((cohort.failures["stage"] == TEMPLATE).sum()),
        problems=build.problems,
    )
    _administration(cohort, folder / "memory.png", out.with_name("administration.html"))


def _told_floors(folder: Path, changes: pd.DataFrame) -> dict[str, Any]:
    """Where the noise floors come from, and how many repeated scans are done; empty without floors."""
    sources = [s for s in changes.get(columns.SOURCE, []) if s]
    file = folder / "floors.csv"
    table = columns.read_table(file) if file.exists() else pd.DataFrame()
    done = int(table["repeats"].iloc[0]) if len(table) else 0
    return {"source": sources[0], "repeats": done} if sources else {}


def _administration(cohort: CohortResults, memory: Path, out: Path) -> None:
    """Write the page for system administrators: the resources used by the registrations."""
    picture = image_source(memory.read_bytes()) if memory.exists() and memory.stat().st_size else None
    write_page(
        out,
        "administration.html",
        [],
        memory=picture,
        rows=cohort.memory_rows,
        leftovers=cohort.leftovers.sentences(None),
        problems=[],
    )


def _distrusted(cohort: CohortResults) -> list[tuple[PairResults, Verdict]]:
    """The pairs whose verdict is not to trust them, with the verdicts."""
    known = ((pair, cohort.verdicts[pair.name_in_cohort]) for pair in cohort.pairs)
    return [(pair, found) for pair, found in known if found.level == DISTRUST]


def load_cohort_results(folder: Path, classes: ClassTable) -> CohortResults:
    """Read the cohort's tables."""
    changes = columns.read_table(folder / "changes.csv")
    listed = columns.read_table(folder / "pairs.csv")
    planned = listed[listed["left_out"] == ""]
    judged = verdict.listed(folder / "verdicts.csv")
    found = tuple(_pair(row, own, classes, folder.parent, judged) for row, own in _grouped(planned, changes))
    without = listed.loc[listed["left_out"] != "", "patient"]
    names = (pair.name_in_cohort for pair in found)
    return CohortResults(
        changes,
        columns.read_table(folder / "failures.csv"),
        listed[listed["left_out"] != ""],
        len(columns.read_table(folder / "memory.csv")),
        found,
        leftovers.find(folder.parent, names, without),
        outliers.scores(changes, BACKGROUND),
        {pair.name_in_cohort: verdict.of(pair) for pair in found},
    )


def _grouped(planned: pd.DataFrame, changes: pd.DataFrame) -> list[tuple[dict[Any, Any], pd.DataFrame]]:
    groups = {key: group for key, group in changes.groupby(list(columns.PAIR), sort=False)}
    rows = planned.to_dict("records")
    keys = [tuple(row[name] for name in columns.PAIR) for row in rows]
    return [(row, groups.get(key, changes.iloc[:0])) for row, key in zip(rows, keys, strict=True)]


def _pair(
    row: Mapping[Any, Any],
    changes: pd.DataFrame,
    classes: ClassTable,
    results: Path,
    judged: Mapping[Name, PairStatus],
) -> PairResults:
    names = [str(row[name]) for name in columns.PAIR]
    code = str(changes["status"].iloc[0]) if len(changes) else "missing"
    folder = results / "patients" / names[0] / f"{names[1]}__{names[2]}"
    known = judged.get((names[0], names[1], names[2])) or status_or(folder, PairStatus())
    status = replace(known, status=code)
    amounts = pairs.amounts_in(changes, classes.names)
    nothing = pd.DataFrame()
    return PairResults(
        names[0], names[1], names[2], float(row["days"]), status, amounts, nothing, nothing, folder
    )


def table(cohort: CohortResults, classes: list[str]) -> dict[str, Any]:
    """The data of the page's table: a row per pair, and per class three integers of mm³ per row.

    They are the amounts moved, changed class and unexplained.
    """
    rows = []
    for pair in cohort.pairs:
        score = cohort.scores.get((pair.patient, pair.source, pair.target))
        rows.append(
            {
                "patient": pair.patient,
                "from": pair.source,
                "to": pair.target,
                "days": pair.days,
                "status": pair.status.status,
                "score": round(score.value, 1) if score else None,
                "why": score.why if score else "",
                "verdict": cohort.verdicts[pair.name_in_cohort].rank,
                "reason": cohort.verdicts[pair.name_in_cohort].first,
            }
        )
    return {
        "classes": classes,
        "levels": verdict.LEVELS,
        "rows": rows,
        "cells": [_cells(cohort, name) for name in classes],
        "below": [_below(cohort, name) for name in classes],
    }


def _cells(cohort: CohortResults, name: str) -> list[int | None]:
    """The numbers of one class, None if a pair has none."""
    found: list[int | None] = []
    for pair in cohort.pairs:
        amount = next((a for a in pair.amounts if a.name == name), None)
        parts = (amount.moved, amount.changed, amount.rest) if amount else (math.nan,) * 3
        found += [round(part * ML) if math.isfinite(part) else None for part in parts]
    return found


def _below(cohort: CohortResults, name: str) -> str:
    """Which numbers of one class may be zero: a digit per pair, the sum of those that may.

    1: moved, 2: changed class, 4: total.
    """
    return "".join(
        str(sum(bit for bit, kind in _BITS if amount.doubt(kind)) if amount else 0)
        for pair in cohort.pairs
        for amount in [next((a for a in pair.amounts if a.name == name), None)]
    )


def _only(data: dict[str, Any], kept: Sequence[str]) -> dict[str, Any]:
    """The table's data restricted to the classes ``kept``."""
    cells = [c for name, c in zip(data["classes"], data["cells"], strict=True) if name in kept]
    below = [b for name, b in zip(data["classes"], data["below"], strict=True) if name in kept]
    return {**data, "classes": kept, "cells": cells, "below": below}


def _kept(cohort: CohortResults, classes: Sequence[str], data: Any, panels: Any) -> list[str]:
    """The classes for which a page has room: all, or those with the largest changes, at least one."""
    room, sizes = _MOST_BYTES, dict.fromkeys(classes, 0)
    if isinstance(data, dict):
        room -= _length(data["rows"])
        both = zip(data["classes"], data["cells"], data["below"], strict=True)
        sizes = {name: _length(cells) + len(below) for name, cells, below in both}
    if isinstance(panels, list):
        for panel in panels:
            sizes[panel["name"]] += sum(map(len, (panel["strips"], *panel["lines"])))
    done = cohort.changes[cohort.changes["status"] == "ok"]
    gross = (done["deformation_mm3"].abs() + done["reallocation_mm3"].abs()).groupby(done["class"]).sum()
    ranked = sorted(classes, key=lambda name: -float(gross.get(name, 0)))
    ends = dict(zip(ranked, accumulate(sizes[name] for name in ranked), strict=True))
    return [name for name in classes if ends[name] <= room or name == ranked[0]]


def _length(data: Any) -> int:
    return len(json.dumps(data, separators=(",", ":")))


def _first(cohort: CohortResults) -> list[dict[str, Any]]:
    """The pairs with the largest outlier scores."""
    order = outliers.first(cohort.scores, _FIRST, _STANDS_OUT)
    keys = ("patient", "source", "target")
    return [
        dict(zip(keys, pair, strict=True))
        | {"score": cohort.scores[pair].value, "why": cohort.scores[pair].why}
        for pair in order
    ]


def _spreads(cohort: CohortResults, classes: list[str], colors: Mapping[str, str]) -> list[dict[str, Any]]:
    """Per class: the distribution of yearly changes, and a line per patient for each kind of change."""
    done = [pair for pair in cohort.pairs if pair.ok and pair.days > 0]
    out = set(outliers.first(cohort.scores, 50, _STANDS_OUT))
    marked = {
        i: f"{pair.patient} {pair.title}"
        for i, pair in enumerate(done)
        if (pair.patient, pair.source, pair.target) in out
    }
    grown = [(patient, _courses(cohort, patient, classes)) for patient in cohort.patients]
    panels = []
    for place, name in enumerate(classes):
        rates = _rates(cohort.changes, name)
        lines = [(patient, found[place]) for patient, found in grown]
        panels.append(
            {
                "name": name,
                "strips": spread.strips(name, colors[name], rates, marked, _floors(cohort.changes, name)),
                "lines": [spread.trajectories(name, colors[name], kind, lines) for kind in _KINDS],
            }
        )
    return panels


def _rates(changes: pd.DataFrame, name: str) -> dict[str, Any]:
    """Yearly change of one class in mL, one number per pair that has numbers, in the order of the table."""
    rows = changes[(changes["class"] == name) & (changes["status"] == "ok") & (changes["days"] > 0)]
    years = rows["days"].to_numpy(dtype=float) / DAYS_PER_YEAR
    named = {"moved": "deformation_mm3", "changed": "reallocation_mm3"}
    return {kind: rows[column].to_numpy(dtype=float) / ML / years for kind, column in named.items()}


def _floors(changes: pd.DataFrame, name: str) -> dict[str, float]:
    """The noise floor of one class in mL per year: the median over the pairs; NaN without floors."""
    rows = changes[(changes["class"] == name) & (changes["status"] == "ok") & (changes["days"] > 0)]
    years = rows["days"].to_numpy(dtype=float) / DAYS_PER_YEAR
    known = [c for c in columns.FLOORS[:2] if c in rows and len(rows)]
    medians = [float(np.median(rows[column].to_numpy(dtype=float) / ML / years)) for column in known]
    return dict(zip(_KINDS, medians, strict=False))


def _courses(cohort: CohortResults, patient: str, classes: list[str]) -> list[courses.VolumeCourse]:
    """A patient's courses, with days counted from the first visit."""
    own = [pair for pair in cohort.pairs if pair.patient == patient]
    return courses.courses(days_of(own), own, classes)


def days_of(known: list[PairResults]) -> dict[str, float]:
    """Days of the visits of one patient, the first at 0, computed from the days between visits."""
    days = {known[0].source: 0.0}
    waiting = list(known)
    while waiting:
        pair = next((p for p in waiting if p.source in days or p.target in days), None)
        if pair is None:  # a disconnected group of visits starts at 0 again
            days.setdefault(waiting[0].source, 0.0)
            continue
        waiting.remove(pair)
        if pair.source in days:
            days.setdefault(pair.target, days[pair.source] + pair.days)
        else:
            days[pair.source] = days[pair.target] - pair.days
    start = min(days.values())
    return {name: day - start for name, day in sorted(days.items(), key=lambda item: item[1])}

"""``visits.csv``: a row per visit and class, with volumes and changes since the first visit.

The volume of a visit is that of its own maps, measured once per visit whatever the pairs. Changes are sums
over pairs, so in every row, in decimals, ``change_since_first_mm3`` is the sum of deformation, reallocation
and unexplained change. Uncertainties are added along the sum, which is an upper bound. Noise floors of
deformation and reallocation are added as squares, an upper bound where noise at a visit between two pairs
partly cancels. Of the change, only the noise of its two ends remains: with floors from labels, those of the
first and the last pair are added as squares, also an upper bound; one from repeats holds for any pair.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from longimorph.study.classes import BACKGROUND
from longimorph.study.further import ICV
from longimorph.tables import columns, cumulative
from longimorph.tables.cumulative import Pair
from longimorph.tables.dictionary import write_table
from longimorph.tables.floors import REPEATS
from longimorph.verdict.status import OK, PairStatus, read_status
from longimorph.verdict.trust import DAYS_PER_YEAR, SEVERITIES, TRUST

LEAST_MM3 = 1.0
"""A class with a smaller volume at the first visit has no percentages: it holds no voxel there."""

_KINDS = ("deformation", "reallocation")
_SUMMED = ("deformation_mm3", "reallocation_mm3", "unexplained_mm3")
_UNCERTAINTIES = tuple(f"{kind}_uncertainty_mm3" for kind in _KINDS)
_RELATIVE = tuple(f"{kind}_since_first{what}" for what in ("", "_uncertainty") for kind in _KINDS)


def visit_table(
    patient: str,
    visits: Sequence[Mapping[str, Any]],
    records: Mapping[str, Mapping[str, Any]],
    statuses: Mapping[Pair, PairStatus],
    changes: pd.DataFrame,
    classes: Sequence[str],
) -> pd.DataFrame:
    """The patient's rows, in order of time and of ``classes``.

    ``visits``: dicts with ``timepoint``, ``days`` and, if cohort.tsv has such a column, ``icv_mm3``
    (None where it is not known); ``records``: the contents of ``qc.json`` by visit; ``statuses``: of every
    planned pair; ``changes``: the patient's ``changes.csv``, of which ``verdict`` must be known.
    """
    ordered = sorted(visits, key=lambda visit: float(visit["days"]))
    names = [str(visit["timepoint"]) for visit in ordered]
    known = {pair for pair, status in statuses.items() if status.ok}
    chains = cumulative.ways(names, known)
    rows = {
        (start, end): group.set_index("class").reindex(list(classes))
        for (start, end), group in changes.groupby(["from", "to"], sort=False)
    }
    tables = []
    for visit, name in zip(ordered, names, strict=True):
        since = float(visit["days"]) - float(ordered[0]["days"])
        status = _status(name, names, records, statuses, chains)
        chain = chains.get(name) if status == OK else None
        volumes, icv = _volumes(records[name], classes)
        table = _changes(chain, rows, volumes, since)
        table["class"], table["volume_mm3"] = list(classes), volumes
        verdicts = {str(rows[pair]["verdict"].iloc[0]) for pair in chain or ()}
        fixed: dict[str, Any] = {
            "patient": patient,
            "timepoint": name,
            "days": float(visit["days"]),
            "years_since_first": round(since / DAYS_PER_YEAR, 6),
            "status": status,
            "verdict": next((word for word in (*SEVERITIES, TRUST) if word in verdicts), ""),
            "pairs_summed": np.nan if chain is None else float(len(chain)),
            "not_shown_mm3": _not_shown(name, statuses),
            ICV: _number(visit[ICV]) if ICV in visit else icv,
        }
        tables.append(table.assign(**fixed))
    return columns.stack(tables, columns.VISITS)


def write_patient_visits(
    patient: str,
    visits: Sequence[Mapping[str, Any]],
    pairs: Sequence[Mapping[str, Any]],
    classes: Sequence[Mapping[str, str]],
    out: Path,
) -> None:
    """Write ``visits.csv`` to the patient's folder ``out``, which holds ``changes.csv``, visits and pairs.

    ``visits``: as for :func:`visit_table`; ``pairs``, ``classes``: as for the patient's other tables.
    """
    statuses = {
        (str(pair["from"]), str(pair["to"])): read_status(out / f"{pair['from']}__{pair['to']}")
        for pair in pairs
    }
    names = [str(visit["timepoint"]) for visit in visits]
    records = {name: json.loads((out / name / "qc.json").read_text(encoding="utf-8")) for name in names}
    changes = columns.read_table(out / "changes.csv")
    found = visit_table(patient, visits, records, statuses, changes, [row["class"] for row in classes])
    write_table(out / "visits.csv", columns.as_text(found), classes)


def write_cohort_visits(
    patients: Sequence[Path],
    further: Sequence[str],
    cells: Mapping[str, Mapping[str, Sequence[str]]],
    classes: Sequence[Mapping[str, str]],
    out: Path,
) -> None:
    """Write the cohort's ``visits.csv``: the patients' tables, and the further columns of cohort.tsv.

    ``patients``: their folders; ``further``: names of the columns; ``cells``: their text, by patient and
    visit.
    """
    table = columns.stack((columns.read_table(p / "visits.csv") for p in patients), columns.VISITS)
    own = [cells[p][t] for p, t in zip(table["patient"], table["timepoint"], strict=True)]
    added = pd.DataFrame(own, columns=list(further), index=table.index, dtype=str)
    whole = pd.concat([columns.as_text(table), added], axis=1)
    write_table(out / "visits.csv", whole, classes, further)


def _status(
    name: str,
    names: Sequence[str],
    records: Mapping[str, Mapping[str, Any]],
    statuses: Mapping[Pair, PairStatus],
    chains: Mapping[str, Sequence[Pair]],
) -> str:
    """``ok``, or the code of what keeps the visit from the first one: its own failure, or that of a pair."""
    own = str(records[name]["status"])
    if own != OK or name in chains:
        return own
    start = next(start for start in names if (start, name) in statuses)
    code = statuses[start, name].status
    return code if code != OK else _status(start, names, records, statuses, chains)


def _changes(
    chain: Sequence[Pair] | None, rows: Mapping[Any, pd.DataFrame], volumes: np.ndarray, days: float
) -> pd.DataFrame:
    """The columns of change since the first visit; all are empty without a ``chain`` of pairs.

    ``rows``: those of ``changes.csv`` by pair; ``volumes``: of the classes at this visit; ``days``: since the
    first one.
    """
    found = pd.DataFrame(np.nan, index=range(len(volumes)), columns=list(columns.SINCE_FIRST))
    if chain is None:
        return found
    steps = [rows[pair] for pair in chain]
    for name in (*_SUMMED, *_UNCERTAINTIES):
        total = sum((step[name].to_numpy() for step in steps), np.zeros(len(volumes)))
        found[name.replace("_", "_since_first_", 1)] = columns.to_decimals(total)
    for name, floor in _floors(steps).items():
        found[name.replace("_", "_since_first_", 1)] = columns.to_decimals(floor)
    grown = (step["volume_to_mm3"].to_numpy() - step["volume_from_mm3"].to_numpy() for step in steps)
    change = columns.to_decimals(sum(grown, np.zeros(len(volumes))))
    found["change_since_first_mm3"] = change
    first = steps[0]["volume_from_mm3"].to_numpy() if steps else volumes
    share = 100 / np.where(first >= LEAST_MM3, first, np.nan)
    found["volume_percent"] = columns.to_decimals(100 + share * change)
    for name in _RELATIVE:
        value = found[f"{name}_mm3"].to_numpy()
        found[f"{name}_percent"] = columns.to_decimals(share * value)
        if days > 0:
            found[f"{name}_mm3_per_year"] = columns.to_decimals(value * (DAYS_PER_YEAR / days))
    return found


def _floors(steps: Sequence[pd.DataFrame]) -> dict[str, np.ndarray]:
    """The noise floors of a sum over pairs, by column of ``changes.csv``; none without pairs."""
    if not steps:
        return {}
    *parts, change = columns.FLOORS
    ends = (
        steps[:1] if len(steps) == 1 or steps[0][columns.SOURCE].iloc[0] == REPEATS else [steps[0], steps[-1]]
    )
    used = {**dict.fromkeys(parts, steps), change: ends}
    return {name: np.sqrt(sum(np.square(one[name].to_numpy()) for one in own)) for name, own in used.items()}


def _volumes(record: Mapping[str, Any], classes: Sequence[str]) -> tuple[np.ndarray, float]:
    """The volume of each class in the visit's maps, and of all but the background; NaN if it failed."""
    if record["status"] != OK:
        return np.full(len(classes), np.nan), np.nan
    known = record["volumes_mm3"]
    inside = sum(float(value) for name, value in known.items() if name != BACKGROUND)
    return columns.to_decimals(np.array([float(known[name]) for name in classes])), round(inside, 3)


def _not_shown(name: str, statuses: Mapping[Pair, PairStatus]) -> float:
    """The most that the visit's view lacks of the brain, in any pair that is done; NaN without one."""
    own = [status for pair, status in statuses.items() if name in pair and status.ok]
    return max((float((status.not_shown_mm3 or {}).get(name, 0.0)) for status in own), default=np.nan)


def _number(value: object) -> float:
    return np.nan if value is None else columns.number(value)

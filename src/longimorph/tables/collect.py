"""Combine pairs into a patient's tables and patients into the cohort's, with sums by region and by state."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from longimorph.errors import TEMPLATE
from longimorph.tables import columns
from longimorph.tables.closure import closure
from longimorph.tables.dictionary import write_table
from longimorph.tables.fit import fit
from longimorph.tables.memory import memory_row
from longimorph.tables.repeats import Floors, read_floors, with_floors, write_repeats
from longimorph.tables.verdicts import verdict_row, with_verdict
from longimorph.verdict.status import PairStatus, read_status
from longimorph.verdict.trust import DAYS_PER_YEAR

UNNAMED = "(unnamed)"


def patient_tables(
    patient: str,
    pairs: Sequence[Mapping[str, Any]],
    folders: Sequence[Path],
    classes: Sequence[Mapping[str, str]],
    out: Path,
    template: Path | None = None,
    floors: Path | None = None,
) -> None:
    """Write a patient's tables from its pairs: changes, transitions, failures, verdicts and the others.

    Each has a dictionary of its columns beside it (:func:`dictionary.write_table`).

    ``pairs``: dicts with ``from``, ``to``, ``days`` (between the visits) and ``logs`` (stage, or
    ``stage:timepoint``, → log file);
    ``folders``: the pairs' folders, in the same order; ``classes``: as for :func:`cohort_tables`;
    ``template``: the log of the patient's registration to the template, whose record lies in ``out``.
    ``floors``: the table of the noise floors, if the cohort has repeated scans.
    """
    changes, transitions, failures, memory, verdicts = [], [], [], [], []
    noise = read_floors(floors)
    for pair, folder in zip(pairs, folders, strict=True):
        status, days = read_status(folder), float(pair["days"])
        changes.append(_pair_changes(folder, status, days, noise))
        transitions.append(columns.read_table(folder / "transitions.csv"))
        failures += _failure(patient, pair, status)
        names = {"patient": patient, "from": str(pair["from"]), "to": str(pair["to"])}
        memory.append(memory_row(status) | names)
        verdicts.append(verdict_row(names, status, days))
    if template is not None:
        failures += _template_failure(patient, out / "template.json", template)
    own = columns.stack(changes, columns.CHANGES)
    write_table(out / "changes.csv", columns.as_text(own), classes)
    write_table(
        out / "transitions.csv", columns.as_text(columns.stack(transitions, columns.TRANSITIONS)), classes
    )
    write_table(out / "failures.csv", pd.DataFrame(failures, columns=list(columns.FAILURES)), classes)
    write_table(out / "memory.csv", pd.DataFrame(memory, columns=list(columns.MEMORY)), classes)
    write_table(out / "verdicts.csv", pd.DataFrame(verdicts, columns=list(columns.VERDICTS)), classes)
    write_table(out / "closure.csv", columns.as_text(closure(own, _visits(pairs))), classes)
    write_table(out / "fit.csv", columns.as_text(fit(own, _visits(pairs))), classes)
    _write_marginals(own, classes, out)


def repeat_tables(
    pairs: Sequence[Mapping[str, Any]],
    folders: Sequence[Path],
    classes: Sequence[Mapping[str, str]],
    out: Path,
) -> None:
    """Write the tables of the pairs of a visit and its repeat; as for :func:`patient_tables`."""
    own = [
        _pair_changes(folder, read_status(folder), float(pair["days"]), None)
        for pair, folder in zip(pairs, folders, strict=True)
    ]
    write_repeats(columns.stack(own, columns.CHANGES), classes, out)


def _pair_changes(folder: Path, status: PairStatus, days: float, noise: Floors | None) -> pd.DataFrame:
    own = with_floors(columns.read_table(folder / "changes.csv"), noise)
    return _with_days(with_verdict(own, status, days), days)


def cohort_tables(
    patients: Sequence[Path],
    classes: Sequence[Mapping[str, str]],
    out: Path,
    repeats: Sequence[Mapping[str, Any]] = (),
) -> None:
    """Write the cohort's tables from the patients' folders, which lie side by side.

    ``repeats``: the pairs of a visit and its repeat, as in :func:`patient_tables` with the ``patient``; their
    failures and their memory are listed with those of the other pairs.
    ``classes``: one dict per class with ``class`` and the names ``region`` and ``state`` that the marginal
    tables sum over (empty if classes.tsv gives none: those classes are summed as ``(unnamed)``).
    """
    changes = columns.stack((columns.read_table(p / "changes.csv") for p in patients), columns.CHANGES)
    transitions = columns.stack(
        (columns.read_table(p / "transitions.csv") for p in patients), columns.TRANSITIONS
    )
    failed = [columns.read_table(p / "failures.csv") for p in patients]
    scanned_again = [(pair, _status_of(pair, out)) for pair in repeats]
    more = [row for pair, status in scanned_again for row in _failure(str(pair["patient"]), pair, status)]
    failures = columns.stack([*failed, pd.DataFrame(more)], columns.FAILURES)
    write_table(out / "changes.csv", columns.as_text(changes), classes)
    write_table(out / "transitions.csv", columns.as_text(transitions), classes)
    write_table(out / "failures.csv", failures, classes)
    used = [columns.read_table(p / "memory.csv") for p in patients]
    rows = [
        memory_row(status) | {name: str(pair[name]) for name in columns.PAIR}
        for pair, status in scanned_again
    ]
    memory = columns.stack([*used, pd.DataFrame(rows)], columns.MEMORY)
    write_table(out / "memory.csv", memory, classes)
    verdicts = columns.stack((columns.read_table(p / "verdicts.csv") for p in patients), columns.VERDICTS)
    write_table(out / "verdicts.csv", verdicts, classes)
    gaps = columns.stack((columns.read_table(p / "closure.csv") for p in patients), columns.CLOSURE)
    write_table(out / "closure.csv", columns.as_text(gaps), classes)
    fits = columns.stack((columns.read_table(p / "fit.csv") for p in patients), columns.FIT)
    write_table(out / "fit.csv", columns.as_text(fits), classes)
    _write_marginals(changes, classes, out)


def _status_of(pair: Mapping[str, Any], out: Path) -> PairStatus:
    """The status of a pair of any patient; ``out``: the cohort's folder."""
    return read_status(out.parent / "patients" / str(pair["patient"]) / f"{pair['from']}__{pair['to']}")


def _visits(pairs: Sequence[Mapping[str, Any]]) -> list[str]:
    """The visits of a patient's pairs in order of time: each follows the sources of pairs ending in it."""
    earlier = {str(pair[key]): 0.0 for pair in pairs for key in ("from", "to")}
    for _ in earlier:
        for pair in pairs:
            start, end = str(pair["from"]), str(pair["to"])
            earlier[end] = max(earlier[end], earlier[start] + float(pair["days"]))
    return sorted(earlier, key=lambda name: earlier[name])


def _write_marginals(changes: pd.DataFrame, classes: Sequence[Mapping[str, str]], out: Path) -> None:
    for kind in ("region", "state"):
        names = {row["class"]: row.get(kind) or UNNAMED for row in classes}
        write_table(
            out / f"marginals_by_{kind}.csv", columns.as_text(marginals(changes, names, kind)), classes
        )


def marginals(changes: pd.DataFrame, names: Mapping[str, str], kind: str) -> pd.DataFrame:
    """Sum ``changes`` over the classes that share a name; the column ``class`` becomes ``kind``.

    A failed pair keeps its rows, with empty numbers. Sums of decimals stay exact, so the identity of the
    columns also holds in the marginals.
    """
    order = [kind if name == "class" else name for name in columns.CHANGES]
    if changes.empty:
        return pd.DataFrame(columns=order)
    named = changes.assign(**{kind: changes["class"].map(names)})
    keys = [*columns.PAIR, "days", kind, "status", *columns.VERDICT, columns.SOURCE]
    numbers = [*columns.VOLUMES, *columns.RATES, *columns.UNCERTAINTIES, *columns.FLOORS, *columns.INTERVALS]
    sums = named.groupby(keys, sort=False, dropna=False)[numbers].sum(min_count=1).reset_index()
    sums[numbers] = columns.to_decimals(sums[numbers].to_numpy())
    return sums[order]


def write_pair_list(
    pairs: Sequence[Mapping[str, Any]], left_out: Sequence[Mapping[str, str]], path: Path
) -> None:
    """Write every planned pair, then every excluded patient with the reason."""
    rows = [{**pair, "left_out": ""} for pair in pairs]
    rows += [{"patient": p["patient"], "from": "", "to": "", "left_out": p["reason"]} for p in left_out]
    write_table(path, columns.as_text(pd.DataFrame(rows, columns=list(columns.PAIR_LIST))))


def _with_days(changes: pd.DataFrame, days: float) -> pd.DataFrame:
    rates = changes.assign(days=days)
    for rate in columns.RATES:
        rates[rate] = rates[rate.removesuffix("_per_year")] * (DAYS_PER_YEAR / days if days > 0 else np.nan)
    return rates[list(columns.CHANGES)]


def _template_failure(patient: str, record: Path, log: Path) -> list[dict[str, str]]:
    """Return the row of a registration to the template that failed; one of an earlier stage has its own."""
    found = json.loads(record.read_text(encoding="utf-8"))
    if found["status"] == "ok" or found["stage"] != TEMPLATE:
        return []
    names = {"patient": patient, "from": "", "to": "", "stage": TEMPLATE, "log": str(log)}
    return [{**names, "code": found["status"], "message": found["message"]}]


def _failure(patient: str, pair: Mapping[str, Any], status: PairStatus) -> list[dict[str, str]]:
    """Return the pair's row of ``failures.csv``; empty if the pair is done."""
    if status.ok:
        return []
    stage = status.stage or "register"
    log = pair["logs"].get(f"{stage}:{status.timepoint}") or pair["logs"].get(stage, "")
    row = {"patient": patient, "from": pair["from"], "to": pair["to"], "stage": stage, "log": log}
    return [{**row, "code": status.status, "message": status.message}]

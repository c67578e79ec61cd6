"""The tables of an exported data set: participants, sessions, and those of the results as TSV."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd

from longimorph.bids.covariates import NONE
from longimorph.bids.named import Named
from longimorph.bids.results import read_text
from longimorph.study.further import VISIT_COLUMNS
from longimorph.tables import dictionary
from longimorph.tables.dictionary import sidecar

TABLES = (
    "visits",
    "changes",
    "transitions",
    "lesions",
    "closure",
    "fit",
    "verdicts",
    "failures",
    "marginals_by_region",
    "marginals_by_state",
)
FOLDER = "tables"
PRIVATE = ("message", "log", "page")
"""Columns that name files of the machine, or pages of the results, and are left out."""

_KEYS = ("participant_id", "session_id")
_NEW = {"patient": _KEYS[0], "timepoint": _KEYS[1]}
_VISITS = ("from", "via", "to")


@dataclass(frozen=True)
class Further:
    """The further columns of ``cohort.tsv``: of participants if no patient has two values, else of sessions.

    ``cells``: the values of a visit by column, by patient and visit.
    """

    of_participants: tuple[str, ...]
    of_sessions: tuple[str, ...]
    cells: Mapping[tuple[str, str], Mapping[str, str]]


def read_further(results: Path) -> Further:
    """Read the further columns from the cohort's ``visits.csv``; there are none without it."""
    file = results / "cohort" / "visits.csv"
    if not file.is_file():
        return Further((), (), {})
    visits = read_text(file).drop_duplicates(["patient", "timepoint"])
    names = [name for name in visits.columns if name not in VISIT_COLUMNS]
    values = visits.groupby("patient")[names].nunique()
    of_all = [name for name in names if (values[name] <= 1).all()]
    rows = visits[names].to_dict("records")
    keys = zip(visits["patient"], visits["timepoint"], strict=True)
    cells = {key: {str(n): str(v) for n, v in row.items()} for key, row in zip(keys, rows, strict=True)}
    return Further(tuple(of_all), tuple(name for name in names if name not in of_all), cells)


def participants(patients: Sequence[Named], further: Further) -> dict[str, str]:
    """Return ``participants.tsv`` and its description, by path."""
    rows = []
    for named in patients:
        own = _first(further.cells.get((named.patient.name, visit)) for visit in named.visits)
        rows.append(
            [f"sub-{named.label}", named.patient.name, *(own.get(n, "") for n in further.of_participants)]
        )
    return {
        "participants.tsv": _tsv(["participant_id", "patient", *map(_free, further.of_participants)], rows),
        "participants.json": _described("participants", further.of_participants),
    }


def sessions(named: Named, further: Further) -> dict[str, str]:
    """Return the ``sessions.tsv`` of one patient, by path."""
    rows = []
    for visit in named.patient.visits:
        own = further.cells.get((named.patient.name, visit.name), {})
        first = [f"ses-{named.visits[visit.name]}", visit.name, visit.days, str(visit.record["status"])]
        rows.append([*first, *(own.get(name, "") for name in further.of_sessions)])
    columns = ["session_id", "timepoint", "days", "status", *map(_free, further.of_sessions)]
    return {f"sub-{named.label}/sub-{named.label}_sessions.tsv": _tsv(columns, rows)}


def described_sessions(further: Further) -> dict[str, str]:
    """Return the description of all ``sessions.tsv``, by path."""
    return {"sessions.json": _described("sessions", further.of_sessions)}


def tables(patients: Sequence[Named]) -> dict[str, str]:
    """Return the tables of the patients, one below the other, and their descriptions, by path."""
    files = {}
    for name in TABLES:
        own = [named for named in patients if (named.patient.folder / f"{name}.csv").is_file()]
        if not own:
            continue
        parts = [_relabelled(read_text(named.patient.folder / f"{name}.csv"), named) for named in own]
        whole = pd.concat(parts, ignore_index=True)
        files[f"{FOLDER}/{name}.tsv"] = _tsv(list(whole.columns), whole.to_numpy().tolist())
        said = json.loads((own[0].patient.folder / f"{name}.json").read_text(encoding="utf-8"))
        files[f"{FOLDER}/{name}.json"] = _text(_renamed(said))
    return files


def _relabelled(table: pd.DataFrame, named: Named) -> pd.DataFrame:
    """The table with the labels of BIDS for the patient and its visits, and without private columns."""
    kept = table.drop(columns=[name for name in PRIVATE if name in table])
    kept["patient"] = f"sub-{named.label}"
    sessions = {name: f"ses-{label}" for name, label in named.visits.items()}
    for column in ("timepoint", *_VISITS):
        if column in kept:
            kept[column] = (
                kept[column].map(sessions).fillna("")
            )  # a failure of a whole patient names no visit
    return kept.rename(columns=_NEW)


def _renamed(said: Mapping[str, Any]) -> dict[str, Any]:
    """The dictionary of a table's columns for its relabelled form."""
    keys = sidecar("participants", _KEYS[:1]) | sidecar("sessions", _KEYS[1:])
    named = {_NEW.get(name, name): meaning for name, meaning in said.items() if name not in PRIVATE}
    return {name: keys.get(name, meaning) for name, meaning in named.items()}


def _described(table: str, further: Sequence[str]) -> str:
    own = sidecar(table, [name for known in dictionary.tables()[table] for name in known.names])
    added = sidecar(table, further, further=further)
    return _text(own | {_free(name): meaning for name, meaning in added.items()})


def _free(column: str) -> str:
    """The name of a further column, which must not be that of a key."""
    return f"cohort_{column}" if column in _KEYS else column


def _first(found: Iterable[Mapping[str, str] | None]) -> Mapping[str, str]:
    return next((cells for cells in found if cells is not None), {})


def _tsv(columns: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """A table as text, in which an empty cell is ``n/a``, as BIDS has it."""
    lines = [columns, *([" ".join(str(cell).split()) or NONE for cell in row] for row in rows)]
    return "".join("\t".join(line) + "\n" for line in lines)


def _text(content: Mapping[str, Any]) -> str:
    return json.dumps(content, indent=2, ensure_ascii=False) + "\n"

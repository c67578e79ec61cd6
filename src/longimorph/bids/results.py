"""The finished results of a study, as they are exported."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pandas as pd

from longimorph.errors import InputError, Problem, Unusable
from longimorph.paths import display
from longimorph.study.suggest import did_you_mean
from longimorph.tables import columns
from longimorph.verdict.status import OK, PairStatus, read_status


@dataclass(frozen=True)
class VisitResults:
    """One visit: its name, days as in the tables, folder, and the contents of its ``qc.json``."""

    name: str
    days: str
    folder: Path
    record: Mapping[str, Any]

    @property
    def ok(self) -> bool:
        """Whether the visit has maps."""
        return bool(self.record["status"] == OK)


@dataclass(frozen=True)
class PairResults:
    """One pair of visits, its folder and its status."""

    source: str
    target: str
    folder: Path
    status: PairStatus


@dataclass(frozen=True)
class PatientResults:
    """One patient: name, folder, classes in their order, visits in order of time, planned pairs."""

    name: str
    folder: Path
    classes: tuple[str, ...]
    visits: tuple[VisitResults, ...]
    pairs: tuple[PairResults, ...]


@dataclass(frozen=True)
class StudyResults:
    """All patients of a study by name.

    ``unfinished``: patients whose tables are not written yet; ``left_out``: the reason for each patient
    without a pair; ``whole``: whether the cohort's list of pairs says which patients there are.
    """

    folder: Path
    patients: Mapping[str, Path]
    unfinished: tuple[str, ...] = ()
    left_out: Mapping[str, str] = field(default_factory=dict)
    whole: bool = False

    def named(self) -> list[str]:
        """Return the names of all patients, with results or without."""
        return list(dict.fromkeys([*self.patients, *self.unfinished, *self.left_out]))

    def chosen(self, names: Sequence[str]) -> tuple[str, ...]:
        """Return the finished patients called ``names``, all for none; raises InputError for others."""
        problems = [self._problem(name) for name in dict.fromkeys(names) if name not in self.patients]
        if problems:
            raise InputError(problems)
        return tuple(dict.fromkeys(names)) or tuple(self.patients)

    def _problem(self, name: str) -> Problem:
        if name in self.left_out:
            text, hint = f"has no results of patient '{name}', who {self.left_out[name]}", None
        elif name in self.unfinished:
            text, hint = f"has no tables of patient '{name}' yet", f"Run patient_{name} to its end first"
        else:
            text, hint = f"has no patient '{name}'", did_you_mean(name, list(self.patients)) or None
        return Problem(display(self.folder), text, hint=hint)


def find_study(results: Path) -> StudyResults:
    """Find the patients in ``results``: the planned ones if the cohort's list of pairs is there, else all."""
    folders = {path.name: path for path in sorted((results / "patients").glob("*")) if path.is_dir()}
    finished = {
        name: path
        for name, path in folders.items()
        if all((path / f"{table}.csv").is_file() for table in ("visits", "verdicts", "changes"))
    }
    listed = results / "cohort" / "pairs.csv"
    if not listed.is_file():
        return StudyResults(results, finished, tuple(name for name in folders if name not in finished))
    pairs = columns.read_table(listed)
    reasons = pairs[pairs["left_out"] != ""]
    planned = list(dict.fromkeys(pairs.loc[pairs["left_out"] == "", "patient"]))
    return StudyResults(
        results,
        {name: finished[name] for name in planned if name in finished},
        tuple(name for name in planned if name not in finished),
        dict(zip(reasons["patient"], reasons["left_out"], strict=True)),
        whole=True,
    )


def read_patient(folder: Path) -> PatientResults:
    """Read what the tables of one patient say of visits, pairs and classes."""
    visits = read_text(folder / "visits.csv").drop_duplicates("timepoint")
    pairs = read_text(folder / "verdicts.csv")
    classes = dict.fromkeys(read_text(folder / "changes.csv")["class"])
    rows = zip(visits["timepoint"], visits["days"], strict=True)
    found = [VisitResults(name, days, folder / name, _record(folder / name)) for name, days in rows]
    names = zip(pairs["from"], pairs["to"], strict=True)
    own = [PairResults(a, b, folder / f"{a}__{b}", read_status(folder / f"{a}__{b}")) for a, b in names]
    return PatientResults(folder.name, folder, tuple(classes), tuple(found), tuple(own))


def read_text(path: Path) -> pd.DataFrame:
    """Read a table of the results with all its cells as text."""
    return pd.read_csv(path, dtype=str, keep_default_na=False, encoding="utf-8")


def _record(folder: Path) -> dict[str, Any]:
    file = folder / "qc.json"
    try:
        found = json.loads(file.read_text(encoding="utf-8"))
    except ValueError:
        found = None
    if not isinstance(found, dict) or "status" not in found:
        raise Unusable("unreadable", f"{display(file)} is damaged; run the patient again")
    return found

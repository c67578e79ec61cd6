"""The table of patients and visits, ``cohort.tsv``."""

from __future__ import annotations

import math
import os
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from itertools import permutations
from pathlib import Path

from longimorph import paths
from longimorph.errors import InputError, Problem
from longimorph.io.patterns import expanded, is_pattern
from longimorph.study import further, inputs, names, repeats, tsv
from longimorph.study.schema import shown
from longimorph.study.suggest import nearest
from longimorph.study.tsv import Table, TableRow

REQUIRED = ("patient", "timepoint", "days", "regions")
OPTIONAL = ("image", "states", repeats.COLUMN)
_READ = (*REQUIRED, *OPTIONAL, further.ICV)
_DAYS = "the number of days since a day zero of this patient"
SUFFIXES = (".nii", ".nii.gz", ".mgh", ".mgz", ".mha", ".mhd", ".nrrd", ".nhdr")
_FOLDER_HINT = "For posteriors with a file per class, name the files by a pattern, such as posteriors/*.mgz"
_MISSPELT = 0.8
"""Likeness from which a column is a misspelt optional one: ``age`` is no ``image``, ``site`` no ``states``.
"""
_MOST_HINTS = 20
_MOST_DAYS = 1e7
"""A larger number of days is a date such as 20240301. Days since the year 0 and Julian days are smaller."""


@dataclass(frozen=True)
class Visit:
    """One visit of one patient.

    ``days`` is the time since an arbitrary day zero of the patient. ``image`` is the intensity image;
    ``regions`` and ``states`` are integer label volumes, posteriors, or patterns of one file per class, on
    one grid. All paths are absolute. ``line`` is the row's line. ``icv_mm3`` is the intracranial volume, if
    the table gives it. ``further`` are the cells of the table's further columns, as written; no map depends
    on them. ``repeat_of`` is the timepoint that this scan repeats, empty for a visit of its own.
    """

    patient: str
    timepoint: str
    days: float
    image: Path | None
    regions: Path
    states: Path | None
    line: int = field(default=0, compare=False)
    icv_mm3: float | None = field(default=None, compare=False)
    further: tuple[str, ...] = field(default=(), compare=False)
    repeat_of: str = field(default="", compare=False)

    def files(self) -> dict[str, Path]:
        """Return the visit's files, or patterns, by column name."""
        named = {"image": self.image, "regions": self.regions, "states": self.states}
        return {column: path for column, path in named.items() if path is not None}

    def all_files(self) -> list[Path]:
        """Return the visit's files, those of a pattern one by one."""
        return [file for path in self.files().values() for file in expanded(path)]


@dataclass(frozen=True)
class Cohort:
    """All visits and their repeats, in the order of the table, and the name of the table in messages.

    ``named`` are all patients named by the table, including those whose rows are unusable. ``further`` are
    the columns other than those of REQUIRED, OPTIONAL and the intracranial volume; ``gives_icv``: the table
    has a column for that.
    """

    name: str
    visits: tuple[Visit, ...]
    named: frozenset[str] = field(default=frozenset(), compare=False)
    further: tuple[str, ...] = field(default=(), compare=False)
    gives_icv: bool = field(default=False, compare=False)

    @cached_property
    def _by_patient(self) -> dict[str, tuple[Visit, ...]]:
        groups: dict[str, list[Visit]] = {}
        for visit in self.visits:
            groups.setdefault(visit.patient, []).append(visit)
        return {name: tuple(sorted(group, key=_place)) for name, group in groups.items()}

    def patients(self) -> tuple[str, ...]:
        """Return the patients' names in the order of their first appearance in the table."""
        return tuple(self._by_patient)

    def scans_of(self, patient: str) -> tuple[Visit, ...]:
        """Return the patient's visits, earliest first, and after them the repeats."""
        return self._by_patient[patient]

    def visits_of(self, patient: str) -> tuple[Visit, ...]:
        """Return the patient's visits, earliest first, without repeats."""
        return tuple(visit for visit in self._by_patient[patient] if not visit.repeat_of)

    def visit(self, patient: str, timepoint: str) -> Visit:
        """Return one visit or repeat by name; raises KeyError if there is none."""
        for visit in self._by_patient[patient]:
            if visit.timepoint == timepoint:
                return visit
        raise KeyError(f"{patient} {timepoint}")

    def select(self, patients: Iterable[str] | None) -> Cohort:
        """Return the cohort restricted to these patients; the whole cohort for None."""
        if patients is None:
            return self
        wanted = set(patients)
        visits = tuple(visit for visit in self.visits if visit.patient in wanted)
        return replace(self, visits=visits)


def _place(visit: Visit) -> tuple[bool, float]:
    """The place of a visit among those of its patient: by time, and repeats last."""
    return visit.repeat_of != "", visit.days


def load_cohort(file: Path | str, check_files: bool = True) -> Cohort:
    """Read the cohort table ``file``; raises InputError with all its problems.

    With ``check_files`` each named file must exist.
    """
    cohort, problems = examine_cohort(Path(file), check_files)
    if problems or cohort is None:
        raise InputError(problems)
    return cohort


def examine_cohort(file: Path, check_files: bool = True) -> tuple[Cohort | None, list[Problem]]:
    """Read the cohort table as far as possible: the usable rows, and all problems."""
    table, problems = tsv.read_tsv(file, REQUIRED + OPTIONAL)
    if table is None:
        return None, problems
    problems += tsv.check_columns(table, REQUIRED, OPTIONAL, _MISSPELT)
    own = tuple(column for column in table.columns if column and column not in _READ)
    problems += further.collisions(table.name, table.header_line, own)
    reader = _RowReader(table, file.absolute().parent, check_files, own)
    visits = [visit for row in table.rows if (visit := reader.read(row)) is not None]
    problems += [problem for problem in reader.problems if problem.column in table.columns]
    problems += names.repeated(table) + repeats.problems(table)
    problems += _order_problems(table.name, visits) + _folder_problems(table.name, visits)
    problems.sort(key=lambda problem: problem.row or 0)
    named = frozenset(row["patient"] for row in table.rows)
    complete = all(column in table.columns for column in REQUIRED)
    gives_icv = further.ICV in table.columns
    cohort = Cohort(table.name, tuple(visits), named, own, gives_icv) if complete else None
    return cohort, problems


class _RowReader:
    """Converts rows to visits and collects their problems."""

    def __init__(self, table: Table, folder: Path, check_files: bool, own: tuple[str, ...] = ()) -> None:
        self.table, self.folder, self.check_files, self.own = table, folder, check_files, own
        self.problems: list[Problem] = []
        self._missing = 0

    def read(self, row: TableRow) -> Visit | None:
        """Return the row's visit, None if it is unusable; unusable optional cells are omitted."""
        before = len(self.problems)
        patient, timepoint = (self._name(row, column) for column in ("patient", "timepoint"))
        days = self._days(row)
        regions = self._path(row, "regions")
        image, states = self._path(row, "image"), self._path(row, "states")
        icv = self._icv(row)
        failed = {problem.column for problem in self.problems[before:]}
        if failed.intersection(REQUIRED) or days is None or regions is None:
            return None
        cells = tuple(row[column] for column in self.own)
        again = row[repeats.COLUMN]
        return Visit(patient, timepoint, days, image, regions, states, row.line, icv, cells, again)

    def _report(
        self, row: TableRow, column: str, message: str, expected: str | None, hint: str | None
    ) -> None:
        value = shown(row[column]) or None
        self.problems.append(Problem(self.table.name, message, row.line, column, value, expected, hint))

    def _name(self, row: TableRow, column: str) -> str:
        text = row[column]
        wrong = names.fault(text, column)
        if wrong is not None:
            self._report(row, column, *wrong, None)
        return text

    def _days(self, row: TableRow) -> float | None:
        text = row["days"]
        value = parse_number(text)
        if value is None:
            message = "is not a number" if text else "is empty"
            hint = "Use '.' as the decimal point" if re.fullmatch(r"-?\d+,\d+", text) else None
            self._report(row, "days", message, _DAYS, hint)
        elif abs(value) > _MOST_DAYS:
            self._report(row, "days", "is not a number of days (a date?)", _DAYS, None)
            return None
        return value

    def _icv(self, row: TableRow) -> float | None:
        text = row[further.ICV]
        if text in further.MISSING:
            return None
        value = parse_number(text)
        if value is None or value <= 0:
            expected = "the intracranial volume in mm³; empty or n/a where it is not known"
            hint = "Use '.' as the decimal point" if re.fullmatch(r"\d+,\d+", text) else None
            self._report(row, further.ICV, "is not a positive number", expected, hint)
        return value

    def _path(self, row: TableRow, column: str) -> Path | None:
        text = row[column]
        if not text:
            if column in REQUIRED:
                self._report(row, column, "is empty", "the path of an integer label volume", None)
            return None
        path = paths.resolve(text, self.folder)
        if is_pattern(path) or _starred_folder(path):
            return self._pattern(row, column, path)
        state = inputs.state(path) if self.check_files else inputs.FILE
        if state != inputs.FILE:
            hint = self._missing_hint(text, path) if state == inputs.MISSING else None
            hint = _FOLDER_HINT if os.path.isdir(path) and column != "image" else hint
            self._report(row, column, state, None, hint)
        elif not text.lower().endswith(SUFFIXES):
            self._report(row, column, "is not a NIfTI file name", "a name ending in .nii or .nii.gz", None)
        elif "{" in text or "}" in text:
            self._report(row, column, "contains braces, which Snakemake would interpret", None, "Rename it")
        elif self.check_files and inputs.from_the_future(path):
            hint = "Correct the clock, then touch the file"
            self._report(row, column, "has a timestamp in the future", None, hint)
        else:
            return path
        return None

    def _pattern(self, row: TableRow, column: str, path: Path) -> Path | None:
        """Return a pattern of one file per class, unless it or one of its files cannot be used."""
        told = None
        if column == "image":
            told = "is a pattern of several files; an image is one file"
        elif path.name.count("*") > 1 or _starred_folder(path):
            told = "may contain one * only, in the name of the file"
        elif not path.name.lower().endswith(SUFFIXES):
            told = "does not end like the name of a NIfTI file (.nii or .nii.gz)"
        elif "{" in str(path) or "}" in str(path):
            told = "contains braces, which Snakemake would interpret"
        elif self.check_files and not (files := expanded(path)):
            told = "matches no file"
        elif self.check_files:
            wrong = [f"{file.name} {state}" for file in files if (state := inputs.state(file)) != inputs.FILE]
            wrong += [
                f"{f.name} has a timestamp in the future"
                for f in files
                if not wrong and inputs.from_the_future(f)
            ]
            told = f"matches files that cannot be used: {', '.join(wrong)}" if wrong else None
        if told is not None:
            self._report(row, column, told, None, None)
        return path if told is None else None

    def _missing_hint(self, text: str, path: Path) -> str:
        """Suggest the nearest file for the first few missing ones only: searching folders takes time."""
        self._missing += 1
        near = None
        if "\\" in text:
            near = "Separate folders by '/', not '\\'."
        elif self._missing <= _MOST_HINTS:
            near = nearest_path(text, self.folder)
        tail = "" if Path(text).is_absolute() else f"Paths are relative to {self.folder}"
        return " ".join(part for part in (near, tail) if part)


def parse_number(text: str) -> float | None:
    """Parse ``text`` as a finite number; None if it is not one."""
    try:
        value = float(text) if "_" not in text else math.nan
    except ValueError:
        return None
    return value if math.isfinite(value) else None


def nearest_path(text: str, folder: Path) -> str | None:
    """Suggest an existing path near a missing one by correcting its first missing part."""
    path = paths.resolve(text, folder)
    missing = next((p for p in [*reversed(path.parents), path] if not p.exists()), path)
    try:
        present = [entry.name for entry in missing.parent.iterdir()]
    except OSError:
        return None
    near = nearest(missing.name, present)
    if near is None:
        return None if missing == path else f"There is no folder {paths.display(missing)}."
    mended = missing.parent / near
    whole = mended / path.relative_to(missing)
    found = whole if whole.exists() else mended
    return f"Did you mean '{found if Path(text).is_absolute() else os.path.relpath(found, folder)}'?"


def _order_problems(name: str, visits: Sequence[Visit]) -> list[Problem]:
    """Return a problem for each visit on the same day as another, or earlier than one in a row above it.

    A repeat may be of any day: nothing is measured per year between it and its visit.
    """
    above: dict[str, dict[float, Visit]] = {}
    named: set[tuple[str, str]] = set()
    problems = []
    for visit in (one for one in visits if not one.repeat_of):
        days = above.setdefault(visit.patient, {})
        if (visit.patient, visit.timepoint) in named:
            continue  # a repeated row, reported as such
        named.add((visit.patient, visit.timepoint))
        other = days.get(visit.days) or (days[max(days)] if days else None)
        if other is not None and visit.days <= other.days:
            problems.append(_order_problem(name, visit, other))
        days.setdefault(visit.days, visit)
    return problems


def _order_problem(name: str, visit: Visit, other: Visit) -> Problem:
    where = f"day of '{other.timepoint}' on line {other.line}"
    if visit.days == other.days:
        message, hint = f"is also the {where}", "Two visits of a patient must have different days"
    else:
        message, hint = (
            f"is before the {where} ({other.days:g})",
            "Sort the patient's rows or correct the number",
        )
    return Problem(name, message, visit.line, "days", f"{visit.days:g}", hint=hint)


def _folder_problems(name: str, visits: Sequence[Visit]) -> list[Problem]:
    """Return a problem for any two results that would share a folder: 'a' to 'b__c' and 'a__b' to 'c'."""
    groups: dict[str, list[Visit]] = {}
    for visit in visits:
        groups.setdefault(visit.patient, []).append(visit)
    problems = []
    for group in groups.values():
        if not any("__" in f"_{visit.timepoint}_" for visit in group):
            continue
        owners = {visit.timepoint: f"the visit '{visit.timepoint}'" for visit in group}
        for source, target in permutations(group, 2):
            folder = f"{source.timepoint}__{target.timepoint}"
            owner = f"'{source.timepoint}' to '{target.timepoint}'"
            if owners.setdefault(folder, owner) != owner and source.timepoint != target.timepoint:
                text = f"the results of {owner} and of {owners[folder]} would share the folder '{folder}'"
                hint = "Rename a timepoint: avoid '__' and '_' at either end"
                problems.append(Problem(name, text, target.line, "timepoint", hint=hint))
    return problems


def _starred_folder(path: Path) -> bool:
    """Return whether the folder of a path contains ``*``, and no folder has that very name."""
    return "*" in str(path.parent) and not path.parent.is_dir()

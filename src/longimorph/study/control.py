"""The control allocation matrix: which transitions between classes are deformation, ``control.tsv``.

Entry (from, to) is rho in [0, 1]: 1 means that a change of the first class into the second is deformation
(tissue moved), 0 that it is reallocation (tissue changed class in place). An entry ``open`` leaves the
question to the data; in a matrix of numbers it is NaN.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from longimorph.errors import InputError, Problem
from longimorph.free_pairs import FreePairs
from longimorph.study import presets, tsv
from longimorph.study.classes import ClassTable
from longimorph.study.config import PRESET
from longimorph.study.presets import OPEN
from longimorph.study.schema import shown
from longimorph.study.suggest import did_you_mean
from longimorph.study.table import parse_number
from longimorph.study.tsv import Table, TableRow

Matrix = NDArray[np.float64]
_EXPECTED = f"a number from 0 (reallocation) to 1 (deformation), or {OPEN}"
REALLOCATION = 0.01
"""The largest entry that calls a change reallocation so clearly that it need not be weighed."""


def free_pairs(matrix: Matrix, classes: ClassTable, projected: bool = True) -> tuple[FreePairs, ...]:
    """The pairs of classes of a valid matrix (C, C) whose exchange is free: open ones, and with ``projected``
    those with a pathological class that both their entries call reallocation.

    Pathological classes with the same hosts, of which either all or none may exchange with each other, form
    one group; so do pathological classes without hosts that may all exchange with each other.
    """
    unknown, free = np.isnan(matrix), matrix <= REALLOCATION
    settled = free & free.T if projected else np.zeros_like(free)
    ill = classes.pathological
    lesions, healthy = ([i for i, there in enumerate(ill) if there is kind] for kind in (True, False))
    hosts: dict[tuple[bool, tuple[int, ...]], list[int]] = {}
    for lesion in lesions:
        is_open = bool(unknown[lesion].any())
        partners = tuple(i for i in healthy if (unknown if is_open else settled)[lesion, i])
        hosts.setdefault((is_open, partners), []).append(lesion)
    found = []
    for (is_open, partners), members in hosts.items():
        among = settled[np.ix_(members, members)] | np.eye(len(members), dtype=bool)
        if not partners and bool(among.all()):
            members, partners = members[1:], tuple(members[:1])
        if members and partners:
            found.append(FreePairs(tuple(members), partners, is_open, len(members) > 1 and bool(among.all())))
    return tuple(found)


def load_control(source: Path | str, classes: ClassTable) -> Matrix:
    """Return the matrix (C, C), rows from and columns to, in the order of ``classes``.

    ``source`` is a table's path or ``preset:NAME``. Raises InputError with all its problems.
    """
    matrix, problems = examine_control(source, classes)
    if problems or matrix is None:
        raise InputError(problems)
    return matrix


def examine_control(source: Path | str, classes: ClassTable | None) -> tuple[Matrix | None, list[Problem]]:
    """Return the matrix if it is complete, and all problems.

    Without ``classes`` (their table is unusable) the names are not checked and no matrix is returned.
    """
    if str(source).startswith(PRESET):
        return presets.examine_presets(str(source)[len(PRESET) :].strip(), classes)
    table, problems = tsv.read_tsv(Path(source), ("from", *(classes.names if classes else ())))
    if table is None:
        return None, problems
    problems += tsv.check_columns(table, ("from",), ())
    if "from" not in table.columns:
        return None, problems
    given = [column for column in table.columns if column != "from"]
    names = list(classes.names) if classes else list(dict.fromkeys(given))
    problems += _column_problems(table, given, names) + _row_problems(table, names)
    problems += [p for row in table.rows for column in given if (p := _entry_problem(table, row, column))]
    if problems or classes is None:
        return None, sorted(problems, key=lambda problem: problem.row or 0)
    rows = {row["from"]: row for row in table.rows}
    entries = [[rows[a][b] for b in names] for a in names]
    matrix = np.array([[math.nan if e == OPEN else float(e) for e in row] for row in entries], np.float64)
    problems = [
        _open_problem(table, rows[names[a]], names[b], t) for a, b, t in _open_faults(matrix, classes)
    ]
    return (None if problems else matrix), problems


def _open_faults(matrix: Matrix, classes: ClassTable) -> Iterator[tuple[int, int, str]]:
    """Yield what is wrong with open entries: row, column and the message."""
    free, ill = np.isnan(matrix), classes.pathological
    taking_part: list[int] = np.flatnonzero(free.any(axis=1)).tolist()
    hosts = [index for index in taking_part if not ill[index]]
    for a, b in np.argwhere(free).tolist():
        if ill[a] == ill[b]:
            yield a, b, "is open, but only a pathological and a healthy class can be open to each other"
        elif not free[b, a]:
            yield a, b, "is open, but the entry in the other direction is a number"
    for a in taking_part:
        for b in hosts:
            if ill[a] and not free[a, b] and not free[b, a]:
                yield a, b, "is a number, but other open entries make both classes part of one open question"


def _open_problem(table: Table, row: TableRow, column: str, message: str) -> Problem:
    hint = f"Write {OPEN} in both directions for every pathological class and every healthy class concerned"
    where = f"the entry from '{row['from']}' to '{column}' {message}"
    return Problem(table.name, where, row.line, column, shown(row[column]), hint=hint)


def _column_problems(table: Table, given: list[str], names: list[str]) -> list[Problem]:
    problems = []
    for column in given:
        if column and column not in names:
            hint = did_you_mean(column, names) or f"Classes: {', '.join(names)}"
            text = "column is not a class of the class table"
            problems.append(Problem(table.name, text, table.header_line, column, hint=hint))
    for name in names:
        if name not in given:
            text = "the class has no column"
            problems.append(
                Problem(table.name, text, table.header_line, name, expected="one column per class")
            )
    return problems


def _row_problems(table: Table, names: list[str]) -> list[Problem]:
    problems = []
    seen: Counter[str] = Counter()
    for row in table.rows:
        name = row["from"]
        seen[name] += 1
        if name not in names:
            text = "is not a class of the class table" if name else "is empty"
            hint = did_you_mean(name, names) or f"Classes: {', '.join(names)}"
            problems.append(Problem(table.name, text, row.line, "from", shown(name) or None, hint=hint))
        elif seen[name] == 2:
            problems.append(Problem(table.name, "the class has two rows", row.line, "from", name))
    for name in names:
        if name not in seen:
            problems.append(
                Problem(table.name, f"the class '{name}' has no row", expected="one row per class")
            )
    return problems


def _entry_problem(table: Table, row: TableRow, column: str) -> Problem | None:
    text = row[column]
    value = parse_number(text)
    if text == OPEN:
        return None
    if value is not None and 0 <= value <= 1:
        return None
    message = "is empty" if not text else "is not a number" if value is None else "is outside [0, 1]"
    comma = value is None and parse_number(text.replace(",", ".")) is not None
    hint = "Use '.' as the decimal point" if comma else None
    where = f"the entry from '{row['from']}' to '{column}' {message}"
    return Problem(table.name, where, row.line, column, shown(text) or None, _EXPECTED, hint)

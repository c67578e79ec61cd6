"""The control allocation matrix: which transitions between classes are deformation, ``control.tsv``.

Entry (from, to) is rho in [0, 1]: 1 means that a change of the first class into the second is deformation
(tissue moved), 0 that it is reallocation (tissue changed class in place).
"""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from longimorph.errors import InputError, Problem
from longimorph.study import presets, tsv
from longimorph.study.classes import ClassTable
from longimorph.study.config import PRESET
from longimorph.study.schema import shown
from longimorph.study.suggest import did_you_mean
from longimorph.study.table import parse_number
from longimorph.study.tsv import Table, TableRow

Matrix = NDArray[np.float64]
_EXPECTED = "a number from 0 (reallocation) to 1 (deformation)"


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
    return np.array([[float(rows[a][b]) for b in names] for a in names], np.float64), []


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
    if value is not None and 0 <= value <= 1:
        return None
    message = "is empty" if not text else "is not a number" if value is None else "is outside [0, 1]"
    comma = value is None and parse_number(text.replace(",", ".")) is not None
    hint = "Use '.' as the decimal point" if comma else None
    where = f"the entry from '{row['from']}' to '{column}' {message}"
    return Problem(table.name, where, row.line, column, shown(text) or None, _EXPECTED, hint)

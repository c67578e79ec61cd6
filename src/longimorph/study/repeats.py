"""Rows of the cohort table that repeat a visit: a second scan, before which nothing changed."""

from __future__ import annotations

from collections.abc import Sequence

from longimorph.errors import Problem
from longimorph.study.suggest import did_you_mean
from longimorph.study.tsv import Table, TableRow

COLUMN = "repeat_of"
"""The timepoint of the same patient that a row repeats; empty for a visit of its own."""


def problems(table: Table) -> list[Problem]:
    """Return a problem for each row that repeats no proper visit of its patient."""
    if COLUMN not in table.columns:
        return []
    rows = [row for row in table.rows if row[COLUMN]]
    return [problem for row in rows if (problem := _problem(table, row)) is not None]


def _problem(table: Table, row: TableRow) -> Problem | None:
    named = row[COLUMN]
    own = {other["timepoint"]: other for other in table.rows if other["patient"] == row["patient"]}
    if named == row["timepoint"]:
        return _told(table, row, "is the row itself", "Name the visit that this scan repeats")
    if named not in own:
        others = [other["patient"] for other in table.rows if other["timepoint"] == named]
        text = f"is no timepoint of patient '{row['patient']}'"
        text += f", but of '{others[0]}': a scan can only repeat one of its own patient" if others else ""
        return _told(table, row, text, did_you_mean(named, _visits(list(own.values()))))
    if own[named][COLUMN]:
        first = own[named][COLUMN]
        hint = "Name the visit that both repeat" + (f": '{first}'" if first != row["timepoint"] else "")
        return _told(table, row, f"is itself a repeat, on line {own[named].line}", hint)
    return None


def _visits(rows: Sequence[TableRow]) -> list[str]:
    return [row["timepoint"] for row in rows if not row[COLUMN]]


def _told(table: Table, row: TableRow, message: str, hint: str | None) -> Problem:
    expected = "the timepoint of a visit of the same patient; empty for a visit of its own"
    return Problem(table.name, message, row.line, COLUMN, row[COLUMN], expected, hint)

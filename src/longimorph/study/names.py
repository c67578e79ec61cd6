"""Names of patients and visits, which become folders, files, rules and targets of the workflow."""

from __future__ import annotations

import re
from collections.abc import Sequence

from longimorph.errors import Problem
from longimorph.study.schema import shown
from longimorph.study.tsv import Table, TableRow

LONGEST = 100
RESERVED = frozenset({"cohort", "report", "sweep", "tables", "complete"})
"""Names that no patient may have. The logs of the cohort and of a sweep use such folders, and workflow rules
are called ``patient_report`` and so on, like the target ``patient_NAME`` of a patient.
"""

_NAME = re.compile(r"[A-Za-z0-9_-]+")


def fault(text: str, column: str) -> tuple[str, str] | None:
    """Return why ``text`` cannot name a ``patient`` or ``timepoint``: a message and what is expected."""
    if not text:
        return "is empty", f"the name of the {column}"
    if not _NAME.fullmatch(text):
        return "is not a valid name", "letters A-Z a-z, digits, '-' and '_' only"
    if len(text) > LONGEST:
        return "is too long for a folder name", f"at most {LONGEST} characters"
    if column == "patient" and text.lower() in RESERVED:
        return "is reserved by longimorph", "another name, such as one with a number"
    return None


def repeated(table: Table) -> list[Problem]:
    """Return a problem for each repeated visit, and for each name that differs only by case from another."""
    first: dict[tuple[str, str], int] = {}
    problems = []
    for row in table.rows:
        key = (row["patient"], row["timepoint"])
        if all(key) and first.setdefault(key, row.line) != row.line:
            text = f"patient '{key[0]}', timepoint '{key[1]}' is already on line {first[key]}"
            problems.append(Problem(table.name, text, row.line, "timepoint", hint="Give each visit one row"))
    return problems + _by_case(table, ("patient",)) + _by_case(table, ("patient", "timepoint"))


def _by_case(table: Table, columns: Sequence[str]) -> list[Problem]:
    """Return a problem for each name in the last of ``columns`` that differs only by case from one above.

    Only rows that agree in the other columns are compared.
    """
    first: dict[tuple[str, ...], TableRow] = {}
    told: set[str] = set()
    problems = []
    for row in table.rows:
        *group, name = (row[column] for column in columns)
        earlier = first.setdefault((*group, name.lower()), row)
        if earlier[columns[-1]] != name and name not in told:
            told.add(name)
            text = f"differs only by case from '{earlier[columns[-1]]}' on line {earlier.line}"
            hint = "Use one spelling, or different names: some disks store both in one folder"
            problems.append(Problem(table.name, text, row.line, columns[-1], shown(name), hint=hint))
    return problems

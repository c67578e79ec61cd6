"""Rows of a cohort table, and their output."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from longimorph.bids.choose import Role

COLUMN_ROLES: tuple[Role, ...] = ("image", "regions", "states")
COLUMNS = ("patient", "timepoint", "days", *COLUMN_ROLES)
_UNUSABLE = re.compile(r"[^A-Za-z0-9_-]+")


@dataclass(frozen=True)
class CohortRow:
    """One visit: names as in the table, days, files by column, and the cells of the further columns."""

    patient: str
    timepoint: str
    days: float
    files: Mapping[Role, Path]
    further: tuple[str, ...] = ()


@dataclass(frozen=True)
class Index:
    """The rows, by patient and day, remarks on selected and omitted files, and names of further columns."""

    rows: tuple[CohortRow, ...]
    remarks: tuple[str, ...]
    further: tuple[str, ...] = ()

    def text(self, folder: Path) -> str:
        """Return the table as text; paths below ``folder``, its future location, are relative to it."""
        lines = [(*COLUMNS, *self.further), *(_cells(row, folder) for row in self.rows)]
        return "".join("\t".join(line) + "\n" for line in lines)


def usable(name: str) -> str:
    """Convert the name of a patient or visit to a valid folder name."""
    return _UNUSABLE.sub("-", name)


def fits_cell(path: str) -> bool:
    """Return whether a path can be a table cell: one line of UTF-8 without tabs."""
    try:
        path.encode("utf-8")
    except UnicodeEncodeError:
        return False
    return not re.search(r"[\t\r\n]", path)


def _cells(row: CohortRow, folder: Path) -> tuple[str, ...]:
    files = [_cell(row.files[role], folder) if role in row.files else "" for role in COLUMN_ROLES]
    return (row.patient, row.timepoint, f"{row.days:.10g}", *files, *row.further)


def _cell(path: Path, folder: Path) -> str:
    absolute, start = os.path.abspath(path), os.path.abspath(folder)
    inside = os.path.relpath(absolute, start)
    if inside.startswith(".."):
        return absolute
    plain = inside == inside.strip() and not inside.startswith(("~", '"', "#"))
    return inside if plain else f"./{inside}"

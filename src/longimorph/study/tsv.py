"""Tab-separated tables as written by their authors: cells by column name, with line numbers.

Blank lines and lines that start with ``#`` are skipped. Spaces and one pair of double quotes around a cell
are removed (spreadsheets add them). A UTF-8 byte-order mark is accepted.
"""

from __future__ import annotations

import codecs
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from longimorph import paths
from longimorph.errors import Problem
from longimorph.study import inputs
from longimorph.study.suggest import did_you_mean, nearest
from longimorph.text import counted

_SEPARATORS = {",": "commas", ";": "semicolons", "|": "vertical bars", r"\s+": "spaces"}
_TABS = "In a spreadsheet, save as 'text, tab-separated'; in an editor, replace each separator by a tab"
_EXPECTED = "a tab-separated file"
_SAVE = "Save it as tab-separated text in UTF-8"


@dataclass(frozen=True)
class TableRow:
    """One row: its line in the file (the first line is 1) and its cells by column."""

    line: int
    cells: dict[str, str]

    def __getitem__(self, column: str) -> str:
        return self.cells.get(column, "")


@dataclass(frozen=True)
class Table:
    """A table as read: the name shown in messages, the header's line, its columns and its rows."""

    name: str
    header_line: int
    columns: tuple[str, ...]
    rows: tuple[TableRow, ...]


def read_tsv(file: Path, known: Sequence[str]) -> tuple[Table | None, list[Problem]]:
    """Read a table whose columns should be among ``known``; None if it is not a tab-separated table."""
    content, problems = _read_text(file)
    if content is None:
        return None, problems
    name = paths.display(file)
    lines = _lines(content)
    if not lines:
        return None, [Problem(name, "is empty", expected=f"a header with the columns {', '.join(known)}")]
    header_line, header = lines[0]
    wrong = _wrong_separator(header, known)
    if wrong is not None:
        text = f"columns are separated by {wrong}"
        return None, [Problem(name, text, header_line, expected="tabs", hint=_TABS)]
    columns = _cells(header)
    while columns and not columns[-1]:
        columns.pop()
    problems = _header_problems(name, header_line, columns)
    if len(lines) == 1:
        problems.append(Problem(name, "has a header but no data rows", header_line))
    rows = []
    for number, line in lines[1:]:
        row, found = _row(name, number, _cells(line), columns)
        rows += [row] if row is not None else []
        problems += found
    return Table(name, header_line, tuple(columns), tuple(rows)), problems


def check_columns(
    table: Table, required: Sequence[str], optional: Sequence[str], alike: float | None = None
) -> list[Problem]:
    """Return a problem for each missing column and for each unknown one that resembles a known, absent one.

    Other columns are the author's own. ``alike``: the least similarity, from 0 to 1, to an absent one.
    """
    problems = []
    own = [c for c in table.columns if c not in required and c not in optional]
    for column in required:
        if column not in table.columns:
            near = nearest(column, own)
            own = [c for c in own if c != near]
            hint = f"Is it the column '{near}'?" if near else f"Columns found: {', '.join(table.columns)}"
            problems.append(Problem(table.name, "column is missing", table.header_line, column, hint=hint))
    absent = [c for c in optional if c not in table.columns]
    for column in own:
        meant = did_you_mean(column, absent, alike)
        if meant is not None:
            problems.append(Problem(table.name, "unknown column", table.header_line, column, hint=meant))
    return problems


def _read_text(file: Path) -> tuple[str | None, list[Problem]]:
    name = paths.display(file)
    try:
        data = inputs.read_bytes(file)
    except inputs.Unreadable as error:
        hint = missing_file_hint(file) if str(error) == inputs.MISSING else None
        return None, [Problem(name, str(error), expected=None if hint else _EXPECTED, hint=hint)]
    if data.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
        return None, [Problem(name, "is UTF-16 text (according to its byte-order mark)", hint=_SAVE)]
    if data.startswith(b"PK\x03\x04"):
        return None, [Problem(name, "is a spreadsheet workbook, not text", hint=_SAVE)]
    if b"\0" in data:
        return None, [Problem(name, "is not UTF-8 text: it contains zero bytes", hint=_SAVE)]
    try:
        return data.decode("utf-8-sig"), []
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        return None, [Problem(name, f"is not UTF-8 text (byte 0x{data[error.start]:02x})", line, hint=_SAVE)]


def missing_file_hint(file: Path) -> str | None:
    """Return a sentence that suggests the most similar entry of the folder where ``file`` should be."""
    try:
        present = sorted(entry.name for entry in file.parent.iterdir())
    except OSError:
        return f"The folder {paths.display(file.parent)} does not exist"
    return did_you_mean(file.name, present)


def _lines(content: str) -> list[tuple[int, str]]:
    """Return the lines that are neither blank nor comments, with their numbers."""
    numbered = enumerate(re.split(r"\r\n|\n|\r", content), 1)
    return [(n, line) for n, line in numbered if line.strip() and not line.lstrip().startswith("#")]


def _cells(line: str) -> list[str]:
    return [_unquote(cell.strip()) for cell in line.split("\t")]


def _unquote(cell: str) -> str:
    return cell[1:-1].strip() if len(cell) > 1 and cell[0] == cell[-1] == '"' else cell


def _wrong_separator(header: str, known: Sequence[str]) -> str | None:
    """Return the name of the separator in use if it is not the tab."""
    if "\t" in header.strip():
        return None
    names = {name.lower() for name in known}
    for pattern, word in _SEPARATORS.items():
        cells = re.split(re.escape(pattern) if len(pattern) == 1 else pattern, header.strip())
        if len(cells) > 1 and any(_unquote(cell.strip()).lower() in names for cell in cells):
            return word
    return None


def _header_problems(name: str, line: int, columns: list[str]) -> list[Problem]:
    problems = []
    for position, column in enumerate(columns, 1):
        if not column:
            problems.append(Problem(name, f"column {position} has no name", line))
        elif columns.index(column) < position - 1:
            problems.append(Problem(name, "column occurs twice", line, column))
    return problems


def _row(name: str, line: int, cells: list[str], columns: list[str]) -> tuple[TableRow | None, list[Problem]]:
    extra = [cell for cell in cells[len(columns) :] if cell]
    if extra:
        text = f"has {counted(len(cells), 'cell')}, but the header has {counted(len(columns), 'column')}"
        return None, [Problem(name, text, line, value=extra[0], hint="Check for an extra tab")]
    if len(cells) == 1 and len(columns) > 1 and re.search(r"[,; |]", cells[0]):
        text = f"has one cell, but the header has {len(columns)} columns"
        return None, [Problem(name, text, line, hint="Separate the cells by tabs, not by spaces or commas")]
    return TableRow(line, dict(zip(columns, cells + [""] * len(columns), strict=False))), []

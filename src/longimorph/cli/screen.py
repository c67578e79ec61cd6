"""Text for whoever reads it: fitted to a terminal; in a pipe or file one line per thing, nothing left out."""

from __future__ import annotations

import shutil
import sys
import textwrap
from collections.abc import Container, Sequence
from typing import TextIO

from longimorph.text import aligned

NARROWEST = 40
"""Columns below which a terminal is not believed."""


def columns(stream: TextIO | None = None) -> int | None:
    """Return the columns of the terminal that the output goes to; None where it goes elsewhere."""
    if not (stream or sys.stdout).isatty():
        return None
    return max(shutil.get_terminal_size().columns, NARROWEST)


def say(text: str, indent: int = 2) -> None:
    """Print lines; on a terminal those that are too long go on below, indented."""
    sys.stdout.write(fitted(text, columns(), indent) + "\n")


def fitted(text: str, width: int | None, indent: int = 2) -> str:
    """Return lines of at most ``width`` columns; what is broken goes on ``indent`` further in."""
    if width is None:
        return text
    return "\n".join(_broken(line, width, indent) for line in text.split("\n"))


def _broken(line: str, width: int, indent: int) -> str:
    if len(line) <= width:
        return line
    own = len(line) - len(line.lstrip())
    further = " " * (own + indent)
    return textwrap.fill(
        line.lstrip(),
        width,
        initial_indent=" " * own,
        subsequent_indent=further,
        break_long_words=False,
        break_on_hyphens=False,
    )


def table(
    rows: Sequence[Sequence[str]],
    numbers: Container[str] = (),
    spare: Sequence[str] = (),
    width: int | None = None,
) -> list[str]:
    """Return a table, heads first, as lines. ``numbers``: the columns that are set to the right.

    Where it is wider than ``width``, the columns of ``spare`` are left out, the first of them first, as many
    as it takes.
    """
    left = [name for name in spare if name in rows[0]]
    while True:
        right = [place for place, name in enumerate(rows[0]) if name in numbers]
        lines = aligned(rows, right)
        if width is None or not left or max(map(len, lines)) <= width:
            return lines
        place = list(rows[0]).index(left.pop(0))
        rows = [[cell for number, cell in enumerate(row) if number != place] for row in rows]

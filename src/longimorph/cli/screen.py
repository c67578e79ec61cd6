"""Text output: fitted to a terminal; in a pipe or file complete, with one line per item."""

from __future__ import annotations

import shutil
import sys
import textwrap
from collections.abc import Container, Sequence
from typing import TextIO

from longimorph.text import aligned

NARROWEST = 40
"""Number of columns below which a terminal's reported width is ignored."""


def columns(stream: TextIO | None = None) -> int | None:
    """Return the columns of the terminal to which the output goes; None if it goes elsewhere."""
    if not (stream or sys.stdout).isatty():
        return None
    return max(shutil.get_terminal_size().columns, NARROWEST)


def say(text: str, indent: int = 2) -> None:
    """Print lines; on a terminal long lines are wrapped and indented."""
    sys.stdout.write(fitted(text, columns(), indent) + "\n")


def fitted(text: str, width: int | None, indent: int = 2) -> str:
    """Return lines of at most ``width`` columns; continuation lines are indented by ``indent`` more."""
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
    """Return a table as lines, headings first. ``numbers``: the right-aligned columns.

    If it is wider than ``width``, columns in ``spare`` are omitted in their order until it fits.
    """
    left = [name for name in spare if name in rows[0]]
    while True:
        right = [place for place, name in enumerate(rows[0]) if name in numbers]
        lines = aligned(rows, right)
        if width is None or not left or max(map(len, lines)) <= width:
            return lines
        place = list(rows[0]).index(left.pop(0))
        rows = [[cell for number, cell in enumerate(row) if number != place] for row in rows]

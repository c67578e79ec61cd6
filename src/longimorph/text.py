"""Text for people: numbers with their nouns, and tables in plain text."""

from __future__ import annotations

import re
from collections.abc import Container, Sequence

_FLUID = re.compile(r"(?<!peri)ventric|csf|cerebrospinal|fluid|cistern|liquor", re.IGNORECASE)


def counted(number: float, noun: str) -> str:
    """Return a number with its noun, such as ``1 pair`` or ``2 pairs``."""
    return f"{number:.15g} {noun}{'' if number == 1 else 's'}"


def aligned(rows: Sequence[Sequence[str]], right: Container[int] = ()) -> list[str]:
    """Return rows of text as lines with columns of equal width; columns in ``right`` are right-aligned."""
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]

    def line(row: Sequence[str]) -> str:
        cells = enumerate(zip(row, widths, strict=True))
        return "  ".join(c.rjust(w) if place in right else c.ljust(w) for place, (c, w) in cells).rstrip()

    return [line(row) for row in rows]


def names_fluid(name: str) -> bool:
    """Whether a class or a region is a fluid by its name."""
    return _FLUID.search(name) is not None

"""The report of the GPU benchmark: each row is on disk before the next is measured."""

from __future__ import annotations

import csv
import io
import math
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TypeVar

from benchmarks import report
from longimorph.io import atomic

T = TypeVar("T")
Figures = Mapping[tuple[str, str], float]
"""Values by what they are of and their unit."""


class OutOfTime(Exception):
    """A part has used its whole time budget."""


@dataclass
class Record:
    """A report in Markdown, with a table of its figures beside it (the suffix .csv), at each of ``paths``.

    ``seed`` is that of whatever the parts draw.
    """

    paths: Sequence[Path]
    seed: int = 0
    text: str = ""
    rows: list[tuple[str, str, float, str]] = field(default_factory=list)

    def write(self, text: str) -> None:
        """Add lines to the report; they are shown and saved at once."""
        self.text += text
        report.say(text.rstrip("\n"))
        self._save(".md", self.text)

    def add(self, part: str, figures: Figures) -> None:
        """Add rows to the table; values that are not numbers were not measured."""
        found = [(part, what, value, unit) for (what, unit), value in figures.items()]
        self.rows += [row for row in found if not math.isnan(row[2])]
        table = io.StringIO()
        writer = csv.writer(table, lineterminator="\n")
        writer.writerows([("part", "what", "value", "unit"), *self.rows])
        self._save(".csv", table.getvalue())

    def _save(self, suffix: str, text: str) -> None:
        for path in self.paths:
            atomic.write_text(path.with_suffix(suffix), text)


@dataclass
class Section:
    """One part of the report; ``ends`` is when its time is over, by ``time.monotonic``."""

    record: Record
    name: str
    ends: float

    def write(self, text: str) -> None:
        """Add a paragraph."""
        self.record.write(f"{text}\n\n")

    def table(self, *titles: str) -> None:
        """Begin a table."""
        self.record.write(f"| {' | '.join(titles)} |\n|{' --- |' * len(titles)}\n")

    def row(self, cells: Sequence[str], figures: Figures) -> None:
        """Add a row to the table begun last, and its figures."""
        self.add(figures)
        self.record.write(f"| {' | '.join(cells)} |\n")

    def end_table(self) -> None:
        """End the table."""
        self.record.write("\n")

    def add(self, figures: Figures) -> None:
        """Add figures alone."""
        self.record.add(self.name, figures)

    @property
    def left(self) -> float:
        """Remaining seconds."""
        return self.ends - time.monotonic()

    def check(self) -> None:
        """Raise :class:`OutOfTime` once the time is over."""
        if self.left <= 0:
            raise OutOfTime("its time was over")

    def each(self, items: Sequence[T], named: Callable[[T], str] = str) -> Iterator[T]:
        """Yield the items while time remains; raises :class:`OutOfTime`, which names the remaining items."""
        for k, item in enumerate(items):
            if self.left <= 0:
                raise OutOfTime(f"not measured: {', '.join(map(named, items[k:]))}")
            yield item

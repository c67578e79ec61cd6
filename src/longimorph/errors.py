"""All errors that a user can encounter: what was found, where, and what to do about it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

TEMPLATE = "template"
"""The stage whose failures concern a patient as a whole, and no pair: registration to the template."""


class LongimorphError(Exception):
    """Base of all expected errors; its text is a complete message for the user."""


@dataclass(frozen=True)
class Problem:
    """One thing that is wrong in one input file.

    ``row`` is the line number in the file (the header is line 1), ``column`` a column or key.
    """

    file: Path | str
    message: str
    row: int | None = None
    column: str | None = None
    value: object = None
    expected: str | None = None
    hint: str | None = None

    def __str__(self) -> str:
        where = [str(self.file)]
        if self.row is not None:
            where.append(f"line {self.row}")
        if self.column is not None:
            where.append(f"'{self.column}'")
        text = f"{', '.join(where)}: {self.message}"
        if self.value is not None:
            text += f"; found {self.value!r}"
        if self.expected is not None:
            text += f"; expected {self.expected}"
        if self.hint is not None:
            text += f". {self.hint}"
        return text


class InputError(LongimorphError):
    """Unusable user input; carries all problems found, not only the first."""

    def __init__(self, problems: Sequence[Problem]) -> None:
        self.problems = tuple(problems)
        count = len(self.problems)
        head = f"{count} problem{'s' if count != 1 else ''} found, nothing was run:"
        super().__init__("\n".join([head, *(f"  {i}. {p}" for i, p in enumerate(self.problems, 1))]))


class Interrupted(LongimorphError):
    """A job was asked to stop before it ended; running the same job again resumes its work."""


class Unusable(LongimorphError):
    """Why one visit or pair cannot be used; ``code`` is a short stable name."""

    def __init__(self, code: str, message: str) -> None:
        self.code, self.message = code, message
        super().__init__(f"{code}: {message}")

    def __reduce__(self) -> tuple[Any, ...]:
        return type(self), (self.code, self.message)


class PairFailure(Unusable):
    """An expected failure of one visit or pair: a row of failures.csv, while the cohort continues.

    ``stage`` is the stage that failed (align, maps, register); ``timepoint`` is the visit responsible, if it
    is one of the two.
    """

    def __init__(self, stage: str, code: str, message: str, timepoint: str | None = None) -> None:
        super().__init__(code, message)
        self.stage, self.timepoint = stage, timepoint

    def __str__(self) -> str:
        return f"{self.stage}: {self.code}: {self.message}"

    def __reduce__(self) -> tuple[Any, ...]:
        return type(self), (self.stage, self.code, self.message, self.timepoint)

"""The day of each visit: from the tables of a BIDS tree, the sessions' names, or their order."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path

from longimorph.bids.names import natural
from longimorph.bids.sources import DAYS_OF, Source
from longimorph.errors import Problem
from longimorph.study import tsv
from longimorph.study.table import parse_number
from longimorph.study.tsv import Table, TableRow

DATING = ("days", "days_since_baseline", "days_from_baseline", "acq_time")
"""The columns that date a visit, the preferred one first."""
MOST_DAYS = 150 * DAYS_OF["years"]
"""Larger numbers are not a time since a baseline, nor an age."""
TOLERANCE_DAYS = 1.0
"""Differences between two columns, or rows of a session, that rounding and the time of day explain."""
MISSING = ("", "n/a", "N/A", "NaN", "nan")
_NAME = re.compile(r"(?P<unit>[a-z]*)(?P<sign>[-+]?)(?P<count>\d+)(?P<after>[a-z]*)", re.IGNORECASE)
_DATE = re.compile(r"((?:19|20)\d\d)-?(\d\d)-?(\d\d)(?:T?\d{4,6})?")
_FIRST = ("bl", "baseline", "base", "screening")

_FILES = {
    "sessions": "{0}/{0}_sessions.tsv",
    "scans": "{0}/SESSION/{0}_SESSION_scans.tsv",
    "participants": "participants.tsv",
}

Moments = dict[str, float]
"""Days by session, relative to an arbitrary day zero of the patient."""


@dataclass
class Calendar:
    """The days of a tree's visits.

    ``column`` and ``unit``: a column of the tables to use instead of the usual ones. ``problems``: those of
    the tables read so far. ``undated``: for each subject with unknown days the most complete table ("" if
    none has any days) and the sessions without a day there.
    """

    root: Path
    source: Source = "auto"
    column: str | None = None
    unit: str = "days"
    problems: list[Problem] = field(default_factory=list)
    undated: dict[str, tuple[str, list[str]]] = field(default_factory=dict)
    _participants: Table | None = None

    def of(self, subject: str, sessions: Sequence[str]) -> Moments | None:
        """Return the day of each session of a subject; None if any is unknown.

        All days of a patient come from one source, since each source counts from its own day zero. If visits
        precede this day zero, it is kept and their days are negative; otherwise the first visit becomes day
        zero. A single visit needs no day.
        """
        if len(sessions) == 1:
            return {sessions[0]: 0.0}
        sources: dict[str, Callable[[str, Sequence[str]], Moments]] = {
            "sessions": self._from_sessions,
            "scans": self._from_scans,
            "participants": self._from_participants,
            "names": lambda _, names: {n: day for n in names if (day := day_of_name(n)) is not None},
            "order": lambda _, names: {n: float(i) for i, n in enumerate(sorted(names, key=natural))},
        }
        wanted = ("sessions", "scans", "participants") if self.source == "auto" else (self.source,)
        most = 0
        self.undated[subject] = ("", list(sessions))
        for name in wanted:
            found = sources[name](subject, sessions)
            unknown = [session for session in sessions if session not in found]
            if not unknown:
                start = max(min(found[session] for session in sessions), 0.0)
                return {session: round(found[session] - start, 4) for session in sessions}
            if len(sessions) - len(unknown) > most or name == "names":
                most = len(sessions) - len(unknown)
                self.undated[subject] = (_FILES.get(name, "").format(subject), unknown)
        return None

    def where(self, subject: str) -> str:
        """Return the files that could contain the days of a subject's visits."""
        names = " or ".join(f"'{name}'" for name in self._columns)
        table = f"{subject}/{subject}_sessions.tsv with session_id and {names}"
        return f"{table}, or {subject}/SESSION/{subject}_SESSION_scans.tsv with filename and acq_time"

    @property
    def _columns(self) -> tuple[str, ...]:
        return (self.column,) if self.column else ("acq_time", "days")

    def _from_sessions(self, subject: str, sessions: Sequence[str]) -> Moments:
        table = self._table(self.root / subject / f"{subject}_sessions.tsv", "session_id")
        return self._moments(table, "session_id")

    def _from_participants(self, subject: str, sessions: Sequence[str]) -> Moments:
        if self._participants is None:
            file = self.root / "participants.tsv"
            self._participants = self._table(file, "participant_id") or Table(str(file), 0, (), ())
        table = self._participants
        rows = tuple(row for row in table.rows if prefixed(row["participant_id"], "sub-") == subject)
        return self._moments(Table(table.name, table.header_line, table.columns, rows), "session_id")

    def _from_scans(self, subject: str, sessions: Sequence[str]) -> Moments:
        by_column: dict[str, Moments] = {}
        for session in sessions:
            folder = self.root / subject / session
            table = self._table(folder / f"{subject}_{session}_scans.tsv", "filename")
            if table is None:
                continue
            own = [row for row in table.rows if row["filename"].startswith("anat/")] or table.rows
            for column in self._known(table):
                days = [self._day(table, row, column) for row in own]
                if known := [day for day in days if day is not None]:
                    by_column.setdefault(column, {})[session] = min(known)
        return self._agreed(by_column, _FILES["scans"].format(subject))

    def _moments(self, table: Table | None, key: str) -> Moments:
        """Return the days from the rows of a table, by the column that gives most of them."""
        if table is None or key not in table.columns:
            return {}
        by_column: dict[str, Moments] = {}
        for column in self._known(table):
            found = by_column[column] = {}
            for row in table.rows:
                day = self._day(table, row, column)
                session = prefixed(row[key], "ses-")
                if day is not None and abs(found.setdefault(session, day) - day) > TOLERANCE_DAYS:
                    told = f"is not the day that an earlier row gives to {session}"
                    self._report(Problem(table.name, told, row.line, column, row[column]))
        return self._agreed(by_column, table.name)

    def _agreed(self, by_column: Mapping[str, Moments], name: str) -> Moments:
        """Return the days of the column that gives most of them; other columns must not contradict it."""
        if not by_column:
            return {}
        column = max(by_column, key=lambda one: len(by_column[one]))
        best = by_column[column]
        for other, days in by_column.items():
            both = [session for session in best if session in days]
            ahead = [best[session] - days[session] for session in both]
            if both and max(ahead) - min(ahead) > TOLERANCE_DAYS:
                told = (
                    f"the columns '{column}' and '{other}' contradict each other on the days between visits"
                )
                hint = f"Choose one with --days-column {column} or --days-column {other}"
                self._report(Problem(name, told, hint=hint))
        return best

    def _known(self, table: Table) -> list[str]:
        return [name for name in ((self.column,) if self.column else DATING) if name in table.columns]

    def _day(self, table: Table, row: TableRow, column: str) -> float | None:
        """Return the day in a cell: a number, or a date; 20240131 is a date."""
        text = row[column]
        number = parse_number(text) if column != "acq_time" and not _DATE.fullmatch(text) else None
        if number is None:
            return day_of_date(text)
        if abs(number * DAYS_OF[self.unit]) > MOST_DAYS:
            told = f"is not a number of {self.unit}"
            self._report(
                Problem(table.name, told, row.line, column, text, "a time, or a date such as 2024-01-31")
            )
            return None
        return number * DAYS_OF[self.unit]

    def _report(self, problem: Problem) -> None:
        if problem not in self.problems:
            self.problems.append(problem)

    def _table(self, file: Path, key: str) -> Table | None:
        if not file.is_file():
            return None
        table, problems = tsv.read_tsv(file, (key, *DATING))
        self.problems += [problem for problem in problems if problem not in self.problems]
        return table


def prefixed(text: str, prefix: str) -> str:
    """Return a label with its prefix, which tables may omit."""
    return text if text.startswith(prefix) else prefix + text


def day_of_date(text: str) -> float | None:
    """Convert a date and time in BIDS format to a day, the time being its fraction; None if invalid."""
    if text in MISSING:
        return None
    compact = _DATE.fullmatch(text)
    try:
        moment = datetime.fromisoformat("-".join(compact.groups()) if compact else text).replace(tzinfo=None)
    except ValueError:
        return None
    return (moment - datetime(1, 1, 1)).total_seconds() / 86400


def day_of_name(session: str) -> float | None:
    """Return the day given by a session's name: a date (20240131), or a time such as M06, 6mo, d90, bl."""
    label = session.removeprefix("ses-")
    if _DATE.fullmatch(label):
        return day_of_date(label)
    if label.lower() in _FIRST:
        return 0.0
    match = _NAME.fullmatch(label)
    word = (match["unit"] or match["after"]).lower() if match is not None else ""
    unit = next((name for name in DAYS_OF if word and name.startswith(word)), None)
    if match is None or unit is None or (match["unit"] and match["after"]):
        return None
    if _DATE.fullmatch(match["count"]):
        return day_of_date(match["count"])
    days = float(match["count"]) * DAYS_OF[unit]
    return None if days > MOST_DAYS else -days if match["sign"] == "-" else days

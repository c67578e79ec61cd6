"""Further columns for the cohort table: age, sex, scanner, … from the tables of a BIDS tree."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from longimorph.bids.choose import listed
from longimorph.bids.days import DATING, MISSING, prefixed
from longimorph.bids.rows import COLUMNS, usable
from longimorph.study import tsv
from longimorph.study.further import ICV, VISIT_COLUMNS
from longimorph.study.repeats import COLUMN as REPEAT_OF
from longimorph.study.tsv import Table, TableRow

NONE = "n/a"
"""What BIDS writes for a value that is not known."""

_KEYS = ("participant_id", "session_id")
_TAKEN = frozenset({*COLUMNS, *VISIT_COLUMNS}) - {ICV}

Visit = tuple[str, str]


@dataclass(frozen=True)
class Covariates:
    """Names of the further columns, their cells by subject and session, and remarks on what was done."""

    columns: tuple[str, ...]
    cells: Mapping[Visit, tuple[str, ...]]
    remarks: tuple[str, ...]

    def repeats(self) -> set[Visit]:
        """The visits that repeat another one."""
        if REPEAT_OF not in self.columns:
            return set()
        place = self.columns.index(REPEAT_OF)
        return {visit for visit, cells in self.cells.items() if cells[place]}


def covariates(root: Path, visits: Sequence[Visit]) -> Covariates:
    """Read ``participants.tsv`` and each subject's ``sessions.tsv`` for these visits.

    A column of both is taken from the sessions, since it may change from visit to visit; where they have no
    value, the cell is ``n/a``. Columns that date the visits are left out. A name that the cohort table or
    ``visits.csv`` uses gets the prefix ``bids_``, but ``repeat_of`` of the sessions keeps its meaning.
    """
    remarks: list[str] = []
    participants = _table(root / "participants.tsv", "participant_id", remarks)
    sessions = {
        subject: _table(root / subject / f"{subject}_sessions.tsv", "session_id", remarks)
        for subject in dict.fromkeys(subject for subject, _ in visits)
    }
    of_all, of_visits = _own([participants]), _own(sessions.values())
    if both := [name for name in of_all if name in of_visits]:
        remarks.append(
            f"columns of both participants.tsv and sessions.tsv, taken from the latter: {listed(both)}"
        )
    names = [*(name for name in of_all if name not in of_visits), *of_visits]
    found: dict[Visit, tuple[str, ...]] = {}
    for subject, session in visits:
        one = _of_participant(participants, subject, session)
        other = _of_session(sessions[subject], session)
        found[subject, session] = tuple(_cell(other if n in of_visits else one, n) for n in names)
    if renamed := [name for name in names if name in _TAKEN]:
        remarks.append(
            f"columns of the BIDS tables written as bids_…, since these names are taken: {listed(renamed)}"
        )
    written = tuple(f"bids_{name}" if name in _TAKEN else name for name in names)
    if REPEAT_OF in of_all and REPEAT_OF not in of_visits:
        written = tuple(f"bids_{name}" if name == REPEAT_OF else name for name in written)
    if REPEAT_OF in written:
        remarks += _name_repeats(written.index(REPEAT_OF), found)
    if own := [name for name in written if name != REPEAT_OF]:
        remarks.append(f"further columns: {listed(own)}")
    return Covariates(written, found, tuple(remarks))


def _name_repeats(place: int, found: dict[Visit, tuple[str, ...]]) -> list[str]:
    """Turn the sessions in the column ``repeat_of`` to timepoints; visits of their own have empty cells.

    Returns remarks on the repeats, also on those of sessions without a row.
    """
    repeats, lost = [], []
    for visit, cells in found.items():
        session = "" if cells[place] in MISSING else prefixed(cells[place], "ses-")
        found[visit] = (*cells[:place], usable(session), *cells[place + 1 :])
        if session:
            repeats.append(" ".join(visit))
            lost += [] if (visit[0], session) in found else [f"{' '.join(visit)} of {session}"]
    said = [f"repeats by repeat_of of sessions.tsv: {listed(repeats)}"] if repeats else []
    return said + ([f"repeats of sessions that have no row: {listed(lost)}"] if lost else [])


def _table(file: Path, key: str, remarks: list[str]) -> Table | None:
    """Read a table, if there is one; what is wrong with it is a remark, since the visits do without it."""
    if not file.is_file():
        return None
    table, problems = tsv.read_tsv(file, (key,))
    remarks += [f"further columns: {problem}" for problem in problems]
    if table is not None and key not in table.columns:
        remarks.append(f"further columns: {table.name} is not used: it has no column {key}")
        return None
    return table


def _own(tables: Iterable[Table | None]) -> list[str]:
    """The names of the columns to carry over, each once, in the order of the tables."""
    names = (name for table in tables if table is not None for name in table.columns)
    return [name for name in dict.fromkeys(names) if name and name not in (*_KEYS, *DATING)]


def _of_participant(table: Table | None, subject: str, session: str) -> list[TableRow]:
    rows = table.rows if table is not None else ()
    own = [row for row in rows if prefixed(row["participant_id"], "sub-") == subject]
    of_visit = [row for row in own if row["session_id"] and prefixed(row["session_id"], "ses-") == session]
    return of_visit or [row for row in own if row["session_id"] in ("", NONE)]


def _of_session(table: Table | None, session: str) -> list[TableRow]:
    rows = table.rows if table is not None else ()
    return [row for row in rows if prefixed(row["session_id"], "ses-") == session]


def _cell(rows: Sequence[TableRow], column: str) -> str:
    """The value on which the rows of a visit agree."""
    values = {row[column] for row in rows} - {""}
    return values.pop() if len(values) == 1 else NONE

"""The rows of a cohort table from a BIDS tree, or everything that stands against them, at once."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from longimorph import paths
from longimorph.bids import tree as trees
from longimorph.bids.choose import (
    FORM,
    Pattern,
    Role,
    candidates,
    in_own_space,
    listed,
    pattern,
    question,
    told,
)
from longimorph.bids.days import Calendar
from longimorph.bids.names import natural
from longimorph.bids.rows import Index, Row, fits_cell, usable
from longimorph.bids.sources import Source
from longimorph.bids.tree import Tree, Volume
from longimorph.errors import InputError, Problem
from longimorph.words import counted

ALONE = "single"
"""The timepoint of a visit whose files name no session."""

_ROLES: tuple[Role, ...] = ("regions", "states", "image")


@dataclass(frozen=True)
class Wishes:
    """What the user asks for: patterns by role (an empty list: by the usual names; None: none at all), and
    what to do with a visit that has no states while others have them."""

    patterns: Mapping[Role, Sequence[str] | None] = field(default_factory=dict)
    missing_states: Literal["stop", "healthy", "skip"] = "stop"
    derivatives: tuple[Path, ...] = ()
    days_from: Source = "auto"
    days_column: str | None = None
    days_unit: str = "days"


Visit = tuple[str, str | None]


class _Indexing:
    """One reading of a tree, which gathers rows, problems and remarks."""

    def __init__(self, tree: Tree, wishes: Wishes) -> None:
        self.tree, self.wishes = tree, wishes
        self.name = paths.display(tree.root)
        self.problems, self.remarks = list(tree.problems), list[str]()
        self.patterns = {role: self._patterns(role) for role in _ROLES}
        self.visits = self._visits()
        self.chosen: dict[Visit, dict[Role, Volume]] = {}
        self.open: dict[Visit, set[str]] = {}  # regions unclear: the pipelines in question

    def run(self) -> Index:
        self._choose("regions")
        self._leave_out()
        self._choose("states")
        self._choose("image")
        self._complete_states()
        rows = self._rows()
        self._check_names(rows)
        if self.problems:
            raise InputError(self.problems)
        return Index(tuple(rows), tuple(self.remarks))

    def _problem(self, message: str, hint: str | None = None, expected: str | None = None) -> None:
        self.problems.append(Problem(self.name, message, expected=expected, hint=hint))

    def _patterns(self, role: Role) -> list[Pattern] | None:
        texts = self.wishes.patterns.get(role, ())
        if texts is None:
            return None
        found = []
        for text in texts:
            one = pattern(text)
            if one is None:
                self._problem(f"--{role} '{text}' cannot be understood", expected=FORM)
            else:
                found.append(one)
                if not any(one.matches(volume) for volume in self.tree.volumes):
                    self._problem(f"--{role} '{text}' matches no file", hint=self._offer(self.tree.volumes))
        return found

    def _visits(self) -> dict[Visit, list[Volume]]:
        """Group the volumes by visit. What names no session is a visit only of a patient without sessions."""
        visits: dict[Visit, list[Volume]] = {}
        for volume in self.tree.volumes:
            visits.setdefault((volume.subject, volume.session), []).append(volume)
        with_sessions = {subject for subject, session in visits if session is not None}
        lost = [visits.pop((subject, None), []) for subject in with_sessions]
        labels = sorted(v.path.name for found in lost for v in found if v.name.suffix == "dseg")
        if labels:
            text = f"{counted(len(labels), 'segmentation')} of no session, though the patient has sessions"
            self.remarks.append(f"{text}: not used ({listed(labels)})")
        return visits

    def _choose(self, role: Role) -> None:
        """Find the one file of each visit that plays the role; ask where there are several."""
        patterns = self.patterns[role]
        if patterns is None:
            return
        unclear: dict[str, list[Volume]] = {}
        for visit, volumes in self.visits.items():
            own = self.chosen.get(visit, {})
            near = {own["regions"].pipeline} if "regions" in own else self.open.get(visit, set())
            if role != "regions" and (not near or (role == "image" and len(near) > 1)):
                continue
            taken = [volume for volume in volumes if volume not in own.values()]
            found = candidates(role, taken, patterns, next(iter(near), None))
            if len(found) > 1:
                unclear[_named(visit)] = found
                if role == "regions":
                    self.open[visit] = {volume.pipeline for volume in found}
            elif found:
                self.chosen.setdefault(visit, {})[role] = found[0]
        if unclear:
            self.problems.append(question(role, self.name, unclear))
        self._remark_choice(role)

    def _remark_choice(self, role: Role) -> None:
        keys = [own[role].key for own in self.chosen.values() if role in own]
        taken = [
            f"{_whole(key)} at {counted(number, 'visit')}" for key, number in Counter(keys).most_common()
        ]
        if taken:
            self.remarks.append(f"{role}: {listed(taken)}")
        without = [_named(visit) for visit, own in self.chosen.items() if role not in own]
        if role == "image" and without and not self.problems:
            visits = f"{counted(len(without), 'visit')} ({listed(without)})"
            self.remarks.append(f"no image at {visits}: their labels are aligned instead")

    def _leave_out(self) -> None:
        """Say which visits have no regions; a problem when none has."""
        without = [_named(visit) for visit in self.visits if visit not in self.chosen]
        if not self.chosen and not self.problems:
            hint = self._offer(v for v in self.tree.volumes if v.name.suffix in ("dseg", "mask", "probseg"))
            self._problem("no visit has a label volume of regions (dseg)", hint)
        elif without:
            text = f"{counted(len(without), 'visit')} left out, without regions: {listed(without)}"
            self.remarks.append(text)

    def _complete_states(self) -> None:
        """Decide on visits without states where others have them: empty would mean without lesions."""
        without = [visit for visit, own in self.chosen.items() if "states" not in own]
        if len(without) == len(self.chosen) or not without or self.problems:
            return
        names = listed(map(_named, without))
        if self.wishes.missing_states == "stop":
            text = f"{counted(len(without), 'visit')} without states, where others have them ({names})"
            hint = "--missing-states healthy takes them as without lesions, skip leaves them out; "
            self._problem(text, hint + "--no-states uses no states at all")
        elif self.wishes.missing_states == "skip":
            self.chosen = {visit: own for visit, own in self.chosen.items() if "states" in own}
            self.remarks.append(f"{counted(len(without), 'visit')} left out, without states: {names}")
        else:
            self.remarks.append(f"{counted(len(without), 'visit')} without states, taken as healthy: {names}")

    def _rows(self) -> list[Row]:
        wishes = self.wishes
        calendar = Calendar(self.tree.root, wishes.days_from, wishes.days_column, wishes.days_unit)
        patients: dict[str, list[str]] = {}
        for subject, session in self.chosen:
            patients.setdefault(subject, []).append(session or ALONE)
        rows, unknown = [], []
        for subject in sorted(patients, key=natural):
            days = calendar.of(subject, patients[subject])
            if days is None:
                unknown.append(subject)
                continue
            self._check_days(subject, days)
            for session in sorted(days, key=lambda name: (days[name], natural(name))):
                own = self.chosen[subject, session if (subject, session) in self.chosen else None]
                files = {role: own[role].path for role in _ROLES if role in own}
                rows.append(Row(usable(subject), usable(session), days[session], files))
        self.problems += calendar.problems
        if unknown:
            self._days_unknown(calendar, unknown)
        if wishes.days_from == "order" and rows:
            self.remarks.append("days are only the order of the visits: rates per year mean nothing")
        return rows

    def _days_unknown(self, calendar: Calendar, unknown: Sequence[str]) -> None:
        if calendar.source == "names":
            hint = "a date (20240131) or a time (M06, 6mo, d90, bl) is needed; or --days-from order"
            self._problem(f"not every session's name of {listed(unknown)} says a day", hint)
            return
        patients = f"{counted(len(unknown), 'patient')} ({listed(unknown)})"
        hint = f"{calendar.where(unknown[0])} would say; --days-column names another column"
        hint += ". Or --days-from names (a date or a month in the session's name), "
        hint += "or --days-from order (0, 1, 2, …)"
        self._problem(f"the days of the visits of {patients} are not known", hint)

    def _check_days(self, subject: str, days: Mapping[str, float]) -> None:
        same = [day for day, number in Counter(days.values()).items() if number > 1]
        for day in same:
            sessions = listed(session for session in days if days[session] == day)
            self._problem(
                f"{subject}: {sessions} are on one day ({day:g})", hint="Each visit needs its own day"
            )

    def _check_names(self, rows: Sequence[Row]) -> None:
        """Names of patients and visits become names of folders, and paths cells of a table."""
        renamed = {old: usable(old) for visit in self.chosen for old in visit if old and old != usable(old)}
        if renamed:
            shown = listed(f"'{old}' as {new}" for old, new in renamed.items())
            self.remarks.append(
                f"{counted(len(renamed), 'name')} written without special characters: {shown}"
            )
        for (patient, timepoint), number in Counter((row.patient, row.timepoint) for row in rows).items():
            if number > 1:
                self._problem(f"{number} visits would be called {patient} {timepoint}", "Rename the folders")
        for path in (path for row in rows for path in row.files.values()):
            if not fits_cell(str(path)):
                self._problem(f"{str(path)!a} cannot stand in a table", "Rename it")

    def _offer(self, volumes: Iterable[Volume]) -> str:
        keys = Counter(volume.key for volume in volumes if in_own_space(volume))
        if not keys:
            return "The files of label volumes end in _dseg, such as sub-01_ses-1_desc-aseg_dseg.nii.gz"
        return f"There are {listed(told(key, keys) for key, _ in keys.most_common())}"


def index(root: Path, wishes: Wishes | None = None) -> Index:
    """Return the cohort of a BIDS tree; raises InputError with all that has to be decided or mended."""
    wishes = wishes or Wishes()
    return _Indexing(trees.read(root, wishes.derivatives), wishes).run()


def _named(visit: Visit) -> str:
    return " ".join(part for part in visit if part)


def _whole(key: tuple[str, tuple[tuple[str, str], ...], str, str]) -> str:
    return f"{key[0]}/" + "_".join([*(f"{name}-{value}" for name, value in key[1]), key[2]])

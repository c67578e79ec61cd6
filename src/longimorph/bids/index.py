"""The rows of a cohort table from a BIDS tree, or all problems that prevent it, reported at once."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from longimorph import paths
from longimorph.bids import tree as trees
from longimorph.bids.choose import (
    FORM,
    OWN,
    Pattern,
    Role,
    candidates,
    is_mask,
    listed,
    pattern,
    question,
    space_of,
    told,
)
from longimorph.bids.covariates import covariates
from longimorph.bids.days import Calendar
from longimorph.bids.names import natural
from longimorph.bids.rows import CohortRow, Index, fits_cell, usable
from longimorph.bids.sources import Source
from longimorph.bids.tree import Tree, Volume
from longimorph.errors import InputError, Problem
from longimorph.io.patterns import matched
from longimorph.text import counted

ALONE = "single"
"""The timepoint of a visit whose files name no session."""

_ROLES: tuple[Role, ...] = ("regions", "states", "image")
_LABELS = ("dseg", "mask", "roi", "lesion", "probseg")
_SPACES = (
    ". It is not known whether the space {} is the scan's own: choose it only if each visit was moved into "
    "it rigidly, since a template changes volumes"
)
_WITHOUT = {"regions": "", "states": ", or use --no-states", "image": ", or use --no-image"}


class Undecided(InputError):
    """A table that cannot be written yet; ``remarks`` are further observations."""

    def __init__(self, problems: Sequence[Problem], remarks: Sequence[str]) -> None:
        self.remarks = tuple(remarks)
        super().__init__(problems)


@dataclass(frozen=True)
class IndexOptions:
    """The user's options: patterns by role (empty list: the usual names; None: role not used), and others.

    ``missing_states``: what to do with a visit without states when others have them.
    """

    patterns: Mapping[Role, Sequence[str] | None] = field(default_factory=dict)
    missing_states: Literal["stop", "healthy", "skip"] = "stop"
    derivatives: tuple[Path, ...] = ()
    days_from: Source = "auto"
    days_column: str | None = None
    days_unit: str = "days"


Visit = tuple[str, str | None]


class _Indexing:
    """A single pass over a tree, collecting rows, problems and remarks."""

    def __init__(self, tree: Tree, wishes: IndexOptions) -> None:
        self.tree, self.wishes = tree, wishes
        self.name = paths.display(tree.root)
        self.problems, self.remarks = list[Problem](), list[str]()
        self.lost: list[Volume] = []  # without session, although the patient has sessions
        self.visits = self._visits()
        self.patterns = {role: self._patterns(role) for role in _ROLES}
        self.chosen: dict[Visit, dict[Role, Volume]] = {}
        self.further: tuple[str, ...] = ()
        self.open: dict[Visit, list[Volume]] = {}  # candidates where the regions are ambiguous

    def run(self) -> Index:
        self._choose("regions")
        self._leave_out()
        self._choose("states")
        self._choose("image")
        self._complete_states()
        rows = self._rows()
        self._check_names(rows)
        self._remark_misnamed()
        if self.problems:
            raise Undecided(self.problems, self.remarks)
        return Index(tuple(rows), tuple(self.remarks), self.further)

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
                self._problem(f"--{role} '{text}' is not a valid pattern", expected=FORM)
            else:
                found.append(one)
                self._check_pattern(role, one)
        return found

    def _check_pattern(self, role: Role, one: Pattern) -> None:
        """Report a pattern that matches no file of a visit, with the available files."""

        def means(volume: Volume) -> bool:
            return one.matches(volume) if role == "regions" else one.matches(volume, space_of(volume))

        if any(means(volume) for volume in self._volumes()):
            return
        of_none = [volume for volume in self.lost if means(volume)]
        what = f"only {self._of_no_session(of_none)}" if of_none else "no file"
        self._problem(f"--{role} '{one.text}' matches {what}", self._offer(role))

    def _volumes(self) -> list[Volume]:
        return [volume for volumes in self.visits.values() for volume in volumes]

    def _of_no_session(self, volumes: Sequence[Volume]) -> str:
        names = listed(sorted(volume.path.name for volume in volumes))
        files = counted(len(volumes), "file")
        return f"{files} without a session, although the patient has sessions ({names})"

    def _visits(self) -> dict[Visit, list[Volume]]:
        """Group the volumes by visit. Files without session are a visit only if the patient has none."""
        visits: dict[Visit, list[Volume]] = {}
        for volume in self.tree.volumes:
            visits.setdefault((volume.subject, volume.session), []).append(volume)
        with_sessions = {subject for subject, session in visits if session is not None}
        self.lost = [volume for subject in with_sessions for volume in visits.pop((subject, None), [])]
        labels = sorted(v.path.name for v in self.lost if v.name.suffix == "dseg")
        if labels:
            text = f"{counted(len(labels), 'segmentation')} without a session, although the patient has some"
            self.remarks.append(f"{text}: not used, because one serves all visits ({listed(labels)})")
        return visits

    def _choose(self, role: Role) -> None:
        """Select the one file of each visit for the role; ask if there are several."""
        patterns = self.patterns[role]
        if patterns is None:
            return
        unclear: dict[str, list[Volume]] = {}
        for visit, volumes in self.visits.items():
            own = self.chosen.get(visit, {})
            near = [own["regions"]] if "regions" in own else self.open.get(visit, [])
            if role != "regions" and (not near or not _alike(role, near)):
                continue
            taken = [volume for volume in volumes if volume not in own.values()]
            found = candidates(role, taken, patterns, near[0] if near else None)
            if len(found) > 1:
                unclear[_named(visit)] = found
                if role == "regions":
                    self.open[visit] = found
            elif found:
                self.chosen.setdefault(visit, {})[role] = found[0]
        if unclear:
            self.problems.append(question(role, self.name, unclear))
        self._check_faults(role)
        self._remark_choice(role)

    def _check_faults(self, role: Role) -> None:
        """Report the selected files that cannot be used."""
        own = [chosen[role] for chosen in self.chosen.values() if role in chosen]
        absent = [paths.display(volume.path) for volume in own if volume.fault == "absent"]
        if absent:
            many = "are links" if absent[1:] else "is a link"
            text = f"{listed(absent)} {many} whose content is missing, chosen for '{role}'"
            self._problem(text, f"With DataLad or git-annex, get the content first{_WITHOUT[role]}")
        for volume in (volume for volume in own if volume.labels):
            other = [n for n in matched(volume.path) if n not in volume.labels]
            if other:
                text = f"{paths.display(volume.path)} would also match posteriors of another kind"
                self._problem(f"{text}: {listed(other)}", "Move either of them to another folder")
        for volume in (volume for volume in own if volume.fault == "misnamed"):
            place = "/".join(part for part in (volume.subject, volume.session) if part)
            text = f"the name of {paths.display(volume.path)} gives another visit than its folder {place}"
            self._problem(text, "Move or rename it")

    def _remark_misnamed(self) -> None:
        used = [volume for own in self.chosen.values() for volume in own.values()]
        stray = [v.path.name for v in self.tree.volumes if v.fault == "misnamed" and v not in used]
        if stray:
            files = f"{counted(len(stray), 'file')} named after a visit other than that of the folder"
            self.remarks.append(f"{files}: not used ({listed(stray)})")

    def _remark_choice(self, role: Role) -> None:
        keys = [own[role].key for own in self.chosen.values() if role in own]
        taken = [
            f"{_whole(key)} for {counted(number, 'visit')}" for key, number in Counter(keys).most_common()
        ]
        if taken:
            self.remarks.append(f"{role}: {listed(taken)}")
        without = [_named(visit) for visit, own in self.chosen.items() if role not in own]
        if role == "image" and without and not self.problems:
            visits = f"{counted(len(without), 'visit')} ({listed(without)})"
            self.remarks.append(f"no image for {visits}: their labels are aligned instead")
        if role == "states" and not taken and not self.problems:
            self._remark_masks()

    def _remark_masks(self) -> None:
        """Report which masks are ignored if no visit has states."""
        keys = Counter(volume.key for volume in self._volumes() if is_mask(volume))
        if keys:
            options = listed(f"--states {told(key, keys)}" for key, _ in keys.most_common())
            self.remarks.append(f"no states; these options would use the masks found: {options}")

    def _leave_out(self) -> None:
        """Report which visits have no regions; a problem if none has."""
        without = [_named(v) for v in self.visits if v not in self.chosen and v not in self.open]
        if not self.chosen and not self.problems:
            lost = [volume for volume in self.lost if volume.name.suffix == "dseg"]
            tail = f"; there are only {self._of_no_session(lost)}" if lost else ""
            self._problem(f"no visit has a label volume for regions (dseg){tail}", self._offer("regions"))
        elif without:
            text = f"{counted(len(without), 'visit')} left out for lack of regions: {listed(without)}"
            self.remarks.append(text)

    def _complete_states(self) -> None:
        """Decide on visits without states when others have them: an empty cell would mean no lesions."""
        without = [visit for visit, own in self.chosen.items() if "states" not in own]
        if len(without) == len(self.chosen) or not without or self.problems:
            return
        names = listed(map(_named, without))
        if self.wishes.missing_states == "stop":
            text = f"{counted(len(without), 'visit')} without states, although others have them ({names})"
            hint = "--missing-states healthy treats them as free of lesions, skip leaves them out; "
            self._problem(text, hint + "--no-states ignores all states")
        elif self.wishes.missing_states == "skip":
            self.chosen = {visit: own for visit, own in self.chosen.items() if "states" in own}
            self.remarks.append(f"{counted(len(without), 'visit')} left out for lack of states: {names}")
        else:
            self.remarks.append(
                f"{counted(len(without), 'visit')} without states treated as healthy: {names}"
            )

    def _rows(self) -> list[CohortRow]:
        wishes = self.wishes
        calendar = Calendar(self.tree.root, wishes.days_from, wishes.days_column, wishes.days_unit)
        patients: dict[str, list[str]] = {}
        for subject, session in self.chosen:
            patients.setdefault(subject, []).append(session or ALONE)
        added = covariates(self.tree.root, [(s, name) for s, names in patients.items() for name in names])
        self.further, again = added.columns, added.repeats()
        rows, unknown = [], []
        for subject in sorted(patients, key=natural):
            days = calendar.of(subject, patients[subject])
            if days is None:
                unknown.append(subject)
                continue
            own_days = {name: day for name, day in days.items() if (subject, name) not in again}
            self._check_days(subject, own_days)
            for session in sorted(days, key=lambda name: (days[name], natural(name))):
                own = self.chosen[subject, session if (subject, session) in self.chosen else None]
                files = {role: own[role].path for role in _ROLES if role in own}
                cells = added.cells[subject, session]
                rows.append(CohortRow(usable(subject), usable(session), days[session], files, cells))
        self.remarks += added.remarks
        self.problems += calendar.problems
        if unknown:
            self._days_unknown(calendar, unknown)
        if wishes.days_from == "order" and rows:
            self.remarks.append("days only number the visits in order: rates per year are meaningless")
        return rows

    def _days_unknown(self, calendar: Calendar, unknown: Sequence[str]) -> None:
        if calendar.source == "names":
            hint = "Names must give a date (20240131) or a time (M06, 6mo, d90, bl); or use --days-from order"
            names = listed(
                dict.fromkeys(name for subject in unknown for name in calendar.undated[subject][1])
            )
            self._problem(f"some session names of {listed(unknown)} do not give a day: {names}", hint)
            return
        patients = f"{counted(len(unknown), 'patient')} ({listed(unknown)})"
        some = [
            f"{s} {listed(names)} in {table}"
            for s in unknown
            for table, names in [calendar.undated[s]]
            if table
        ]
        patients += f" are unknown: no date for {listed(some)}" if some else " are unknown"
        hint = f"Give them in {calendar.where(unknown[0])}; --days-column names another column"
        hint += ". Or use --days-from names (a date or a month in the session's name), "
        hint += "or --days-from order (0, 1, 2, …)"
        self._problem(f"the days of the visits of {patients}", hint)

    def _check_days(self, subject: str, days: Mapping[str, float]) -> None:
        same = [day for day, number in Counter(days.values()).items() if number > 1]
        for day in same:
            sessions = listed(session for session in days if days[session] == day)
            self._problem(
                f"{subject}: {sessions} are on the same day ({day:g})", hint="Each visit needs its own day"
            )

    def _check_names(self, rows: Sequence[CohortRow]) -> None:
        """Check that names of patients and visits can be folder names, and paths can be table cells."""
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
                self._problem(f"{str(path)!a} cannot be written in a table", "Rename it")

    def _offer(self, role: Role) -> str:
        """Return the available choices among the files that belong to a visit."""
        fitting = [v for v in self._volumes() if (v.name.suffix in _LABELS) == (role != "image")]
        dseg = [v for v in fitting if v.name.suffix == "dseg"] if role == "regions" else fitting
        keys = Counter(volume.key for volume in dseg or fitting)
        if keys:
            options = listed(f"--{role} {told(key, keys)}" for key, _ in keys.most_common())
            spaces = sorted({space_of(volume) for volume in dseg or fitting} - {OWN})
            return f"Available: {options}" + (_SPACES.format(listed(spaces)) if spaces else "")
        if role == "regions" and any(volume.name.suffix == "dseg" for volume in self.lost):
            return "A segmentation made once for all visits shows no change: segment each visit separately"
        if role == "image":
            return "Names of images end in a suffix such as _T1w"
        return "Names of label volumes end in _dseg, such as sub-01_ses-1_desc-aseg_dseg.nii.gz"


def index(root: Path, wishes: IndexOptions | None = None) -> Index:
    """Return the cohort of a BIDS tree; raises InputError with everything to decide or correct."""
    wishes = wishes or IndexOptions()
    return _Indexing(trees.read_tree(root, wishes.derivatives), wishes).run()


def _alike(role: Role, regions: Sequence[Volume]) -> bool:
    """Return whether the candidate regions agree on where to look for the other role."""
    pipelines = {volume.pipeline for volume in regions} if role == "image" else set()
    return len(pipelines) <= 1 and len({space_of(volume) for volume in regions}) == 1


def _named(visit: Visit) -> str:
    return " ".join(part for part in visit if part)


def _whole(key: tuple[str, tuple[tuple[str, str], ...], str, str]) -> str:
    return f"{key[0]}/" + "_".join([*(f"{name}-{value}" for name, value in key[1]), key[2]])

"""The table that composes region and state labels into classes, ``classes.tsv``."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from longimorph.errors import InputError, Problem, Unusable
from longimorph.study import tsv
from longimorph.study.labels import LabelCounts, count
from longimorph.study.schema import shown
from longimorph.study.tsv import Table, TableRow
from longimorph.text import counted, names_fluid

REQUIRED = ("class", "regions", "states")
OPTIONAL = ("region", "state", "color", "channels")
BACKGROUND = "background"
HEALTHY = "healthy"
PALETTE = (
    "#4e79a7", "#f28e2b", "#59a14f", "#e15759", "#b07aa1", "#edc948",
    "#76b7b2", "#ff9da7", "#9c755f", "#86bcb6", "#d37295", "#8cd17d",
)  # fmt: skip
_BACKGROUND_COLOR = "#000000"
_NAME = re.compile(r"\w[\w .+()&-]{0,99}")
_COLOR = re.compile(r"#[0-9a-fA-F]{6}")
_RANGE = re.compile(r"(\d{1,18})(?:\s*-\s*(\d{1,18}))?")
_LARGEST_TABLE = 1 << 22
_LONGEST_RANGE = 1 << 16

Spans = tuple[tuple[int, int], ...]


@dataclass(frozen=True)
class ClassRow:
    """One row: the class takes voxels whose region is in ``regions`` and whose state is in ``states``.

    Spans include both ends. None, written ``*``, stands for any region. For states it stands for state 0 and
    every state named by some row of the table: a number that no row names never becomes healthy tissue by
    default. ``channels`` are the channels of posteriors of the regions: those of the first labels of
    ``regions``, in the same order.
    """

    name: str
    regions: Spans | None
    states: Spans | None
    region: str
    state: str
    color: str
    channels: tuple[str, ...] = ()

    @property
    def pathological(self) -> bool:
        """Whether the class is a pathology: its row requires a state other than 0, or names one."""
        required = self.states is not None and any(last > 0 for _, last in self.states)
        return required or self.state.lower() not in ("", HEALTHY)

    def labels_of_channels(self) -> Iterator[tuple[str, int]]:
        """Yield each name in ``channels`` with the label that it stands for."""
        labels = (label for first, last in self.regions or () for label in range(first, last + 1))
        yield from zip(self.channels, labels, strict=False)

    @property
    def fluid(self) -> bool:
        """Whether the class is a fluid by its name or its region's, and not a pathology."""
        return not self.pathological and (names_fluid(self.name) or names_fluid(self.region))


@dataclass(frozen=True)
class ClassTable:
    """The classes in order; the first row that matches a voxel's region and state gives its class."""

    name: str
    rows: tuple[ClassRow, ...]

    @property
    def names(self) -> tuple[str, ...]:
        """The classes' names."""
        return tuple(row.name for row in self.rows)

    @property
    def colors(self) -> tuple[str, ...]:
        """One colour per class, ``#rrggbb``."""
        return tuple(row.color for row in self.rows)

    @property
    def region_names(self) -> tuple[str, ...]:
        """The name under which each class is summed by region; the class's own name when none is given."""
        return tuple(row.region for row in self.rows)

    @property
    def state_names(self) -> tuple[str, ...]:
        """The name under which each class is summed by state; ``healthy``, or the pathology's own name."""
        return tuple(row.state for row in self.rows)

    @property
    def pathological(self) -> tuple[bool, ...]:
        """For each class, whether it is a pathology."""
        return tuple(row.pathological for row in self.rows)

    @property
    def background(self) -> int | None:
        """The index of the class called ``background``, None when there is none."""
        return self.names.index(BACKGROUND) if BACKGROUND in self.names else None

    def named(self, column: Literal["regions", "states"]) -> frozenset[int]:
        """Return the labels that the rows name in a column; only the first ones of long ranges."""
        spans = _all_spans(row.regions if column == "regions" else row.states for row in self.rows)
        return frozenset(
            label for first, last in spans for label in range(first, min(last, first + _LONGEST_RANGE) + 1)
        )

    @property
    def has_wildcards(self) -> bool:
        """Whether some row can take a label that it does not name: any region, or a state of another row."""
        beyond = any(last > 0 for _, last in self._named_states)
        return any(row.regions is None or (row.states is None and beyond) for row in self.rows)

    def unnamed_states(self, states: NDArray[Any]) -> NDArray[np.bool_]:
        """Return, for each state, whether it is neither 0 nor named by any row."""
        return _outside(states, self._named_states)

    def unnamed_regions(self, regions: NDArray[Any]) -> NDArray[np.bool_]:
        """Return, for each region, whether no row names it, so that only ``*`` can take it."""
        return _outside(regions, _all_spans(row.regions for row in self.rows))

    def classify(self, regions: NDArray[Any], states: NDArray[Any] | None = None) -> NDArray[np.int16]:
        """Return the class index of each voxel, -1 where no row matches.

        ``regions`` and ``states`` are integer arrays of the same shape; without ``states`` every state is 0.
        """
        region_bins = _bins(regions, self._region_breaks)
        table = self._first_match
        if states is None:
            zero = int(np.searchsorted(self._state_breaks, 0, side="right"))
            return np.take(np.ascontiguousarray(table[:, zero]), region_bins)
        if states.shape != regions.shape:
            raise ValueError(f"regions have shape {regions.shape}, states {states.shape}")
        state_bins = _bins(states, self._state_breaks)
        return np.take(table.ravel(), region_bins * np.int32(table.shape[1]) + state_bins)

    def lookup(
        self, regions: NDArray[Any], states: NDArray[Any] | None = None, voxel_mm3: float | None = None
    ) -> NDArray[np.int16]:
        """Return the class index of each voxel; raises Unusable naming the labels that match no row.

        The message includes their volume if the volume of a voxel is given.
        """
        index = self.classify(regions, states)
        if index.size and index.min() < 0:
            lost = index < 0
            counts = count(regions[lost], states[lost] if states is not None else None)
            found = "; ".join(text for _, text in self.complaints(counts, voxel_mm3))
            raise Unusable("unknown_label", f"no row of {self.name} matches {found}")
        return index

    def complaints(self, unknown: LabelCounts, voxel_mm3: float | None = None) -> list[tuple[str, str]]:
        """Describe the labels that match no row, each with the column responsible.

        States that no row names are listed separately from other unmatched labels.
        """
        if not len(unknown):
            return []
        strange = np.zeros(len(unknown), bool)
        if unknown.states is not None:
            strange = self.unnamed_states(unknown.states)
        rest, numbers = unknown.where(~strange), unknown.where(strange).by_state()
        told = [("states", numbers.describe(voxel_mm3, "state"))] if len(numbers) else []
        return told + ([("regions", rest.describe(voxel_mm3))] if len(rest) else [])

    def unknown(self, counts: LabelCounts) -> LabelCounts:
        """Return the counted labels that match no row."""
        return counts.where(self.classify(counts.regions, counts.states) < 0)

    @cached_property
    def _region_breaks(self) -> NDArray[np.int64]:
        return _breaks([row.regions for row in self.rows])

    @cached_property
    def _state_breaks(self) -> NDArray[np.int64]:
        return _breaks([self._named_states])

    @cached_property
    def _named_states(self) -> Spans:
        """State 0 and the states named by some row: the meaning of ``*``."""
        return ((0, 0), *_all_spans(row.states for row in self.rows))

    @cached_property
    def _first_match(self) -> NDArray[np.int16]:
        """The class of each (region bin, state bin); bins lie between breaks, bin 0 is negative."""
        table = np.full((len(self._region_breaks) + 1, len(self._state_breaks) + 1), -1, np.int16)
        for index in reversed(range(len(self.rows))):
            in_regions = _covered(self.rows[index].regions, self._region_breaks)
            states = self.rows[index].states
            in_states = _covered(self._named_states if states is None else states, self._state_breaks)
            table[np.ix_(in_regions, in_states)] = index
        return table


def _all_spans(rows: Iterable[Spans | None]) -> Spans:
    return tuple(span for spans in rows if spans is not None for span in spans)


def _outside(labels: NDArray[Any], spans: Spans) -> NDArray[np.bool_]:
    inside = np.zeros(np.shape(labels), bool)
    for first, last in spans:
        inside |= (labels >= first) & (labels <= last)
    return ~inside


def _breaks(spans: Sequence[Spans | None]) -> NDArray[np.int64]:
    """Return the labels at which membership of some span can change, ascending from 0."""
    edges = {0} | {edge for s in spans if s is not None for first, last in s for edge in (first, last + 1)}
    return np.array(sorted(edges), np.int64)


def _covered(spans: Spans | None, breaks: NDArray[np.int64]) -> NDArray[np.intp]:
    """Return the bins that the spans cover; bin b holds the labels from breaks[b - 1] to below breaks[b]."""
    if spans is None:
        return np.arange(1, len(breaks) + 1)
    inside = np.zeros(len(breaks), bool)
    for first, last in spans:
        inside |= (breaks >= first) & (breaks <= last)
    return np.flatnonzero(inside) + 1


def _bins(labels: NDArray[Any], breaks: NDArray[np.int64]) -> NDArray[np.int32]:
    """Return each label's bin, by a look-up table when the labels are small enough."""
    if labels.dtype.kind not in "iu":
        raise TypeError(f"labels must be integers, not {labels.dtype}")
    if labels.size == 0:
        return np.zeros(labels.shape, np.int32)
    low, high = int(labels.min()), int(labels.max())
    if low < 0 or high >= min(_LARGEST_TABLE, 4 * labels.size + 1024):
        return np.searchsorted(breaks, labels, side="right").astype(np.int32)
    table = np.searchsorted(breaks, np.arange(high + 1), side="right").astype(np.int32)
    return np.take(table, labels)


def load_classes(file: Path | str) -> ClassTable:
    """Read the class table ``file``; raises InputError with all its problems."""
    classes, problems = examine_classes(Path(file))
    if problems or classes is None:
        raise InputError(problems)
    return classes


def examine_classes(file: Path) -> tuple[ClassTable | None, list[Problem]]:
    """Read the class table: all problems, and the table (as far as usable) if its columns are present."""
    table, problems = tsv.read_tsv(file, REQUIRED + OPTIONAL)
    if table is None:
        return None, problems
    problems += tsv.check_columns(table, REQUIRED, OPTIONAL)
    if any(column not in table.columns for column in REQUIRED):
        return None, problems
    rows = []
    for position, row in enumerate(table.rows):
        made, found = _read_row(table, row, position)
        rows += [made] if made is not None else []
        problems += found
    problems += _duplicates(table)
    classes = ClassTable(table.name, tuple(rows))
    if not problems:
        problems += _repeated_channels(rows, table)
        problems += _never_reached(classes, table)
    return (classes if rows else None), sorted(problems, key=lambda problem: problem.row or 0)


def _read_row(table: Table, row: TableRow, position: int) -> tuple[ClassRow | None, list[Problem]]:
    problems = _name_problems(table, row)
    spans: dict[str, Spans | None] = {}
    for column in ("regions", "states"):
        spans[column], problem = _read_spans(table, row, column)
        problems += [problem] if problem is not None else []
    if row["color"] and not _COLOR.fullmatch(row["color"]):
        expected = "a colour of the form #rrggbb, such as #4e79a7"
        found = shown(row["color"])
        problems.append(Problem(table.name, "is not a colour", row.line, "color", found, expected))
    if problems:
        return None, problems
    name = row["class"]
    channels, problem = _read_channels(table, row, spans["regions"])
    if problem is not None:
        return None, [problem]
    made = ClassRow(
        name, spans["regions"], spans["states"], row["region"] or name, row["state"], row["color"], channels
    )
    return _with_defaults(made, position), []


def _read_channels(
    table: Table, row: TableRow, regions: Spans | None
) -> tuple[tuple[str, ...], Problem | None]:
    """Return the names in the column ``channels``, of which there may be no more than labels."""
    names = tuple(name.strip() for name in row["channels"].split(",")) if row["channels"] else ()
    labels = sum(last - first + 1 for first, last in regions or ())
    if "" not in names and len(names) <= labels:
        return names, None
    text = "has an empty name" if "" in names else f"has {len(names)} names for {counted(labels, 'label')}"
    expected = "the channels of the first labels of 'regions', in the same order, such as 1,20"
    return (), Problem(table.name, text, row.line, "channels", shown(row["channels"]), expected)


def _with_defaults(row: ClassRow, position: int) -> ClassRow:
    """Fill in the state's name and the colour where the table omits them."""
    state = row.state or (row.name if row.pathological else HEALTHY)
    own = _BACKGROUND_COLOR if row.name == BACKGROUND else PALETTE[position % len(PALETTE)]
    return replace(row, state=state, color=row.color.lower() or own)


def _name_problems(table: Table, row: TableRow) -> list[Problem]:
    name = row["class"]
    if not name:
        return [Problem(table.name, "is empty", row.line, "class", expected="the name of the class")]
    if name == "from":
        text = "cannot be the name of a class: it is the heading of the control table's first column"
        return [Problem(table.name, text, row.line, "class", name)]
    if not _NAME.fullmatch(name):
        expected = "at most 100 letters, digits, spaces and _ - . + ( ) &, beginning with a letter or digit"
        return [Problem(table.name, "is not a valid name", row.line, "class", shown(name), expected)]
    return []


def _read_spans(table: Table, row: TableRow, column: str) -> tuple[Spans | None, Problem | None]:
    text = row[column]
    expected = "labels such as 2,41 or 1001-1035, or * for any"
    if text == "*":
        return None, None
    if not text:
        return None, Problem(table.name, "is empty", row.line, column, expected=expected)
    spans = []
    for part in text.split(","):
        match = _RANGE.fullmatch(part.strip())
        if match is None:
            return None, Problem(table.name, "cannot be read", row.line, column, shown(text), expected)
        first, last = int(match[1]), int(match[2] or match[1])
        if first > last:
            message = f"the range {first}-{last} runs backwards"
            return None, Problem(table.name, message, row.line, column, shown(text), expected)
        spans.append((first, last))
    return tuple(spans), None


def _duplicates(table: Table) -> list[Problem]:
    first: dict[str, TableRow] = {}
    problems = []
    for row in table.rows:
        name = row["class"]
        earlier = first.setdefault(name.lower(), row)
        if name and earlier is not row:
            text = f"is already on line {earlier.line}"
            if earlier["class"] != name:
                text = f"differs only by case from '{earlier['class']}' on line {earlier.line}"
            hint = "Give all labels of a class in one row: 'regions' accepts lists and ranges"
            problems.append(Problem(table.name, text, row.line, "class", shown(name), hint=hint))
    return problems


def _repeated_channels(rows: Sequence[ClassRow], table: Table) -> list[Problem]:
    """Return a problem for each channel that stands for another label in a row above."""
    first: dict[str, tuple[int, int]] = {}
    problems = []
    for row, line in zip(rows, (row.line for row in table.rows), strict=True):
        for name, label in row.labels_of_channels():
            earlier, above = first.setdefault(name.lower(), (label, line))
            if earlier != label:
                text = f"gives label {label} a channel that stands for label {earlier} on line {above}"
                problems.append(Problem(table.name, text, line, "channels", shown(name)))
    return problems


def _never_reached(classes: ClassTable, table: Table) -> list[Problem]:
    """Return a problem for each row whose labels are all taken by rows above it."""
    reached = set(np.unique(classes._first_match).tolist())
    hint = "The first matching row wins: move this row up, or correct its labels"
    text = "can never match: rows above it match all its labels"
    return [
        Problem(table.name, text, row.line, "class", row["class"], hint=hint)
        for index, row in enumerate(table.rows)
        if index not in reached
    ]

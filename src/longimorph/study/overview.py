"""The cohort's labels as read by the class table: volumes per class, and differences of visits."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np
from numpy.typing import NDArray

from longimorph.study import between, schemes
from longimorph.study.classes import ClassTable
from longimorph.study.labels import LabelCounts, millilitres
from longimorph.study.scans import ScanReport
from longimorph.study.table import Cohort, Visit

COLUMNS = ("patient", "timepoint", "days", "class", "region", "state", "voxels", "ml", "by_wildcard")
_CHANGED = 2.0
"""Factor of growth or shrinkage between consecutive visits above which a class is reported."""
_LEAST_MM3 = 100.0
"""Classes smaller than this at both visits may change by any factor."""
_MOST_LABELS = 5
_MOST_SPANS = 6


@dataclass(frozen=True)
class Looked:
    """One visit whose labels could be read.

    ``index`` is the class of each entry of ``counts``; ``volumes`` are those of the classes, (C,) mm³.
    """

    visit: Visit
    counts: LabelCounts
    index: NDArray[np.intp]
    volumes: NDArray[np.float64]
    voxel_mm3: float
    scheme: schemes.Scheme | None

    def by_label(self, column: str) -> dict[int, float]:
        """Return the volume of each label of a column, mm³; empty without states."""
        labels = self.counts.regions if column == "regions" else self.counts.states
        if labels is None:
            return {}
        sizes: dict[int, float] = {}
        for label, voxels in zip(labels.tolist(), self.counts.voxels.tolist(), strict=True):
            sizes[label] = sizes.get(label, 0.0) + voxels * self.voxel_mm3
        return sizes


@dataclass(frozen=True)
class Difference:
    """A difference between the visits of one patient; the most ``weighty`` is reported first."""

    patient: str
    message: str
    weight: tuple[int, float]

    def __str__(self) -> str:
        return f"{self.patient}: {self.message}"


@dataclass(frozen=True)
class Overview:
    """The readable visits of each patient, earliest first, as interpreted by the class table."""

    classes: ClassTable
    patients: dict[str, tuple[Looked, ...]]

    @property
    def visits(self) -> tuple[Looked, ...]:
        """All readable visits, by patient."""
        return tuple(one for visits in self.patients.values() for one in visits)

    def labels_of(self, index: int) -> str:
        """Describe which labels of all scans belong to a class."""
        regions: set[int] = set()
        states: set[int] = set()
        for one in self.visits:
            own = one.index == index
            regions |= set(one.counts.regions[own].tolist())
            if one.counts.states is not None:
                states |= set(one.counts.states[own].tolist())
            elif own.any():
                states.add(0)
        if not regions:
            return "none"
        where = spans(regions)
        return where if states <= {0} else f"state {spans(states)} in {where}"

    def differences(self) -> list[Difference]:
        """Return the differences between the visits of each patient, the most important first."""
        patients = self.patients.items()
        found = [one for name, visits in patients for one in _between(name, visits, self.classes)]
        return sorted(found, key=lambda one: one.weight)

    def rows(self) -> Iterator[tuple[Any, ...]]:
        """Yield one row for each label of each visit, in the order of ``COLUMNS``."""
        for one in self.visits:
            states = one.counts.states if one.counts.states is not None else np.zeros_like(one.counts.regions)
            entries = zip(one.index, one.counts.regions, states, one.counts.voxels, strict=True)
            strange = self.classes.unnamed_regions(one.counts.regions)
            for (index, region, state, voxels), unnamed in zip(entries, strange, strict=True):
                row = self.classes.rows[index]
                wild = ["regions"] if row.regions is None and unnamed else []
                wild += ["states"] if row.states is None and state > 0 else []
                days = f"{one.visit.days:g}"
                size = round(voxels), f"{voxels * one.voxel_mm3 / 1000:.6g}"
                names = one.visit.patient, one.visit.timepoint, days, row.name
                yield *names, int(region), int(state), *size, "+".join(wild)


def overview(cohort: Cohort, classes: ClassTable, reports: Sequence[ScanReport]) -> Overview:
    """Return the overview of a cohort; ``reports`` are those of its visits, in the same order.

    Every label must have a class, as after a check without problems.
    """
    by_visit = dict(zip(cohort.visits, reports, strict=True))
    patients = {
        name: tuple(
            look
            for visit in cohort.scans_of(name)
            if (look := _look(visit, classes, by_visit[visit])) is not None
        )
        for name in cohort.patients()
    }
    return Overview(classes, patients)


def _look(visit: Visit, classes: ClassTable, report: ScanReport) -> Looked | None:
    counts = report.counts
    if counts is None or report.extent is None:
        return None
    index = np.asarray(classes.classify(counts.regions, counts.states), np.intp)
    voxels = np.bincount(index, counts.voxels, len(classes.rows)).astype(np.float64)
    size = report.extent.voxel_mm3
    return Looked(visit, counts, index, voxels * size, size, schemes.of_scan(report, "regions"))


def spans(labels: set[int], most: int = _MOST_SPANS) -> str:
    """Format labels as in a class table, such as ``2,41,1001-1035``; only the first of many."""
    runs: list[list[int]] = []
    for label in sorted(labels):
        if runs and label == runs[-1][1] + 1:
            runs[-1][1] = label
        else:
            runs.append([label, label])
    shown = [f"{first}" if first == last else f"{first}-{last}" for first, last in runs[:most]]
    rest = sum(last - first + 1 for first, last in runs[most:])
    return ",".join(shown) + (f" and {rest} more" if rest else "")


def _between(patient: str, visits: Sequence[Looked], classes: ClassTable) -> Iterator[Difference]:
    """Yield the differences between one patient's visits."""
    named = {one.visit.timepoint: one for one in visits}
    without = [name for name, one in named.items() if one.visit.states is None]
    vanished = {visit.timepoint for visit, _ in between.vanished([one.visit for one in visits])}
    if without and len(without) < len(visits) and not vanished.issuperset(without):
        filled = [name for name in named if name not in without]
        text = f"'states' is empty for {_listed(without)} and given for {_listed(filled)}"
        yield Difference(patient, f"{text}. An empty cell means that the visit has no lesion", (0, 0.0))
    tools = {name: one.scheme.name for name, one in named.items() if one.scheme is not None}
    if len(set(tools.values())) > 1:
        text = ", ".join(f"{name} {tool}" for name, tool in tools.items())
        yield Difference(patient, f"the visits were labelled by different tools: {text}", (1, 0.0))
    for earlier, later in pairwise(visits):
        yield from _jumps(patient, earlier, later, classes)
    for column in ("states", "regions"):
        yield from _absent(patient, visits, column)


def _jumps(patient: str, earlier: Looked, later: Looked, classes: ClassTable) -> Iterator[Difference]:
    """Yield the classes whose volumes more than double or halve from one visit to the next."""
    for index, (before, after) in enumerate(zip(earlier.volumes, later.volumes, strict=True)):
        if index == classes.background or min(before, after) <= 0 or max(before, after) < _LEAST_MM3:
            continue
        factor = float(after / before)
        if max(factor, 1 / factor) > _CHANGED:
            first = f"{millilitres(before)} at {earlier.visit.timepoint}"
            second = f"{millilitres(after)} at {later.visit.timepoint}"
            text = f"'{classes.names[index]}' has {first} and {second}, a factor of {factor:.2g}"
            yield Difference(patient, text, (2, -max(factor, 1 / factor)))


def _absent(patient: str, visits: Sequence[Looked], column: str) -> Iterator[Difference]:
    """Yield, for each visit, the labels of a column that only other visits have, the largest first."""
    with_labels = [one for one in visits if column == "regions" or one.visit.states is not None]
    seen = [(one, one.by_label(column)) for one in with_labels]
    largest: dict[int, float] = {}
    for _, sizes in seen:
        for label, mm3 in sizes.items():
            largest[label] = max(mm3, largest.get(label, 0.0))
    for one, sizes in seen:
        lacking = sorted(largest.keys() - sizes.keys(), key=lambda label: -largest[label])
        if not lacking:
            continue
        shown = [f"{label} ({millilitres(largest[label])})" for label in lacking[:_MOST_LABELS]]
        more = f" and {len(lacking) - len(shown)} more" if len(lacking) > len(shown) else ""
        noun = column[:-1] + ("s" if len(lacking) > 1 else "")
        text = f"{one.visit.timepoint} lacks {noun} {', '.join(shown)}{more}, which another visit has"
        yield Difference(patient, text, (3 if column == "states" else 4, -largest[lacking[0]]))


def _listed(names: Sequence[str]) -> str:
    return ", ".join(names[:3]) + (f" and {len(names) - 3} more" if len(names) > 3 else "")

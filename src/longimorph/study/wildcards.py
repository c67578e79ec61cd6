"""Labels matched only by wildcards of a class table, because no row names them by number.

``*`` in ``regions`` takes any region, even one of another atlas. ``*`` in ``states`` takes, besides 0, any
state that other rows name for other regions. Both may be intended; both are always reported.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import groupby
from operator import attrgetter

import numpy as np

from longimorph.study.classes import ClassTable
from longimorph.study.labels import LabelCounts, amount, millilitres
from longimorph.text import counted

_MOST_NAMED = 8


@dataclass(frozen=True)
class Taken:
    """A label matched by a wildcard of a class, summed over ``visits`` visits.

    ``column`` is ``regions`` or ``states``. ``region`` is the region of a state, None for a label that is
    itself a region.
    """

    name: str
    column: str
    label: int
    region: int | None
    voxels: float
    mm3: float
    visits: int = 1

    def __str__(self) -> str:
        where = "" if self.region is None else f" in region {self.region}"
        seen = f" in {counted(self.visits, 'visit')}" if self.visits > 1 else ""
        return f"{self.label}{where} ({amount(self.voxels)}, {millilitres(self.mm3)}{seen})"


def taken(classes: ClassTable, counts: LabelCounts, voxel_mm3: float) -> list[Taken]:
    """Return which of one visit's labels only the wildcards of the table matched."""
    index = classes.classify(counts.regions, counts.states)
    strange = classes.unnamed_regions(counts.regions)
    states = counts.states if counts.states is not None else np.zeros_like(counts.regions)
    found = []
    for place in np.flatnonzero(index >= 0).tolist():
        row, region, state = classes.rows[index[place]], int(counts.regions[place]), int(states[place])
        size = float(counts.voxels[place]), float(counts.voxels[place]) * voxel_mm3
        if row.regions is None and strange[place]:
            found.append(Taken(row.name, "regions", region, None, *size))
        if row.states is None and state > 0:
            found.append(Taken(row.name, "states", state, region, *size))
    return _summed(found, visits=False)


def together(visits: Iterable[Sequence[Taken]]) -> list[Taken]:
    """Combine the wildcard matches of several visits, summed by class and label."""
    return _summed([one for visit in visits for one in visit], visits=True)


def sentences(found: Sequence[Taken], most: int | None = _MOST_NAMED) -> list[str]:
    """Return one sentence for each class and column: its labels, the largest first, at most ``most``."""
    lines = []
    for (name, column), group in groupby(sorted(found, key=_class_and_column), key=_class_and_column):
        labels = sorted(group, key=lambda one: -one.voxels)
        shown = labels[:most]
        rest = len(labels) - len(shown)
        more = f", and {counted(rest, 'more label')}" if rest else ""
        noun = "region" if column == "regions" else "state"
        plural = "s" if len(labels) > 1 else ""
        lines.append(f"'{name}' matches by * in {column}: {noun}{plural} {', '.join(map(str, shown))}{more}")
    return lines


_class_and_column = attrgetter("name", "column")
_identity = attrgetter("name", "column", "label", "region")


def _summed(found: Sequence[Taken], visits: bool) -> list[Taken]:
    """Sum entries of the same class and label; ``visits`` says whether they come from different visits."""
    groups: dict[object, list[Taken]] = {}
    for one in found:
        groups.setdefault(_identity(one), []).append(one)
    return [
        Taken(
            *_identity(group[0]),
            sum(one.voxels for one in group),
            sum(one.mm3 for one in group),
            sum(one.visits for one in group) if visits else 1,
        )
        for group in groups.values()
    ]

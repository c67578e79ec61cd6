"""The pairs of visits to compare."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import combinations, pairwise
from typing import Literal

from longimorph.study.table import Cohort, Visit

LEAST_REPEATS = 3
"""Fewer pairs of a visit and its repeat say too little about the noise of the study."""

Mode = Literal["consecutive", "baseline", "all"]


@dataclass(frozen=True)
class Pair:
    """Two visits of one patient; change is measured from ``source``, the earlier one, to ``target``."""

    patient: str
    source: Visit
    target: Visit

    @property
    def name(self) -> str:
        """The pair's folder within its patient's: ``<from>__<to>``."""
        return f"{self.source.timepoint}__{self.target.timepoint}"

    @property
    def days(self) -> float:
        """Days from the source to the target, greater than 0 unless the target repeats the source."""
        return self.target.days - self.source.days


@dataclass(frozen=True)
class LeftOut:
    """A patient without any pair, and the reason."""

    patient: str
    reason: str


@dataclass(frozen=True)
class Plan:
    """All pairs, by patient in the order of the table, and the patients without pairs.

    ``repeats`` are pairs of a visit and a repeat of it, which measure noise instead of change.
    """

    pairs: tuple[Pair, ...]
    left_out: tuple[LeftOut, ...]
    repeats: tuple[Pair, ...] = ()

    @property
    def all(self) -> tuple[Pair, ...]:
        """The pairs and the repeats: every registration."""
        return self.pairs + self.repeats

    def of(self, patient: str) -> tuple[Pair, ...]:
        """Return the pairs of one patient, earliest first; empty for an excluded patient."""
        return tuple(pair for pair in self.pairs if pair.patient == patient)

    def patients(self) -> tuple[str, ...]:
        """Return the patients that have at least one pair, in order."""
        return tuple(dict.fromkeys(pair.patient for pair in self.pairs))


def plan_pairs(cohort: Cohort, mode: Mode = "consecutive") -> Plan:
    """Plan the pairs of a cohort.

    ``consecutive`` pairs each visit with the next, ``baseline`` the first with each later one, and ``all``
    every visit with every later one.
    """
    pairs: list[Pair] = []
    left_out: list[LeftOut] = []
    repeats: list[Pair] = []
    for patient in cohort.patients():
        visits = cohort.visits_of(patient)
        if not visits:
            continue  # none of its rows is usable but that of a repeat
        if len(visits) < 2:
            left_out.append(
                LeftOut(patient, f"has only one visit, '{visits[0].timepoint}'; a pair needs two")
            )
        repeats += _repeats(patient, cohort.scans_of(patient))
        pairs += [Pair(patient, source, target) for source, target in _choose(visits, mode)]
    return Plan(tuple(pairs), tuple(left_out), tuple(repeats))


def _repeats(patient: str, scans: tuple[Visit, ...]) -> list[Pair]:
    """The pairs of a visit and each of its repeats."""
    visits = {scan.timepoint: scan for scan in scans if not scan.repeat_of}
    again = (scan for scan in scans if scan.repeat_of in visits)
    return [Pair(patient, visits[scan.repeat_of], scan) for scan in again]


def _choose(visits: tuple[Visit, ...], mode: Mode) -> list[tuple[Visit, Visit]]:
    if mode == "consecutive":
        return list(pairwise(visits))
    if mode == "baseline":
        return [(visits[0], later) for later in visits[1:]]
    return list(combinations(visits, 2))

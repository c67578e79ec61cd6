"""The data of a pair for the pages, read from its files; missing data are empty."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd

from longimorph.report import amounts
from longimorph.report.svg import signed
from longimorph.study.classes import BACKGROUND, ClassTable
from longimorph.tables import columns, floors
from longimorph.verdict import trust
from longimorph.verdict.status import PairStatus, read_status
from longimorph.verdict.trust import ML

_FLOWS = {"moved": "deformation_mm3", "changed": "reallocation_mm3"}
_LEAST_ML = 0.1
"""Smallest change described in words."""
_CROSSED_ML = 0.5
_TOLD = 0.4
"""Width of a range, as a share of the change, up to which the data count as deciding an open question."""
_MOST_ILL, _MOST_OTHERS = 12, 4


@dataclass(frozen=True)
class Amount:
    """A class's row of ``changes.csv``, in mL; the uncertainties are ±.

    ``moved_by_matrix`` and ``changed_by_matrix`` are what the control matrix alone says of the change, NaN
    where it leaves the question open; the low and high numbers are the ranges of the two changes. A change
    below its floor may be noise alone; one whose 90 % interval contains 0 may be zero. NaN where no floor or
    interval is known.
    """

    name: str
    before: float
    after: float
    moved: float
    changed: float
    rest: float
    moved_uncertainty: float
    changed_uncertainty: float
    moved_by_matrix: float = math.nan
    changed_by_matrix: float = math.nan
    moved_low: float = math.nan
    moved_high: float = math.nan
    changed_low: float = math.nan
    changed_high: float = math.nan
    moved_floor: float = math.nan
    changed_floor: float = math.nan
    total_floor: float = math.nan
    moved_90_low: float = math.nan
    moved_90_high: float = math.nan
    changed_90_low: float = math.nan
    changed_90_high: float = math.nan

    def doubt(self, kind: str) -> str:
        """Why ``moved``, ``changed`` or ``total`` may be zero; empty where it is not, and where it is 0."""
        value = float(getattr(self, kind))
        if floors.below(value, getattr(self, f"{kind}_floor", math.nan)):
            return "below the noise floor"
        low, high = (getattr(self, f"{kind}_90_{side}", math.nan) for side in ("low", "high"))
        return "its 90 % interval contains 0" if value and low <= 0 <= high else ""

    @property
    def total(self) -> float:
        """Change of the class's volume."""
        return self.after - self.before

    @property
    def open(self) -> bool:
        """Whether the control matrix leaves the question to the data."""
        return math.isfinite(self.moved_low) and math.isnan(self.moved_by_matrix)

    @property
    def decided(self) -> str:
        """What decided an open question; empty for a question that the control matrix decides."""
        if not self.open:
            return ""
        width = self.moved_high - self.moved_low
        if width <= max(_TOLD * (abs(self.moved) + abs(self.changed)), _LEAST_ML):
            return "decided by the data"
        return "the data cannot tell"

    @property
    def certain(self) -> bool:
        """Whether one of the two changes exceeds its uncertainty and is large enough to be reported."""
        both = ((self.moved, self.moved_uncertainty), (self.changed, self.changed_uncertainty))
        return any(
            abs(value) >= max(_LEAST_ML, 0.0 if math.isnan(uncertainty) else uncertainty)
            for value, uncertainty in both
        )


@dataclass(frozen=True)
class PairResults:
    """A pair of visits: ``status`` as in ``status.json``; the amounts are empty if it failed."""

    patient: str
    source: str
    target: str
    days: float
    status: PairStatus
    amounts: tuple[Amount, ...]
    flows: pd.DataFrame
    convergence: pd.DataFrame
    folder: Path

    @property
    def name(self) -> str:
        """``<from>__<to>``, the name of the pair's folder."""
        return f"{self.source}__{self.target}"

    @property
    def name_in_cohort(self) -> tuple[str, str, str]:
        """Patient and visits of the pair."""
        return self.patient, self.source, self.target

    @property
    def title(self) -> str:
        """Describe the pair in words."""
        return f"{self.source} to {self.target}"

    @property
    def ok(self) -> bool:
        """Whether the pair has numbers."""
        return bool(self.status.ok and self.amounts)

    @property
    def inner(self) -> tuple[Amount, ...]:
        """The amounts of all classes but the background."""
        return tuple(amount for amount in self.amounts if amount.name != BACKGROUND)

    @property
    def control(self) -> str:
        """Name what decided between deformation and reallocation."""
        return amounts.control_of(self.status)

    def gross(self, kind: str) -> float:
        """Volume exchanged between tissue classes, in mL: half the sum of the classes' net changes.

        Opposite flows cancel within a class, and exchange with the background is excluded. ``kind``:
        ``moved`` or ``changed``, or ``rest`` for the unexplained volume.
        """
        if kind == "rest":
            return amounts.left([a.name for a in self.amounts], [a.rest for a in self.amounts], BACKGROUND)
        return amounts.passed(self.flows, _FLOWS[kind], BACKGROUND)


def load_pair_results(
    row: Mapping[str, Any], folder: Path, classes: Sequence[str], changes: pd.DataFrame | None = None
) -> PairResults:
    """Read a pair from its folder; ``row`` holds ``patient``, ``from``, ``to`` and ``days``.

    ``changes``: the patient's ``changes.csv``, which has the noise floors; without it there are none.
    """
    status = read_status(folder)
    if status.verdict is not None:  # with the days between the visits, which the registration does not know
        status = trust.dated(status, float(row["days"]))
    flows = columns.read_table(folder / "transitions.csv")
    for name in columns.FLOWS:
        flows[name] = pd.to_numeric(flows[name]) / ML
    patient, source, target = (str(row[key]) for key in ("patient", "from", "to"))
    if changes is None:
        changes = columns.read_table(folder / "changes.csv")
    own = changes[(changes["from"] == source) & (changes["to"] == target)]
    known, steps = amounts_in(own, classes), _convergence(folder / "convergence.csv")
    return PairResults(patient, source, target, float(row["days"]), status, known, flows, steps, folder)


def amounts_in(changes: pd.DataFrame, classes: Sequence[str]) -> tuple[Amount, ...]:
    """The amounts of one pair's rows of ``changes.csv`` in the order of ``classes``; empty if it failed."""
    known = {str(row["class"]): row for row in changes.to_dict("records") if row["status"] == "ok"}
    return tuple(_amount(name, known[name]) for name in classes if name in known)


def _amount(name: str, row: Mapping[Any, Any]) -> Amount:
    keys = (*columns.VOLUMES, *columns.UNCERTAINTIES[:2], *columns.UNCERTAINTIES[4:])
    known = (*keys, *columns.FLOORS, *columns.INTERVALS)
    return Amount(name, *(float(row.get(key, math.nan)) / ML for key in known))


def _convergence(table: Path) -> pd.DataFrame:
    if not table.exists():
        return pd.DataFrame()
    return pd.read_csv(table)


def headline(pair: PairResults) -> str:
    """The pair in one sentence: the control matrix, since it determines the split, and `gross` in mL."""
    if not pair.ok:
        return "No result for this pair."
    return amounts.sentence(pair.control, *(pair.gross(kind) for kind in ("moved", "changed", "rest")))


def of_illness(pair: PairResults, classes: ClassTable) -> list[str]:
    """Changes of the pathological classes, the largest first; one clause each."""
    ill = {row.name for row in classes.rows if row.pathological}
    found = sorted((a for a in pair.amounts if a.name in ill), key=_size, reverse=True)
    more = len(found) - _MOST_ILL
    return [*map(_clause, found[:_MOST_ILL]), *([f"and {more} more"] if more > 0 else [])]


def of_others(pair: PairResults, classes: ClassTable) -> list[str]:
    """The largest changes of the other classes that exceed their uncertainty.

    Exchange with the background is included if it is large.
    """
    ill = {row.name for row in classes.rows if row.pathological}
    found = [a for a in pair.amounts if a.name not in ill and a.name != BACKGROUND and a.certain]
    clauses = [_clause(a, told=False) for a in sorted(found, key=_size, reverse=True)[:_MOST_OTHERS]]
    crossed = amounts.crossed(pair.flows, _FLOWS.values(), BACKGROUND) if pair.ok else 0.0
    if crossed >= _CROSSED_ML:
        clauses.append(
            f"{crossed:.1f} mL passed between tissue and background; the sums above exclude this volume, "
            "which reflects the outline of the brain mask"
        )
    return clauses


def _size(amount: Amount) -> float:
    return max(abs(amount.moved), abs(amount.changed))


def _clause(amount: Amount, told: bool = True) -> str:
    """Describe one class: its volumes, and its change by either mechanism with its uncertainty or range.

    ``told``: also say what decided an open question.

    A change whose parts do not exceed their uncertainty is still a change: the sentence says that its split
    is uncertain, not that nothing changed.
    """
    volumes = f"{amount.name} {amount.before:.1f} → {amount.after:.1f} mL"
    if not amount.certain and abs(amount.total) < _LEAST_ML:
        return f"{volumes}: no change"
    if amount.open:
        parts = [
            _between(amount.moved, (amount.moved_low, amount.moved_high), "deformation"),
            _between(amount.changed, (amount.changed_low, amount.changed_high), "reallocation"),
        ]
    else:
        parts = [
            _measured(amount.moved, amount.moved_uncertainty, "deformation", amount.doubt("moved")),
            _measured(amount.changed, amount.changed_uncertainty, "reallocation", amount.doubt("changed")),
        ]
    parts += [f"{signed(amount.rest)} unexplained"] if abs(amount.rest) >= _LEAST_ML else []
    said = amount.certain or (amount.doubt("moved") and amount.doubt("changed"))
    ending = "" if said else "; neither part can be told from zero within its uncertainty"
    if amount.open:
        ending = f"; {amount.decided}" if told else ""
    return f"{volumes}: {', '.join(parts)}{ending}"


def _between(value: float, bounds: tuple[float, float], words: str) -> str:
    low, high = (signed(bound) for bound in bounds)
    return f"{signed(value)} ({low} to {high}) {words}"


def _measured(value: float, uncertainty: float, words: str, doubt: str) -> str:
    known = f" ± {uncertainty:.1f}" if math.isfinite(uncertainty) else ""
    remark = f" ({doubt})" if doubt and round(value, 1) else ""
    return f"{signed(value)}{known} {words}{remark}"

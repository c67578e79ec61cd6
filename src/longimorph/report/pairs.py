"""What the pages know of a pair: its files, read as they are; what is not there is empty."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd

from longimorph import trust
from longimorph.report.svg import signed
from longimorph.tables import columns

ML = 1000.0
"""mm³ in a millilitre."""

_MATTERS_ML = 0.5
_DOUBTFUL, _UNEXPLAINED = 0.5, 0.25


@dataclass(frozen=True)
class Amount:
    """A class's row of ``changes.csv``, in mL; the doubts are ±."""

    name: str
    before: float
    after: float
    moved: float
    changed: float
    rest: float
    moved_doubt: float
    changed_doubt: float

    @property
    def total(self) -> float:
        """Change of the class's volume."""
        return self.after - self.before


@dataclass(frozen=True)
class Pair:
    """A pair of visits: ``status`` as in ``status.json``, the amounts empty when it failed."""

    patient: str
    source: str
    target: str
    days: float
    status: Mapping[str, Any]
    amounts: tuple[Amount, ...]
    flows: pd.DataFrame
    convergence: pd.DataFrame
    folder: Path

    @property
    def name(self) -> str:
        """``<from>__<to>``, the name of its folder."""
        return f"{self.source}__{self.target}"

    @property
    def title(self) -> str:
        """The pair in words."""
        return f"{self.source} to {self.target}"

    @property
    def ok(self) -> bool:
        """Whether it has numbers."""
        return bool(self.status.get("status") == "ok" and self.amounts)

    def gross(self, kind: str) -> float:
        """How much volume went from one class to another by one way, in mL."""
        return sum(abs(float(getattr(amount, kind))) for amount in self.amounts) / 2


def load(row: Mapping[str, Any], folder: Path, classes: Sequence[str]) -> Pair:
    """Read a pair from its folder; ``row`` holds ``patient``, ``from``, ``to`` and ``days``."""
    status = json.loads((folder / "status.json").read_text(encoding="utf-8"))
    status |= trust.judged(status, float(row["days"]))
    flows = columns.read(folder / "transitions.csv")
    for name in columns.FLOWS:
        flows[name] = pd.to_numeric(flows[name]) / ML
    patient, source, target = (str(row[key]) for key in ("patient", "from", "to"))
    known, steps = (
        amounts_in(columns.read(folder / "changes.csv"), classes),
        _convergence(folder / "convergence.csv"),
    )
    return Pair(patient, source, target, float(row["days"]), status, known, flows, steps, folder)


def amounts_in(changes: pd.DataFrame, classes: Sequence[str]) -> tuple[Amount, ...]:
    """The amounts of one pair's rows of ``changes.csv`` in the order of ``classes``; none where it failed."""
    known = {str(row["class"]): row for row in changes.to_dict("records") if row["status"] == "ok"}
    return tuple(_amount(name, known[name]) for name in classes if name in known)


def _amount(name: str, row: Mapping[Any, Any]) -> Amount:
    keys = (*columns.VOLUMES, *columns.DOUBTS[:2])
    return Amount(name, *(float(row.get(key, math.nan)) / ML for key in keys))


def _convergence(table: Path) -> pd.DataFrame:
    if not table.exists():
        return pd.DataFrame()
    return pd.read_csv(table)


def headline(pair: Pair) -> str:
    """The pair in one sentence, gross volumes in mL."""
    if not pair.ok:
        return "No result for this pair."
    return (
        f"{pair.gross('moved'):.1f} mL of tissue moved, {pair.gross('changed'):.1f} mL changed its kind "
        f"in place, {pair.gross('rest'):.1f} mL stay unexplained."
    )


def strongest(pair: Pair, background: str | None, most: int = 3) -> list[str]:
    """The classes that changed most, each as a clause; those that changed by less than 0.1 mL are none."""
    inner = [a for a in pair.amounts if a.name != background]
    inner.sort(key=lambda a: -max(abs(a.moved), abs(a.changed)))
    shown = [a for a in inner if max(abs(a.moved), abs(a.changed)) >= 0.1][:most]
    return [
        f"{a.name} {signed(a.total)} mL: {signed(a.moved)} moved, {signed(a.changed)} changed kind"
        + (f", {signed(a.rest)} unexplained" if abs(a.rest) >= 0.1 else "")
        for a in shown
    ]


def warnings(pair: Pair, background: str | None) -> list[str]:
    """What asks for a look, as sentences; a failed pair has the one that says why."""
    if not pair.ok:
        code, stage = pair.status.get("status", "unknown"), pair.status.get("stage")
        where = f" in the stage {stage}" if stage else ""
        why = _sentence(str(pair.status.get("message") or "The reason is in its log."))
        return [f"This pair failed{where} ({code}): {why}"]
    found = [_sentence(str(text)) for text in pair.status.get("warnings") or ()]
    inner = [a for a in pair.amounts if a.name != background]
    return found + _doubtful(inner) + _unexplained(inner)


def _doubtful(amounts: Sequence[Amount]) -> list[str]:
    sentences = []
    for amount in amounts:
        for kind, words in (("moved", "moved"), ("changed", "changed kind")):
            value, doubt = float(getattr(amount, kind)), float(getattr(amount, f"{kind}_doubt"))
            if abs(value) >= _MATTERS_ML and doubt > _DOUBTFUL * abs(value):
                said = f"{signed(value)} ± {doubt:.1f} mL"
                sentences.append(f"The uncertainty is large: {amount.name}, {words}, {said}.")
    return sentences


def _unexplained(amounts: Sequence[Amount]) -> list[str]:
    return [
        f"Much is unexplained: {a.name}, {signed(a.rest)} mL of a change of {signed(a.total)} mL."
        for a in amounts
        if abs(a.rest) >= _MATTERS_ML and abs(a.rest) > _UNEXPLAINED * (abs(a.moved) + abs(a.changed))
    ]


def _sentence(text: str) -> str:
    return text if text.endswith((".", "!", "?")) else f"{text}."

"""Single lesions on a patient's page: a table for each pair, with links into the viewer.

``sections(folder)`` reads the patient's ``lesions.csv``; ``lesions.html`` has the macro that shows a pair's.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from longimorph.maps.lesion_matching import EVENTS, STABLE
from longimorph.report.svg import signed
from longimorph.tables import columns
from longimorph.tables.lesions import REST
from longimorph.text import counted

MOST_SHOWN = 30
"""Maximum number of lesions of a pair in its table; the file has all of them."""


@dataclass(frozen=True)
class Line:
    """A lesion as the table shows it, in mm³; ``place``: the fragment that opens the viewer there."""

    name: str
    kind: str
    event: str
    before: str
    after: str
    change: str
    moved: str
    changed: str
    place: str
    at: str


@dataclass(frozen=True)
class Section:
    """The lesions of a pair: how many there are of each kind, those shown, and how many are not."""

    summary: str
    lines: tuple[Line, ...]
    left_out: int


def sections(folder: Path) -> dict[tuple[str, str], Section]:
    """The lesions of each pair that has any, by the names of its visits."""
    found: dict[tuple[str, str], list[Mapping[str, Any]]] = {}
    table = columns.read_table(folder / "lesions.csv")
    for row in table.to_dict("records"):
        if row["status"] == "ok" and row["event"] != REST:
            found.setdefault((row["from"], row["to"]), []).append({str(k): v for k, v in row.items()})
    return {names: _section(rows) for names, rows in found.items()}


def _section(rows: Sequence[Mapping[str, Any]]) -> Section:
    """Lesions that changed come first, the largest change before the others."""
    counts = Counter(row["event"] for row in rows)
    told = ", ".join(f"{counts[event]} {event}" for event in EVENTS if counts[event])
    order = sorted(rows, key=lambda row: (row["event"] == STABLE, -abs(row["change_mm3"])))
    shown = order[:MOST_SHOWN]
    summary = f"{counted(len(rows), 'lesion')}: {told}."
    return Section(summary, tuple(map(_line, shown)), len(rows) - len(shown))


def _line(row: Mapping[str, Any]) -> Line:
    at = ", ".join(f"{row[name]:.0f}".replace("-", "−") for name in columns.PLACE)
    return Line(
        row["lesion"],
        row["class"],
        row["event"],
        f"{row['volume_from_mm3']:.0f}",
        f"{row['volume_to_mm3']:.0f}",
        _within(row["change_mm3"], row["change_uncertainty_mm3"]),
        _within(row["deformation_mm3"], row["deformation_uncertainty_mm3"]),
        _within(row["reallocation_mm3"], row["reallocation_uncertainty_mm3"]),
        "#" + row["page"].partition("#")[2],
        at,
    )


def _within(value: float, uncertainty: float) -> str:
    return signed(value, 0) + ("" if math.isnan(uncertainty) else f" ± {uncertainty:.0f}")

"""Closure on a patient's page: the change over two consecutive steps, beside the pair measured directly.

``section(folder, colors)`` reads the patient's ``closure.csv``; ``closure.html`` has the macro that shows it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import pandas as pd
from markupsafe import Markup

from longimorph.report.svg import Drawing, axis_in_ml, hint, signed
from longimorph.tables import columns

MOST_DRAWN = 12
"""Maximum number of triples drawn, those that differ most; the table beside the figures has all of them."""

_WIDTH, _LEFT, _RIGHT = 560.0, 110.0, 46.0
_ROW, _TOP, _BOTTOM, _KIND = 40.0, 6.0, 36.0, 15.0
_KINDS = (("deformation", "moved", "deformation"), ("reallocation", "changed", "reallocation"))
_ML = 1000.0


@dataclass(frozen=True)
class Figure:
    """Three visits whose three pairs are all done: ``title``, ``drawing``, and number of discrepancies.

    A discrepancy is a difference that exceeds its uncertainty.
    """

    title: str
    drawing: Markup
    apart: int
    numbers: int


def section(folder: Path, colors: Mapping[str, str]) -> list[Figure]:
    """The figures of a patient's folder, those that differ most first; empty without such triples.

    ``colors``: class → colour, for the classes to show, in that order.
    """
    file = folder / "closure.csv"
    if not file.exists():
        return []
    table = columns.read_table(file)
    table = table[table["class"].isin(list(colors))]
    figures = [_figure(rows, colors) for _, rows in table.groupby(["from", "via", "to"], sort=False)]
    return sorted(figures, key=lambda figure: -figure.apart / max(figure.numbers, 1))[:MOST_DRAWN]


def _figure(rows: pd.DataFrame, colors: Mapping[str, str]) -> Figure:
    first = rows.iloc[0]
    apart = sum(int(_apart(rows, kind).sum()) for kind, _, _ in _KINDS)
    title = f"{first['from']} to {first['to']}, directly and via {first['via']}"
    return Figure(title, _draw(rows, colors, title), apart, len(_KINDS) * len(rows))


def _apart(rows: pd.DataFrame, kind: str) -> pd.Series:
    return rows[f"{kind}_gap_mm3"].abs() > rows[f"{kind}_gap_uncertainty_mm3"]


def _draw(rows: pd.DataFrame, colors: Mapping[str, str], title: str) -> Markup:
    height = _TOP + _ROW * len(rows) + _BOTTOM
    drawing = Drawing(_WIDTH, height, title)
    values = [rows[f"{kind}_{way}_mm3"] / _ML for kind, _, _ in _KINDS for way in ("direct", "summed")]
    ends = _TOP, height - _BOTTOM
    across = axis_in_ml(drawing, pd.concat(values).tolist(), (_LEFT, _WIDTH - _RIGHT), ends)
    for place, row in enumerate(rows.to_dict("records")):
        top = _TOP + place * _ROW
        name = str(row["class"])
        drawing.box((0, top + 9), (11, 11), "swatch", colors[name])
        drawing.label((17, top + 15), name, _LEFT - 25, "strong")
        for line, (kind, style, words) in enumerate(_KINDS):
            direct, summed, uncertainty = (
                columns.number(row[f"{kind}_{part}_mm3"]) / _ML
                for part in ("direct", "summed", "gap_uncertainty")
            )
            y = top + 10 + line * _KIND
            drawing.line((across(summed - uncertainty), y), (across(summed + uncertainty), y), "uncertainty")
            drawing.line((across(direct), y - 5), (across(direct), y + 5), f"line {style}")
            said = f"{name}, {words}: {signed(direct, 2)} mL directly, {signed(summed, 2)} mL in two steps"
            hint(drawing.dot((across(summed), y), 3, f"mark {style}"), f"{said}, ± {uncertainty:.2f}")
    return drawing.markup()

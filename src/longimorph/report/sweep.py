"""The page of a sweep: its table, and for each class how the split depends on each setting."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pandas as pd
from markupsafe import Markup

from longimorph.report.page import Builder, write_page
from longimorph.report.svg import Drawing, Point, hint, plain, reach, signed, ticks

PARTS = {"deformation_mm3": "moved", "reallocation_mm3": "changed", "unexplained_mm3": "all"}
"""The columns that a picture shows, and their styles."""

_WIDTH, _HEIGHT = 330.0, 190.0
_LEFT, _RIGHT, _TOP, _BOTTOM = 50.0, 10.0, 12.0, 36.0
_APART = 6.0
_LEAST_ML = 0.1
_HIDDEN = ("combination",)


def sweep_page(table: pd.DataFrame, settings: Sequence[str], out: Path) -> None:
    """Write the page of a sweep's ``table`` to ``out``; ``settings`` are its columns that vary."""
    builder = Builder()
    pairs = [
        {
            "title": f"{patient}: {source} to {target}",
            "pictures": builder.part("The pictures", _pictures, rows, settings),
            "failed": sorted(set(rows["combination"][rows["status"] != "ok"])),
        }
        for (patient, source, target), rows in table.groupby(["patient", "from", "to"], sort=False)
    ]
    shown = [name for name in table.columns if name not in _HIDDEN]
    write_page(
        out,
        "sweep.html",
        [],
        pairs=pairs,
        columns=shown,
        rows=[[_cell(row[name]) for name in shown] for row in table.to_dict("records")],
        combinations=table["combination"].nunique(),
        settings=list(settings),
        problems=builder.problems,
    )


def _pictures(rows: pd.DataFrame, settings: Sequence[str]) -> list[dict[str, Any]]:
    """One entry per class: its name and a picture per setting that takes several values."""
    varied = [name for name in settings if rows[name].nunique() > 1]
    found = []
    for name, group in rows.groupby("class", sort=False):
        drawn = [{"setting": setting, "drawing": picture(group, setting)} for setting in varied]
        found.append({"class": name, "drawings": drawn})
    return found


def picture(rows: pd.DataFrame, setting: str) -> Markup:
    """The parts of one class's change in mL, over the values of ``setting``.

    A dot is the median over the other settings, its line goes from the least to the largest of them.
    """
    values = list(dict.fromkeys(rows[setting]))
    numbers = rows[list(PARTS)].astype(float) / 1000
    low, high = reach(numbers.to_numpy().ravel().tolist(), _LEAST_ML)
    drawing = Drawing(_WIDTH, _HEIGHT, f"Change over {setting}")

    def place(position: float, ml: float) -> Point:
        x = _LEFT + (position + 0.5) / len(values) * (_WIDTH - _LEFT - _RIGHT)
        return x, _TOP + (high - ml) / (high - low) * (_HEIGHT - _TOP - _BOTTOM)

    for tick in ticks(low, high, 4):
        y = place(0, tick)[1]
        drawing.line((_LEFT, y), (_WIDTH - _RIGHT, y), "axis" if tick == 0 else "grid")
        drawing.text((_LEFT - 5, y), plain(tick), "small", "end")
    for position, value in enumerate(values):
        drawing.text((place(position, 0)[0], _HEIGHT - _BOTTOM + 12), str(value), "small", "middle")
    drawing.text((_WIDTH - _RIGHT, _HEIGHT - 7), setting, "small", "end")
    drawing.text((4, _HEIGHT - 7), "mL", "small")
    for shift, (column, kind) in zip((-_APART, 0.0, _APART), PARTS.items(), strict=True):
        way = []
        for position, value in enumerate(values):
            found = numbers[column][rows[setting] == value].dropna()
            if found.empty:
                continue
            ends = [place(position, ml) for ml in (found.min(), found.median(), found.max())]
            least, middle, most = ((x + shift, y) for x, y in ends)
            drawing.line(least, most, f"doubt {kind}")
            said = f"{column.removesuffix('_mm3')}, {setting} {value}: {signed(found.median(), 2)} mL"
            hint(drawing.dot(middle, 3, f"mark {kind}"), said)
            way.append(middle)
        drawing.way(way, f"line {kind}")
    return drawing.markup()


def _cell(value: Any) -> dict[str, Any]:
    """A cell of the table: its text, and whether it is a number."""
    if isinstance(value, str):
        return {"text": value, "number": False}
    return {
        "text": "" if value is None or pd.isna(value) else f"{value:.4g}".replace("-", "−"),
        "number": True,
    }

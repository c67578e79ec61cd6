"""The page of a sweep: each combination's result for a pair, and each setting's effect on the split."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pandas as pd
from markupsafe import Markup

from longimorph.report import amounts
from longimorph.report.page import Builder, write_page
from longimorph.report.svg import Drawing, Point, hint, plain, reach, signed, ticks
from longimorph.study.classes import BACKGROUND
from longimorph.verdict.trust import ML

PARTS = {
    "deformation_mm3": ("moved", "deformation"),
    "reallocation_mm3": ("changed", "reallocation"),
    "unexplained_mm3": ("all", "unexplained"),
}
"""The columns shown in a figure, with their styles and labels."""

_WIDTH, _HEIGHT = 330.0, 190.0
_LEFT, _RIGHT, _TOP, _BOTTOM = 50.0, 10.0, 12.0, 36.0
_APART = 5.0
_LEAST_ML = 0.1
_LEAST_ROOM = 34.0  # for the name of a value


def sweep_page(table: pd.DataFrame, settings: Sequence[str], command: str, out: Path) -> None:
    """Write the page of a sweep's ``table`` to ``out``.

    ``settings`` are its columns that vary; ``command`` reproduces the sweep.
    """
    builder = Builder()
    varied = [name for name in settings if table[name].nunique() > 1]
    pairs = [
        {
            "title": f"{patient}: {source} to {target}",
            "summary": builder.part("The summary", summary, rows, settings),
            "pictures": builder.part("The pictures", _pictures, rows, settings, varied),
            "rows": builder.part("The table", _numbers, rows, settings),
        }
        for (patient, source, target), rows in table.groupby(["patient", "from", "to"], sort=False)
    ]
    write_page(
        out,
        "sweep.html",
        [],
        pairs=pairs,
        combinations=table["combination"].nunique(),
        settings=list(settings),
        varied=varied,
        command=command,
        problems=builder.problems,
    )


def summary(rows: pd.DataFrame, settings: Sequence[str]) -> list[dict[str, Any]]:
    """One entry per combination: gross mL excluding the background, the mismatch, and the folder."""
    found = []
    for name, group in rows.groupby("combination", sort=False):
        first = group.iloc[0]
        gross = [amounts.left(group["class"], group[part].astype(float), BACKGROUND) / ML for part in PARTS]
        found.append(
            {
                "settings": [first[key] for key in settings],
                "gross": [_number(value, ".1f") for value in gross],
                "mismatch": _number(first["mismatch_after_mm3"], ",.0f"),
                "drift": _number(first["drift"], ".2f", 100),
                "effort": [_number(first[key], ",.0f") for key in ("evaluations", "seconds")],
                "status": first["status"],
                "folder": f"{name}/{first['patient']}/{first['from']}__{first['to']}",
            }
        )
    return found


def _pictures(rows: pd.DataFrame, settings: Sequence[str], varied: Sequence[str]) -> list[dict[str, Any]]:
    """One entry per class: its name and a figure for each setting with several values."""
    found = []
    for name, group in rows.groupby("class", sort=False):
        if name != BACKGROUND:
            found.append({"class": name, "drawings": [picture(group, one, settings) for one in varied]})
    return found


def picture(rows: pd.DataFrame, setting: str, settings: Sequence[str]) -> Markup:
    """The parts of one class's change in mL, as a function of ``setting``.

    A line joins the combinations that differ only in this setting.
    """
    values = list(dict.fromkeys(rows[setting]))
    low, high = reach(rows[list(PARTS)].astype(float).to_numpy().ravel() / ML, _LEAST_ML)
    drawing = Drawing(_WIDTH, _HEIGHT, f"Change over {setting}")

    def place(value: str, ml: float) -> Point:
        x = _LEFT + (values.index(value) + 0.5) / len(values) * (_WIDTH - _LEFT - _RIGHT)
        return x, _TOP + (high - ml) / (high - low) * (_HEIGHT - _TOP - _BOTTOM)

    for tick in ticks(low, high, 4):
        y = place(values[0], tick)[1]
        drawing.line((_LEFT, y), (_WIDTH - _RIGHT, y), "axis" if tick == 0 else "grid")
        drawing.text((_LEFT - 5, y), plain(tick), "small", "end")
    across = (_WIDTH - _LEFT - _RIGHT) / len(values)
    step = math.ceil(_LEAST_ROOM / across)
    room = min(step * across - 6, across + 2 * _RIGHT)  # the last one is close to the edge
    for value in values[::step]:
        at = (place(value, 0)[0], _HEIGHT - _BOTTOM + 12)
        drawing.label(at, value, room, "small", "middle")
    drawing.text((_WIDTH - _RIGHT, _HEIGHT - 7), setting, "small", "end")
    drawing.text((4, _HEIGHT - 7), "mL, + the class grew", "small")
    courses = _courses(rows, setting, settings)
    for shift, (column, (kind, words)) in zip((-_APART, 0.0, _APART), PARTS.items(), strict=True):
        seen: list[Point] = []
        for fixed, course in courses:
            known = [(str(row[setting]), float(row[column]) / ML) for row in course]
            known = [(value, ml) for value, ml in known if math.isfinite(ml)]
            way = [(x + shift, y) for x, y in (place(*point) for point in known)]
            said = ", ".join(f"{value}: {signed(ml, 2)} mL" for value, ml in known)
            hint(drawing.way(way, f"line thin few {kind}"), f"{words}, {setting} {said}{fixed}")
            seen += way
        drawing.dots(seen, f"dots {kind}")
    return drawing.markup()


def _courses(
    rows: pd.DataFrame, setting: str, settings: Sequence[str]
) -> list[tuple[str, list[dict[Any, Any]]]]:
    """The rows that differ only in ``setting``, with a description of their common settings."""
    others = [name for name in settings if name != setting]
    found: dict[tuple[Any, ...], list[dict[Any, Any]]] = {}
    for row in rows.to_dict("records"):
        found.setdefault(tuple(row[name] for name in others), []).append(row)
    shared = ["; ".join(f"{name} {value}" for name, value in zip(others, key, strict=True)) for key in found]
    return [(f" ({words})" if words else "", one) for words, one in zip(shared, found.values(), strict=True)]


def _numbers(rows: pd.DataFrame, settings: Sequence[str]) -> list[list[str]]:
    """The cells of the table: the settings, the class, and its change, parts and their uncertainty in mL."""
    return [
        [
            *(str(row[name]) for name in settings),
            str(row["class"]),
            _ml(row["volume_to_mm3"] - row["volume_from_mm3"]),
            _ml(row["deformation_mm3"], row["deformation_uncertainty_mm3"]),
            _ml(row["reallocation_mm3"], row["reallocation_uncertainty_mm3"]),
            _ml(row["unexplained_mm3"]),
            str(row["status"]),
        ]
        for row in rows.to_dict("records")
    ]


def _ml(mm3: float, uncertainty: float = math.nan) -> str:
    if not math.isfinite(mm3):
        return ""
    return signed(mm3 / ML, 2) + (f" ± {uncertainty / ML:.2f}" if math.isfinite(uncertainty) else "")


def _number(value: Any, form: str, times: float = 1) -> str:
    """Format a number; empty if there is none."""
    return "" if value is None or pd.isna(value) else f"{times * float(value):{form}}"

"""Plot of the cost during the optimisation."""

from __future__ import annotations

import math

import pandas as pd
from markupsafe import Markup

from longimorph.report.svg import Drawing, Point, hint, plain, ticks

_WIDTH, _HEIGHT = 560.0, 190.0
_LEFT, _RIGHT, _TOP, _BOTTOM = 56.0, 12.0, 14.0, 36.0
_LABEL, _LINE = 46.0, 14.0


def convergence(table: pd.DataFrame) -> Markup | None:
    """Cost over evaluations, logarithmic, one line per voxel size; None if there were no iterations."""
    needed = ("spacing_mm", "evaluations", "cost_mm3")
    if not len(table) or any(name not in table for name in needed):
        return None
    rows = table[table["cost_mm3"] > 0].reset_index(drop=True)
    if not len(rows):
        return None
    rows["across"] = _running(rows)
    low, high = math.log10(rows["cost_mm3"].min()), math.log10(rows["cost_mm3"].max())
    low, high = low - 0.05, max(high, low + 0.3) + 0.05
    most = max(float(rows["across"].max()), 1.0)
    drawing = Drawing(_WIDTH, _HEIGHT, "Convergence")

    def place(across: float, cost: float) -> Point:
        share = (high - math.log10(cost)) / (high - low)
        x = _LEFT + across / most * (_WIDTH - _LEFT - _RIGHT)
        return x, _TOP + share * (_HEIGHT - _TOP - _BOTTOM)

    for value in _decades(low, high):
        y = place(0, value)[1]
        drawing.line((_LEFT, y), (_WIDTH - _RIGHT, y), "grid")
        drawing.text((_LEFT - 5, y), plain(value), "small", "end")
    for value in ticks(0, most, 6):
        drawing.text((place(value, 10**low)[0], _HEIGHT - _BOTTOM + 12), plain(value), "small", "middle")
    drawing.text((_WIDTH - _RIGHT, _HEIGHT - 7), "evaluations", "small", "end")
    drawing.text((4, _HEIGHT - 7), "cost, mm³ (logarithmic)", "small")
    said: list[Point] = []
    for spacing, group in rows.groupby("spacing_mm", sort=False):
        points = [place(x, c) for x, c in zip(group["across"], group["cost_mm3"], strict=True)]
        drawing.way(points, "line all")
        for point, cost in zip(points, group["cost_mm3"], strict=True):
            hint(
                drawing.dot(point, 3, "mark all"),
                f"{cost:.4g} mm³ at voxels of {plain(float(str(spacing)))} mm",
            )
        said.append(_free(points[0], said))
        drawing.text(said[-1], f"{plain(float(str(spacing)))} mm", "small")
    return drawing.markup()


def _free(point: Point, taken: list[Point]) -> Point:
    """A position for a short label beside a point, below the positions in ``taken``."""
    x, y = min(point[0] + 6, _WIDTH - _RIGHT - _LABEL), max(point[1] - 7, 7.0)
    for u, v in sorted(taken, key=lambda other: other[1]):
        if abs(x - u) < _LABEL and abs(y - v) < _LINE:
            y = v + _LINE
    return x, y


def _running(rows: pd.DataFrame) -> list[float]:
    """Cumulative evaluations over all levels; the counts restart at each level."""
    found, offset, last, level = [], 0.0, 0.0, None
    for row in rows.to_dict("records"):
        if level is not None and row["spacing_mm"] != level and float(row["evaluations"]) < last:
            offset += last
        level, last = row["spacing_mm"], float(row["evaluations"])
        found.append(offset + last)
    return found


def _decades(low: float, high: float) -> list[float]:
    """Powers of ten, with 2 and 5 between them if there is room."""
    factors = (1, 2, 5) if high - low < 2.5 else (1,)
    powers = range(math.floor(low), math.ceil(high) + 1)
    return [f * 10.0**p for p in powers for f in factors if low <= math.log10(f * 10.0**p) <= high]

"""The cohort by class: the distribution of its yearly changes, and the course of each patient."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence

import numpy as np
from markupsafe import Markup
from numpy.typing import NDArray

from longimorph.report import lettering
from longimorph.report.courses import VolumeCourse
from longimorph.report.svg import Drawing, Point, hint, plain, reach, room_for, signed, size_of, ticks
from longimorph.verdict.trust import DAYS_PER_YEAR

_WIDTH, _LEFT, _RIGHT = 380.0, 60.0, 12.0
_STRIP, _STRIPS_TOP, _STRIPS_BOTTOM = 46.0, 30.0, 30.0
_HEIGHT, _TOP, _BOTTOM = 210.0, 30.0, 34.0
_WORDS = {"moved": "deformation", "changed": "reallocation"}
_FEW = 30
"""Maximum number of lines that can be drawn boldly without covering each other."""

Marked = Mapping[int, str]


def strips(
    name: str,
    color: str,
    rates: Mapping[str, NDArray[np.float64]],
    marked: Marked,
    floors: Mapping[str, float] | None = None,
) -> Markup:
    """Draw a disc per pair, mL per year; box: interquartile range, vertical line: median.

    ``rates``: kind → one number per pair; ``marked``: index of an outlying pair → its name; ``floors``: kind
    → the noise floor of a typical pair, mL per year, which is a grey band around zero.
    """
    height = _STRIPS_TOP + _STRIP * len(rates) + _STRIPS_BOTTOM
    drawing = Drawing(_WIDTH, height, f"Yearly change of {name}")
    _heading(drawing, name, color)
    low, high = reach([float(v) for values in rates.values() for v in values], 0.2)

    def across(value: float) -> float:
        return _LEFT + (value - low) / (high - low) * (_WIDTH - _LEFT - _RIGHT)

    for value in ticks(low, high, 5):
        x = across(value)
        kind = "axis" if value == 0 else "grid"
        drawing.line((x, _STRIPS_TOP), (x, height - _STRIPS_BOTTOM), kind)
        drawing.text((x, height - _STRIPS_BOTTOM + 10), plain(value), "small", "middle")
    drawing.text((_WIDTH - _RIGHT, height - 6), "mL per year", "small", "end")
    for row, (kind, values) in enumerate(rates.items()):
        middle = _STRIPS_TOP + _STRIP * (row + 0.5)
        drawing.text((_LEFT - 6, middle), kind, f"small {kind}", "end")
        floor = (floors or {}).get(kind, math.nan)
        if floor > 0:
            start, end = across(max(-floor, low)), across(min(floor, high))
            band = drawing.box((start, middle - 20), (end - start, 40), "floor")
            hint(band, f"noise floor of a typical pair: ± {floor:.2f} mL per year")
        if np.isfinite(values).any():
            _strip(drawing, kind, values, marked, across, middle)
    return drawing.markup()


def _strip(
    drawing: Drawing,
    kind: str,
    values: NDArray[np.float64],
    marked: Marked,
    across: Callable[[float], float],
    middle: float,
) -> None:
    """Draw the discs of one kind around the height ``middle``, with box and median."""
    lower, median, upper = (float(q) for q in np.nanpercentile(values, (25, 50, 75)))
    drawing.box((across(lower), middle - 15), (across(upper) - across(lower), 30), "half")
    places = [(across(float(v)), middle + 11 * math.sin(2.4 * i)) for i, v in enumerate(values)]
    drawing.dots(places, f"dots {kind}")
    upright = drawing.line((across(median), middle - 17), (across(median), middle + 17), f"line {kind}")
    hint(upright, f"median {signed(median, 2)} mL per year")
    for place, words in marked.items():
        if math.isfinite(values[place]):
            said = f"{words}: {signed(float(values[place]), 2)} mL per year {_WORDS[kind]}"
            hint(drawing.dot(places[place], 4.5, "out"), said)


def trajectories(name: str, color: str, kind: str, known: Sequence[tuple[str, VolumeCourse]]) -> Markup:
    """Draw a line per patient: how much of the class moved, or changed class, since the first visit.

    ``known``: patient and course, with days since the first visit.
    """
    drawing = Drawing(_WIDTH, _HEIGHT, f"{name}, {_WORDS[kind]}, over time")
    _heading(drawing, name, color, f", {_WORDS[kind]}")
    lines = [(patient, _points(course, kind)) for patient, course in known if course.steps]
    if not lines:
        drawing.text((_LEFT, _HEIGHT / 2), "no pair with numbers", "small")
        return drawing.markup()
    low, high = reach([v for _, points in lines for _, v in points], 0.2)
    last = max(t for _, points in lines for t, _ in points) or 1.0

    def place(years: float, value: float) -> Point:
        x = _LEFT + years / last * (_WIDTH - _LEFT - _RIGHT)
        return x, _TOP + (high - value) / (high - low) * (_HEIGHT - _TOP - _BOTTOM)

    floors = [getattr(a, f"{kind}_floor") for _, course in known for _, _, a in course.steps]
    floor = float(np.median(floors)) if floors else math.nan
    if floor > 0:
        top, bottom = place(0, min(floor, high))[1], place(0, max(-floor, low))[1]
        band = drawing.box((_LEFT, top), (_WIDTH - _LEFT - _RIGHT, bottom - top), "floor")
        hint(band, f"noise floor of a typical change: ± {floor:.2f} mL")
    for value in ticks(low, high, 4):
        y = place(0, value)[1]
        drawing.line((_LEFT, y), (_WIDTH - _RIGHT, y), "axis" if value == 0 else "grid")
        drawing.text((_LEFT - 5, y), plain(value), "small", "end")
    for value in ticks(0, last, 4):
        drawing.text((place(value, 0)[0], _HEIGHT - _BOTTOM + 11), plain(value), "small", "middle")
    drawing.text((_WIDTH - _RIGHT, _HEIGHT - 6), "years since the first visit", "small", "end")
    drawing.text((4, _HEIGHT - 6), "mL", "small")
    drawing.ways(
        [
            (
                [place(t, v) for t, v in points],
                f"{patient}: {signed(points[-1][1], 2)} mL after {points[-1][0]:.1f} years",
            )
            for patient, points in lines
        ],
        f"lines {kind}" if len(lines) > _FEW else f"lines few {kind}",
    )
    return drawing.markup()


def _points(course: VolumeCourse, kind: str) -> list[Point]:
    steps = [(day / DAYS_PER_YEAR, float(getattr(amount, kind))) for _, day, amount in course.steps]
    return [(0.0, 0.0), *steps]


def _heading(drawing: Drawing, name: str, color: str, tail: str = "") -> None:
    """Draw the class name, shortened if it is too long, and the caption."""
    room = _WIDTH - _LEFT - 17 - room_for(tail, "strong")
    drawing.box((_LEFT, 7), (11, 11), "swatch", color)
    shown = lettering.shortened(name, room, size_of("strong"), bold=True)
    hint(drawing.text((_LEFT + 17, 13), shown + tail, "strong"), name + tail)

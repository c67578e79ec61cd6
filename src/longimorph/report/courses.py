"""Volumes over time: the part of each class's change that moved, and the part that changed class."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import reduce

from markupsafe import Markup

from longimorph.report.pairs import Amount, PairResults
from longimorph.report.svg import Drawing, Point, hint, plain, reach, room_for, signed, ticks
from longimorph.tables import cumulative

_WIDTH, _HEIGHT = 292.0, 190.0
_LEFT, _RIGHT, _TOP, _BOTTOM = 44.0, 10.0, 30.0, 34.0
_KINDS = (("total", "all"), ("moved", "moved"), ("changed", "changed"))


@dataclass(frozen=True)
class VolumeCourse:
    """Change of one class since the first visit, in mL: a day and an amount for each known step."""

    name: str
    before: float
    steps: tuple[tuple[str, float, Amount], ...]


def courses(
    days: Mapping[str, float], pairs: Sequence[PairResults], classes: Sequence[str]
) -> list[VolumeCourse]:
    """The courses of all classes: at each visit the result of the pair of the first visit and this one.

    Without such a pair, it is the change up to an earlier visit plus that of the pair from there.
    """
    order = sorted(days, key=lambda name: days[name])
    known = {(pair.source, pair.target): pair for pair in pairs if pair.ok}
    chains = cumulative.ways(order, known)
    ways = {visit: [known[pair] for pair in chain] for visit, chain in chains.items() if chain}
    return [_course(name, days, ways) for name in classes]


def _course(name: str, days: Mapping[str, float], ways: Mapping[str, Sequence[PairResults]]) -> VolumeCourse:
    steps: list[tuple[str, float, Amount]] = []
    for visit, way in ways.items():
        amounts = [amount for pair in way for amount in pair.amounts if amount.name == name]
        if len(amounts) == len(way):
            steps.append((visit, days[visit], reduce(_plus, amounts)))
    return VolumeCourse(name, steps[0][2].before if steps else math.nan, tuple(steps))


def _plus(first: Amount, second: Amount) -> Amount:
    """Sum of two consecutive changes; uncertainties are added, which is an upper bound.

    The noise of the visit between them cancels, so that the larger floor is taken.
    """
    return Amount(
        first.name,
        first.before,
        second.after,
        first.moved + second.moved,
        first.changed + second.changed,
        first.rest + second.rest,
        first.moved_uncertainty + second.moved_uncertainty,
        first.changed_uncertainty + second.changed_uncertainty,
        moved_floor=max(first.moved_floor, second.moved_floor),
        changed_floor=max(first.changed_floor, second.changed_floor),
        total_floor=max(first.total_floor, second.total_floor),
    )


def panel(course: VolumeCourse, first_day: float, color: str) -> Markup:
    """Plot of one class: days across, mL up; total, moved and changed class, each with its uncertainty.

    A grey band around zero is the noise floor of the total; discs below their own floor are grey.
    """
    drawing = Drawing(_WIDTH, _HEIGHT, f"Change of {course.name} over time")
    drawing.box((_LEFT, 7), (11, 11), "swatch", color)
    volumes = f"{course.before:.1f} → {course.steps[-1][2].after:.1f} mL" if course.steps else ""
    room = _WIDTH - _LEFT - _RIGHT - 17 - room_for(volumes, "small") - 8
    drawing.label((_LEFT + 17, 13), course.name, room, "strong")
    if not course.steps:
        drawing.text((_LEFT, _HEIGHT / 2), "no pair with numbers", "small")
        return drawing.markup()
    drawing.text((_WIDTH - _RIGHT, 13), volumes, "small", "end")
    low, high = reach(_values(course), 0.2)
    last = max(day for _, day, _ in course.steps)

    def place(day: float, value: float) -> Point:
        x = _LEFT + (day - first_day) / max(last - first_day, 1e-9) * (_WIDTH - _LEFT - _RIGHT - 8)
        inside = min(max(value, low), high)  # an uncertainty that dwarfs the values ends with the axis
        return x, _TOP + (high - inside) / (high - low) * (_HEIGHT - _TOP - _BOTTOM)

    floor = max((a.total_floor for _, _, a in course.steps if math.isfinite(a.total_floor)), default=0.0)
    if floor > 0:
        top, bottom = place(first_day, floor)[1], place(first_day, -floor)[1]
        band = drawing.box((_LEFT, top), (_WIDTH - _LEFT - _RIGHT, bottom - top), "floor")
        hint(band, f"noise floor: ± {floor:.2f} mL")
    for value in ticks(low, high, 4):
        x, y = place(first_day, value)
        drawing.line((_LEFT, y), (_WIDTH - _RIGHT, y), "axis" if value == 0 else "grid")
        drawing.text((x - 5, y), plain(value), "small", "end")
    for day in ticks(first_day, last, 3):
        drawing.text((place(day, 0)[0], _HEIGHT - _BOTTOM + 12), plain(day), "small", "middle")
    drawing.text((_WIDTH - _RIGHT, _HEIGHT - 6), "days", "small", "end")
    drawing.text((4, _HEIGHT - 6), "mL since the first visit", "small")
    for kind, style in _KINDS:
        _line(drawing, course, kind, style, place, first_day)
    return drawing.markup()


def _line(
    drawing: Drawing,
    course: VolumeCourse,
    kind: str,
    style: str,
    place: Callable[[float, float], Point],
    first_day: float,
) -> None:
    """Draw one line with a disc and an uncertainty bar per step."""
    drawing.way(
        [place(first_day, 0.0), *(place(day, getattr(a, kind)) for _, day, a in course.steps)],
        f"line {style}",
    )
    for visit, day, amount in course.steps:
        value, uncertainty = float(getattr(amount, kind)), float(getattr(amount, f"{kind}_uncertainty", 0.0))
        if uncertainty > 0:
            drawing.line(
                place(day, value - uncertainty), place(day, value + uncertainty), f"uncertainty {style}"
            )
        words = {"total": "in total", "moved": "deformation", "changed": "reallocation"}[kind]
        said = f"{course.name} at {visit}: {signed(value, 2)} mL {words}"
        hint(
            drawing.dot(place(day, value), 3, f"mark {style}{' below' if amount.doubt(kind) else ''}"),
            f"{said}{f' ± {uncertainty:.2f}' if uncertainty > 0 else ''}"
            f"{f', {doubt}' if (doubt := amount.doubt(kind)) else ''}",
        )


def _values(course: VolumeCourse) -> list[float]:
    """The values that must fit the axis: all values, and uncertainties unless they dwarf the values."""
    values = [v for _, _, a in course.steps for v in (a.total, a.moved, a.changed)]
    largest = max(map(abs, values), default=0.0)
    uncertainties = [
        v + sign * min(d, largest)
        for _, _, a in course.steps
        for v, d in ((a.moved, a.moved_uncertainty), (a.changed, a.changed_uncertainty))
        for sign in (-1, 1)
        if math.isfinite(d)
    ]
    return values + uncertainties

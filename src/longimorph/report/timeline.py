"""Timeline of the visits and of the registered pairs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from markupsafe import Markup

from longimorph.report.pairs import PairResults
from longimorph.report.svg import Drawing, hint, plain, room_for

_WIDTH, _LEFT, _RIGHT = 900.0, 40.0, 40.0
_LEVEL, _GAP, _LONGEST = 28.0, 8.0, 160.0


def timeline(days: Mapping[str, float], failed: Mapping[str, str], pairs: Sequence[PairResults]) -> Markup:
    """Draw the visits on a line with an arc per pair; ``failed``: visits without maps, with the reason."""
    low, span = min(days.values()), max(max(days.values()) - min(days.values()), 1e-9)
    at = {name: _LEFT + (day - low) / span * (_WIDTH - _LEFT - _RIGHT) for name, day in days.items()}
    rise = {pair.name: 16 + 54 * abs(at[pair.target] - at[pair.source]) / (_WIDTH - _LEFT - _RIGHT)
            for pair in pairs}  # fmt: skip
    line = 14 + max(rise.values(), default=20)
    levels = _levels(days, at)
    drawing = Drawing(_WIDTH, line + 38 + _LEVEL * (max(levels.values()) + 1), "Timeline of visits")
    drawing.line((_LEFT - 20, line), (_WIDTH - _RIGHT + 20, line), "axis")
    for pair in pairs:
        start, end = at[pair.source], at[pair.target]
        control = line - 2 * rise[pair.name]
        kind = "arc" if pair.ok else "arc failed"
        arc = drawing.path(
            f"M{start:.1f},{line} Q{(start + end) / 2:.1f},{control:.1f} {end:.1f},{line}", kind
        )
        days_apart = f"{plain(pair.days)} day{'' if pair.days == 1 else 's'}"
        hint(arc, f"{pair.title}, {days_apart}{'' if pair.ok else ': failed'}")
    _visits(drawing, days, at, failed, line, levels)
    return drawing.markup()


def _visits(
    drawing: Drawing,
    days: Mapping[str, float],
    at: Mapping[str, float],
    failed: Mapping[str, str],
    line: float,
    levels: Mapping[str, int],
) -> None:
    """Draw discs with names under them."""
    for name in days:
        bad = name in failed
        disc = drawing.dot((at[name], line), 7, "visit failed" if bad else "visit")
        hint(disc, f"{name}, day {plain(days[name])}" + (f": {failed[name]}" if bad else ""))
        low, half = line + 20 + _LEVEL * levels[name], _half(name, days[name])
        middle = min(max(at[name], half), _WIDTH - half)
        drawing.label((middle, low), f"{name}{' ✕' if bad else ''}", _LONGEST, "strong", "middle")
        drawing.text((middle, low + 13), f"day {plain(days[name])}", "small", "middle")


def _levels(days: Mapping[str, float], at: Mapping[str, float]) -> dict[str, int]:
    """Per visit, the first level below the line at which its label overlaps no earlier one."""
    ends: list[float] = []
    found = {}
    for name in sorted(days, key=lambda name: days[name]):
        half = _half(name, days[name])
        middle = min(max(at[name], half), _WIDTH - half)
        level = next((n for n, end in enumerate(ends) if middle - half > end), len(ends))
        ends[level:] = [middle + half + _GAP, *ends[level + 1 :]]
        found[name] = level
    return found


def _half(name: str, day: float) -> float:
    """Half the width of a visit's label."""
    widest = max(room_for(f"{name} ✕", "strong"), room_for(f"day {plain(day)}", "small"))
    return min(widest, _LONGEST) / 2

"""When the visits were, and which pairs of them were registered."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from markupsafe import Markup

from longimorph.report.pairs import Pair
from longimorph.report.svg import Drawing, hint, plain

_WIDTH, _LEFT, _RIGHT = 900.0, 40.0, 40.0


def timeline(days: Mapping[str, float], failed: Mapping[str, str], pairs: Sequence[Pair]) -> Markup:
    """A line of visits with an arc per pair; ``failed``: visits without maps, with the reason."""
    low, span = min(days.values()), max(max(days.values()) - min(days.values()), 1e-9)
    at = {name: _LEFT + (day - low) / span * (_WIDTH - _LEFT - _RIGHT) for name, day in days.items()}
    rise = {pair.name: 16 + 54 * abs(at[pair.target] - at[pair.source]) / (_WIDTH - _LEFT - _RIGHT)
            for pair in pairs}  # fmt: skip
    line = 14 + max(rise.values(), default=20)
    drawing = Drawing(_WIDTH, line + 62, "Timeline of visits")
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
    _visits(drawing, days, at, failed, line)
    return drawing.markup()


def _visits(
    drawing: Drawing,
    days: Mapping[str, float],
    at: Mapping[str, float],
    failed: Mapping[str, str],
    line: float,
) -> None:
    """Discs with names under them, on two levels where they would touch."""
    last, level = -1e9, 0
    for name in sorted(days, key=lambda name: days[name]):
        level = 1 - level if at[name] - last < 70 else 0
        last = at[name]
        bad = name in failed
        disc = drawing.dot((at[name], line), 7, "visit failed" if bad else "visit")
        hint(disc, f"{name}, day {plain(days[name])}" + (f": {failed[name]}" if bad else ""))
        low = line + 20 + 24 * level
        drawing.text((at[name], low), f"{name}{' ✕' if bad else ''}", "strong", "middle")
        drawing.text((at[name], low + 13), f"day {plain(days[name])}", "small", "middle")

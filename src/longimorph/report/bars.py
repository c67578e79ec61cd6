"""Bar chart of one pair, one row per class: moved, changed class, unexplained."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence

from markupsafe import Markup

from longimorph.report.pairs import Amount
from longimorph.report.svg import Drawing, axis_in_ml, hint, room_for, signed

_WIDTH, _NAMES, _RIGHT = 560.0, (70.0, 180.0), 60.0
_ROW, _BAR, _TOP, _BOTTOM = 46.0, 11.0, 6.0, 36.0
_KINDS = (("moved", "deformation"), ("changed", "reallocation"), ("rest", "unexplained"))


def bars(amounts: Sequence[Amount], colors: Mapping[str, str]) -> Markup:
    """Bars in mL, to the right of zero where the class grew; thin lines show the range.

    Short upright marks show what the control matrix alone says, without any registration. A grey band around
    zero is the noise floor, and what lies within it is grey.
    """
    height = _TOP + _ROW * len(amounts) + _BOTTOM
    drawing = Drawing(_WIDTH, height, "Change per class")
    widest = max((room_for(amount.name, "strong") for amount in amounts), default=0.0)
    left = 17 + min(max(widest, _NAMES[0]), _NAMES[1]) + 8
    values = [float(getattr(a, kind)) for a in amounts for kind, _ in _KINDS]
    ranges = ("moved_low", "moved_high", "changed_low", "changed_high")
    values += [v for a in amounts if a.open for key in ranges if math.isfinite(v := getattr(a, key))]
    values += [v for a in amounts for v in (a.moved_by_matrix, a.changed_by_matrix) if math.isfinite(v)]
    values += [sign * v for a in amounts for v in (a.moved_floor, a.changed_floor) for sign in (-1, 1)]
    across = axis_in_ml(drawing, values, (left, _WIDTH - _RIGHT), (_TOP, height - _BOTTOM))
    for row, amount in enumerate(amounts):
        top = _TOP + row * _ROW + 4
        drawing.box((0, top + _ROW / 2 - 10), (11, 11), "swatch", colors[amount.name])
        drawing.label((17, top + _ROW / 2 - 4), amount.name, left - 25, "strong")
        for place, (kind, words) in enumerate(_KINDS):
            value, uncertainty = (
                float(getattr(amount, kind)),
                float(getattr(amount, f"{kind}_uncertainty", math.nan)),
            )
            y = top + place * (_BAR + 1.5)
            start, end = sorted((across(0), across(value)))
            floor = float(getattr(amount, f"{kind}_floor", math.nan))
            _floor(drawing, across, floor, y)
            doubt = amount.doubt(kind)
            bar = drawing.box(
                (start, y), (max(end - start, 0.8), _BAR), f"bar {kind}{' below' if doubt else ''}"
            )
            low, high = (
                _or(float(getattr(amount, f"{kind}_{side}", math.nan)), value + sign * uncertainty)
                for side, sign in (("low", -1), ("high", 1))
            )
            known = f" ± {uncertainty:.3f}" if math.isfinite(uncertainty) else ""
            if amount.open and math.isfinite(low):
                known = f", between {signed(low, 3)} and {signed(high, 3)}"
            known += f", {doubt}" if doubt else ""
            hint(bar, f"{amount.name}, {words}: {signed(value, 3)} mL{known}")
            edge = _uncertainty(drawing, across(low), across(high), y) if high > low else end
            edge = max(edge, across(floor)) if floor > 0 else edge
            alone = float(getattr(amount, f"{kind}_by_matrix", math.nan))
            if math.isfinite(alone):
                mark = drawing.line((across(alone), y - 1), (across(alone), y + _BAR + 1), f"alone {kind}")
                hint(mark, f"{amount.name}, {words} by the control matrix alone: {signed(alone, 3)} mL")
            if abs(value) >= 0.005:
                drawing.text((max(edge, end) + 5, y + _BAR / 2), signed(value, 2), number_style(amount, kind))
    return drawing.markup()


def number_style(amount: Amount, kind: str) -> str:
    """The style of a number: grey where it may be zero, and where no floor is known."""
    known = math.isfinite(getattr(amount, f"{kind}_floor", math.nan))
    return "small above" if known and not amount.doubt(kind) else "small"


def _floor(drawing: Drawing, across: Callable[[float], float], floor: float, y: float) -> None:
    """Draw the noise floor of one bar around zero."""
    if math.isfinite(floor) and floor > 0:
        band = drawing.box((across(-floor), y - 0.75), (across(floor) - across(-floor), _BAR + 1.5), "floor")
        hint(band, f"noise floor: ± {floor:.3f} mL")


def _or(value: float, otherwise: float) -> float:
    return value if math.isfinite(value) else otherwise


def _uncertainty(drawing: Drawing, start: float, end: float, y: float) -> float:
    drawing.line((start, y + _BAR / 2), (end, y + _BAR / 2), "uncertainty")
    return end

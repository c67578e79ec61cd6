"""Drawings as inline SVG: text is escaped by the XML writer, colours come from the page's style sheet."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from xml.etree import ElementTree as ET

from markupsafe import Markup

from longimorph.report import lettering

Point = tuple[float, float]


class Drawing:
    """A drawing of ``width`` × ``height`` units that scales with the page, up to its nominal size."""

    def __init__(self, width: float, height: float, label: str) -> None:
        self.width, self.height = width, height
        style = f"width:100%;max-width:{_n(width)}px"
        frame = {"viewBox": f"0 0 {_n(width)} {_n(height)}", "role": "img", "aria-label": label}
        self._root = ET.Element("svg", frame | {"style": style})

    def line(self, start: Point, end: Point, kind: str) -> ET.Element:
        """Draw a straight line of the style ``kind``."""
        ends = {"x1": start[0], "y1": start[1], "x2": end[0], "y2": end[1]}
        return self._add("line", {k: _n(v) for k, v in ends.items()}, kind)

    def box(self, corner: Point, size: Point, kind: str, color: str | None = None) -> ET.Element:
        """Draw a rectangle from its upper left corner; ``color`` fills it if the style does not."""
        place = {"x": corner[0], "y": corner[1], "width": max(size[0], 0.0), "height": max(size[1], 0.0)}
        return self._add("rect", {k: _n(v) for k, v in place.items()}, kind, color)

    def dot(self, centre: Point, radius: float, kind: str) -> ET.Element:
        """Draw a disc."""
        return self._add("circle", {"cx": _n(centre[0]), "cy": _n(centre[1]), "r": _n(radius)}, kind)

    def way(self, points: Sequence[Point], kind: str) -> ET.Element:
        """Draw a line through ``points``."""
        text = " ".join(f"{_n(x, 1)},{_n(y, 1)}" for x, y in points)
        return self._add("polyline", {"points": text, "fill": "none"}, kind)

    def ways(self, lines: Iterable[tuple[Sequence[Point], str]], kind: str) -> None:
        """Draw many lines of one style compactly, each with a tooltip."""
        group = ET.SubElement(self._root, "g", {"class": kind})
        for points, words in lines:
            data = "M" + " ".join(f"{_n(x, 1)} {_n(y, 1)}" for x, y in points)
            hint(ET.SubElement(group, "path", {"d": data}), words)

    def dots(self, places: Iterable[Point], kind: str) -> None:
        """Draw many discs compactly, as strokes of zero length with round ends.

        Positions are in half units, each relative to the previous one. Coinciding discs are drawn once: all
        discs form one shape, so overlaps are not darker.
        """
        known = sorted({(round(2 * x), round(2 * y)) for x, y in places if math.isfinite(x + y)})
        steps = [(x - u, y - v) for (x, y), (u, v) in zip(known, [(0, 0), *known[:-1]], strict=True)]
        data = "".join(f"m{x}{'' if y < 0 else ' '}{y}h0" for x, y in steps)
        self._add("path", {"d": data, "transform": "scale(.5)"}, kind)

    def path(self, data: str, kind: str) -> ET.Element:
        """Draw a shape given in SVG path syntax."""
        return self._add("path", {"d": data}, kind)

    def text(self, at: Point, words: str, kind: str = "", anchor: str = "start") -> ET.Element:
        """Draw text vertically centred at ``at``; ``anchor``: start, middle or end."""
        attributes = {"x": _n(at[0]), "y": _n(at[1]), "dy": "0.35em", "text-anchor": anchor}
        element = self._add("text", attributes, kind)
        element.text = words
        return element

    def label(self, at: Point, words: str, room: float, kind: str = "", anchor: str = "start") -> None:
        """Draw text in at most ``room``; shortened text appears in full as a tooltip."""
        fits = lettering.shortened(words, room, size_of(kind), "strong" in kind.split())
        element = self.text(at, fits, kind, anchor)
        if fits != words:
            hint(element, words)

    def markup(self) -> Markup:
        """The drawing as markup for a page."""
        return Markup(ET.tostring(self._root, encoding="unicode"))

    def _add(self, tag: str, attributes: dict[str, str], kind: str, color: str | None = None) -> ET.Element:
        if kind:
            attributes["class"] = kind
        if color:
            attributes["style"] = f"fill:{color}"
        return ET.SubElement(self._root, tag, attributes)


def size_of(kind: str) -> float:
    """Font size of a style, as in the style sheet."""
    return 11.0 if "small" in kind.split() else 12.0


def room_for(words: str, kind: str = "") -> float:
    """Width of text in a style."""
    return lettering.width(words, size_of(kind), "strong" in kind.split())


def hint(element: ET.Element, words: str) -> None:
    """Add a tooltip."""
    ET.SubElement(element, "title").text = words


def ticks(low: float, high: float, count: int = 5) -> list[float]:
    """About ``count`` round numbers between ``low`` and ``high``, inclusive."""
    span = high - low
    if not math.isfinite(span) or span <= 0:
        return [low]
    raw = span / max(count, 1)
    power = 10.0 ** math.floor(math.log10(raw))
    step = next(power * f for f in (1, 2, 2.5, 5, 10) if power * f >= raw * 0.999)
    first = math.ceil(low / step - 1e-9)
    last = math.floor(high / step + 1e-9)
    return [round(i * step, 12) + 0.0 for i in range(first, last + 1)]


def reach(values: Iterable[float], least: float) -> tuple[float, float]:
    """The range of finite ``values`` and 0, with a small margin, never narrower than ``least``."""
    known = [0.0, *(v for v in values if math.isfinite(v))]
    low, high = min(known), max(known)
    short = max(least - (high - low), 0.0) / 2
    room = 0.06 * (high - low + 2 * short)
    return low - short - (room if low - short < 0 else 0), high + short + room


def axis_in_ml(
    drawing: Drawing, values: Iterable[float], sides: tuple[float, float], ends: tuple[float, float]
) -> Callable[[float], float]:
    """Draw a horizontal axis for ``values`` in mL, and return the function from values to positions.

    ``sides``: its left and right; ``ends``: top and bottom of its grid lines. Values beyond the axis are
    clipped to its end.
    """
    (left, right), (top, bottom) = sides, ends
    low, high = reach(values, 0.2)

    def across(value: float) -> float:
        inside = min(max(value, low), high)
        return left + (inside - low) / (high - low) * (right - left)

    for value in ticks(low, high, 6):
        x = across(value)
        drawing.line((x, top), (x, bottom), "axis" if value == 0 else "grid")
        drawing.text((x, bottom + 11), plain(value), "small", "middle")
    drawing.text((right, bottom + 28), "mL, + the class grew", "small", "end")
    return across


def plain(value: float) -> str:
    """Format a number for an axis, with a true minus sign."""
    return f"{value:g}".replace("-", "−")


def signed(value: float, decimals: int = 1) -> str:
    """Format a number with its sign, a true minus; a number that rounds to zero has no sign."""
    rounded = round(value, decimals)
    if rounded == 0:
        return f"{0:.{decimals}f}"
    return f"{rounded:+.{decimals}f}".replace("-", "−")


def _n(value: float, decimals: int = 2) -> str:
    return f"{value:.{decimals}f}".rstrip("0").rstrip(".") if math.isfinite(value) else "0"

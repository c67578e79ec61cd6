"""Flow diagram between classes: one ribbon per flow, from source (left) to target (right)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import pandas as pd
from markupsafe import Markup

from longimorph.report import lettering
from longimorph.report.svg import Drawing, hint, room_for, size_of

_WIDTH, _HEIGHT, _TOP = 560.0, 260.0, 24.0
_COLUMN, _SIDE, _GAP, _LINE = 12.0, 130.0, 10.0, 16.0
_LEAST_SHARE, _LEAST_ML = 0.01, 0.05
_KINDS = (("deformation_mm3", "moved", "deformation"), ("reallocation_mm3", "changed", "reallocation"))


@dataclass(frozen=True)
class Ribbon:
    """Volume in mL transferred from one class to another by one mechanism."""

    source: str
    target: str
    style: str
    words: str
    volume: float


def flows_of(table: pd.DataFrame, background: str | None = None) -> tuple[list[Ribbon], float]:
    """The flows large enough for a ribbon, and the sum of the others, in mL.

    Flows from and to the ``background`` follow the outline of the brain mask and are omitted. Two opposite
    flows of one kind are shown as their difference, since only that changes the classes' volumes.
    """
    net: dict[tuple[str, str, str, str], float] = {}
    for row in table.to_dict("records"):
        for column, style, words in _KINDS:
            source, target, volume = str(row["from_class"]), str(row["to_class"]), float(row[column])
            if volume > 0 and background not in (source, target):
                back = (target, source, style, words)
                if back in net:
                    volume = net.pop(back) - volume
                    source, target = (target, source) if volume > 0 else (source, target)
                if volume != 0:
                    net[(source, target, style, words)] = abs(volume)
    least = max(_LEAST_ML, _LEAST_SHARE * max(net.values(), default=0.0))
    shown = [Ribbon(*names, volume) for names, volume in net.items() if volume >= least]
    return shown, sum(volume for volume in net.values() if volume < least)


def diagram(flows: Sequence[Ribbon], classes: Sequence[str], colors: Mapping[str, str]) -> Markup:
    """The ribbons; their width shows the volume, their colour the mechanism."""
    places = {"source": [c for c in classes if any(f.source == c for f in flows)],
              "target": [c for c in classes if any(f.target == c for f in flows)]}  # fmt: skip
    total = sum(flow.volume for flow in flows)
    most = max(len(names) for names in places.values())
    scale = (_HEIGHT - _TOP) / total
    height = _TOP + total * scale + (most - 1) * (_GAP + 8) + 20
    drawing = Drawing(_WIDTH, height, "Flow from class to class")
    drawing.text((_SIDE, 9), "gave", "small", "end")
    drawing.text((_WIDTH - _SIDE, 9), "received", "small")
    order = {name: i for i, name in enumerate(classes)}
    starts = _column(drawing, places["source"], flows, "source", scale, colors)
    ends = _column(drawing, places["target"], flows, "target", scale, colors)
    labels: list[float] = []
    for flow in sorted(flows, key=lambda f: (order[f.source], order[f.target], f.style)):
        thick = flow.volume * scale
        ribbon = drawing.path(_ribbon(starts[flow.source], ends[flow.target], thick), f"ribbon {flow.style}")
        hint(ribbon, f"{flow.source} → {flow.target}: {flow.volume:.2f} mL {flow.words}")
        middle = (starts[flow.source] + ends[flow.target] + thick) / 2
        if thick >= 22 and all(abs(middle - other) > _LINE for other in labels):
            labels.append(middle)
            drawing.text((_WIDTH / 2, middle), f"{flow.volume:.1f} mL", "small on", "middle")
        starts[flow.source] += thick
        ends[flow.target] += thick
    return drawing.markup()


def _column(
    drawing: Drawing,
    names: Sequence[str],
    flows: Sequence[Ribbon],
    end: str,
    scale: float,
    colors: Mapping[str, str],
) -> dict[str, float]:
    """Draw the boxes of one side with their names, spaced as the labels require; return their tops."""
    sums = {name: sum(f.volume for f in flows if getattr(f, end) == name) for name in names}
    x = _SIDE if end == "source" else _WIDTH - _SIDE - _COLUMN
    y, tops, label_end = _TOP, {}, 0.0
    for name in names:
        thick = sums[name] * scale
        y = max(y, label_end + 8 - thick / 2)
        tops[name] = y
        drawing.box((x, y), (_COLUMN, max(thick, 1.0)), "swatch", colors[name])
        at, anchor = (x - 6, "end") if end == "source" else (x + _COLUMN + 6, "start")
        amount = f" {sums[name]:.1f}"
        shown = lettering.shortened(name, _SIDE - 8 - room_for(amount), size_of(""))
        hint(drawing.text((at, y + thick / 2), shown + amount, "", anchor), name + amount)
        label_end = y + thick / 2 + 8
        y += thick + _GAP
    return tops


def _ribbon(start: float, end: float, thick: float) -> str:
    """A band of constant height from the left column to the right one."""
    left, right, middle = _SIDE + _COLUMN, _WIDTH - _SIDE - _COLUMN, _WIDTH / 2
    return (
        f"M{left},{start:.2f} C{middle},{start:.2f} {middle},{end:.2f} {right},{end:.2f} "
        f"v{thick:.2f} C{middle},{end + thick:.2f} {middle},{start + thick:.2f} {left},{start + thick:.2f} Z"
    )

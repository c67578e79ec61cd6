"""One figure per pair for visual assessment: before, after, target, what moved, what changed class."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Patch

from longimorph.io.atomic import atomic_path
from longimorph.maps.field_of_view import NOT_COMPARED
from longimorph.report import amounts, lettering
from longimorph.report.pair_maps import PairMaps, load_maps
from longimorph.report.slices import VEIL, draw_slices
from longimorph.study.classes import BACKGROUND, ClassTable
from longimorph.tables import columns
from longimorph.text import counted
from longimorph.verdict.status import PairStatus, read_status

MOVED, CHANGED, UNEXPLAINED = "#762a83", "#1b7837", "#b0b0b0"

_DPI, _POINTS = 120, 72
_WIDTH, _TITLE, _PANELS, _COLOUR_BARS = 17.0, 1.2, 4.9, 0.75
_LEGEND_LINE, _BARS_KEY, _CLASS, _UNITS, _WORDS_LINE = 0.25, 0.4, 0.5, 0.55, 0.22
"""Inches: heights of the figure's parts from the top, and of a line in each."""
_LABELS, _LABEL_POINTS, _WORDS_ROOM = 2.1, 150.0, 0.465 * 17 * 72
_MOST_CLASSES = 24
"""Maximum number of classes named in the figure, with numbers and colours."""

_CONVENTION = "Radiological convention: the patient's right (R) is on the left of each picture."


def pair_figure(folder: Path, source: Path, target: Path, classes: ClassTable, out: Path) -> None:
    """Draw the pair of ``folder`` as PNG ``out``; a failed pair gives a plain figure with the reason.

    ``source`` and ``target`` are the folders of the two visits; ``out`` appears only when it is complete.
    """
    status = read_status(folder)
    if not status.ok:
        failure_figure(_name(folder), status.status, status.message, out)
        return
    changes, flows = (
        columns.read_table(folder / "changes.csv"),
        columns.read_table(folder / "transitions.csv"),
    )
    maps = load_maps(folder, source, target, classes)
    save(draw(_name(folder), maps, changes, flows, status, classes), out)


def draw(
    name: str,
    maps: PairMaps,
    changes: pd.DataFrame,
    flows: pd.DataFrame,
    status: PairStatus,
    classes: ClassTable,
) -> Figure:
    """The figure of a pair that is done: slices above, numbers per class and quality measures below.

    Its height depends on its classes and text; of very many classes it names those that matter most.
    """
    shown = _shown(changes, classes)
    words = health(status, shown)
    entries, per_line = _entries(classes, shown, maps.unseen is not None)
    legend = max(_COLOUR_BARS, _LEGEND_LINE * math.ceil(len(entries) / per_line) + 0.2)
    below = max(_CLASS * len(shown) + 0.2, _WORDS_LINE * len(words) + 0.5, 2.4)
    height = _TITLE + _PANELS + legend + _BARS_KEY + below + _UNITS
    figure = Figure(figsize=(_WIDTH, height), dpi=_DPI, facecolor="white")
    _heading(figure, name, headline(changes, flows, status), height)
    top = height - _TITLE - _PANELS
    draw_slices(figure, maps, classes, 1 - _TITLE / height, 1 - (_TITLE + _PANELS) / height)
    _legend(figure, entries, per_line, (top - legend / 2) / height)
    room = _LABELS / _WIDTH, _UNITS / height, (8.1 - _LABELS) / _WIDTH, below / height
    _bars(figure.add_axes(room), changes, shown)
    line = (top - legend - 0.1) / height
    figure.text(0.515, line, "Quality of the fit", fontsize=12, weight="bold", va="top")
    said = "\n".join(words)
    figure.text(0.515, line - 0.3 / height, said, fontsize=10, va="top", linespacing=1.5)
    return figure


def failure_figure(name: str, code: str, message: str, out: Path) -> None:
    """Write a plain figure that names a pair, what failed (``code``) and why (``message``)."""
    save(failure(name, code, message), out)


def failure(name: str, code: str, message: str) -> Figure:
    """The figure of `failure_figure`; a long message is truncated, since ``status.json`` has all of it."""
    figure, room = Figure(figsize=(10, 3.4), dpi=_DPI, facecolor="white"), 0.88 * 10 * _POINTS
    title = lettering.shortened(name, room, 16, bold=True)
    figure.text(0.06, 0.80, title, fontsize=16, weight="bold", va="center")
    said = lettering.shortened(f"No result: {code}", room, 13)
    figure.text(0.06, 0.62, said, fontsize=13, color="#b2182b", va="center")
    lines = lettering.wrapped(message, room, 11)
    lines = [*lines[:6], lettering.ELLIPSIS] if len(lines) > 7 else lines
    figure.text(0.06, 0.50, "\n".join(lines), fontsize=11, va="top", linespacing=1.5)
    return figure


def _heading(figure: Figure, name: str, said: str, height: float) -> None:
    """Draw the pair's name, a summary, and the side of the patient's right."""
    room = 0.975 * _WIDTH * _POINTS
    title = lettering.shortened(name, room, 15, bold=True)
    figure.text(0.012, 1 - 0.26 / height, title, fontsize=15, weight="bold", va="center")
    figure.text(0.012, 1 - 0.54 / height, lettering.shortened(said, room, 12), fontsize=12, va="center")
    figure.text(0.012, 1 - 0.79 / height, _CONVENTION, fontsize=9.5, va="center", color="#404040")


def _shown(changes: pd.DataFrame, classes: ClassTable) -> pd.DataFrame:
    """The rows of the classes named in the figure, in order: all but the background.

    Of very many classes it selects those that matter most, the pathological ones first.
    """
    inner = [name for name in classes.names if name != BACKGROUND]
    table = changes.set_index("class").loc[inner]
    if len(table) <= _MOST_CLASSES:
        return table
    ill = {name for name, sick in zip(classes.names, classes.pathological, strict=True) if sick}
    size = table[["deformation_mm3", "reallocation_mm3"]].abs().sum(axis=1)
    kept = set(sorted(inner, key=lambda name: (name not in ill, -size[name]))[:_MOST_CLASSES])
    return table.loc[[name for name in inner if name in kept]]


def _entries(classes: ClassTable, shown: pd.DataFrame, hidden: bool) -> tuple[list[Patch], int]:
    """Legend entries of the classes ``shown`` and, if something is ``hidden``, the hatching.

    Returns also how many entries fit into a line under the slices.
    """
    colours = dict(zip(classes.names, classes.colors, strict=True))
    names = [*shown.index, *(name for name in classes.names if name == BACKGROUND)]
    patches = [
        Patch(facecolor=colours[name], edgecolor="#404040", linewidth=0.5,
              label=lettering.shortened(name, _LABEL_POINTS, 10))
        for name in names
    ]  # fmt: skip
    if hidden:
        patches.append(
            Patch(facecolor=VEIL, edgecolor="black", hatch="////", linewidth=0.5, label=NOT_COMPARED)
        )
    if more := len(classes.names) - len(names):
        patches.append(Patch(facecolor="none", label=f"and {more} more"))
    widest = max(lettering.width(str(patch.get_label()), 10) for patch in patches)
    return patches, min(len(patches), max(int(0.48 * _WIDTH * _POINTS / (widest + 34)), 1))


def _legend(figure: Figure, entries: Sequence[Patch], per_line: int, middle: float) -> None:
    """Draw the legend of class colours under the slices."""
    figure.legend(handles=list(entries), loc="center", bbox_to_anchor=(0.26, middle), ncol=per_line,
                  frameon=False, fontsize=10, handlelength=1.2, columnspacing=1.4)  # fmt: skip


def _bars(panel: Axes, changes: pd.DataFrame, table: pd.DataFrame) -> None:
    """Draw deformation, reallocation and unexplained change of each class in ``table``, in mL."""
    places = np.arange(len(table), dtype=np.float64)
    kinds = (("deformation", MOVED), ("reallocation", CHANGED), ("unexplained", UNEXPLAINED))
    for number, (kind, color) in enumerate(kinds):
        values = table[f"{kind}_mm3"].to_numpy(dtype=float) / 1000
        bars = panel.barh(places + (number - 1) * 0.3, values, 0.27, color=color, label=kind)
        numbers = [f"{value:+.2f}" if abs(value) >= 0.005 else "" for value in values]
        panel.bar_label(bars, numbers, fontsize=7.5, padding=3, color="#404040")
    names = [lettering.shortened(str(name), (_LABELS - 0.25) * _POINTS, 10) for name in table.index]
    panel.set_yticks(places, labels=names)
    panel.set_ylim(len(table) - 0.4, -0.6)
    panel.margins(x=0.18)
    panel.axvline(0, color="black", linewidth=0.8)
    more = len(changes) - len(table) - (BACKGROUND in set(changes["class"]))
    tail = f"; {more} more classes in changes.csv" if more else ""
    panel.set_xlabel(f"mL (+ the class grew{tail})")
    panel.legend(loc="lower left", bbox_to_anchor=(0, 1.0), ncol=3, frameon=False, fontsize=10)
    for side in ("top", "right", "left"):
        panel.spines[side].set_visible(False)


def _name(folder: Path) -> str:
    source, _, target = folder.name.partition("__")
    return f"{folder.parent.name}: {source} to {target}"


def headline(changes: pd.DataFrame, flows: pd.DataFrame, status: PairStatus) -> str:
    """The pair in one sentence: the control matrix, since it determines the split, and volumes in mL."""
    moved, changed = (amounts.passed(flows, kind, BACKGROUND) / 1000 for kind in columns.FLOWS)
    rest = amounts.left(changes["class"], changes["unexplained_mm3"], BACKGROUND) / 1000
    return amounts.sentence(amounts.control_of(status), moved, changed, rest)


def health(status: PairStatus, shown: pd.DataFrame) -> list[str]:
    """Quality measures of the run as lines that fit beside the bars; missing values are omitted."""
    before, after = status.dice_before or {}, status.dice_after or {}
    pairs = [
        f"{name} {_ratio(before.get(name))} to {_ratio(after.get(name))}"
        for name in shown.index
        if before.get(name) is not None or after.get(name) is not None
    ]
    said = ["Overlap with the target (Dice), before to after: " + "; ".join(pairs)] if pairs else []
    if status.drift is not None:
        said.append(f"Energy along the path, which should stay constant: {100 * abs(status.drift):.2f} % off")
    said += [f"Stopped: {status.stop_reason}"] if status.stop_reason else []
    facts = [counted(status.evaluations, "evaluation")] if status.evaluations is not None else []
    facts += [f"{status.seconds:.0f} s"] if status.seconds is not None else []
    facts += [f"on {status.device}"] if status.device else []
    said += [", ".join(facts)] if facts else []
    return [line for words in said for line in lettering.wrapped(words, _WORDS_ROOM, 10)]


def _ratio(value: float | None) -> str:
    return "none" if value is None else f"{float(value):.2f}"


def save(figure: Figure, out: Path) -> None:
    """Write the PNG atomically; equal content gives equal bytes."""
    out.parent.mkdir(parents=True, exist_ok=True)
    with atomic_path(out) as temporary:
        figure.savefig(temporary, format="png", metadata={"Software": None})

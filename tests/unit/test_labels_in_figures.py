"""Labels in figures do not overlap or leave their panels, whatever the names of the classes."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.text import Text
from matplotlib.transforms import Bbox

from longimorph.geometry.grid import Grid
from longimorph.report import figures, lettering
from longimorph.report import memory_figure as memory_figure
from longimorph.report.pair_maps import PairMaps
from longimorph.study import classes as class_tables
from longimorph.study.classes import ClassTable
from longimorph.tables import columns
from longimorph.verdict.status import PairStatus

LONG = "left superior frontal gyrus and the white matter below it as the atlas of the third edition names it"
SLACK = 1.0
"""Pixels by which boxes may touch: they are a little larger than the letters in them."""


def class_table(folder: Path, count: int, name: str) -> ClassTable:
    """So many classes whose names begin alike, the first of them pathological, and a background."""
    rows = ["class\tregions\tstates", f"{name} lesion\t*\t1"]
    rows += [f"{name} {number}\t{number}\t0" for number in range(1, count)] + ["background\t0\t0"]
    (folder / "classes.tsv").write_text("\n".join(row[:140] for row in rows) + "\n", encoding="utf-8")
    return class_tables.load_classes(folder / "classes.tsv")


def maps(count: int) -> PairMaps:
    """Maps of which every class has a few voxels."""
    shape = (8, 10, 7)
    labels = np.random.default_rng(0).integers(0, count, shape)
    one_hot = np.asarray(labels == np.arange(count)[:, None, None, None], dtype=np.float32)
    nothing = np.zeros(shape, dtype=np.float32)
    grid = Grid(shape, np.diag([4.0, 4.0, 4.0, 1.0]))
    return PairMaps(one_hot, one_hot, one_hot, nothing, nothing, nothing, grid, (4, 5, 3))


def changes(classes: ClassTable, millilitres: float) -> pd.DataFrame:
    chance = np.random.default_rng(1)
    table = pd.DataFrame({"class": list(classes.names)})
    for name in ("deformation_mm3", "reallocation_mm3", "unexplained_mm3"):
        table[name] = chance.normal(0, 1000 * millilitres, len(table))
    return table


def texts(figure: Figure) -> list[tuple[str, Bbox]]:
    """The words that are drawn, with their boxes."""
    renderer = FigureCanvasAgg(figure).get_renderer()
    figure.draw_without_rendering()
    axes = [axis for panel in figure.axes for axis in (panel.xaxis, panel.yaxis)]
    ticks = [(axis, tick) for axis in axes for tick in (*axis.get_major_ticks(), *axis.get_minor_ticks())]
    unseen = {
        id(label)
        for axis, tick in ticks
        if not min(axis.get_view_interval()) <= tick.get_loc() <= max(axis.get_view_interval())
        for label in (tick.label1, tick.label2)
    }  # ticks beyond an axis have a place, but are not drawn
    found = [text for text in figure.findobj(Text) if isinstance(text, Text) and id(text) not in unseen]
    shown = [text for text in found if text.get_visible() and text.get_text().strip()]
    return [(text.get_text(), text.get_window_extent(renderer)) for text in shown]


def overprints(figure: Figure) -> list[tuple[str, str]]:
    found, known = [], texts(figure)
    for place, (words, box) in enumerate(known):
        for other, taken in known[place + 1 :]:
            wide = min(box.x1, taken.x1) - max(box.x0, taken.x0)
            high = min(box.y1, taken.y1) - max(box.y0, taken.y0)
            if wide > SLACK and high > SLACK:
                found.append((words, other))
    return found


def beyond(figure: Figure) -> list[str]:
    edge = figure.bbox
    return [
        words
        for words, box in texts(figure)
        if box.x0 < -SLACK or box.y0 < -SLACK or box.x1 > edge.x1 + SLACK or box.y1 > edge.y1 + SLACK
    ]


@pytest.mark.parametrize(
    ("count", "name", "millilitres"),
    [
        *((count, name, 20.0) for count in (1, 6, 24, 40) for name in ("c", LONG[:90])),
        (6, "c", 0.01),
        (6, "c", 2000.0),
    ],
)
def test_the_labels_of_a_pair(tmp_path: Path, count: int, name: str, millilitres: float) -> None:
    classes = class_table(tmp_path, count, name)
    known = {one: 0.9 for one in classes.names}
    status = {
        "status": "ok", "dice_before": known, "dice_after": known, "drift": 0.01, "seconds": 9.0,
        "stop_reason": "the cost fell by less than 0.1 %", "control": f"preset:{name}", "device": LONG,
    }  # fmt: skip
    flows = pd.DataFrame(columns=list(columns.TRANSITIONS))
    title = f"{name}: {name} to {name}"
    figure = figures.draw(
        title, maps(count + 1), changes(classes, millilitres), flows, PairStatus.of(status), classes
    )
    assert (overprints(figure), beyond(figure)) == ([], [])
    labels = [label.get_text() for axes in figure.axes for label in axes.get_yticklabels()]
    assert sum(bool(label) for label in labels) == min(count, 24)
    assert figure.get_figheight() < 30


@pytest.mark.parametrize("name", ["P1", LONG[:100]])
@pytest.mark.parametrize("message", ["No.", LONG * 12, "x" * 900])
def test_the_labels_of_a_failed_pair(name: str, message: str) -> None:
    figure = figures.failure(f"{name}: {name} to {name}", name, message)
    assert overprints(figure) == [] and beyond(figure) == []


@pytest.mark.parametrize("pairs", [1, 60])
def test_the_labels_of_the_memory(tmp_path: Path, pairs: int) -> None:
    strategies = ["store", "checkpoint", "offload", "host", "nested"]
    rows = [
        dict.fromkeys(columns.MEMORY, 1) | {
            "patient": f"P{i}", "from": "A", "to": "B", "status": "ok", "device": ("cpu", "card")[i % 2],
            "strategy_begun": strategies[i % 3], "strategy": strategies[i % 5],
            **{f"{kind}_{place}_bytes": 1e9 * (1 + i) for kind in ("predicted", "observed")
               for place in ("device", "host")},
        }
        for i in range(pairs)
    ]  # fmt: skip
    pd.DataFrame(rows).to_csv(tmp_path / "memory.csv", index=False)
    figure = memory_figure.draw(tmp_path / "memory.csv")
    assert overprints(figure) == [] and beyond(figure) == []


def test_the_check_finds_what_overprints_and_what_leaves() -> None:
    figure = Figure(figsize=(4, 2))
    figure.text(0.1, 0.5, "one")
    figure.text(0.12, 0.5, "two")
    figure.text(0.9, 0.9, "further than there is room")
    assert overprints(figure) == [("one", "two")] and beyond(figure) == ["further than there is room"]


@pytest.mark.parametrize("room", [5.0, 30.0, 90.0, 400.0])
def test_shortened_words_fit_and_keep_their_ends(room: float) -> None:
    short = lettering.shortened(LONG, room, 12)
    assert lettering.width(short, 12) <= max(room, lettering.width(lettering.ELLIPSIS, 12))
    head, cut, tail = short.partition(lettering.ELLIPSIS)
    assert cut and LONG.startswith(head) and LONG.endswith(tail)
    assert lettering.shortened("WM", 400, 12) == "WM"


def test_wrapped_words_fit_and_none_is_lost() -> None:
    lines = lettering.wrapped(LONG, 120, 11)
    assert all(lettering.width(line, 11) <= 120 for line in lines) and " ".join(lines) == LONG

"""In a browser, labels on the pages do not overlap, and nothing leaves its drawing."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from longimorph.report import bars, convergence, courses, flows, page, spread, sweep, timeline
from longimorph.report.pairs import Amount, PairResults
from longimorph.report.svg import Drawing
from longimorph.tables import columns
from longimorph.verdict.status import PairStatus

test_browser = pytest.importorskip("test_browser", reason="selenium is not installed")
pytestmark = test_browser.pytestmark

LONG = "left superior frontal gyrus and the white matter below it as the atlas of the third edition has it"
MEASURE = """
return [...document.querySelectorAll('svg')].flatMap((svg, number) => {
  const frame = svg.getBoundingClientRect();
  const inside = ({ left, right, top, bottom }) =>
    left >= frame.left - 1 && right <= frame.right + 1 && top >= frame.top - 1 && bottom <= frame.bottom + 1;
  const texts = [...svg.querySelectorAll('text')];
  const boxes = texts.map((text) => [text.firstChild.textContent, text.getBoundingClientRect()]);
  const found = boxes.filter(([, box]) => !inside(box)).map(([words]) => `${words} leaves drawing ${number}`);
  boxes.forEach(([one, a], place) => boxes.slice(place + 1).forEach(([other, b]) => {
    const wide = Math.min(a.right, b.right) - Math.max(a.left, b.left);
    const high = Math.min(a.bottom, b.bottom) - Math.max(a.top, b.top);
    if (wide > 1 && high > 2.5) found.push(`${one} on ${other} in drawing ${number}`);
  }));
  svg.querySelectorAll('line, path, polyline, rect, circle').forEach((shape) => {
    const name = `${shape.tagName} ${shape.getAttribute('class')}`;
    if (!inside(shape.getBoundingClientRect())) found.push(`${name} leaves drawing ${number}`);
  });
  return found;
});
"""


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    driver = test_browser.start()
    yield driver
    driver.quit()


def trouble(browser: Any, folder: Path, *drawings: Any, width: int = 592) -> list[str]:
    """What is wrong with labels when drawings have the width of a page's column."""
    file = folder / "drawings.html"
    parts = "".join(f'<figure style="width:{width}px">{drawing}</figure>' for drawing in drawings)
    style = page.static("page.css")
    file.write_text(f"<!DOCTYPE html><meta charset=utf-8><style>{style}</style>{parts}", encoding="utf-8")
    browser.get(file.as_uri())
    return list(browser.execute_script(MEASURE))


def amounts(names: list[str], size: float) -> list[Amount]:
    chance = np.random.default_rng(2).normal(0, size, (len(names), 3))
    return [
        Amount(name, 9 * size, 9 * size + sum(row), *row, size / 9, 40 * size)  # type: ignore[call-arg]
        for name, row in zip(names, chance, strict=True)
    ]


def flow_table(names: list[str], size: float) -> pd.DataFrame:
    volumes = np.random.default_rng(3).exponential(size, (len(names), len(names), 2))
    rows = [(a, b, *volumes[i, j]) for i, a in enumerate(names) for j, b in enumerate(names) if i != j]
    return pd.DataFrame(rows, columns=["from_class", "to_class", "deformation_mm3", "reallocation_mm3"])


@pytest.mark.parametrize("size", [0.01, 12.0, 1500.0])
@pytest.mark.parametrize("name", ["c", LONG[:40], LONG])
@pytest.mark.parametrize("count", [2, 7, 30])
def test_the_drawings_of_classes(browser: Any, tmp_path: Path, count: int, name: str, size: float) -> None:
    names = [f"{name} {number}" for number in range(count)]
    colors = dict.fromkeys(names, "#4e79a7")
    found = amounts(names, size)
    course = courses.VolumeCourse(names[0], 9 * size, (("V2", 90.0, found[0]), ("V3", 400.0, found[1])))
    shown, _ = flows.flows_of(flow_table(names, size))
    rates = {kind: np.array([-size, 0.0, size]) for kind in ("moved", "changed")}
    drawings = [
        bars.bars(found, colors),
        courses.panel(course, 0.0, "#4e79a7"),
        spread.strips(names[0], "#4e79a7", rates, {}),
        *(spread.trajectories(names[0], "#4e79a7", kind, [("P1", course)]) for kind in ("moved", "changed")),
        *([flows.diagram(shown, names, colors)] if shown else []),
    ]
    assert trouble(browser, tmp_path, *drawings) == []


@pytest.mark.parametrize("name", ["V", LONG])
@pytest.mark.parametrize("days", [[0, 1], [0, 1, 2, 3, 4, 5, 900], list(range(0, 1200, 60)), [0, 899, 900]])
def test_the_timeline(browser: Any, tmp_path: Path, days: list[int], name: str) -> None:
    visits = {f"{name}{number}": float(day) for number, day in enumerate(days)}
    first, *others = visits
    nothing = pd.DataFrame()
    known = [
        PairResults("P", first, one, visits[one], PairStatus(), (), nothing, nothing, Path())
        for one in others
    ]
    drawing = timeline.timeline(visits, {others[-1]: "no maps"}, known)
    assert trouble(browser, tmp_path, drawing, width=940) == []


@pytest.mark.parametrize("costs", [[900.0, 890.0, 880.0, 5.0], [1e9, 1e3, 1e2, 1.0], [7.0, 7.0, 7.0, 7.0]])
def test_the_convergence(browser: Any, tmp_path: Path, costs: list[float]) -> None:
    rows = [
        {"spacing_mm": spacing, "evaluations": number, "cost_mm3": cost}
        for spacing, cost in zip((8.0, 4.0, 2.0, 1.0), costs, strict=True)
        for number in range(1, 3)
    ]
    rows += [{"spacing_mm": 1.0, "evaluations": n, "cost_mm3": costs[-1]} for n in range(3, 40)]
    assert trouble(browser, tmp_path, convergence.convergence(pd.DataFrame(rows))) == []


@pytest.mark.parametrize("name", ["4", "control-of-the-third-centre.tsv"])
@pytest.mark.parametrize("count", [2, 9, 150])
def test_the_picture_of_a_sweep(browser: Any, tmp_path: Path, count: int, name: str) -> None:
    rows = [
        {"control": f"{name}{number}", **dict.fromkeys(columns.VOLUMES, 100.0 * number)}
        for number in range(count)
    ]
    drawing = sweep.picture(pd.DataFrame(rows), "control", ["control"])
    assert trouble(browser, tmp_path, drawing, width=362) == []


def test_the_check_finds_what_overprints_and_what_leaves(browser: Any, tmp_path: Path) -> None:
    drawing = Drawing(200, 60, "wrong")
    for at, words in (((10.0, 20.0), "one"), ((14.0, 20.0), "two"), ((190.0, 50.0), "too far to the right")):
        drawing.text(at, words)
    drawing.line((100.0, 30.0), (100.0, 400.0), "uncertainty")
    found = trouble(browser, tmp_path, drawing.markup())
    expected = ["too far to the right leaves drawing 0", "one on two in drawing 0"]
    assert found == [*expected, "line uncertainty leaves drawing 0"]

"""Any text gives a result or a list of problems, never another error; results match the text."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from longimorph.errors import InputError
from longimorph.study import classes, config, control, schema, suggest, table
from longimorph.study.classes import ClassRow, ClassTable, Spans
from longimorph.study.labels import count

FEW = settings(max_examples=60, deadline=None)
LABELS = st.integers(0, 12)

CELLS = st.sampled_from(
    ["", "*", "0", "1", "2,3", "4-9", "9-4", "1e-3", "nan", "-1", "0.5", "P1", "m0", "a/b.nii.gz", "~x/y.nii",
     "#ff0000", '"', "\x00", "ß", "from", "WM", "background", "patient", "\\", "/", "..", "x" * 300]
)  # fmt: skip
HEADERS = st.sampled_from(
    ["patient", "timepoint", "days", "image", "regions", "states", "class", "region", "state", "color",
     "from", "WM", "background", "day", ""]
)  # fmt: skip


@st.composite
def tables(draw: st.DrawFn, required: Sequence[str]) -> str:
    """A text near a table: mostly the right columns, cells from everywhere."""
    columns = draw(st.permutations(list(required))) + draw(st.lists(HEADERS, max_size=3))
    rows = draw(st.lists(st.lists(CELLS | st.text(max_size=5), max_size=8), max_size=5))
    separator = draw(st.sampled_from(["\t", "\t", "\t", ",", ";", " "]))
    end = draw(st.sampled_from(["\n", "\r\n", "\r"]))
    return end.join(separator.join(row) for row in [columns, *rows])


def survives(load: Callable[[Path], object], content: bytes) -> None:
    """Read ``content`` as a file: a result or an InputError whose text can be shown."""
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "input"
        file.write_bytes(content)
        try:
            load(file)
        except InputError as error:
            assert error.problems and str(error)


WM = ClassTable("classes.tsv", (ClassRow("WM", None, None, "WM", "healthy", "#ffffff"),))
READERS: dict[str, tuple[Callable[[Path], object], Sequence[str]]] = {
    "cohort": (table.load_cohort, table.REQUIRED),
    "classes": (classes.load_classes, classes.REQUIRED),
    "control": (lambda file: control.load_control(file, WM), ("from", "WM")),
    "config": (config.load_config, ("cohort:", "classes:")),
}


@pytest.mark.parametrize("kind", READERS)
@FEW
@given(data=st.data())
def test_any_table_is_read_or_explained(kind: str, data: st.DataObject) -> None:
    load, required = READERS[kind]
    survives(load, data.draw(tables(required)).encode("utf-8", "surrogatepass"))


@pytest.mark.parametrize("kind", READERS)
@FEW
@given(
    content=st.binary(max_size=200) | st.text(max_size=200).map(lambda text: text.encode("utf-8", "replace"))
)
def test_any_bytes_are_read_or_explained(kind: str, content: bytes) -> None:
    survives(READERS[kind][0], content)


VALUES: st.SearchStrategy[Any] = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8) | st.dates(),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=4) | st.integers(), inner, max_size=3)
    ),
    max_leaves=6,
)
KEYS = st.sampled_from([*schema.load_schema()["properties"], "spacing", ""])


@FEW
@given(mapping=st.dictionaries(KEYS | st.integers(), VALUES, max_size=6))
def test_any_settings_are_taken_or_explained(mapping: dict[Any, Any]) -> None:
    survives(config.load_config, yaml.safe_dump(mapping).encode())
    try:
        config.from_mapping(mapping, Path("."))
    except InputError as error:
        assert str(error)


@pytest.mark.parametrize(
    "text",
    ["a: &a [*a]", "? [1]\n: 2", "? {a: 1}\n: 2", "[" * 5000, "x: 2020-13-45", "a: !!python/none",
     "1" * 5000, "a: b: c", "cohort: &c [1, *c]", "<<: 3", "%YAML 9"],
)  # fmt: skip
def test_odd_yaml_is_explained(text: str) -> None:
    survives(config.load_config, text.encode())
    with pytest.raises(InputError), tempfile.TemporaryDirectory() as folder:
        (Path(folder) / "c.yaml").write_text(text)
        config.load_config(Path(folder) / "c.yaml")


SPANS: st.SearchStrategy[Spans | None] = st.none() | st.lists(
    st.tuples(LABELS, LABELS).map(lambda pair: (min(pair), max(pair))), min_size=1, max_size=3
).map(tuple)


def inside(spans: Spans | None, label: int) -> bool:
    """Whether the label is in the spans, by the definition."""
    return spans is None or any(first <= label <= last for first, last in spans)


@FEW
@given(
    rows=st.lists(st.tuples(SPANS, SPANS), min_size=1, max_size=5),
    labels=st.lists(st.tuples(LABELS, LABELS), min_size=1, max_size=20),
)
def test_lookup_is_the_first_row_that_matches(
    rows: list[tuple[Spans | None, Spans | None]], labels: list[tuple[int, int]]
) -> None:
    made = ClassTable("t", tuple(ClassRow(str(i), r, s, "", "", "") for i, (r, s) in enumerate(rows)))
    known: Spans = ((0, 0), *(span for _, spans in rows if spans is not None for span in spans))
    expected = [
        next((i for i, (rs, ss) in enumerate(rows) if inside(rs, region) and inside(ss or known, state)), -1)
        for region, state in labels
    ]
    regions, states = np.array(labels).T
    assert made.classify(regions, states).tolist() == expected
    unknown = made.unknown(count(regions, states))
    assert int(unknown.voxels.sum()) == expected.count(-1)


@FEW
@given(name=st.text(max_size=10), known=st.lists(st.text(max_size=10), max_size=5))
def test_a_suggestion_is_a_known_name_and_a_known_name_is_its_own(name: str, known: list[str]) -> None:
    near = suggest.nearest(name, known)
    assert near is None or near in known
    if name and name in known:
        assert near is not None and near.lower() == name.lower()

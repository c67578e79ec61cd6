"""Labels to classes, control matrices by class name, presets by kind of class."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from study_files import CLASSES, CONTROL, edit, write_study

from longimorph import paths
from longimorph.errors import InputError, Unusable
from longimorph.free_pairs import FreePairs
from longimorph.study import classes, control, presets, wildcards
from longimorph.study.classes import HEALTHY, ClassRow, ClassTable
from longimorph.study.labels import count


def make(folder: Path, text: str) -> ClassTable:
    """The class table with this text."""
    (folder / "classes.tsv").write_text(text)
    return classes.load_classes(folder / "classes.tsv")


def problems_of(load: object, *arguments: object) -> list[str]:
    """The problems that a loader reports."""
    with pytest.raises(InputError) as error:
        load(*arguments)  # type: ignore[operator]
    return [str(problem) for problem in error.value.problems]


def test_first_match_wins(tmp_path: Path) -> None:
    table = make(tmp_path, CLASSES)
    regions = np.array([0, 2, 41, 4, 44, 2, 0, 99])
    states = np.array([0, 0, 0, 0, 0, 1, 1, 1])
    assert table.classify(regions, states).tolist() == [3, 1, 1, 2, 2, 0, 0, 0]
    assert table.classify(regions).tolist() == [3, 1, 1, 2, 2, 1, 3, -1]
    assert table.names == ("oedema", "WM", "ventricles", "background")
    assert table.pathological == (True, False, False, False)
    assert table.background == 3
    assert table.region_names == ("white matter", "white matter", "CSF", "background")


def test_optional_columns_have_defaults(tmp_path: Path) -> None:
    table = make(tmp_path, "class\tregions\tstates\nlesion\t*\t1-3\ntissue\t1\t0\nrest\t*\t*\n")
    assert table.region_names == ("lesion", "tissue", "rest")
    assert table.state_names == ("lesion", "healthy", "healthy")
    assert len(set(table.colors)) == 3 and table.background is None


def test_unknown_labels_are_named_with_their_voxels(tmp_path: Path) -> None:
    table = make(tmp_path, CLASSES)
    regions = np.array([[77] * 1200 + [9] * 3 + [2]])
    with pytest.raises(Unusable) as failure:
        table.lookup(regions)
    assert failure.value.code == "unknown_label"
    assert failure.value.message.endswith("matches labels 77 (1,200 voxels), 9 (3 voxels)")
    with pytest.raises(Unusable, match=r"label 9 with state 0 \(3 voxels, 0.024 mL\)"):
        table.lookup(regions, (regions == 77).astype(int), 8.0)


@pytest.mark.parametrize("wildcards", [CLASSES, CLASSES + "rest\t*\t*\trest\thealthy\t\n"])
def test_a_state_that_no_row_names_is_never_healthy_tissue(tmp_path: Path, wildcards: str) -> None:
    """``*`` in states stands for 0 and the states that rows name: not for 255, nor for 3 in a later visit."""
    table = make(tmp_path, wildcards)
    assert table.classify(np.array([2, 4, 0, 2]), np.array([255, 3, 2, 1])).tolist() == [-1, -1, -1, 0]
    with pytest.raises(Unusable) as failure:
        table.lookup(np.array([2, 2, 4]), np.array([255, 255, 255]), 216.0)
    assert failure.value.code == "unknown_label"
    assert failure.value.message.endswith("classes.tsv matches state 255 (3 voxels, 0.65 mL)")


def test_a_table_without_lesions_refuses_a_mask(tmp_path: Path) -> None:
    table = make(tmp_path, "class\tregions\tstates\nbrain\t1\t*\nbackground\t0\t*\n")
    assert table.classify(np.array([1, 0, 1]), np.array([0, 0, 1])).tolist() == [0, 1, -1]


def test_a_state_is_healthy_where_a_row_says_so(tmp_path: Path) -> None:
    table = make(tmp_path, "class\tregions\tstates\nlesion\t*\t1\nbrain\t1\t0,7\nbackground\t0\t*\n")
    assert table.classify(np.array([1, 1, 0, 0]), np.array([7, 1, 7, 8])).tolist() == [1, 0, 2, -1]


def test_lookup_wants_integers_of_one_shape(tmp_path: Path) -> None:
    table = make(tmp_path, CLASSES)
    with pytest.raises(TypeError):
        table.classify(np.zeros(3))
    with pytest.raises(ValueError, match="shape"):
        table.classify(np.zeros(3, int), np.zeros(4, int))
    assert table.classify(np.zeros((0, 3), int)).shape == (0, 3)


def test_large_regions_match_any_and_negative_ones_match_nothing(tmp_path: Path) -> None:
    table = make(tmp_path, CLASSES)
    assert table.classify(np.array([10**9, -1, 2]), np.array([1, 1, 10**9])).tolist() == [0, -1, -1]


@pytest.mark.parametrize("dtype", [np.uint8, np.int16, np.uint16, np.int32, np.int64, np.uint32])
def test_lookup_takes_every_integer_type(tmp_path: Path, dtype: type) -> None:
    table = make(tmp_path, CLASSES)
    assert table.lookup(np.array([2, 4, 0], dtype), np.array([1, 0, 0], dtype)).tolist() == [0, 2, 3]


@pytest.mark.parametrize(
    "old, new, expected",
    [
        ("2,41", "2;41", "line 3, 'regions': cannot be read; found '2;41'; expected labels such as 2,41"),
        ("2,41", "41-2", "line 3, 'regions': the range 41-2 runs backwards"),
        ("2,41", "-2", "line 3, 'regions': cannot be read; found '-2'"),
        ("2,41", "2.0", "line 3, 'regions': cannot be read; found '2.0'"),
        ("2,41", "", "line 3, 'regions': is empty"),
        ("WM\t", "oedema\t", "line 3, 'class': is already on line 2"),
        ("WM\t", "Oedema\t", "line 3, 'class': differs only by case from 'oedema' on line 2"),
        ("WM\t", "from\t", "'class': cannot be the name of a class"),
        ("WM\t", "../WM\t", "'class': is not a valid name; found '../WM'"),
        ("WM\t", "\t", "line 3, 'class': is empty"),
        (
            "#eeddcc",
            "beige",
            "'color': is not a colour; found 'beige'; expected a colour of the form",
        ),
        ("*\t1", "*\t*", "line 3, 'class': can never match: rows above it match all its labels"),
        ("\tcolor", "\tcolour", "'colour': unknown column. Did you mean 'color'?"),
        ("\tstates", "", "'states': column is missing. Is it"),
    ],
)
def test_each_mistake_gets_its_sentence(tmp_path: Path, old: str, new: str, expected: str) -> None:
    (tmp_path / "classes.tsv").write_text(CLASSES)
    edit(tmp_path / "classes.tsv", old, new)
    if old == "\tstates":
        edit(tmp_path / "classes.tsv", "\tstate", "\tstats")
    found = problems_of(classes.load_classes, tmp_path / "classes.tsv")
    assert any(expected in text for text in found), found


def test_counts_agree_with_numpy() -> None:
    random = np.random.default_rng(1)
    regions, states = random.integers(0, 9, (8, 9, 10)), random.choice([0, 1, 70000], (8, 9, 10))
    counts = count(regions, states)
    pairs, voxels = np.unique(np.stack([regions.ravel(), states.ravel()]), axis=1, return_counts=True)
    assert counts.states is not None
    assert np.array_equal(np.stack([counts.regions, counts.states]), pairs)
    assert np.array_equal(counts.voxels, voxels)
    assert len(count(np.zeros((0,), int))) == 0


def test_control_is_matched_by_name(tmp_path: Path) -> None:
    write_study(tmp_path)
    table = classes.load_classes(tmp_path / "classes.tsv")
    matrix = control.load_control(tmp_path / "control.tsv", table)
    assert matrix.shape == (4, 4) and matrix.dtype == np.float64
    assert matrix[1, 3] == 0.7 and matrix[3, 1] == 0.3
    rows = [line.split("\t") for line in CONTROL.splitlines()]
    shuffled = [[row[0], *reversed(row[1:])] for row in [rows[0], *reversed(rows[1:])]]
    (tmp_path / "control.tsv").write_text("\n".join("\t".join(row) for row in shuffled))
    assert np.array_equal(control.load_control(tmp_path / "control.tsv", table), matrix)


@pytest.mark.parametrize(
    "old, new, expected",
    [
        ("0.9", "1.5", "line 3, 'WM': the entry from 'WM' to 'WM' is outside [0, 1]; found '1.5'"),
        ("0.9", "-0.1", "is outside [0, 1]; found '-0.1'; expected a number from 0 (reallocation)"),
        ("0.9", "nan", "is not a number; found 'nan'"),
        (
            "0.9",
            "0,9",
            "to 1 (deformation), or open. Use '.' as the decimal point",
        ),
        ("0.9", "", "the entry from 'WM' to 'WM' is empty"),
        (
            "\nWM\t",
            "\nWn\t",
            "is not a class of the class table; found 'Wn'. Did you mean 'WM'?",
        ),
        ("\nWM\t", "\nWn\t", "the class 'WM' has no row"),
        ("\nWM\t", "\noedema\t", "line 3, 'from': the class has two rows"),
        ("\tWM", "\tGM", "line 1, 'GM': column is not a class of the class table. Did you mean 'WM'?"),
        ("\tWM", "\tGM", "line 1, 'WM': the class has no column"),
        ("\tWM", "\toedema", "line 1, 'oedema': column occurs twice"),
        ("from", "class", "line 1, 'from': column is missing"),
    ],
)
def test_each_control_mistake_gets_its_sentence(tmp_path: Path, old: str, new: str, expected: str) -> None:
    write_study(tmp_path)
    edit(tmp_path / "control.tsv", old, new)
    found = problems_of(
        control.load_control, tmp_path / "control.tsv", classes.load_classes(tmp_path / "classes.tsv")
    )
    assert any(expected in text for text in found), found


def test_presets_fit_any_class_table(tmp_path: Path) -> None:
    for text in (CLASSES, "class\tregions\tstates\na\t1\t*\nb\t*\t*\n", "class\tregions\tstates\nx\t*\t*\n"):
        table = make(tmp_path, text)
        for name, description in presets.available().items():
            matrix = control.load_control(f"preset:{name}", table)
            assert matrix.shape == (len(table.rows),) * 2 and description
            numbers = matrix[~np.isnan(matrix)]
            assert (numbers >= 0).all() and (numbers <= 1).all()


def test_presets_say_what_their_words_say(tmp_path: Path) -> None:
    table = make(tmp_path, CLASSES)
    sick = np.array(table.pathological)
    assert (control.load_control("preset:atrophy", table) > 0.99).all()
    growth, other = control.load_control("preset:growth", table), ~np.eye(len(sick), dtype=bool)
    assert np.array_equal(growth < 0.01, sick[:, None] & sick[None, :] & other)
    assert (growth[~(growth < 0.01)] > 0.99).all()
    free, fluid = control.load_control("preset:open", table), np.array([row.fluid for row in table.rows])
    host = ~sick & ~fluid & (np.array(table.names) != "background")
    between = (sick[:, None] & host) | (host[:, None] & sick)
    assert np.array_equal(np.isnan(free), between)
    lesion = control.load_control("preset:lesion", table)
    assert np.array_equal(lesion < 0.01, between | (sick[:, None] & sick[None, :] & other))
    assert (lesion[~(lesion < 0.01)] > 0.99).all()


def test_a_class_is_a_pathology_by_its_states_or_by_the_name_of_its_state(tmp_path: Path) -> None:
    rows = (
        "lesion\t*\t1\t",
        "WMH\t77-79\t*\tlesion",
        "WM\t2\t*\thealthy",
        "GM\t3\t0\tHealthy",
        "CSF\t4\t0\t",
    )
    table = make(tmp_path, "\n".join(["class\tregions\tstates\tstate", *rows, ""]))
    assert table.pathological[:4] == (True, True, False, False)


def test_a_healthy_class_is_a_fluid_by_its_name_or_its_region(tmp_path: Path) -> None:
    rows = ("cavity\t*\t1\tCSF", "Ventricles\t4\t0\t", "outer\t24\t0\tcsf", "Left-Lateral-Ventricle\t5\t0\t",
            "ventral DC\t28\t0\t", "WM\t2\t0\t")  # fmt: skip
    text = "\n".join(["class\tregions\tstates\tregion", *rows, ""])
    table = make(tmp_path, text)
    assert [row.name for row in table.rows if row.fluid] == ["Ventricles", "outer", "Left-Lateral-Ventricle"]


OPEN_TABLE = "class\tregions\tstates\nlesion\t*\t1\nWM\t2\t0\nGM\t3\t0\nCSF\t4\t0\n"


def open_control(entries: str) -> str:
    """A control table of OPEN_TABLE from sixteen letters: o is open, 1 and 0 are numbers."""
    names = ("lesion", "WM", "GM", "CSF")
    words = iter({"o": "open"}.get(letter, letter) for letter in entries.replace(" ", ""))
    rows = ["\t".join([name, *(next(words) for _ in names)]) for name in names]
    return "\n".join(["\t".join(["from", *names]), *rows]) + "\n"


def test_open_entries_name_the_lesions_and_their_hosts(tmp_path: Path) -> None:
    table = make(tmp_path, OPEN_TABLE)
    (tmp_path / "control.tsv").write_text(open_control("1oo1 o111 o111 1110"))
    matrix = control.load_control(tmp_path / "control.tsv", table)
    assert np.isnan(matrix).sum() == 4
    assert control.free_pairs(matrix, table) == (FreePairs((0,), (1, 2)),)
    assert control.free_pairs(matrix, table, projected=False) == (FreePairs((0,), (1, 2)),)


LETTERS = {"o": np.nan, "0": 0.0001, "1": 0.999999, "h": 0.5}


def free_of(entries: str, states: str) -> tuple[FreePairs, ...]:
    """The free pairs of a matrix of letters, for classes that are pathological (p) or healthy (h)."""
    rows = []
    for n, (name, kind) in enumerate(zip("abcdef", states, strict=False), 1):
        numbers = ((n, n),)
        of = (None, numbers, name, name) if kind == "p" else (numbers, None, name, HEALTHY)
        rows.append(ClassRow(name, of[0], of[1], of[2], of[3], "#000000"))
    matrix = np.array([[LETTERS[letter] for letter in row] for row in entries.split()])
    return control.free_pairs(matrix, ClassTable("classes", tuple(rows)))


def test_reallocation_that_the_matrix_decides_is_free_in_groups() -> None:
    one = FreePairs((0,), (1, 2), open=False)
    assert free_of("1001 0111 0111 1111", "phhh") == (one,)
    assert free_of("0000 0000 0000 0000", "phhh") == (replace(one, hosts=(1, 2, 3)),)
    assert free_of("1111 0111 0111 1111", "phhh") == ()  # one direction only
    assert free_of("1hh1 h111 h111 1111", "phhh") == ()  # to be weighed
    assert free_of("1001 0011 0111 1111", "hhhh") == ()  # healthy classes are weighed against movement
    assert free_of("1000 0100 0011 0011", "pphh") == (FreePairs((0, 1), (2, 3), open=False, within=True),)
    assert free_of("1100 1100 0011 0011", "pphh") == (FreePairs((0, 1), (2, 3), open=False),)
    assert free_of("10oo 01oo oo11 oo11", "pphh") == (FreePairs((0, 1), (2, 3), within=True),)


def test_groups_of_free_pairs_keep_apart_what_has_other_hosts() -> None:
    assert free_of("1001 0100 0011 1011", "pphh") == (
        FreePairs((0,), (2,), open=False),
        FreePairs((1,), (2, 3), open=False),
    )
    assert free_of("11o 110 o01", "pph") == (FreePairs((0,), (2,)), FreePairs((1,), (2,), open=False))
    assert free_of("1011 0111 1111 1111", "pphh") == (FreePairs((1,), (0,), open=False),)
    assert free_of("10011 01011 00111 11111 11111", "ppphh") == (
        FreePairs((1, 2), (0,), open=False, within=True),
    )


@pytest.mark.parametrize(
    ("entries", "expected"),
    [
        ("1oo1 o1o1 oo11 1111", "line 3, 'GM': the entry from 'WM' to 'GM' is open, but only a pathological"),
        (
            "1oo1 o111 1111 1111",
            "line 2, 'GM': the entry from 'lesion' to 'GM' is open, but the entry in the",
        ),
        (
            "1oo1 o111 o11o 1111",
            "line 4, 'CSF': the entry from 'GM' to 'CSF' is open, but only a pathological",
        ),
    ],
)
def test_open_entries_that_make_no_question_are_refused(tmp_path: Path, entries: str, expected: str) -> None:
    table = make(tmp_path, OPEN_TABLE)
    (tmp_path / "control.tsv").write_text(open_control(entries))
    found = problems_of(control.load_control, tmp_path / "control.tsv", table)
    assert any(text.endswith("healthy class concerned") and expected in text for text in found), found


def test_lesions_of_one_open_question_share_their_hosts(tmp_path: Path) -> None:
    table = make(tmp_path, OPEN_TABLE.replace("WM\t2\t0", "core\t*\t2"))
    text = open_control("1111 11o1 1o11 1111").replace("WM", "core")
    (tmp_path / "control.tsv").write_text(text.replace("lesion\t1\t1\t1\t1", "lesion\t1\t1\topen\topen"))
    found = problems_of(control.load_control, tmp_path / "control.tsv", table)
    assert any("is open, but the entry in the other direction" in text for text in found), found
    rows = open_control("11oo 11o1 oo11 o111").replace("WM", "core")
    (tmp_path / "control.tsv").write_text(rows)
    found = problems_of(control.load_control, tmp_path / "control.tsv", table)
    assert any("'core' to 'CSF' is a number, but other open entries" in text for text in found), found


def test_unknown_preset_names_its_neighbour(tmp_path: Path) -> None:
    table = make(tmp_path, CLASSES)
    (problem,) = problems_of(control.load_control, "preset:leson", table)
    assert problem == "control: is not a preset; found 'preset:leson'. Did you mean 'lesion'?"


def test_broken_preset_is_explained(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(paths, "presets", lambda: tmp_path)
    table = make(tmp_path, CLASSES)
    cases = {
        "description: x\n": "is not a list of rules",
        "rules: [{from: any, to: all, rho: 2}]": "'to' is not valid; found 'all'; expected one of any",
        "rules: [{from: any, to: any, rho: 2}]": "'rho' is not valid; found 2; expected a number",
        "rules: [{from: any, rho: 1}]": "is not a rule; expected the keys from, to and rho",
        "rules: [{from: healthy, to: any, rho: 1}]": "do not cover all pairs of classes",
    }
    for text, expected in cases.items():
        (tmp_path / "mine.yaml").write_text(text)
        found = problems_of(control.load_control, "preset:mine", table)
        assert any(expected in problem for problem in found), (text, found)


def test_shipped_tables_fit_each_other() -> None:
    folder = paths.repository() / "config"
    table = classes.load_classes(folder / "classes.tsv")
    matrix = control.load_control(folder / "control.tsv", table)
    assert np.array_equal(matrix, control.load_control("preset:lesion", table))
    assert table.background is not None


TAKEN = """class\tregions\tstates
lesion\t2,3\t1
WM\t2\t0
rest\t*\t*
"""


def test_what_only_a_wildcard_took_is_told(tmp_path: Path) -> None:
    """A region that no row names, and a named state that lies where its rows do not take it."""
    table = make(tmp_path, TAKEN)
    regions = np.array([2, 2, 3, 0, 0, 99, 99, 99])
    states = np.array([0, 1, 1, 0, 1, 0, 0, 1])
    assert table.classify(regions, states).tolist() == [1, 0, 0, 2, 2, 2, 2, 2]
    found = wildcards.taken(table, count(regions, states), 500.0)
    assert wildcards.sentences(found) == [
        "'rest' matches by * in regions: regions 99 (3 voxels, 1.5 mL), 0 (2 voxels, 1.0 mL)",
        "'rest' matches by * in states: states 1 in region 0 (1 voxel, 0.5 mL), "
        "1 in region 99 (1 voxel, 0.5 mL)",
    ]
    told = wildcards.sentences(wildcards.together([found, found]), most=1)
    assert told[0].endswith("regions 99 (6 voxels, 3.0 mL in 2 visits), and 1 more label")


def test_a_table_that_names_all_labels_has_nothing_to_tell(tmp_path: Path) -> None:
    table = make(tmp_path, "class\tregions\tstates\nlesion\t*\t1\nWM\t2\t0\nrest\t0\t*\n")
    counts = count(np.array([2, 2, 0, 0]), np.array([0, 1, 0, 1]))
    assert wildcards.taken(table, counts, 1.0) == []


def test_shipped_tables_leave_nothing_to_wildcards_but_lesions() -> None:
    """Healthy rows name state 0, and no row but that of a pathology takes any region."""
    folder = paths.repository() / "config"
    for file in (folder / "classes.tsv", *sorted((folder / "examples").glob("*_classes.tsv"))):
        for row in classes.load_classes(file).rows:
            assert row.states is not None, (file.name, row.name)
            assert row.pathological or (row.states == ((0, 0),) and row.regions is not None), file.name

"""The documentation speaks of what exists: links, settings, commands, names, messages and failure codes."""

from __future__ import annotations

import argparse
import re
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import yaml
from real_data import scan

from longimorph.cli.main import _parser
from longimorph.io.volumes import read_labels
from longimorph.study import classes, control, presets, schema
from longimorph.study.schema import Source

REPOSITORY = Path(__file__).parents[2]
PAGES = sorted(
    [
        *(REPOSITORY / f"{name}.md" for name in ("README", "CONTRIBUTING", "CODE_OF_CONDUCT", "SECURITY")),
        *(REPOSITORY / "docs").glob("*.md"),
        *(REPOSITORY / "config").glob("*.md"),
        *(REPOSITORY / "profiles").glob("*.md"),
    ]
)
EXAMPLES = sorted((REPOSITORY / "config" / "examples").glob("*_classes.tsv"))
ASEG = (0, 2, 3, 4, 5, 7, 8, *range(10, 19), 24, 26, 28, 30, 31, *range(41, 45), 46, 47, *range(49, 55))
ASEG += (58, 60, 62, 63, 72, 77, 78, 79, 80, 81, 82, 85, *range(251, 256))
CORTEX = (*range(1000, 1036), *range(2000, 2036))
OUTSIDE_THE_BRAIN = 500
NOT_IN_SYNTHSEG_OUTPUT = (25, 57, 136, 137, 163, 164)

page = pytest.mark.parametrize("path", PAGES, ids=lambda path: path.relative_to(REPOSITORY).as_posix())


def source_text() -> str:
    """All code, workflow and settings of the repository as one text, split literals joined."""
    files = [REPOSITORY / "Makefile"]
    for folder, pattern in (("src", "*.py"), ("workflow", "*"), ("config", "*"), ("profiles", "*.yaml")):
        found = sorted((REPOSITORY / folder).rglob(pattern))
        files += [file for file in found if file.is_file() and file.suffix in _SUFFIXES]
    text = "\n".join(file.read_text(encoding="utf-8") for file in files)
    return re.sub(r'"\s*\n\s*f?"', "", text)


_SUFFIXES = {".py", ".smk", ".yaml", ".tsv", ""}
SOURCE = source_text()
WORDS = frozenset(re.findall(r"[A-Za-z_][A-Za-z_0-9]*", SOURCE))


def anchors(path: Path) -> set[str]:
    """The anchors of a page's headings, as GitHub makes them."""
    heads = re.findall(r"^#+ (.*)$", path.read_text(encoding="utf-8"), flags=re.MULTILINE)
    plain = [re.sub(r"[^\w\- ]", "", head.lower()) for head in heads]
    return {head.replace(" ", "-") for head in plain}


def spans(path: Path) -> list[str]:
    """What stands in backticks within the lines of a page, outside its blocks of code."""
    text = re.sub(r"^ *```.*?^ *```", "", path.read_text(encoding="utf-8"), flags=re.MULTILINE | re.DOTALL)
    return re.findall(r"`([^`\n]+)`", text)


def commands(path: Path) -> Iterator[str]:
    """The lines of a page's blocks of code, and the spans that start with a command's name.

    In the blocks three spaces part a command from its explanation.
    """
    text = path.read_text(encoding="utf-8")
    for block in re.findall(r"^ *```(?:sh)?\n(.*?)^ *```", text, flags=re.MULTILINE | re.DOTALL):
        for line in block.splitlines():
            yield from re.split(r" && ", re.split(r" {3,}", line.strip())[0])
    yield from spans(path)


@page
def test_links_lead_somewhere(path: Path) -> None:
    links = re.findall(r"\]\(([^)\s]+)\)", path.read_text(encoding="utf-8"))
    for link in links:
        if link.startswith("http"):
            continue
        file, _, anchor = link.partition("#")
        target = (path.parent / file).resolve() if file else path
        assert target.exists(), link
        assert REPOSITORY in target.parents, link
        assert not anchor or anchor in anchors(target), link


@page
def test_settings_exist_and_their_values_can_be_used(path: Path) -> None:
    known = {key: rule for key, rule, _ in schema.keys(schema.load_schema())}
    for span in spans(path):
        assert not span.startswith("align.") or span in known, span
        match = re.fullmatch(r"([a-z_]+): (\S.*)", span)
        if match is None or "NAME" in span:
            continue
        assert match[1] in known, span
        settings = {"cohort": "a", "classes": "b", "control": "c", match[1]: yaml.safe_load(match[2])}
        _, problems = schema.check_settings(settings, schema.load_schema(), Source(path.name))
        assert not problems, span


@page
def test_names_of_settings_columns_and_keys_are_those_of_the_code(path: Path) -> None:
    names = [span for span in spans(path) if re.fullmatch(r"[a-z]+(_[a-z0-9]+)+", span)]
    assert [name for name in names if name not in WORDS] == []


@page
def test_commands_are_accepted(path: Path) -> None:
    targets = set(re.findall(r"^\.PHONY: (.*)$", SOURCE, flags=re.MULTILINE)[0].split())
    for line in commands(path):
        words = line.split()
        if words[:1] == ["longimorph"] and len(words) > 1 and words[1].isalpha() and ":" not in line:
            assert isinstance(_parser().parse_args(words[1:]), argparse.Namespace), line
        if words[:1] == ["make"] and len(words) > 1:
            assert words[1] in targets, line


@page
def test_options_of_snakemake_name_files_that_exist(path: Path) -> None:
    for line in commands(path):
        for profile in re.findall(r"--profile (?:REPO/)?(profiles/\w+)", line):
            assert (REPOSITORY / profile / "config.yaml").is_file(), line


def failure_codes() -> set[str]:
    """Every failure's name in the code: given to Unusable, or one of the checks of an alignment."""
    raised = re.findall(r'Unusable\(\s*"(\w+)"', SOURCE)
    return {*raised, *re.findall(r'^            "([a-z]+)",$', SOURCE, flags=re.MULTILINE)}


def test_every_failure_is_explained_and_no_other() -> None:
    text = (REPOSITORY / "docs" / "troubleshooting.md").read_text(encoding="utf-8")
    part = text.split("## A pair failed")[1].split("\n## ")[0]
    rows = [line.split(" | ") for line in part.splitlines() if line.startswith("| ")]
    named = {code for row in rows[2:] for code in re.findall(r"`(\w+)`", row[1])}
    not_read_in_a_run = {"not_rigid"}
    assert named == failure_codes() - not_read_in_a_run


def test_messages_in_the_list_of_symptoms_are_those_of_the_code() -> None:
    text = (REPOSITORY / "docs" / "troubleshooting.md").read_text(encoding="utf-8")
    part = text.split("## Nothing starts")[1].split("\n## ")[0]
    shown = [m for line in part.splitlines() if line.startswith("| ") for m in spans_of(line.split(" | ")[0])]
    pieces = [piece.strip(" .;") for message in shown for piece in message.split("…") if len(piece) > 6]
    assert len(pieces) > 8
    assert [piece for piece in pieces if piece not in SOURCE] == []


def spans_of(text: str) -> list[str]:
    """What stands in backticks in a piece of a line."""
    return re.findall(r"`([^`]+)`", text)


def test_every_equation_that_the_code_names_is_on_the_page_of_the_model() -> None:
    text = (REPOSITORY / "docs" / "theory.md").read_text(encoding="utf-8")
    defined = re.findall(r"^    (E\d+) ", text, flags=re.MULTILINE)
    code = "\n".join(f.read_text() for f in (REPOSITORY / "src/longimorph/numerics").glob("*.py"))
    assert sorted(defined, key=lambda name: int(name[1:])) == [f"E{n}" for n in range(1, len(defined) + 1)]
    assert set(re.findall(r"\bE\d+\b", code)) <= set(defined)


@pytest.mark.parametrize("path", EXAMPLES, ids=lambda path: path.name)
def test_example_class_tables_are_valid_and_every_preset_fits(path: Path) -> None:
    table = classes.load_classes(path)
    assert table.background is not None and any(table.pathological)
    for name in presets.available():
        matrix = control.load_control(f"preset:{name}", table)
        assert matrix.shape == (len(table.names), len(table.names))


def test_the_freesurfer_example_takes_every_structure_and_nothing_unknown() -> None:
    table = classes.load_classes(REPOSITORY / "config" / "examples" / "freesurfer_classes.tsv")
    labels = np.array([*ASEG, *CORTEX])
    found = [table.names[index] for index in table.lookup(labels)]
    assert {name for label, name in zip(labels, found, strict=True) if label == 0} == {"background"}
    assert found.count("background") == 1
    assert table.classify(np.array([9999]))[0] == -1
    assert set(table.names) - set(found) == {"lesion"}
    assert (table.lookup(labels, np.ones_like(labels)) == table.names.index("lesion")).all()


def test_the_freesurfer_example_fits_a_real_label_map() -> None:
    labels, _ = read_labels(scan("synthseg_labelmaps/training_seg_01.nii.gz"))
    present = np.unique(labels)
    brain = [n for n in present if n < OUTSIDE_THE_BRAIN and n not in NOT_IN_SYNTHSEG_OUTPUT]
    table = classes.load_classes(REPOSITORY / "config" / "examples" / "freesurfer_classes.tsv")
    assert set(table.lookup(np.array(brain)).tolist()) == set(range(1, len(table.names)))


def test_equation_numbers_in_docstrings_are_those_of_the_theory() -> None:
    """The left-hand side beside a number, such as ``dq/dt (E3)``, is the one that theory.md gives it."""
    theory = (REPOSITORY / "docs" / "theory.md").read_text(encoding="utf-8")
    numbers = dict(re.findall(r"^    (E\d+) +(.*?) +=?", theory, re.MULTILINE))
    sides = {"dq/dt": "dq/dt", "dp/dt": "dp/dt", "source": "z", "cost": "J(p₀)"}
    said = "".join(file.read_text() for file in (REPOSITORY / "src/longimorph/numerics").glob("*.py"))
    whole = "".join(file.read_text() for file in (REPOSITORY / "src/longimorph").rglob("*.py"))
    assert set(re.findall(r"\bE\d+\b", whole)) == set(numbers)
    named = re.findall(r"(dq/dt|dp/dt|source|cost) \((E\d+)\)", said)
    assert {side for side, _ in named} == set(sides)
    assert [(side, number) for side, number in named if numbers[number] != sides[side]] == []

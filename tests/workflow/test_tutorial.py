"""The tutorial on its real data, if they exist beside the repository."""

from __future__ import annotations

import csv
import os
import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest
from documented_commands import REPOSITORY, shell_lines

TEXT = (REPOSITORY / "docs" / "tutorial.md").read_text(encoding="utf-8")
DATA = REPOSITORY.parent / "shared" / "data" / "ms_longitudinal" / "patient12"
COMMON = {"brainmask": "brainmask_commonspace", "gt": "change_gt_commonspace"}
LINES = [line for line in shell_lines(TEXT) if not line.startswith("git clone")]

needs_data = pytest.mark.skipif(not DATA.is_dir(), reason="the tutorial's data are not on this machine")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A folder with the repository's files and the data, laid out as they are downloaded."""
    raw = tmp_path / "data" / "longitudinal" / "raw" / "patient12"
    common = tmp_path / "data" / "longitudinal" / "coregistered" / "patient12"
    for place in (raw, common):
        place.mkdir(parents=True)
    for file in DATA.glob("study*"):
        (raw / file.name).symlink_to(file)
    for name, here in COMMON.items():
        (common / f"{name}.nii.gz").symlink_to(DATA / f"{here}.nii.gz")
    for name in ("docs", "Snakefile", "workflow"):
        (tmp_path / name).symlink_to(REPOSITORY / name)
    return tmp_path


def run(line: str, folder: Path) -> str:
    """Run a command of the page with this Python; returns what it printed."""
    program, *rest = shlex.split(line)
    start = [sys.executable] if program == "python" else [str(Path(sys.executable).with_name(program))]
    if program == "cp":
        start = [program]
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "ITK_GLOBAL_DEFAULT_NUMBER_OF_THREADS": "1"}
    done = subprocess.run([*start, *rest], cwd=folder, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, f"{line}\n{done.stdout}{done.stderr}"
    return done.stdout


def blocks() -> list[str]:
    """The blocks of output on the page."""
    return re.findall(r"^```text\n(.*?)^```", TEXT, flags=re.MULTILINE | re.DOTALL)


def words(text: str) -> list[str]:
    """The words of a text, however its lines are broken."""
    return text.split()


def plain(text: str) -> list[str]:
    """The words of a text without its volumes, which depend on the bias field."""
    return [word for word in words(text) if not re.fullmatch(r"\d+\.\d", word)]


def alike(found: list[str], shown: list[str]) -> bool:
    """Whether two texts differ by nothing but numbers, and these by less than a tenth."""

    def same(a: str, b: str) -> bool:
        try:
            return abs(float(a) - float(b)) <= 0.1 * abs(float(b))
        except ValueError:
            return a == b

    return len(found) == len(shown) and all(map(same, found, shown))


def test_the_page_shows_the_tables_that_the_reader_copies() -> None:
    for name in ("cohort.tsv", "classes.tsv"):
        table = (REPOSITORY / "docs" / "tutorial" / name).read_text(encoding="utf-8")
        rows = [line.split("\t") for line in table.splitlines()]
        assert any([re.split(r" {2,}", line) for line in block.splitlines()] == rows for block in blocks()), (
            name
        )


@needs_data
def test_its_commands_run_on_its_data(folder: Path) -> None:
    """All but the run itself, which is planned, and the bias field, which takes a minute and is left out."""
    copy, segment, *rest = LINES
    run(copy, folder)
    script = folder / "ms" / "segment.py"
    begins, ends = "    small = [", "\n\n\ndef tissues"
    before, after = script.read_text().split(begins)
    quick = before + "    return image" + ends + after.split(ends)[1]
    assert "N4BiasFieldCorrection" not in quick
    script.write_text(quick)
    assert run(segment, folder).count("mL of lesions") == 2
    said = {}
    for line in rest:
        if line.startswith("longimorph") and "status" not in line:
            said[line.split()[1]] = run(line, folder)
        if line.startswith("snakemake"):
            run(f"{line} --dry-run", folder)
    assert any(plain(block) == plain(said["check"]) for block in blocks())
    assert any(words(said["plan"])[:20] == words(block)[:20] for block in blocks())


@needs_data
@pytest.mark.skipif("LONGIMORPH_TEST_FAULTS" not in os.environ, reason="takes minutes: make test-faults")
@pytest.mark.long
def test_its_numbers_are_what_comes_out(folder: Path) -> None:
    said = {line: run(line, folder) for line in LINES}
    printed = [words(block) for block in blocks()]
    for line in LINES:
        if line.startswith(("longimorph check", "longimorph status")):
            assert words(said[line]) in printed, line
        if line.startswith("python"):
            assert any(alike(words(said[line]), block) for block in printed), (line, said[line])
    with (folder / "ms" / "results" / "cohort" / "changes.csv").open(newline="") as file:
        rows = {row["class"]: row for row in csv.DictReader(file)}
    for name, row in rows.items():
        if name == "background":
            continue
        (line,) = re.findall(rf"^\| {name} \| (.*) \|$", TEXT, flags=re.MULTILINE)
        shown = [float(cell.split()[0].replace("−", "-")) for cell in line.split(" | ")]
        uncertainty = float(row["deformation_uncertainty_mm3"]) + float(row["reallocation_uncertainty_mm3"])
        keys = ("volume_from_mm3", "volume_to_mm3", "deformation_mm3", "reallocation_mm3", "unexplained_mm3")
        for value, key in zip(shown, keys, strict=True):
            room = 0.0 if key.startswith("volume") else uncertainty / 1000
            assert abs(value - float(row[key]) / 1000) < 0.006 + 0.02 * abs(value) + room, (name, key)

"""The container recipes agree with each other, and their steps work in a bare Debian."""

from __future__ import annotations

import os
import re
import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import bare_debian
import pytest
from installed import REPOSITORY
from tiny import TinyCohort

SOURCE = "/opt/longimorph/source"


@dataclass(frozen=True)
class Recipe:
    """What a container is made of: its base, files of the repository, commands, PATH, what it runs."""

    base: str
    files: frozenset[str]
    steps: tuple[str, ...]
    path: str
    entry: str


def ignoring() -> list[str]:
    """Return what ``.dockerignore`` lets through, of the repository's root."""
    lines = (REPOSITORY / ".dockerignore").read_text().splitlines()
    assert lines[1] == "*"
    return [line[1:] for line in lines if line.startswith("!") and "/" not in line]


def docker() -> Recipe:
    """Read the Dockerfile."""
    text = (REPOSITORY / "Dockerfile").read_text()
    lines = [line.split(maxsplit=1) for line in text.splitlines() if line and not line.startswith("#")]
    of = {key: [rest for word, rest in lines if word == key] for key in {word for word, _ in lines}}
    assert set(of) == {"FROM", "COPY", "RUN", "ENV", "WORKDIR", "ENTRYPOINT"}
    assert of["COPY"] == [f". {SOURCE}"]
    (entry,) = re.findall(r'^\["(\w+)"\]$', of["ENTRYPOINT"][0])
    (path,) = re.findall(r'^PATH="(.*)"$', of["ENV"][0])
    return Recipe(of["FROM"][0], frozenset(ignoring()), tuple(of["RUN"]), path, entry)


def sections() -> Iterator[tuple[str, list[str]]]:
    """Yield the parts of Apptainer's definition, the head without a name."""
    text = (REPOSITORY / "apptainer.def").read_text()
    parts = re.split(r"^%(\w+)\n", f"%head\n{text}", flags=re.MULTILINE)[1:]
    for name, body in zip(parts[::2], parts[1::2], strict=True):
        lines = (line.strip() for line in body.splitlines())
        yield name, [line for line in lines if line and not line.startswith("#")]


def apptainer() -> Recipe:
    """Read Apptainer's definition."""
    of = dict(sections())
    assert of["head"][0] == "Bootstrap: docker"
    places = [line.split() for line in of["files"]]
    assert all(target == f"{SOURCE}/{name}" for name, target in places)
    (path,) = re.findall(r'^export PATH="(.*)"$', of["environment"][0])
    (entry,) = re.findall(r'^exec (\w+) "\$@"$', of["runscript"][0])
    files = frozenset(name for name, _ in places)
    return Recipe(of["head"][1].removeprefix("From: "), files, tuple(of["post"]), path, entry)


def test_both_recipes_make_the_same_container() -> None:
    assert docker() == apptainer()


def test_the_recipes_take_files_that_exist_and_what_a_wheel_is_built_from() -> None:
    files = docker().files
    assert [name for name in files if not (REPOSITORY / name).exists()] == []
    assert files >= {"setup.py", "pyproject.toml", "constraints.txt", "src", "workflow", "config", "profiles"}


@pytest.mark.long
@pytest.mark.timeout(1800)
@pytest.mark.skipif("LONGIMORPH_TEST_CONTAINERS" not in os.environ, reason="make test-containers")
@pytest.mark.skipif(os.geteuid() != 0, reason="a bare Debian can be made by root alone")
@pytest.mark.skipif(
    not all(map(shutil.which, bare_debian.TOOLS)), reason="needs mmdebstrap, and unshare and chroot"
)
def test_the_steps_of_the_recipes_work_in_a_bare_debian(tmp_path: Path) -> None:
    recipe, tree = docker(), tmp_path / "debian"
    bare_debian.make(tree, recipe.base.removeprefix("debian:").removesuffix("-slim"))
    for name in recipe.files:
        (tree / SOURCE[1:]).mkdir(parents=True, exist_ok=True)
        left = shutil.ignore_patterns("__pycache__", "*.egg-info", "data")
        source, target = REPOSITORY / name, tree / SOURCE[1:] / name
        if source.is_dir():
            shutil.copytree(source, target, ignore=left)
        else:
            shutil.copyfile(source, target)
    for step in recipe.steps:
        run = bare_debian.run_in(tree, step)
        assert run.returncode == 0, run.stdout + run.stderr
    cohort = TinyCohort(tree / "study", settings={"spacing_mm": 8, "smoothing_mm": 4, "reference": "none"})
    cohort.add("P001", "V1", 0, 20)
    cohort.add("P001", "V2", 61, 28)
    cohort.write(max_evaluations=3)
    for words in ("--version", "init /other", "check", "run --cores 1", "status"):
        line = f'export PATH="{recipe.path}"; cd /study && exec {recipe.entry} {words}'
        run = bare_debian.run_in(tree, line)
        assert run.returncode == 0, (words, run.stdout + run.stderr)
    assert (tree / "study" / "results" / "cohort" / "report.html").is_file()
    assert (tree / "other" / "config" / "cohort.tsv").is_file()
    assert not (tree / SOURCE[1:]).exists()

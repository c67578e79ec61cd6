"""The basis for contributors: workflows that parse and call what exists, pages that name what exists."""

from __future__ import annotations

import importlib.util
import re
import subprocess
import sys
import tomllib
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import yaml

REPOSITORY = Path(__file__).parents[2]
PACKAGE = REPOSITORY / "src" / "longimorph"
WORKFLOWS = sorted((REPOSITORY / ".github" / "workflows").glob("*.yml"))
FORMS = sorted((REPOSITORY / ".github" / "ISSUE_TEMPLATE").glob("*.yml"))
TARGETS = frozenset(
    re.findall(r"^([a-z][a-z-]*):", (REPOSITORY / "Makefile").read_text(), flags=re.MULTILINE)
)
PAGES = ("CONTRIBUTING.md", "docs/architecture.md", "docs/testing.md", "docs/releasing.md")

workflow = pytest.mark.parametrize("path", WORKFLOWS, ids=lambda path: path.name)


def read(path: Path) -> dict[Any, Any]:
    """A YAML file."""
    found = yaml.safe_load(path.read_text(encoding="utf-8"))
    assert isinstance(found, dict)
    return found


def steps(path: Path) -> list[dict[str, Any]]:
    """The steps of all jobs of a workflow."""
    return [step for job in read(path)["jobs"].values() for step in job["steps"]]


def make_targets(text: str) -> list[str]:
    """The targets of make that a shell text calls."""
    calls = re.findall(r"\bmake +((?:[A-Z_]+=\S+ +)*)([a-z-]+)", text)
    return [target for _, target in calls]


@workflow
def test_workflows_call_targets_and_files_that_exist(path: Path) -> None:
    commands = [step["run"] for step in steps(path) if "run" in step]
    assert {target for command in commands for target in make_targets(command)} <= TARGETS
    files = [word for command in commands for word in command.split() if re.search(r"\.(py|sh)$", word)]
    assert [file for file in files if not (REPOSITORY / file).is_file()] == []


def test_continuous_integration_runs_each_kind_of_check_on_each_python() -> None:
    jobs = read(REPOSITORY / ".github" / "workflows" / "ci.yml")["jobs"]
    called = {
        target for job in jobs.values() for s in job["steps"] for target in make_targets(s.get("run", ""))
    }
    assert called == {"lint", "docs", "test", "test-faults", "test-slurm", "setup"}
    assert jobs["test"]["strategy"]["matrix"]["python"] == ["3.11", "3.12", "3.13"]
    local = make_targets((REPOSITORY / ".ci" / "run").read_text())
    assert local == ["lint", "docs", "test", "test-faults", "test-slurm"]


@workflow
def test_workflows_may_read_and_no_more_unless_a_job_needs_it(path: Path) -> None:
    found = read(path)
    assert found["permissions"] == {"contents": "read"}
    more = {name: job["permissions"] for name, job in found["jobs"].items() if "permissions" in job}
    allowed = {"publish": {"id-token": "write"}, "deploy": {"pages": "write", "id-token": "write"}}
    assert all(allowed[name] == permissions for name, permissions in more.items())
    assert all("timeout-minutes" in job for job in found["jobs"].values())


@workflow
def test_actions_are_pinned_to_a_major_version(path: Path) -> None:
    used = [step["uses"] for step in steps(path) if "uses" in step]
    assert used
    assert [name for name in used if not re.fullmatch(r"[\w-]+/[\w-]+@(v\d+|release/v\d+)", name)] == []


def test_a_release_is_published_without_a_password() -> None:
    path = REPOSITORY / ".github" / "workflows" / "release.yml"
    publish = read(path)["jobs"]["publish"]
    assert publish["environment"] == "pypi" and publish["needs"] == "build"
    assert publish["steps"][-1]["uses"].startswith("pypa/gh-action-pypi-publish@")
    assert "password" not in str(publish) and "secrets." not in path.read_text()


@pytest.mark.parametrize("path", [p for p in FORMS if p.name != "config.yml"], ids=lambda path: path.name)
def test_issue_forms_have_what_github_asks_for(path: Path) -> None:
    form = read(path)
    assert {"name", "description", "body"} <= set(form)
    fields = [part for part in form["body"] if part["type"] != "markdown"]
    assert fields and all(part["attributes"]["label"] for part in fields)
    assert len({part["id"] for part in fields}) == len(fields)
    for name in re.findall(r"`(docs/[\w./-]+)`", path.read_text()):
        assert (REPOSITORY / name).is_file(), name


def test_hooks_run_what_lint_runs() -> None:
    hooks = [hook for repo in read(REPOSITORY / ".pre-commit-config.yaml")["repos"] for hook in repo["hooks"]]
    programs = {Path(hook["entry"].split()[0]).name for hook in hooks}
    lint = (REPOSITORY / "Makefile").read_text().split("\nlint:")[1].split("\n\n")[0]
    assert programs == {"ruff", "snakefmt", "codespell"}
    assert all(f"$(BIN)/{program}" in lint for program in programs)


def named_paths() -> dict[str, str]:
    """Every path in backticks on the pages, with the page: relative to the repository or to the package."""
    found = {}
    for page in PAGES:
        text = re.sub(r"^```.*?^```", "", (REPOSITORY / page).read_text(), flags=re.MULTILINE | re.DOTALL)
        for span in re.findall(r"`([\w./-]+)`", text):
            if re.search(r"\w/$|\.(py|smk|yaml|yml|toml|txt|json|npz)$", span):
                found[span.removeprefix("src/longimorph/") or "."] = page
    return found


RESULTS = frozenset({"alignment.json", "qc.json", "status.json", "complete.json"})
"""Names on these pages of files that a run writes, or whose place is told in words."""


def test_the_pages_name_paths_that_exist() -> None:
    named = named_paths()
    made = {path for path in named if path.startswith(("build/", ".venv/"))} | RESULTS
    places = {path: (REPOSITORY / path, PACKAGE / path) for path in named.keys() - made}
    assert {path: named[path] for path, where in places.items() if not any(p.exists() for p in where)} == {}
    assert len(named) > 50


def test_every_folder_of_the_package_is_described() -> None:
    text = (REPOSITORY / "docs" / "architecture.md").read_text()
    folders = [folder.parent.name for folder in PACKAGE.glob("*/__init__.py")]
    assert [folder for folder in folders if f"\n| `{folder}/` | " not in text] == []


def test_folders_of_the_package_are_described_in_the_order_of_their_layers() -> None:
    settings = tomllib.loads((REPOSITORY / "pyproject.toml").read_text())["tool"]["importlinter"]
    layers = next(contract["layers"] for contract in settings["contracts"] if contract["type"] == "layers")
    rank = {name: place for place, layer in enumerate(layers) for name in layer.split(" | ")}
    text = (REPOSITORY / "docs" / "architecture.md").read_text().split("\n## The package\n")[1]
    described = [rank[name] for name in re.findall(r"^\| `(\w+)/` \| ", text, flags=re.MULTILINE)]
    assert described == sorted(described) and len(described) == len(list(PACKAGE.glob("*/__init__.py")))


def release_check() -> ModuleType:
    """The program that a release begins with."""
    spec = importlib.util.spec_from_file_location("release_check", REPOSITORY / ".ci" / "release_check.py")
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture
def releasable(tmp_path: Path) -> Path:
    """A folder whose files agree on version 1.2.3."""
    address = 'Repository = "https://example.org/x"'
    project = f'[project]\nversion = "1.2.3"\n[project.urls]\n{address}\n'
    (tmp_path / "pyproject.toml").write_text(project)
    (tmp_path / "CITATION.cff").write_text("title: x\nversion: 1.2.3\n")
    (tmp_path / "CHANGELOG.md").write_text("# Changelog\n\n## [1.2.3] - 2030-01-31\n")
    return tmp_path


def test_a_release_whose_files_agree_is_let_through(releasable: Path) -> None:
    assert release_check().problems("v1.2.3", releasable) == []


@pytest.mark.parametrize(
    ("file", "old", "new", "said"),
    [
        ("pyproject.toml", "1.2.3", "1.2.2", "pyproject.toml has version 1.2.2"),
        ("pyproject.toml", "example.org", "OWNER.example.org", "OWNER"),
        ("CITATION.cff", "1.2.3", "1.2.30", "CITATION.cff"),
        ("CHANGELOG.md", "[1.2.3] - 2030-01-31", "[Unreleased]", "CHANGELOG.md"),
        ("CHANGELOG.md", " - 2030-01-31", "", "CHANGELOG.md"),
    ],
)
def test_each_disagreement_stops_a_release(
    releasable: Path, file: str, old: str, new: str, said: str
) -> None:
    path = releasable / file
    path.write_text(path.read_text().replace(old, new))
    (problem,) = release_check().problems("v1.2.3", releasable)
    assert said in problem


@pytest.mark.parametrize("tag", ["1.2.3", "v1.2", "v1.2.3rc1"])
def test_a_tag_of_another_form_stops_a_release(releasable: Path, tag: str) -> None:
    assert any("The tag is" in problem for problem in release_check().problems(tag, releasable))


def test_the_check_ends_with_status_1_where_something_stands_in_the_way() -> None:
    program = REPOSITORY / ".ci" / "release_check.py"
    done = subprocess.run([sys.executable, program, "v999.0.0"], capture_output=True, text=True, check=False)
    assert done.returncode == 1 and "999.0.0" in done.stdout

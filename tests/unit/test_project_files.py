"""The files around the code: one set of pins, a changelog, profiles and environments that parse."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path

import pytest
import yaml
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

REPOSITORY = Path(__file__).parents[2]
CONDA_NAMES = {
    "pytorch-cpu": "torch",
    "pytorch-gpu": "torch",
    "matplotlib-base": "matplotlib",
    "snakemake-minimal": "snakemake",
}


def pins() -> dict[str, str]:
    """Return the version that constraints.txt gives each package."""
    lines = (REPOSITORY / "constraints.txt").read_text().splitlines()
    pairs = [line.split("==") for line in lines if line and not line.startswith("#")]
    return {canonicalize_name(name): version for name, version in pairs}


def project() -> dict[str, object]:
    """Return the project table of pyproject.toml."""
    return tomllib.loads((REPOSITORY / "pyproject.toml").read_text())["project"]


def requirements() -> list[Requirement]:
    """Return what the package needs, extras included."""
    table = project()
    names = [
        *table["dependencies"],
        *(name for extra in table["optional-dependencies"].values() for name in extra),
    ]
    return [Requirement(name) for name in names]


def test_every_line_pins_one_version_and_names_no_address() -> None:
    for line in (REPOSITORY / "constraints.txt").read_text().splitlines():
        assert line.startswith("#") or re.fullmatch(r"[A-Za-z0-9._-]+==[0-9][0-9A-Za-z.]*", line), line


def test_every_requirement_is_pinned_within_its_range() -> None:
    known = pins()
    for requirement in requirements():
        name = canonicalize_name(requirement.name)
        assert name in known, f"{name} is not in constraints.txt"
        assert requirement.specifier.contains(known[name]), requirement


@pytest.mark.parametrize("kind", ["cpu", "gpu"])
def test_environments_pin_what_the_constraints_pin(kind: str) -> None:
    environment = yaml.safe_load((REPOSITORY / "envs" / f"{kind}.yaml").read_text())
    entries = [entry for entry in environment["dependencies"] if isinstance(entry, str) and "==" in entry]
    entries += next(entry["pip"] for entry in environment["dependencies"] if isinstance(entry, dict))
    given = dict(entry.split("==") for entry in entries)
    found = {canonicalize_name(CONDA_NAMES.get(name, name)): version for name, version in given.items()}
    assert {name: pins()[name] for name in found} == found
    needed = {canonicalize_name(Requirement(name).name) for name in project()["dependencies"]}
    assert needed <= set(found)


def test_environments_differ_in_torch_alone() -> None:
    texts = [(REPOSITORY / "envs" / f"{kind}.yaml").read_text() for kind in ("cpu", "gpu")]
    specs = [set(map(str, yaml.safe_load(text)["dependencies"])) for text in texts]
    assert specs[0] ^ specs[1] == {f"pytorch-{kind}=={pins()['torch']}" for kind in ("cpu", "gpu")}


def test_profiles_parse_and_none_is_loaded_without_being_asked() -> None:
    folders = [path for path in (REPOSITORY / "profiles").iterdir() if path.is_dir()]
    assert {path.name for path in folders} >= {"local"}
    assert "default" not in {path.name for path in folders}
    readme = (REPOSITORY / "profiles" / "README.md").read_text()
    for folder in folders:
        assert isinstance(yaml.safe_load((folder / "config.yaml").read_text()), dict)
        assert f"`{folder.name}`" in readme


def test_no_rule_retries_by_itself_and_each_has_a_log() -> None:
    for path in (REPOSITORY / "workflow" / "rules").glob("*.smk"):
        text = path.read_text()
        assert "retries:" not in text, path
        assert text.count("\n    log:") == text.count("\n    script:"), path


def test_the_changelog_has_the_version_or_an_unreleased_part() -> None:
    text = (REPOSITORY / "CHANGELOG.md").read_text()
    assert "## [Unreleased]" in text or f"## [{project()['version']}]" in text
    headings = re.findall(r"^### (.*)$", text, flags=re.MULTILINE)
    assert set(headings) <= {"Added", "Changed", "Deprecated", "Removed", "Fixed", "Security"}


def citation() -> dict[str, object]:
    """Return CITATION.cff."""
    return yaml.safe_load((REPOSITORY / "CITATION.cff").read_text(encoding="utf-8"))


def test_the_citation_has_what_its_format_asks_for_and_no_unknown_key() -> None:
    found = citation()
    required = {"cff-version", "message", "title", "authors"}
    optional = {"abstract", "type", "version", "license", "keywords", "references"}
    assert required <= set(found) <= required | optional
    assert found["cff-version"] == "1.2.0" and found["type"] == "software"
    assert found["authors"] == [{"name": "The longimorph developers"}]
    for reference in found["references"]:
        assert {"type", "title", "authors"} <= set(reference)
        assert all(set(author) == {"family-names", "given-names"} for author in reference["authors"])


def test_the_citation_agrees_with_the_package_and_the_page_of_the_model() -> None:
    found, package = citation(), project()
    assert [found[key] for key in ("title", "version", "license")] == [
        package[key] for key in ("name", "version", "license")
    ]
    theory = (REPOSITORY / "docs" / "theory.md").read_text(encoding="utf-8")
    for reference in found["references"]:
        names = [f"{author['given-names']} {author['family-names']}" for author in reference["authors"]]
        assert all(name in theory for name in (reference["title"], *names))

"""The files around the code: one set of pins, a changelog, profiles and environments that parse."""

from __future__ import annotations

import ast
import re
import tomllib
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from longimorph.orchestration import queue, schedulers

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


def project() -> dict[str, Any]:
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


def cluster_profiles() -> list[dict[str, Any]]:
    """Return the options of the profiles for SLURM."""
    files = sorted((REPOSITORY / "profiles").glob("slurm*/config.yaml"))
    assert len(files) == 2
    return [yaml.safe_load(file.read_text()) for file in files]


def test_the_profiles_of_clusters_differ_in_their_cards_alone_and_use_no_job_arrays() -> None:
    first, second = cluster_profiles()
    assert first == second
    assert not [option for option in first if "array" in option]
    readme = (REPOSITORY / "profiles" / "README.md").read_text()
    obvious = {"executor", "keep-going", "rerun-incomplete", "show-failed-logs", "printshellcmds"}
    assert [option for option in first if option not in readme and option not in obvious] == []


def test_the_profiles_of_queues_differ_in_their_commands_alone_and_combine_jobs_as_with_slurm() -> None:
    profiles = {
        name: yaml.safe_load((REPOSITORY / "profiles" / name / "config.yaml").read_text())
        for name in schedulers.SCHEDULERS
    }
    commands = {f"cluster-generic-{which}-cmd" for which in ("submit", "status", "cancel")}
    slurm = cluster_profiles()[0]
    for name, profile in profiles.items():
        assert profile["cluster-generic-submit-cmd"] == f"longimorph-queue submit {name}"
        assert profile["cluster-generic-status-cmd"] == f"longimorph-queue status {name}"
        rest = {key: value for key, value in profile.items() if key not in commands}
        assert rest == {key: value for key, value in profiles["sge"].items() if key not in commands}
        shared = ("groups", "group-components", "resources", "set-resource-scopes", "retries")
        assert {key: profile[key] for key in shared} == {key: slurm[key] for key in shared}


def test_every_rule_that_registers_is_told_before_its_time_limit() -> None:
    """By the profiles of clusters; the others take minutes and save nothing."""
    text = "\n".join(path.read_text() for path in (REPOSITORY / "workflow" / "rules").glob("*.smk"))
    rules = re.split(r"^rule ", text, flags=re.MULTILINE)
    names = {rule.partition(":")[0] for rule in rules if "scripts/register.py" in rule}
    expected = {f"{name}:slurm_extra=--signal=USR1@180" for name in names}
    assert len(names) == 2 and set(cluster_profiles()[0]["set-resources"]) == expected
    assert set(queue.WARNED) == names


def test_which_card_a_job_sees_is_left_to_the_scheduler() -> None:
    files = [p for kind in ("src", "workflow", "profiles") for p in (REPOSITORY / kind).rglob("*")]
    texts = {p: p.read_text(encoding="utf-8") for p in files if p.suffix in (".py", ".smk", ".yaml")}
    assert len(texts) > 100
    assert [p for p, text in texts.items() if "CUDA_VISIBLE_DEVICES" in text] == []


def test_no_rule_retries_but_by_the_profile_and_each_has_a_log() -> None:
    for path in (REPOSITORY / "workflow" / "rules").glob("*.smk"):
        text = path.read_text()
        retries = re.findall(r"^rule (\w+):|^ +retries: (\d+)", text, flags=re.MULTILINE)
        rules = [retries[place - 1][0] for place, (_, number) in enumerate(retries) if number]
        assert rules == (["patient_complete", "cohort_complete"] if path.stem == "tables" else []), path
        assert {number for _, number in retries if number} <= {"0"}, path
        assert text.count("\n    log:") == text.count("\n    script:"), path


def test_the_changelog_has_the_version_or_an_unreleased_part() -> None:
    text = (REPOSITORY / "CHANGELOG.md").read_text()
    assert "## [Unreleased]" in text or f"## [{project()['version']}]" in text
    headings = re.findall(r"^### (.*)$", text, flags=re.MULTILINE)
    assert set(headings) <= {"Added", "Changed", "Deprecated", "Removed", "Fixed", "Security"}


def citation() -> dict[str, Any]:
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


def test_every_rule_has_a_stage_of_its_name() -> None:
    """A script imports one function of a stage's module, and both have the script's name."""
    for script in (REPOSITORY / "workflow" / "scripts").glob("*.py"):
        name = script.stem
        assert f"from longimorph.stages.{name} import {name}\n" in script.read_text(encoding="utf-8"), script
        module = REPOSITORY / "src" / "longimorph" / "stages" / f"{name}.py"
        assert f"def {name}(" in module.read_text(encoding="utf-8")
    rules = "".join(file.read_text() for file in (REPOSITORY / "workflow" / "rules").glob("*.smk"))
    called = set(re.findall(r'"\.\./scripts/(\w+)\.py"', rules))
    assert called == {script.stem for script in (REPOSITORY / "workflow" / "scripts").glob("*.py")}


def test_the_catalogue_of_workflows_finds_what_it_looks_for() -> None:
    for name in ("workflow/Snakefile", "config/README.md", "config/config.yaml"):
        assert (REPOSITORY / name).is_file()
    usage = yaml.safe_load((REPOSITORY / ".snakemake-workflow-catalog.yml").read_text())["usage"]
    assert set(usage) == {"mandatory-flags", "software-stack-deployment", "report"}
    assert set(usage["mandatory-flags"]) == {"desc", "flags"}
    assert usage["software-stack-deployment"]["conda"] is True and usage["report"] is True
    readme = (REPOSITORY / "README.md").read_text(encoding="utf-8")
    assert "snakemake" in readme and "workflow" in readme


def constants(module: ast.Module) -> Iterator[tuple[str, str]]:
    """Yield name and value of the public constants that a module states itself."""
    for node in module.body:
        if not isinstance(node, ast.Assign):
            continue
        for target in node.targets:
            names, values = [target], [node.value]
            if isinstance(target, ast.Tuple) and isinstance(node.value, ast.Tuple):
                names, values = target.elts, node.value.elts
            for name, value in zip(names, values, strict=True):
                if isinstance(name, ast.Name) and re.fullmatch("[A-Z][A-Z0-9_]+", name.id):
                    yield name.id, ast.unparse(value)


def test_a_constant_stands_once() -> None:
    """Two modules that state one name with one value state the same fact twice."""
    stated = defaultdict(list)
    for file in sorted((REPOSITORY / "src").rglob("*.py")):
        for constant in constants(ast.parse(file.read_text(encoding="utf-8"))):
            stated[constant].append(file.name)
    stated.pop(("LOGGER", "logging.getLogger(__name__)"))
    assert not {constant: files for constant, files in stated.items() if len(files) > 1}

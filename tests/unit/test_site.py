"""The documentation site: links made for it, its pages, and what its navigation holds."""

from __future__ import annotations

import importlib.util
import logging
import re
import sys
from pathlib import Path
from types import ModuleType

import pytest
import yaml

REPOSITORY = Path(__file__).parents[2]


def load_hooks() -> ModuleType:
    """The module that MkDocs loads as a hook."""
    spec = importlib.util.spec_from_file_location(
        "site_hooks", REPOSITORY / "docs" / "site" / "site_hooks.py"
    )
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module


HOOKS = load_hooks()


SITE = yaml.safe_load((REPOSITORY / "mkdocs.yml").read_text(encoding="utf-8"))


@pytest.mark.parametrize(
    ("page", "link", "expected"),
    [
        ("running.md", "memory.md#strategies", "memory.md#strategies"),
        ("running.md", "../config/README.md", "config.md"),
        ("running.md", "../README.md#try-it", "index.md#try-it"),
        ("running.md", "#the-jobs", "#the-jobs"),
        ("running.md", "https://example.org/x.md", "https://example.org/x.md"),
        ("index.md", "docs/images/report.png", "images/report.png"),
        ("index.md", "docs/benchmarks/", "REPOSITORY/tree/HEAD/docs/benchmarks"),
        ("benchmarks/README.md", "../memory.md", "../memory.md"),
        ("benchmarks/README.md", "truth.csv", "truth.csv"),
        ("config.md", "examples/fast_classes.tsv", "REPOSITORY/blob/HEAD/config/examples/fast_classes.tsv"),
        ("profiles.md", "../docs/cluster.md", "cluster.md"),
        ("own-data.md", "../config/control.tsv", "REPOSITORY/blob/HEAD/config/control.tsv"),
        ("tutorial.md", "tutorial/segment.py", "REPOSITORY/blob/HEAD/docs/tutorial/segment.py"),
    ],
)
def test_links_of_the_repository_become_links_of_the_site(page: str, link: str, expected: str) -> None:
    assert HOOKS.site_link(link, page) == expected.replace("REPOSITORY", HOOKS.repository_url())


@pytest.mark.parametrize("link", ["nowhere.md", "../nowhere/README.md", "../../elsewhere.md"])
def test_a_link_to_nothing_is_a_warning(caplog: pytest.LogCaptureFixture, link: str) -> None:
    with caplog.at_level(logging.WARNING):
        HOOKS.site_link(link, "running.md")
    assert [record.levelname for record in caplog.records] == ["WARNING"] and link in caplog.text


@pytest.mark.parametrize(
    ("heading", "expected"),
    [
        ("Geodesics, E1 to E4", "geodesics-e1-to-e4"),
        ("memory.csv, memory.png", "memorycsv-memorypng"),
        ("patients/<patient>/report.html", "patientspatientreporthtml"),
        ("Up – and down", "up--and-down"),
    ],
)
def test_anchors_are_those_of_github(heading: str, expected: str) -> None:
    assert HOOKS.anchor(heading, "-") == expected


@pytest.mark.parametrize(
    ("docstring", "expected"),
    [
        ("<a, b> of (C, *grid) and (d, *grid)", r"&lt;a, b> of (C, \*grid) and (d, \*grid)"),
        ("``a < b`` and `*c*`", "``a < b`` and `*c*`"),
        ("As in\n\n    H = <q, *p>\n\nwith <q", "As in\n\n    H = <q, *p>\n\nwith &lt;q"),
    ],
)
def test_docstrings_keep_their_brackets_and_stars(docstring: str, expected: str) -> None:
    assert HOOKS.as_markdown(docstring) == expected


def test_code_is_left_as_it_is() -> None:
    code = "`[a](../config/README.md)`\n\n```\n[a](../config/README.md)\n```\n"
    text = f"{code}\n[a](../config/README.md)\n"
    assert HOOKS.rewritten(text, "running.md") == f"{code}\n[a](config.md)\n"


def pages_of(nav: object) -> list[str]:
    """Every page of a navigation."""
    if isinstance(nav, str):
        return [nav]
    return [page for part in (nav.values() if isinstance(nav, dict) else nav) for page in pages_of(part)]  # type: ignore[attr-defined]


def test_every_page_is_in_the_navigation_once() -> None:
    docs = REPOSITORY / "docs"
    inside = [file.relative_to(docs).as_posix() for file in docs.rglob("*.md")]
    assert sorted(pages_of(SITE["nav"])) == sorted([*inside, *HOOKS.OUTSIDE.values()])


def test_every_public_module_has_its_place_in_the_api_pages() -> None:
    pages = "\n".join(HOOKS.api_page(package) for package in HOOKS.packages())
    shown = re.findall(r"^::: (\S+)$", pages, flags=re.MULTILINE)
    source = REPOSITORY / "src"
    files = [file.relative_to(source).with_suffix("") for file in source.rglob("longimorph/**/*.py")]
    assert sorted(shown) == sorted(".".join(f.parts) for f in files if not f.name.startswith("_"))


def test_no_page_fetches_anything_from_another_server() -> None:
    assert SITE["theme"]["font"] is False
    assert not [name for name in ("extra_javascript", "extra") if name in SITE]
    assert not [file for file in SITE["extra_css"] if "://" in file]
    source = (REPOSITORY / SITE["theme"]["custom_dir"] / "partials" / "source.html").read_text()
    assert "data-md-component" not in source


def test_anything_that_leads_nowhere_stops_the_build() -> None:
    checks = {**SITE["validation"]["nav"], **SITE["validation"]["links"]}
    assert {"not_found", "anchors", "omitted_files", "unrecognized_links"} <= set(checks)
    assert set(checks.values()) == {"warn"}
    command = re.findall(r"mkdocs build.*$", (REPOSITORY / "Makefile").read_text(), flags=re.MULTILINE)
    assert command == ["mkdocs build --strict"]  # with --quiet it would not say what is wrong

"""What the documentation site adds to the folder docs: pages from elsewhere in the repository, and API pages.

On GitHub a page links to its neighbours, to files outside docs and to folders. The same links work on the
site. A link to a page of the site leads there, and a link to any other file leads to the repository. A link
to a file that does not exist is a warning, which a strict build makes an error.
"""

from __future__ import annotations

import ast
import logging
import posixpath
import re
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

LOGGER = logging.getLogger("mkdocs.hooks.longimorph")
ROOT = Path(__file__).resolve().parents[2]
PACKAGE = ROOT / "src" / "longimorph"
TOP = "top"
"""Name of the API page of the modules that lie in no package."""

OUTSIDE = {
    "README.md": "index.md",
    "config/README.md": "config.md",
    "profiles/README.md": "profiles.md",
    "CONTRIBUTING.md": "contributing.md",
    "CHANGELOG.md": "changelog.md",
    "CODE_OF_CONDUCT.md": "code_of_conduct.md",
    "SECURITY.md": "security.md",
}
"""Pages of the site that lie outside docs, by their place in the repository."""

_FENCE = re.compile(r"(^ *```.*?^ *```[^\n]*$|`[^`\n]+`)", re.MULTILINE | re.DOTALL)
_LINK = re.compile(r"(\]\()([^)\s]+)(\))")
_ROLE = re.compile(r":[a-z]+:(?=`)")
_CODE = re.compile(r"(``[^`]+``|`[^`]+`|^ {4}.*$)", re.MULTILINE)
_ESCAPES = str.maketrans({"<": "&lt;", "*": r"\*"})


def repository_url() -> str:
    """The address of the repository, from pyproject.toml."""
    text = (ROOT / "pyproject.toml").read_text(encoding="utf-8")
    return str(tomllib.loads(text)["project"]["urls"]["Repository"]).rstrip("/")


def site_page(file: str) -> str | None:
    """The page or file of the site that shows ``file`` of the repository, None where there is none."""
    if file in OUTSIDE:
        return OUTSIDE[file]
    inside = file.removeprefix("docs/")
    return inside if inside != file and (ROOT / file).is_file() and not inside.endswith(".py") else None


def source_of(page: str) -> str:
    """The file of the repository that ``page`` of the site shows."""
    return next((file for file, shown in OUTSIDE.items() if shown == page), f"docs/{page}")


def site_link(link: str, page: str) -> str:
    """The link that ``page`` of the site needs where the repository's file has ``link``."""
    path, hash_, anchor = link.partition("#")
    if not path or re.match(r"[a-z]+:", link):
        return link
    source = source_of(page)
    file = posixpath.normpath(posixpath.join(posixpath.dirname(source), path))
    target = ROOT / file
    if file.startswith("..") or not target.exists():
        LOGGER.warning("%s links to %s, which does not exist", source, link)
        return link
    shown = site_page(file)
    if shown is not None:
        return posixpath.relpath(shown, posixpath.dirname(page) or ".") + hash_ + anchor
    kind = "tree" if target.is_dir() else "blob"
    return f"{repository_url()}/{kind}/HEAD/{file}{hash_}{anchor}"


def rewritten(markdown: str, page: str) -> str:
    """The text of a page with its links made for the site; code stays as it is."""
    pieces = _FENCE.split(markdown)
    pieces[::2] = [_LINK.sub(lambda m: m[1] + site_link(m[2], page) + m[3], piece) for piece in pieces[::2]]
    return "".join(pieces)


def anchor(heading: str, separator: str) -> str:
    """The anchor of a heading, as GitHub makes it."""
    return re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", separator)


def as_markdown(docstring: str) -> str:
    """A docstring as Markdown that shows brackets and stars as they are, as in <a, b> and (C, *grid)."""
    pieces = _CODE.split(docstring)
    pieces[::2] = [piece.translate(_ESCAPES) for piece in pieces[::2]]
    return "".join(pieces)


def packages() -> list[str]:
    """Names of the packages that have an API page, and TOP for the modules beside them."""
    return [TOP, *sorted(folder.name for folder in PACKAGE.iterdir() if (folder / "__init__.py").is_file())]


def modules(package: str) -> Iterator[tuple[str, Path]]:
    """Dotted name and file of each public module of a package, subpackages included."""
    files = PACKAGE.glob("*.py") if package == TOP else (PACKAGE / package).rglob("*.py")
    for file in sorted(files):
        parts = file.relative_to(PACKAGE.parent).with_suffix("").parts
        if not parts[-1].startswith("_"):
            yield ".".join(parts), file


def summary(file: Path) -> str:
    """The docstring of a module, or nothing; a reference in it stands as plain code."""
    return as_markdown(_ROLE.sub("", ast.get_docstring(ast.parse(file.read_text(encoding="utf-8"))) or ""))


def api_page(package: str) -> str:
    """The Markdown of a package's API page."""
    name = "longimorph" if package == TOP else f"longimorph.{package}"
    init = PACKAGE / ("" if package == TOP else package) / "__init__.py"
    lines = [f"# {name}", "", summary(init), ""]
    for module, _ in modules(package):
        lines += [f"::: {module}", ""]
    return "\n".join(lines)


def api_index() -> str:
    """The Markdown of the page that lists every module with the first line of its docstring."""
    lines = [
        "# Python API",
        "",
        "Every public function and class, made from the docstrings. Before version 1.0 any of them may "
        "change without notice. The files that go in and come out are what is kept stable: "
        "[settings and tables](../config.md), [results](../outputs.md).",
        "",
    ]
    for package in packages():
        name = "longimorph" if package == TOP else f"longimorph.{package}"
        lines += [f"## [{name}]({package}.md)", "", "| module | |", "| --- | --- |"]
        for module, file in modules(package):
            first = " ".join(summary(file).split("\n\n")[0].split())
            lines.append(f"| [`{module}`]({package}.md#{module}) | {first.replace('|', '&#124;')} |")
        lines.append("")
    return "\n".join(lines)


def on_config(config: Any) -> Any:
    """Give the site the repository's address, its navigation the API pages, and headings their anchors."""
    config.repo_url = repository_url()
    config.repo_name = "longimorph"
    config.edit_uri = ""
    config.mdx_configs.setdefault("toc", {})["slugify"] = anchor
    names = {TOP: "longimorph"}
    pages: list[Any] = [
        {"All modules": "api/index.md"},
        *({names.get(p, f"longimorph.{p}"): f"api/{p}.md"} for p in packages()),
    ]
    config.nav = [*config.nav, {"Python API": pages}]
    return config


def on_files(files: Any, config: Any) -> Any:
    """Add the pages from outside docs and those of the packages."""
    from mkdocs.structure.files import File

    for file, page in OUTSIDE.items():
        files.append(File.generated(config, page, content=(ROOT / file).read_text(encoding="utf-8")))
    files.append(File.generated(config, "api/index.md", content=api_index()))
    for package in packages():
        files.append(File.generated(config, f"api/{package}.md", content=api_page(package)))
    return files


def on_page_markdown(markdown: str, page: Any, config: Any, files: Any) -> str:
    """Make the links of a page for the site."""
    name = page.file.src_uri
    return markdown if name.startswith("api/") else rewritten(markdown, name)

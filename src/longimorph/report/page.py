"""Rendering of a page from its template: a single file that fetches nothing and prevents injection.

Templates escape all their input. The page's security policy lists the fingerprints of its own scripts, so
that a browser runs no other, and forbids all connections.
"""

from __future__ import annotations

import base64
import gzip
import hashlib
import logging
import traceback
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import cache
from importlib.resources import files
from pathlib import Path
from typing import Any, ParamSpec

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

import longimorph
from longimorph.io.atomic import write_text

log = logging.getLogger(__name__)

PROBLEMS = "longimorph-problems"
"""Name of the meta element that counts the parts that could not be drawn; it is in the first kilobyte."""

P = ParamSpec("P")


@dataclass
class Builder:
    """Builds the parts of a page; a part that fails is replaced by a sentence, and the others remain."""

    problems: list[str] = field(default_factory=list)

    def part(self, what: str, make: Callable[P, Any], *args: P.args, **kwargs: P.kwargs) -> Any:
        """The result of ``make``, or a sentence in its place; the traceback is logged."""
        try:
            return make(*args, **kwargs)
        except Exception as error:
            log.error("%s could not be made:\n%s", what, traceback.format_exc())
            sentence = f"{what} could not be made ({type(error).__name__}: {error})."
            self.problems.append(sentence)
            return Markup('<p class="warning">{} {}</p>').format(sentence, "See the log of this page.")


def write_page(out: Path, template: str, scripts: Sequence[str], **content: Any) -> None:
    """Render ``template`` with ``content`` into ``out``; ``scripts`` are names of files of the package."""
    texts = [static(name) for name in (*scripts, "print.js")]
    page = (
        _environment()
        .get_template(template)
        .render(
            style=Markup(static("page.css")),
            scripts=[Markup(text) for text in texts],
            policy=_policy(texts),
            problems_name=PROBLEMS,
            version=longimorph.__version__,
            **content,
        )
    )
    write_text(out, page)


def problems_of(page: Path) -> int:
    """Number of parts of a written page that could not be made."""
    with page.open(encoding="utf-8", errors="replace") as file:
        head = file.read(2000)
    _, found, rest = head.partition(f'name="{PROBLEMS}" content="')
    return int(rest.partition('"')[0]) if found else 0


@cache
def static(name: str) -> str:
    """Read a style sheet or script of the package."""
    return (files("longimorph.report") / "static" / name).read_text(encoding="utf-8")


@cache
def viewer_library() -> str:
    """niivue, compressed and in base64; the browser decompresses it when the viewer is opened."""
    library = _vendored("niivue.umd.js")
    return base64.b64encode(gzip.compress(library, 9, mtime=0)).decode("ascii")


def viewer_licence() -> str:
    """The licence notice that must accompany niivue."""
    return _vendored("LICENSE").decode("utf-8")


def _vendored(name: str) -> bytes:
    return (files("longimorph.report") / "vendor" / "niivue" / name).read_bytes()


def image_source(data: bytes, kind: str = "png") -> str:
    """A data URL that contains an image."""
    return f"data:image/{kind};base64,{base64.b64encode(data).decode('ascii')}"


def _policy(scripts: Sequence[str]) -> str:
    """Content security policy: scripts of the page and their blobs; images, workers and data of the page."""
    digests = (base64.b64encode(hashlib.sha256(text.encode()).digest()).decode() for text in scripts)
    own = " ".join(f"'sha256-{digest}'" for digest in digests)
    return (
        f"default-src 'none'; script-src {own} blob:; style-src 'unsafe-inline'; img-src data: blob:; "
        "font-src data:; connect-src data: blob:; worker-src blob:; base-uri 'none'; form-action 'none'"
    )


def _environment() -> Environment:
    made = Environment(
        loader=PackageLoader("longimorph.report"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    made.policies["json.dumps_kwargs"] = {"sort_keys": True, "separators": (",", ":")}
    return made

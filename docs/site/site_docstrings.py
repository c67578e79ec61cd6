"""The docstrings on the site: their text as Markdown, references such as ``:func:`shoot``` as links."""

from __future__ import annotations

import re
import sys
from pathlib import Path
from typing import Any

import griffe

sys.path.insert(0, str(Path(__file__).parent))
from site_hooks import as_markdown

_ROLE = re.compile(r":(?:mod|func|class|meth|attr):`([^`]+)`")


def resolved(name: str, module: Any) -> str:
    """The full path of what ``name`` means in a module; the name itself where it is not known."""
    try:
        return str(module.resolve(name))
    except (griffe.NameResolutionError, KeyError, AttributeError):
        return name


def linked(text: str, module: Any) -> str:
    """The text of a docstring with its references as optional links; private names stay plain."""

    def link(match: re.Match[str]) -> str:
        name = match[1]
        if name.rpartition(".")[2].startswith("_"):
            return f"`{name}`"
        return f'<autoref identifier="{resolved(name, module)}" optional><code>{name}</code></autoref>'

    return _ROLE.sub(link, as_markdown(text))


class Docstrings(griffe.Extension):
    """Rewrites every docstring as it is read."""

    def on_instance(self, *, obj: Any, **_: Any) -> None:
        """Rewrite one docstring."""
        if obj.docstring is not None:
            module = obj if obj.is_module else obj.module
            obj.docstring.value = linked(obj.docstring.value, module)

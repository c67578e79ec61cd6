"""The lists of columns in ``docs/outputs.md``, generated from the dictionary.

``python -m longimorph.tables.reference`` updates the page.
"""

from __future__ import annotations

import re

from longimorph import paths
from longimorph.io.atomic import write_text
from longimorph.tables.dictionary import Described, tables

MARKED = re.compile(r"(<!-- columns of (\w+): generated -->\n).*?(<!-- columns: end -->)", re.DOTALL)


def column_table(table: str) -> str:
    """Return the columns of a table in Markdown; neighbours of one meaning share a row."""
    rows = ["| column | unit | meaning |", "| --- | --- | --- |"]
    rows += [
        " ".join(["|", _names(one), "|", *([one.unit] if one.unit else []), "|", _meaning(one), "|"])
        for one in tables()[table]
    ]
    return "\n".join(rows) + "\n"


def updated(page: str) -> str:
    """Return ``page`` with its generated parts, those between the markers, regenerated."""
    return MARKED.sub(lambda part: part[1] + column_table(part[2]) + part[3], page)


def _names(found: Described) -> str:
    return ", ".join(f"`{name}`" for name in found.names)


def _meaning(found: Described) -> str:
    if set(found.levels) <= {"ok"}:
        return found.meaning
    levels = ", ".join(f"`{name}` ({text})" for name, text in found.levels.items())
    return f"{found.meaning}: {levels}"


if __name__ == "__main__":
    file = paths.repository() / "docs" / "outputs.md"
    write_text(file, updated(file.read_text(encoding="utf-8")))

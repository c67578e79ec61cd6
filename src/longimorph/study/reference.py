"""The table of all settings in ``config/README.md``, generated from the schema.

``python -m longimorph.study.reference`` updates the page.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from longimorph import paths
from longimorph.io.atomic import write_text
from longimorph.study import presets, schema

_PARTS = ("keys", "presets")


def key_table() -> str:
    """Return every key with its values, unit, default and meaning, as a Markdown table."""
    rows = ["| key | value | unit | default | meaning |", "| --- | --- | --- | --- | --- |"]
    for key, rule, required in schema.keys(schema.load_schema()):
        default = "required" if required else _shown(rule)
        unit = rule.get("unit", "")
        cells = (f"`{key}`", schema.expected_text(rule), unit, default, rule["description"])
        rows.append("| " + " | ".join(cells) + " |")
    return "\n".join(rows)


def preset_table() -> str:
    """Return every control preset with its description, as a Markdown table."""
    rows = ["| preset | in words |", "| --- | --- |"]
    rows += [f"| `preset:{name}` | {text} |" for name, text in presets.available().items()]
    return "\n".join(rows)


def updated(page: str) -> str:
    """Return ``page`` with its generated parts, those between the markers, regenerated."""
    for name, made in zip(_PARTS, (key_table(), preset_table()), strict=True):
        first, last = f"<!-- {name}: generated -->", f"<!-- {name}: end -->"
        before, rest = page.split(first)
        page = f"{before}{first}\n{made}\n{last}{rest.split(last)[1]}"
    return page


def _shown(rule: Mapping[str, Any]) -> str:
    value = rule["default"]
    return str(rule.get("absent", "none")) if value is None else f"`{value}`"


if __name__ == "__main__":
    file = paths.repository() / "config" / "README.md"
    write_text(file, updated(file.read_text(encoding="utf-8")))

"""What the columns of the tables mean: JSON files beside them, from ``dictionary.yaml``.

A JSON file has the form of BIDS: an object per column, with ``Description`` and, where there are any,
``Units`` and ``Levels``.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache
from importlib import resources
from pathlib import Path
from typing import Any

import pandas as pd
import yaml

from longimorph.io.atomic import write_csv, write_json

Classes = Sequence[Mapping[str, str]]
_LINK = re.compile(r"\[([^\]]*)\]\([^)]*\)")


@dataclass(frozen=True)
class Described:
    """Neighbouring columns of one meaning, their unit, and what single values mean."""

    names: tuple[str, ...]
    meaning: str
    unit: str = ""
    levels: Mapping[str, str] = field(default_factory=dict)

    @property
    def plain(self) -> str:
        """The meaning without the links and code spans of Markdown."""
        return _LINK.sub(r"\1", self.meaning).replace("`", "")


@cache
def tables() -> dict[str, tuple[Described, ...]]:
    """The columns of each table by its name, in their order in the file."""
    text = resources.files(__package__).joinpath("dictionary.yaml").read_text(encoding="utf-8")
    known = yaml.safe_load(text)
    return {name: tuple(_described(items, known["groups"])) for name, items in known["tables"].items()}


def _described(items: Iterable[Any], groups: Mapping[str, Any]) -> Iterator[Described]:
    for item in items:
        if isinstance(item, str):
            yield from _described(groups[item], groups)
        else:
            unit, levels = item.get("unit", ""), item.get("levels", {})
            yield Described(tuple(item["columns"].split()), item["meaning"], unit, levels)


def sidecar(
    table: str, names: Iterable[str], classes: Classes = (), further: Sequence[str] = ()
) -> dict[str, dict[str, Any]]:
    """The dictionary of the columns ``names`` of a table; the ``further`` ones are of cohort.tsv.

    ``classes``: dicts with ``class``, ``region`` and ``state``, whose names are levels of such columns.
    Raises KeyError for a column that is neither described nor among the further ones.
    """
    known = {name: described for described in tables()[table] for name in described.names}
    known |= {name: Described((name,), f"column {name} of cohort.tsv, as written there") for name in further}
    levels = _levels(classes)
    found = {}
    for name in names:
        said: dict[str, Any] = {"Description": known[name].plain}
        if known[name].unit:
            said["Units"] = known[name].unit
        if own := (known[name].levels or levels.get(name, {})) if name not in further else {}:
            said["Levels"] = dict(own)
        found[name] = said
    return found


def write_table(path: Path, table: pd.DataFrame, classes: Classes = (), further: Sequence[str] = ()) -> None:
    """Write ``table``, its cells as they are, to the CSV file ``path``, and its dictionary to a JSON file.

    The dictionary lies beside it, with the same name; ``classes`` and ``further`` are as for :func:`sidecar`.
    """
    write_json(path.with_suffix(".json"), sidecar(path.stem, table.columns, classes, further))
    write_csv(path, table)


def _levels(classes: Classes) -> dict[str, dict[str, str]]:
    """What the names of the study's classes, regions and states stand for, by column."""
    names: dict[str, str] = {}
    groups: dict[str, dict[str, list[str]]] = {"region": {}, "state": {}}
    for row in classes:
        named = {kind: row[kind] for kind in groups if row.get(kind)}
        names[row["class"]] = ", ".join(f"{kind} {name}" for kind, name in named.items())
        for kind, name in named.items():
            groups[kind].setdefault(name, []).append(row["class"])
    joined = {kind: {name: ", ".join(own) for name, own in found.items()} for kind, found in groups.items()}
    return {**dict.fromkeys(("class", "from_class", "to_class"), names), **joined}

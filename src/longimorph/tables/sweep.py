"""The table of a sweep: one row per combination of settings, pair and class."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pandas as pd

from longimorph.tables import columns
from longimorph.verdict.status import read_status

HEALTH = ("mismatch_after_mm3", "seconds", "evaluations", "drift")
"""Quality measures of the registration, from its ``status.json``; the same in all rows of a pair."""

NUMBERS = (*columns.VOLUMES, *columns.UNCERTAINTIES)


def sweep_table(
    folder: Path, combinations: Sequence[Mapping[str, Any]], pairs: Sequence[Mapping[str, Any]]
) -> pd.DataFrame:
    """Read the registrations below ``folder``; a failed one keeps its rows, with empty numbers.

    ``combinations``: dicts with ``name`` and ``settings`` (text by setting); ``pairs``: with ``patient``,
    ``from`` and ``to``.
    """
    tables = [_one(folder, combination, pair) for combination in combinations for pair in pairs]
    return pd.concat(tables, ignore_index=True)


def _one(folder: Path, combination: Mapping[str, Any], pair: Mapping[str, Any]) -> pd.DataFrame:
    place = folder / combination["name"] / pair["patient"] / f"{pair['from']}__{pair['to']}"
    changes = columns.read_table(place / "changes.csv")
    status = read_status(place)
    settings = combination["settings"]
    table = changes[[*columns.PAIR, "class", *NUMBERS]].copy()
    table.insert(0, "combination", combination["name"])
    for number, (name, text) in enumerate(settings.items(), 1):
        table.insert(number, name, text)
    for name in HEALTH:
        table[name] = getattr(status, name)
    table["status"] = status.status
    return table

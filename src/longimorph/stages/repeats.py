"""The tables of repeated scans and of the noise floors that they measure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from longimorph import tables


def repeats(pairs: Sequence[Mapping[str, Any]], classes: Sequence[Mapping[str, str]], results: Path) -> None:
    """Write ``cohort/repeats.csv`` and ``cohort/floors.csv`` in the folder ``results``.

    ``pairs``: the patient, both scans and the days between them of every pair of a visit and its repeat.
    """
    folders = [results / "patients" / pair["patient"] / f"{pair['from']}__{pair['to']}" for pair in pairs]
    tables.repeat_tables(pairs, folders, classes, results / "cohort")

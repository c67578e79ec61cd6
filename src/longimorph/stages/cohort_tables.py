"""The tables of the cohort, with sums by region and by state."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from longimorph import tables
from longimorph.tables import lesions


def cohort_tables(
    patients: Iterable[str],
    classes: Sequence[Mapping[str, str]],
    results: Path,
    repeats: Sequence[Mapping[str, Any]] = (),
) -> None:
    """Write the tables of all ``patients`` to ``cohort`` in the folder ``results``.

    ``repeats``: the pairs of a visit and its repeat.
    """
    folders = [results / "patients" / name for name in patients]
    tables.cohort_tables(folders, classes, results / "cohort", repeats)
    lesions.cohort_lesions(folders, classes, results / "cohort" / "lesions.csv")

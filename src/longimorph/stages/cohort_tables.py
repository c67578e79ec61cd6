"""The tables of the cohort, with sums by region and by state."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

from longimorph import tables
from longimorph.tables import lesions


def cohort_tables(patients: Iterable[str], classes: Sequence[Mapping[str, str]], results: Path) -> None:
    """Write the tables of all ``patients`` to ``cohort`` in the folder ``results``."""
    folders = [results / "patients" / name for name in patients]
    tables.cohort_tables(folders, classes, results / "cohort")
    lesions.cohort_lesions(folders, classes, results / "cohort" / "lesions.csv")

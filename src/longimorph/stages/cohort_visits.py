"""The table of all visits of the cohort, for statistics."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

from longimorph import tables


def cohort_visits(
    patients: Iterable[str],
    further: Sequence[str],
    cells: Mapping[str, Mapping[str, Sequence[str]]],
    classes: Sequence[Mapping[str, str]],
    results: Path,
) -> None:
    """Write ``cohort/visits.csv`` in the folder ``results`` from the tables of all ``patients``.

    ``further``: the further columns of cohort.tsv; ``cells``: their text, by patient and visit.
    """
    folders = [results / "patients" / name for name in patients]
    tables.write_cohort_visits(folders, further, cells, classes, results / "cohort")

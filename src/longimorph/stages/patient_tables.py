"""The tables of one patient."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from longimorph import tables


def patient_tables(
    name: str,
    visits: Sequence[Mapping[str, Any]],
    pairs: Sequence[Mapping[str, Any]],
    classes: Sequence[Mapping[str, str]],
    out: Path,
    template: Path | None = None,
    floors: Path | None = None,
) -> None:
    """Write the tables of patient ``name`` to ``out``, which holds a folder for each pair and visit.

    ``template``: the log of the registration to the template, in a study that has one. ``floors``: the
    cohort's table of noise floors, where repeated scans measure them.
    """
    folders = [out / f"{pair['from']}__{pair['to']}" for pair in pairs]
    tables.patient_tables(name, pairs, folders, classes, out, template, floors)
    tables.write_patient_visits(name, visits, pairs, classes, out)

"""Results stored beside the page, so that an interrupted run continues where it stopped."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, fields
from pathlib import Path

import pandas as pd

from benchmarks.peers.scoring import Result
from longimorph.io import atomic

NAMES = [field.name for field in fields(Result)]


def read_rows(table: Path, program: str) -> list[Result]:
    """The results in a table that this program (a hash) produced; none if there is no such table."""
    if not table.is_file():
        return []
    numbers, texts = ("gross_mm3", "error", "seconds"), ("missing", "fingerprint")
    types = dict.fromkeys(numbers, float) | dict.fromkeys(texts, str)
    rows = pd.read_csv(table, dtype=types).fillna({"missing": ""})
    if set(rows.columns) != {*NAMES, "fingerprint"}:
        return []
    found = rows[rows["fingerprint"] == program][NAMES].to_dict("records")
    return [Result(**{str(name): value for name, value in row.items()}) for row in found]


def write_rows(table: Path, results: Sequence[Result], program: str) -> None:
    """Write all results again."""
    rows = pd.DataFrame([asdict(result) for result in results], columns=NAMES).assign(fingerprint=program)
    atomic.write_csv(table, rows, float_format="%.6g")


def complete(results: Sequence[Result], phantom: str, programs: Sequence[str]) -> list[Result]:
    """The results of a phantom if every program has one or cannot have one; otherwise none."""
    found = [r for r in results if r.phantom == phantom and r.program in programs and r.missing in ("", "-")]
    return found if {result.program for result in found} == set(programs) else []

"""The table and the page of a sweep."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from longimorph.io.atomic import write_csv
from longimorph.report.sweep import sweep_page
from longimorph.tables import columns
from longimorph.tables.sweep import sweep_table


def sweep(
    combinations: Sequence[Mapping[str, Any]],
    pairs: Sequence[Mapping[str, Any]],
    command: str,
    table: Path,
    page: Path,
) -> None:
    """Write ``table`` and ``page`` from the registrations beside them; ``command`` reproduces them."""
    found = sweep_table(table.parent, combinations, pairs)
    write_csv(table, columns.as_text(found), "%.6g")
    sweep_page(found, list(combinations[0]["settings"]), command, page)

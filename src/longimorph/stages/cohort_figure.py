"""The figure of a cohort."""

from __future__ import annotations

from pathlib import Path

from longimorph.report.memory_figure import memory_figure


def cohort_figure(table: Path, out: Path) -> None:
    """Write ``memory.png`` from the cohort's ``memory.csv``."""
    memory_figure(table, out)

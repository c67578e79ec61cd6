"""The report page of the cohort."""

from __future__ import annotations

from pathlib import Path

from longimorph.report import cohort
from longimorph.study import classes as class_tables


def cohort_report(classes: str, command: str, out: Path, group: Path | None = None) -> None:
    """Write ``out``, and ``administration.html`` beside it, from the cohort's tables in the same folder.

    ``command`` reproduces the cohort's results; ``group`` is the page of its maps on a template, if any.
    """
    cohort.cohort_report(class_tables.load_classes(classes), command, out.parent, out, group)

"""Check that every pair of a patient or of the cohort is done."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from longimorph.report.page import problems_of
from longimorph.tables import require_complete


def complete(pages: Iterable[Path], out: Path) -> None:
    """Write ``out`` when every pair in the tables beside it is done and every page is complete.

    Raises SomePairsFailed or PagesIncomplete otherwise.
    """
    require_complete(out.parent, out, [page for page in pages if problems_of(page)])

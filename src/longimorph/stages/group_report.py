"""The page of the maps of the cohort."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from longimorph.geometry.grid import canonical
from longimorph.report import group
from longimorph.study import classes as class_tables
from longimorph.study.template import read_template


def group_report(classes: str, files: Sequence[str], verdicts: Path, folder: Path, out: Path) -> None:
    """Write ``out`` from the maps and tables in ``folder`` and the table of the pairs' ``verdicts``.

    ``files``: the template, and perhaps its mask.
    """
    image, grid = read_template(Path(files[0]))
    group.group_report(class_tables.load_classes(classes), canonical(grid, image), verdicts, folder, out)

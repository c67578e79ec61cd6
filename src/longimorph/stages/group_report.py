"""The page of the maps of the cohort."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from longimorph.geometry.grid import canonical
from longimorph.report import group
from longimorph.study import classes as class_tables
from longimorph.study.template import read_template


def group_report(classes: str, files: Sequence[str], folder: Path, out: Path) -> None:
    """Write ``out`` from the maps and tables in ``folder``; ``files``: the template, and perhaps its mask."""
    image, grid = read_template(Path(files[0]))
    group.group_report(class_tables.load_classes(classes), canonical(grid, image), folder, out)

"""The figure of one pair."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from longimorph.report.figures import pair_figure
from longimorph.study import classes as class_tables


def figure(pair: Mapping[str, Any], classes: str, folder: Path) -> None:
    """Write ``overview.png`` of a pair from its own files and those of its two visits."""
    source, target = folder.parent / str(pair["from"]), folder.parent / str(pair["to"])
    pair_figure(folder, source, target, class_tables.load_classes(classes), folder / "overview.png")

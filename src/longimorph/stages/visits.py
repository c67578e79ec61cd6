"""Code shared by several stages: visits from their records, the classes of a scan, removal of old results."""

from __future__ import annotations

import json
import logging
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from longimorph.errors import Unusable
from longimorph.geometry.grid import Grid
from longimorph.stages.failing import failing
from longimorph.study import wildcards
from longimorph.study.classes import ClassTable
from longimorph.study.labels import count
from longimorph.study.scans import read_visit
from longimorph.study.table import Visit

log = logging.getLogger(__name__)


def visit_of(record: Mapping[str, Any]) -> Visit:
    """Create the visit of a job's record (patient, timepoint, image, regions, states; paths or None)."""
    image, states = (Path(record[name]) if record[name] else None for name in ("image", "states"))
    return Visit(record["patient"], record["timepoint"], 0.0, image, Path(record["regions"]), states)


def classes_of(visit: Visit, table: ClassTable) -> tuple[NDArray[np.int16], Grid]:
    """The class index of each voxel of the visit's labels, (i, j, k), and their grid.

    Raises a failure of the stage maps when the labels cannot be read or match no class.
    """
    index, grid, _ = read_classes(visit, table)
    return index, grid


def read_classes(visit: Visit, table: ClassTable) -> tuple[NDArray[np.int16], Grid, list[str]]:
    """As `classes_of`, with the labels matched only by wildcards, in the words of ``longimorph check``.

    These are also logged.
    """
    with failing("maps"):  # also where the alignment is the first to read them
        regions, states, grid = read_visit(visit)
        try:
            index = table.lookup(regions, states, grid.voxel_volume)
        except Unusable as found:
            raise Unusable(found.code, f"{visit.regions}: {found.message}") from found
    told: list[str] = []
    if table.has_wildcards:
        told = wildcards.sentences(wildcards.taken(table, count(regions, states), grid.voxel_volume))
    for sentence in told:
        log.warning("%s %s: %s", visit.patient, visit.timepoint, sentence)
    return index, grid, told


def remove(files: Iterable[Path]) -> None:
    """Delete results of an earlier run, so that no result outlives its inputs."""
    for file in files:
        file.unlink(missing_ok=True)


def record_of(path: Path) -> dict[str, Any]:
    """Read a JSON object written by an earlier step; raises Unusable when it is damaged."""
    try:
        return read_json(path)
    except (OSError, ValueError) as error:
        message = f"{path}, from an earlier step, is damaged ({error}). Delete it and repeat the same command"
        raise Unusable("unreadable", message) from error


def read_json(path: Path) -> dict[str, Any]:
    """Read a JSON object written by an earlier step."""
    content: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    return content

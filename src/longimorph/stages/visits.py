"""Code shared by several stages: visits from their records, the classes of a scan, removal of old results."""

from __future__ import annotations

import json
import logging
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from longimorph.errors import Unusable
from longimorph.geometry.grid import Grid
from longimorph.stages.failing import failing
from longimorph.study import wildcards
from longimorph.study.classes import ClassTable
from longimorph.study.labels import LabelCounts, count
from longimorph.study.posteriors import class_shares, is_soft_visit
from longimorph.study.scans import read_layers, read_visit
from longimorph.study.table import Visit

log = logging.getLogger(__name__)


def visit_of(record: Mapping[str, Any]) -> Visit:
    """Create the visit of a job's record (patient, timepoint, image, regions, states; paths or None)."""
    image, states = (Path(record[name]) if record[name] else None for name in ("image", "states"))
    return Visit(record["patient"], record["timepoint"], 0.0, image, Path(record["regions"]), states)


@dataclass(frozen=True, eq=False)
class Classes:
    """The classes of a visit: the index of each voxel, (i, j, k), and their grid.

    Of posteriors, ``index`` is the most probable class, and ``shares`` (C, i, j, k) are the probabilities.
    ``by_wildcards``: the labels matched only by wildcards, in the words of ``longimorph check``.
    """

    index: NDArray[np.int16]
    grid: Grid
    shares: NDArray[np.float32] | None = None
    by_wildcards: tuple[str, ...] = ()


def classes_of(visit: Visit, table: ClassTable) -> tuple[NDArray[np.int16], Grid]:
    """The class index of each voxel of the visit, (i, j, k), of posteriors the most probable; and the grid.

    Raises a failure of the stage maps when the labels cannot be read or match no class.
    """
    found = read_classes(visit, table)
    return found.index, found.grid


def read_classes(visit: Visit, table: ClassTable) -> Classes:
    """As `classes_of`, with the probabilities of posteriors, and the labels matched only by wildcards.

    The latter are also logged.
    """
    with failing("maps"):  # also where the alignment is the first to read them
        found, counts = (_soft if is_soft_visit(visit) else _hard)(visit, table)
    told: list[str] = []
    if counts is not None:
        told = wildcards.sentences(wildcards.taken(table, counts, found.grid.voxel_volume))
    for sentence in told:
        log.warning("%s %s: %s", visit.patient, visit.timepoint, sentence)
    return replace(found, by_wildcards=tuple(told))


def _hard(visit: Visit, table: ClassTable) -> tuple[Classes, LabelCounts | None]:
    regions, states, grid = read_visit(visit)
    with _of(visit):
        index = table.lookup(regions, states, grid.voxel_volume)
    return Classes(index, grid), count(regions, states) if table.has_wildcards else None


def _soft(visit: Visit, table: ClassTable) -> tuple[Classes, LabelCounts | None]:
    layers = read_layers(visit, table)
    with _of(visit):
        shares, counts = class_shares(*layers, table)
    index = shares.argmax(axis=0).astype(np.int16)
    return Classes(index, layers[0].grid, shares), counts if table.has_wildcards else None


@contextmanager
def _of(visit: Visit) -> Iterator[None]:
    """Name the regions' file where labels match no class."""
    try:
        yield
    except Unusable as found:
        if found.code != "unknown_label":
            raise
        raise Unusable(found.code, f"{visit.regions}: {found.message}") from found


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

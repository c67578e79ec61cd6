"""What the scans of one visit hold, without any table: can they be read, do they fit, which labels occur."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from longimorph.cohort.classes import ClassTable
from longimorph.cohort.labels import LabelCounts, count
from longimorph.cohort.table import Visit
from longimorph.errors import PairFailure, Problem
from longimorph.grid import Grid, same_grid
from longimorph.io.volumes import read_grid, read_labels

Labels = NDArray[np.int32]

GRID_TOLERANCE_MM = 0.01
"""Regions and states count as on one grid when no voxel centre differs by more."""


@dataclass(frozen=True)
class ScanWarning:
    """A defect of one visit's scans, found before the run; the visit's pairs will fail with it."""

    patient: str
    timepoint: str
    stage: str
    code: str
    message: str

    def __str__(self) -> str:
        return f"{self.patient} {self.timepoint}: {self.message} ({self.stage}: {self.code})"


@dataclass(frozen=True)
class Defect:
    """One defect: the stage that will fail, a short stable name, a sentence."""

    stage: str
    code: str
    message: str


@dataclass(frozen=True)
class ScanReport:
    """The labels of one visit, None when they cannot be read, and the defects of its scans."""

    counts: LabelCounts | None
    defects: tuple[Defect, ...] = ()


def read_visit(visit: Visit) -> tuple[Labels, Labels | None, Grid]:
    """Read the label volumes of a visit: regions, states (None without), both (i, j, k), and their grid.

    Raises PairFailure of the stage maps when one cannot be read or the two lie on different grids.
    """
    return _together(visit, [read_labels(path) for path in _label_files(visit)])


def examine_visit(visit: Visit) -> ScanReport:
    """Read the visit's scans and report their labels and defects; never raises for a bad scan.

    Depends on nothing but the visit's files, so the report can be kept as long as they do not change.
    """
    defects = _image_defects(visit)
    volumes = []
    for path in _label_files(visit):
        try:
            volumes.append(read_labels(path))
        except PairFailure as failure:
            defects.append(_defect(failure))
    if len(volumes) < len(_label_files(visit)):
        return ScanReport(None, tuple(defects))
    try:
        regions, states, _ = _together(visit, volumes)
    except PairFailure as failure:
        return ScanReport(None, (*defects, _defect(failure)))
    return ScanReport(count(regions, states), tuple(defects))


def _label_files(visit: Visit) -> list[Path]:
    return [path for path in (visit.regions, visit.states) if path is not None]


def _image_defects(visit: Visit) -> list[Defect]:
    if visit.image is not None:
        try:
            read_grid(visit.image, "align")
        except PairFailure as failure:
            return [_defect(failure)]
    return []


def _defect(failure: PairFailure) -> Defect:
    return Defect(failure.stage, failure.code, failure.message)


def _together(visit: Visit, volumes: list[tuple[Labels, Grid]]) -> tuple[Labels, Labels | None, Grid]:
    """Return regions and states as one, after the check that they lie on one grid."""
    regions, grid = volumes[0]
    if len(volumes) == 1:
        return regions, None, grid
    states, states_grid = volumes[1]
    if same_grid(grid, states_grid, GRID_TOLERANCE_MM):
        return regions, states, grid
    message = (
        f"the regions {visit.regions} and the states {visit.states} lie on different grids: "
        f"{_describe(grid)} against {_describe(states_grid)}; resample one to the other (nearest neighbour)"
    )
    raise PairFailure("maps", "grid_mismatch", message)


def _describe(grid: Grid) -> str:
    rows = "; ".join(" ".join(f"{value:.6g}" for value in row) for row in grid.affine[:3])
    return f"shape {'×'.join(map(str, grid.shape))}, affine [{rows}]"


def check_labels(
    visit: Visit, classes: ClassTable, table: str, report: ScanReport | None = None
) -> list[Problem | ScanWarning]:
    """Return what is wrong with one visit's scans: labels that no class takes, and defects as warnings.

    ``table`` names the cohort table in messages; ``report`` saves reading the scans again.
    """
    report = report if report is not None else examine_visit(visit)
    found: list[Problem | ScanWarning] = [
        ScanWarning(visit.patient, visit.timepoint, defect.stage, defect.code, defect.message)
        for defect in report.defects
    ]
    unknown = classes.unknown(report.counts) if report.counts is not None else None
    if unknown:
        text = f"{unknown.describe()} in {visit.regions} match no row of {classes.name}"
        hint = "Add them to a class; a last row 'background' with * and * takes all that is left"
        found.append(Problem(table, text, visit.line, "regions", hint=hint))
    return found


def to_dict(report: ScanReport) -> dict[str, Any]:
    """Return the report as plain data for JSON."""
    counts = report.counts
    plain = None
    if counts is not None:
        states = counts.states.tolist() if counts.states is not None else None
        plain = {"regions": counts.regions.tolist(), "states": states, "voxels": counts.voxels.tolist()}
    return {"counts": plain, "defects": [[d.stage, d.code, d.message] for d in report.defects]}


def from_dict(data: dict[str, Any]) -> ScanReport:
    """Return the report that ``to_dict`` made plain."""
    defects = tuple(Defect(*entry) for entry in data["defects"])
    if data["counts"] is None:
        return ScanReport(None, defects)
    regions, states, voxels = (data["counts"][key] for key in ("regions", "states", "voxels"))
    paired = None if states is None else np.array(states, np.int64)
    return ScanReport(LabelCounts(np.array(regions, np.int64), paired, np.array(voxels, np.int64)), defects)

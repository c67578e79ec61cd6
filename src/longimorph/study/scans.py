"""Examination of one visit's scans without any table.

Checks whether they can be read and fit together, which labels occur, and whether their headers are unusual.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from longimorph.errors import Problem, Unusable
from longimorph.geometry.grid import Grid, canonical, in_order_of
from longimorph.io import headers
from longimorph.io.patterns import expanded
from longimorph.io.volumes import read_grid, read_image, read_labels
from longimorph.study import posteriors
from longimorph.study.classes import ClassTable
from longimorph.study.labels import LabelCounts, count
from longimorph.study.layout import Layout
from longimorph.study.posteriors import GRID_TOLERANCE_MM, Layer
from longimorph.study.table import Visit

Labels = NDArray[np.int32]

_OF_LABELS, _OF_IMAGE = "maps", "align"
"""The stage that fails where labels, or the image, cannot be used."""


@dataclass(frozen=True)
class ScanWarning:
    """A defect of one visit's scans, found before the run; it will make the visit's pairs fail."""

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
class ScanRemark:
    """Something unusual about one visit's scans, which can still be used, with advice."""

    patient: str
    timepoint: str
    message: str

    def __str__(self) -> str:
        return f"{self.patient} {self.timepoint}: {self.message}"


@dataclass(frozen=True)
class Extent:
    """The size of a voxel, and the labels on the six faces of the label volume.

    ``voxel_mm3``: volume of a voxel; ``face_mm2``: area of a voxel on each face; ``faces``: the labels there.
    The order is left, right, back, front, bottom, top, by the nearest axes.
    """

    voxel_mm3: float
    face_mm2: tuple[float, ...]
    faces: tuple[LabelCounts, ...]


@dataclass(frozen=True)
class ScanReport:
    """The labels of one visit, their extent and layout, defects of its scans, and remarks on headers.

    Labels, extent and layout are None when the labels cannot be read. ``soft``: regions or states are
    posteriors, so that the counts depend on which labels the class table gives to channels.
    """

    counts: LabelCounts | None
    defects: tuple[Defect, ...] = ()
    extent: Extent | None = None
    remarks: tuple[str, ...] = ()
    layout: Layout | None = None
    soft: bool = False


def read_visit(visit: Visit) -> tuple[Labels, Labels | None, Grid]:
    """Read the label volumes of a visit: regions, states (None without), and their grid.

    Both volumes are (i, j, k) in the storage order of the regions. Raises Unusable when one cannot be read or
    the two lie on different grids.
    """
    return _together(visit, [read_labels(path) for path in _label_files(visit)])


def examine(visit: Visit, classes: ClassTable) -> ScanReport:
    """Read the visit's scans and report their labels and defects; never raises for a bad scan.

    Of posteriors, the labels are those that the class table gives to their channels.
    """
    return examine_soft(visit, classes) if posteriors.is_soft_visit(visit) else examine_visit(visit)


def examine_visit(visit: Visit) -> ScanReport:
    """As `examine`, for label volumes.

    The report depends only on the visit's files, so it can be cached as long as they do not change.
    """
    defects: list[Defect] = []
    image = _image_grid(visit, defects)
    volumes, remarks = [], headers.remarks(visit.image, image) if visit.image and image else []
    for path in _label_files(visit):
        try:
            volumes.append(read_labels(path))
            remarks += headers.remarks(path, volumes[-1][1])
        except Unusable as found:
            defects.append(Defect(_OF_LABELS, found.code, found.message))
    remarks = _each_once(remarks)
    if len(volumes) < len(_label_files(visit)):
        return ScanReport(None, tuple(defects), None, tuple(remarks))
    try:
        regions, states, grid = _together(visit, volumes)
    except Unusable as found:
        defects.append(Defect(_OF_LABELS, found.code, found.message))
        return ScanReport(None, tuple(defects), None, tuple(remarks))
    if visit.image and image:
        remarks += headers.beside_each_other(visit.image, image, visit.regions, grid)
    extent = _extent(regions, states, grid)
    layout = Layout.of(regions, grid)
    return ScanReport(count(regions, states), tuple(defects), extent, tuple(remarks), layout)


def read_layers(visit: Visit, classes: ClassTable) -> tuple[Layer, Layer | None]:
    """Open the regions and states of a visit with posteriors; the states lie in the order of the regions.

    Raises Unusable with all that is wrong.
    """
    layers, faults = _layers(visit, classes)
    if faults:
        raise Unusable(faults[0].code, "; ".join(fault.message for fault in faults))
    return layers["regions"], layers.get("states")


def _layers(visit: Visit, classes: ClassTable) -> tuple[dict[str, Layer], list[Unusable]]:
    """Open each column that can be read, reading soft states; and what is wrong with the others."""
    layers, faults = dict[str, Layer](), list[Unusable]()
    try:
        layers["regions"] = posteriors.layer(visit.regions, "regions", classes)
    except Unusable as found:
        faults.append(found)
    if visit.states is None:
        return layers, faults
    try:
        states = posteriors.layer(visit.states, "states", classes)
        grid = layers["regions"].grid if "regions" in layers else states.grid
        ordered = posteriors.in_order(states, grid)
        if ordered is None:
            raise Unusable("grid_mismatch", _unlike(visit, grid, states.grid))
        layers["states"] = ordered
    except Unusable as found:
        faults.append(found)
    return layers, faults


def examine_soft(visit: Visit, classes: ClassTable) -> ScanReport:
    """As `examine`, where regions or states are posteriors."""
    defects: list[Defect] = []
    image = _image_grid(visit, defects)
    layers, faults = _layers(visit, classes)
    look = None
    try:
        if "regions" in layers:
            look = posteriors.examine(layers["regions"], layers.get("states"), classes)
    except Unusable as found:
        faults.append(found)
    defects += [Defect(_OF_LABELS, fault.code, fault.message) for fault in faults]
    grids = [(visit.files()[column], layer.grid) for column, layer in layers.items()]
    remarks = headers.remarks(visit.image, image) if visit.image and image else []
    remarks = _each_once(
        remarks + [r for path, grid in grids for r in headers.remarks(expanded(path)[0], grid)]
    )
    if look is None or faults:
        return ScanReport(None, tuple(defects), None, tuple(remarks), soft=True)
    grid = layers["regions"].grid
    if visit.image and image:
        remarks += headers.beside_each_other(visit.image, image, visit.regions, grid)
    extent = Extent(grid.voxel_volume, _face_areas(grid), look.faces)
    layout = Layout.of(look.regions, grid)
    return ScanReport(look.counts, tuple(defects), extent, tuple(remarks), layout, soft=True)


def _each_once(remarks: Iterable[str]) -> list[str]:
    """Say what is true of several files once, with the names of all: ``a.nii.gz, b.nii.gz: remark``."""
    files: dict[str, list[str]] = {}
    for remark in remarks:
        name, _, text = remark.partition(": ")
        files.setdefault(text, []).append(name)
    return [f"{', '.join(names)}: {text}" for text, names in files.items()]


def _label_files(visit: Visit) -> list[Path]:
    return [path for path in (visit.regions, visit.states) if path is not None]


def _image_grid(visit: Visit, defects: list[Defect]) -> Grid | None:
    """Return the grid of the image, None if it has no position; adds a defect of its voxels."""
    if visit.image is None:
        return None
    grid = None
    try:
        grid = read_grid(visit.image)
        read_image(visit.image)
    except Unusable as found:
        defects.append(Defect(_OF_IMAGE, found.code, found.message))
    return grid


def _extent(regions: Labels, states: Labels | None, grid: Grid) -> Extent:
    ordered, own = canonical(grid, regions)
    ordered_states = canonical(grid, states)[0] if states is not None else None
    faces = []
    for axis in range(3):
        for end in (0, -1):
            face = (slice(None),) * axis + (end,)
            faces.append(count(ordered[face], ordered_states[face] if ordered_states is not None else None))
    return Extent(grid.voxel_volume, _face_areas(own), tuple(faces))


def _face_areas(grid: Grid) -> tuple[float, ...]:
    """The area of a voxel on each face, in the order of `Extent`."""
    _, own = canonical(grid, np.empty(grid.shape, np.bool_))
    return tuple(own.voxel_volume / float(own.spacing[axis]) for axis in range(3) for _ in (0, -1))


def _together(visit: Visit, volumes: list[tuple[Labels, Grid]]) -> tuple[Labels, Labels | None, Grid]:
    """Return regions and states in the order of the regions, after checking that their voxels coincide."""
    regions, grid = volumes[0]
    if len(volumes) == 1:
        return regions, None, grid
    states, states_grid = volumes[1]
    ordered = in_order_of(grid, states_grid, states, GRID_TOLERANCE_MM)
    if ordered is not None:
        return regions, ordered, grid
    raise Unusable("grid_mismatch", _unlike(visit, grid, states_grid))


def _unlike(visit: Visit, grid: Grid, states_grid: Grid) -> str:
    return (
        f"the regions {visit.regions} and the states {visit.states} are on different grids: "
        f"{_describe(grid)} and {_describe(states_grid)}; resample the states onto the regions, with "
        "nearest neighbours"
    )


def _describe(grid: Grid) -> str:
    rows = "; ".join(" ".join(f"{value:.6g}" for value in row) for row in grid.affine[:3])
    return f"shape {'×'.join(map(str, grid.shape))}, affine [{rows}]"


def check_labels(
    visit: Visit, classes: ClassTable, table: str, report: ScanReport | None = None
) -> list[Problem | ScanWarning]:
    """Return the problems of one visit's scans: labels without a class, and defects as warnings.

    ``table`` names the cohort table in messages; ``report`` avoids reading the scans again.
    """
    report = report if report is not None else examine(visit, classes)
    found: list[Problem | ScanWarning] = [
        ScanWarning(visit.patient, visit.timepoint, defect.stage, defect.code, defect.message)
        for defect in report.defects
    ]
    if report.counts is None:
        return found
    volume = report.extent.voxel_mm3 if report.extent is not None else None
    for column, words in classes.complaints(classes.unknown(report.counts), volume):
        text = f"no row of {classes.name} matches {words}, found in {visit.files()[column]}"
        hint = _state_hint(classes) if column == "states" else _REGION_HINT
        found.append(Problem(table, text, visit.line, column, hint=hint))
    if classes.background is not None:
        index = classes.classify(report.counts.regions, report.counts.states)
        if report.counts.voxels[index != classes.background].sum() < 1:
            text = f"all labels of {visit.regions} belong to {classes.names[classes.background]}"
            found.append(ScanWarning(visit.patient, visit.timepoint, "align", "no_brain", text))
    return found


_REGION_HINT = "Add them to the row of their class, or to 'background' if they are outside the brain"


def _state_hint(classes: ClassTable) -> str:
    """Return advice on what to write where a volume holds a state that no row names."""
    sick = [row.name for row in classes.rows if row.pathological]
    where = f"the column 'states' of {_either(sick)}" if sick else "the column 'states' of a separate row"
    text = f"If it is a lesion, add the number to {where}"
    return f"{text}; * matches only state 0 and numbers that some row names"


def _either(names: Sequence[str]) -> str:
    shown = [f"'{name}'" for name in names[:3]]
    return " or ".join(shown) + (" or another row" if len(names) > len(shown) else "")


def to_dict(report: ScanReport) -> dict[str, Any]:
    """Return the report as plain values for JSON."""
    counts, extent = report.counts, report.extent
    return {
        "counts": _plain_counts(counts) if counts is not None else None,
        "defects": [[d.stage, d.code, d.message] for d in report.defects],
        "extent": None
        if extent is None
        else [extent.voxel_mm3, extent.face_mm2, [_plain_counts(face) for face in extent.faces]],
        "remarks": list(report.remarks),
        "layout": report.layout.to_dict() if report.layout is not None else None,
        "soft": report.soft,
    }


def _plain_counts(counts: LabelCounts) -> dict[str, Any]:
    states = counts.states.tolist() if counts.states is not None else None
    return {"regions": counts.regions.tolist(), "states": states, "voxels": counts.voxels.tolist()}


def _counts_of(plain: dict[str, Any]) -> LabelCounts:
    regions, states, voxels = (plain[key] for key in ("regions", "states", "voxels"))
    paired = None if states is None else np.array(states, np.int64)
    exact = all(isinstance(one, int) for one in voxels)
    return LabelCounts(
        np.array(regions, np.int64), paired, np.array(voxels, np.int64 if exact else np.float64)
    )


def from_dict(data: dict[str, Any]) -> ScanReport:
    """The inverse of ``to_dict``."""
    defects = tuple(Defect(*entry) for entry in data["defects"])
    counts = None if data["counts"] is None else _counts_of(data["counts"])
    extent = None
    if data["extent"] is not None:
        volume, areas, faces = data["extent"]
        extent = Extent(float(volume), tuple(areas), tuple(map(_counts_of, faces)))
    layout = None if data["layout"] is None else Layout.from_dict(data["layout"])
    return ScanReport(counts, defects, extent, tuple(data["remarks"]), layout, bool(data["soft"]))

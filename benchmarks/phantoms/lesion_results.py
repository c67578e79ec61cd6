"""Results of phantoms with single lesions, as the stages before the table of lesions leave them."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from benchmarks.phantoms.lesions import CLASSES, LESION, LesionPhantom, Site, pushed, pushed_back
from longimorph import tables
from longimorph.geometry.grid import Grid
from longimorph.io.atomic import write_json, write_text
from longimorph.io.transforms import write_displacement
from longimorph.io.volumes import read_maps, write_maps, write_nifti, write_scalar
from longimorph.maps.field_of_view import View, share
from longimorph.maps.simplex import volumes_mm3
from longimorph.stages.lesions import lesions
from longimorph.stages.maps import maps
from longimorph.stages.register import register
from longimorph.study.config import defaults
from longimorph.tables import columns
from longimorph.tables.lesions import REST
from longimorph.tables.pair import PairChanges

Labelled = tuple[NDArray[np.int16], Grid]
TABLE = "class\tregions\tstates\nlesion\t*\t1\nwhite matter\t1\t*\nfluid\t2\t*\nbackground\t0\t*\n"
NEAR_MM = 4.0
"""Distance, beyond its own reach, within which a row of the table counts as that of a known event."""


@dataclass(frozen=True)
class Results:
    """A patient's folder of results, its visits in order of time, and its pairs."""

    folder: Path
    visits: tuple[Mapping[str, Any], ...]
    pairs: tuple[Mapping[str, Any], ...]

    @property
    def classes(self) -> str:
        """The file of the class table."""
        return str(self.folder / "classes.tsv")

    def lesions(self) -> pd.DataFrame:
        """Make the table of lesions and read it."""
        lesions(self.visits, self.pairs, self.classes, (), self.folder / "lesions.csv")
        return columns.read_table(self.folder / "lesions.csv")


def write_visits(
    folder: Path, labels: Mapping[str, Labelled], spacing_mm: float, pairs: Sequence[tuple[str, str]]
) -> Results:
    """Write labels and maps of aligned visits, on a grid of ``spacing_mm``, and the patient's alignment.

    The grid is around the first visit, which shows all that the others show.
    """
    _, frame = next(iter(labels.values()))
    sides = [int(np.ceil(n * s / spacing_mm)) for n, s in zip(frame.shape, frame.spacing, strict=True)]
    affine = np.diag([spacing_mm] * 3 + [1.0])
    affine[:3, 3] = frame.centre() - spacing_mm * (np.array(sides) - 1) / 2
    grid = Grid((sides[0], sides[1], sides[2]), affine)
    own = {"status": "ok", "matrix": np.eye(4).tolist(), "quality": {}}
    folder.mkdir(parents=True, exist_ok=True)
    write_json(folder / "alignment.json", {"grid": grid.to_dict(), "visits": {name: own for name in labels}})
    write_text(folder / "classes.tsv", TABLE)
    records = tuple(_write_visit(folder, name, *volume) for name, volume in labels.items())
    rows = [{"patient": "P", "from": a, "to": b, "days": 100.0} for a, b in pairs]
    return Results(folder, records, tuple(rows))


def _write_visit(folder: Path, name: str, index: NDArray[np.int16], grid: Grid) -> dict[str, Any]:
    volumes = {"regions": _regions(index), "states": index == LESION}
    record: dict[str, Any] = {"patient": "P", "timepoint": name, "image": None}
    for kind, volume in volumes.items():
        path = folder / "scans" / f"{name}_{kind}.nii.gz"
        path.parent.mkdir(exist_ok=True)
        write_nifti(path, volume.astype(np.uint8), grid)
        record[kind] = str(path)
    settings = {key: asdict(defaults())[key] for key in ("smoothing_mm", "floor")}
    maps(record, str(folder / "classes.tsv"), folder / "alignment.json", folder / name, settings)
    return record


def _regions(index: NDArray[np.int16]) -> NDArray[np.uint8]:
    """The region of each class; lesions lie in white matter."""
    return np.array([1, 1, 2, 0], dtype=np.uint8)[index]


def write_pair(results: Results, first: str, last: str, moves: bool = True) -> None:
    """Write a pair as if it were registered: all change is reallocation, with the phantom's own motion.

    Without ``moves`` the warp is the identity.
    """
    folder = results.folder / f"{first}__{last}"
    visits = [results.folder / name for name in (first, last)]
    (one, grid), (two, _) = (read_maps(visit / "simplex.nii.gz") for visit in visits)
    records = [json.loads((visit / "qc.json").read_text())["view"] for visit in visits]
    views = View.from_dict(records[0]), View.from_dict(records[1])
    before, after, shared = share((one, two), grid, views, CLASSES.background)
    if shared.weight is not None:
        write_scalar(folder / "compared.nii.gz", shared.weight, grid)
    points = np.moveaxis(grid.index_to_world(np.moveaxis(np.indices(grid.shape), 0, -1)), -1, 0)
    for name, motion in (("warp", pushed_back), ("inverse_warp", pushed)):
        field = motion(points) - points if moves else np.zeros_like(points)
        write_displacement(folder / f"{name}.nii.gz", field, grid)
    write_maps(folder / "deformation.nii.gz", np.zeros_like(before), grid)
    write_maps(folder / "reallocation.nii.gz", after - before, grid)
    volumes, none = (volumes_mm3(before, grid), volumes_mm3(after, grid)), np.zeros(len(before))
    flows = np.zeros((len(before),) * 2)
    found = PairChanges(*volumes, none, volumes[1] - volumes[0], flows, flows, np.zeros((10, len(before))))
    tables.write_pair(folder, {"patient": "P", "from": first, "to": last}, CLASSES.names, found)
    write_json(folder / "status.json", {"status": "ok"})


def register_pair(results: Results, first: str, last: str, control: str) -> None:
    """Register a pair with the default settings, on one thread of a CPU."""
    pair = {"patient": "P", "from": first, "to": last}
    settings = asdict(defaults()) | {"device": "cpu", "threads": 1}
    source, target = (results.folder / name / "qc.json" for name in (first, last))
    out = results.folder / f"{first}__{last}"
    register(pair, results.classes, control, source, target, out, settings)


def of_phantom(folder: Path, phantom: LesionPhantom, spacing_mm: float) -> Results:
    """The maps of a phantom's two visits."""
    labels = {name: (own, phantom.grid) for name, own in zip(("V1", "V2"), phantom.labels, strict=True)}
    return write_visits(folder, labels, spacing_mm, [("V1", "V2")])


@dataclass(frozen=True)
class Score:
    """Known events that a row tells, events that none tells, and rows that tell what did not happen."""

    right: int
    missed: int
    wrong: int

    @property
    def f1(self) -> float:
        """The harmonic mean of precision and recall."""
        return 2 * self.right / (2 * self.right + self.missed + self.wrong)

    def __add__(self, other: Score) -> Score:
        return Score(self.right + other.right, self.missed + other.missed, self.wrong + other.wrong)


def score(rows: pd.DataFrame, sites: Sequence[Site]) -> dict[str, Score]:
    """Compare a table with the known events, by kind of event; a row tells of the nearest event.

    A second row about one event is wrong, whatever it says.
    """
    told: dict[int, list[str]] = {}
    at = np.array([site.centre for site in sites])
    counts: dict[str, list[int]] = {}
    for row in rows[rows["event"] != REST].to_dict("records"):
        place = np.array([row["x_mm"], row["y_mm"], row["z_mm"]], dtype=float)
        away = np.linalg.norm(at - place, axis=1) - [site.reach_mm for site in sites]
        nearest = int(away.argmin())
        counts.setdefault(row["event"], [0, 0, 0])
        if away[nearest] <= NEAR_MM and row["event"] == sites[nearest].event and nearest not in told:
            counts[row["event"]][0] += 1
            told.setdefault(nearest, []).append(row["event"])
        else:
            counts[row["event"]][2] += 1
    for index, site in enumerate(sites):
        counts.setdefault(site.event, [0, 0, 0])
        if index not in told:
            counts[site.event][1] += 1
    return {event: Score(*numbers) for event, numbers in counts.items()}


def total(scores: Mapping[str, Score]) -> Score:
    """All events together."""
    return sum(scores.values(), Score(0, 0, 0))

"""Probability maps of one visit on its patient's registration grid."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from longimorph.errors import PairFailure
from longimorph.geometry.grid import Grid
from longimorph.io.atomic import write_json
from longimorph.io.contents import hashes
from longimorph.io.volumes import read_image, write_maps, write_scalar
from longimorph.maps import simplex
from longimorph.maps.field_of_view import View
from longimorph.stages.failing import failing
from longimorph.stages.visits import Classes, read_classes, record_of, remove, visit_of
from longimorph.study import classes as class_tables
from longimorph.study.classes import ClassTable
from longimorph.study.table import Visit


@dataclass(frozen=True)
class MapsSettings:
    """How labels become probabilities: a width in mm, and the smallest probability."""

    smoothing_mm: float
    floor: float

    @classmethod
    def of(cls, given: Mapping[str, Any]) -> MapsSettings:
        """The settings from a job's plain values."""
        return cls(given["smoothing_mm"], given["floor"])


def maps(
    visit: Mapping[str, Any], classes: str, alignment: Path, out: Path, settings: Mapping[str, Any]
) -> None:
    """Write ``simplex.nii.gz``, ``image.nii.gz`` (if the visit has an image) and ``qc.json`` into ``out``.

    ``qc.json`` is always written. It holds the status, volumes before and after, share of the grid in view,
    where the field of view cuts the brain, the labels matched only by wildcards of the class table, and
    hashes of the visit's files.
    """
    remove(out / name for name in ("simplex.nii.gz", "image.nii.gz"))
    scan, chosen = visit_of(visit), MapsSettings.of(settings)
    inputs = hashes(scan.files().values())  # before they are read, so that later changes are noticed
    try:
        with failing("maps"):
            aligned = record_of(alignment)
            own = aligned["visits"][visit["timepoint"]]
            if own["status"] != "ok":
                raise PairFailure(own["stage"], own["status"], own["message"])
            grid, matrix = Grid.from_dict(aligned["grid"]), np.array(own["matrix"])
            found = _write(scan, class_tables.load_classes(classes), grid, matrix, out, chosen)
        record = {"status": "ok", "message": "", **found, "alignment": own["quality"]}
    except PairFailure as failure:
        record = {"status": failure.code, "stage": failure.stage, "message": failure.message}
    record["inputs_sha256"] = inputs
    write_json(out / "qc.json", {"patient": visit["patient"], "timepoint": visit["timepoint"], **record})


def _write(
    visit: Visit, table: ClassTable, grid: Grid, matrix: np.ndarray, out: Path, chosen: MapsSettings
) -> dict[str, Any]:
    own = read_classes(visit, table)
    probabilities, native_mm3 = _probabilities(own, table, grid, matrix, chosen)
    write_maps(out / "simplex.nii.gz", probabilities, grid)
    if visit.image is not None:
        image, image_grid = read_image(visit.image)
        write_scalar(out / "image.nii.gz", simplex.image_means(image, image_grid, matrix, grid), grid)
    return {
        "volumes_mm3": dict(zip(table.names, simplex.volumes_mm3(probabilities, grid).tolist(), strict=True)),
        "volumes_native_mm3": dict(zip(table.names, native_mm3.tolist(), strict=True)),
        "field_of_view": float(simplex.field_of_view(own.grid, matrix, grid).mean()),
        "view": View.of(own.index, own.grid, matrix, table.background, chosen.smoothing_mm).to_dict(),
        **({"by_wildcards": list(own.by_wildcards)} if own.by_wildcards else {}),
    }


def _probabilities(
    own: Classes, table: ClassTable, grid: Grid, matrix: np.ndarray, chosen: MapsSettings
) -> tuple[np.ndarray, np.ndarray]:
    """The maps on ``grid``, and the volume of each class in the scan itself, mm³."""
    where, how = (own.grid, matrix, grid), (chosen.smoothing_mm, chosen.floor)
    if own.shares is not None:
        probabilities = simplex.simplex_of_shares(own.shares, *where, table.background, *how)
        return probabilities, simplex.shared_volumes_mm3(own.shares, own.grid)
    count = len(table.names)
    probabilities = simplex.simplex_maps(own.index, *where, count, table.background, *how)
    return probabilities, simplex.native_volumes_mm3(own.index, own.grid, count)

"""Registration of one patient's common space to the template of the study."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from longimorph.alignment import to_template
from longimorph.alignment.rigid import contrast_values
from longimorph.alignment.to_template import Head
from longimorph.errors import TEMPLATE, PairFailure, Unusable
from longimorph.geometry.grid import Array, Grid
from longimorph.io.atomic import write_json
from longimorph.io.contents import hashes
from longimorph.io.transforms import transformed_centres, write_transform
from longimorph.io.volumes import read_maps, read_scalar, write_scalar
from longimorph.maps.group import sampled
from longimorph.stages.failing import failing
from longimorph.stages.visits import record_of, remove
from longimorph.study import classes as class_tables
from longimorph.study.classes import ClassTable
from longimorph.study.template import read_mask, read_template

RECORD, TRANSFORM, BRAIN = "template.json", "template.tfm", "template_brain.nii.gz"
_BLIND = "there is no scan, and the classes alone do not show where the tissue within a class belongs"


@dataclass(frozen=True, eq=False)
class _Common:
    """The mean of a patient's visits in the common space, and the mean share of brain (i, j, k)."""

    head: Head
    share: NDArray[np.float32]
    driver: str


def template(
    patient: str, visits: Sequence[str], classes: str, files: Sequence[str], out: Path, threads: int
) -> None:
    """Write ``template.json`` into the patient's folder ``out``, with the transform and the brain beside it.

    ``files``: the template and, if there is one, the mask of its brain. ``template.tfm`` maps points of the
    template to points of the common space. ``template_brain.nii.gz`` is the share of brain in each voxel of
    the template. After a failure there is only ``template.json``.
    """
    remove(out / name for name in (TRANSFORM, BRAIN))
    inputs = hashes(Path(file) for file in files)
    try:
        with failing(TEMPLATE):
            found = _write(visits, class_tables.load_classes(classes), template_head(files), out, threads)
        record = {"status": "ok", "message": "", **found}
    except PairFailure as failure:
        record = {"status": failure.code, "stage": failure.stage, "message": failure.message}
    write_json(out / RECORD, {"patient": patient, **record, "inputs_sha256": inputs})


def template_head(files: Sequence[str]) -> Head:
    """The template's image, with the brain: that of the mask, all there is, or else all that is tissue."""
    image, grid = read_template(Path(files[0]))
    if len(files) > 1:
        return Head(image, read_mask(Path(files[1]))[0], grid)
    return Head(image, to_template.foreground(image), grid, outlined=to_template.stripped(image))


def _write(
    visits: Sequence[str], table: ClassTable, template: Head, out: Path, threads: int
) -> dict[str, Any]:
    """Register, judge and write; return the record. Nothing is written of a registration that fails."""
    used = _usable(visits, out)
    common = _common(used, table, out)
    found = to_template.fit(template, common.head, threads)
    remarks = [*to_template.examine(found.quality), *([_BLIND] if common.driver == "labels" else [])]
    points = transformed_centres(found.transform, template.grid)
    index = np.moveaxis(common.head.grid.world_to_index(np.moveaxis(points, 0, -1)), -1, 0)
    write_scalar(out / BRAIN, sampled(common.share, index).astype(np.float32), template.grid)
    write_transform(out / TRANSFORM, found.transform)
    known = {"verdict": "look" if remarks else "good", "remarks": remarks}
    return {**known, "driver": common.driver, "used": used, "quality": found.quality}


def _usable(visits: Sequence[str], folder: Path) -> list[str]:
    """The visits that have maps; raises the failure of the first visit when there is none."""
    records = {name: record_of(folder / name / "qc.json") for name in visits}
    used = [name for name, record in records.items() if record["status"] == "ok"]
    if not used:
        first = records[visits[0]]
        raise PairFailure(first["stage"], first["status"], first["message"])
    return used


def _common(visits: Sequence[str], table: ClassTable, folder: Path) -> _Common:
    """The mean of the visits' images or, if none has an image, of their classes in grey."""
    shares, labels = [], []
    for name in visits:
        maps, grid = read_maps(folder / name / "simplex.nii.gz")
        shares.append(_brain(maps, table))
        labels.append(maps.argmax(axis=0).astype(np.int16))
    share: NDArray[np.float32] = np.mean(np.stack(shares), axis=0, dtype=np.float32)
    files = [folder / name / "image.nii.gz" for name in visits]
    known = [(read_scalar(file), own > 0.5) for file, own in zip(files, shares, strict=True) if file.exists()]
    image = to_template.means(*zip(*known, strict=True)) if known else _grey(visits, labels, table, folder)
    return _Common(_head(image, share, grid, scan=bool(known)), share, "image" if known else "labels")


def _head(image: Array, share: NDArray[np.float32], grid: Grid, scan: bool) -> Head:
    if not (share > 0.5).any():
        raise Unusable("no_brain", "no voxel of the common space is brain at most visits")
    return Head(image, share > 0.5, grid, scan)


def _brain(maps: NDArray[np.float32], table: ClassTable) -> NDArray[np.float32]:
    """The share of each voxel that is not background; without such a class, all of it."""
    if table.background is None:
        return np.ones(maps.shape[1:], dtype=np.float32)
    return np.asarray(1 - maps[table.background])


def _grey(
    visits: Sequence[str], labels: Sequence[Array], table: ClassTable, folder: Path
) -> NDArray[np.float32]:
    """An image of grey values that differ most between neighbouring classes, the mean of the visits."""
    values = contrast_values(labels, len(table.names), table.background).astype(np.float32)
    total = np.zeros(labels[0].shape, dtype=np.float32)
    for name in visits:
        total += np.tensordot(values, read_maps(folder / name / "simplex.nii.gz")[0], axes=1)
    return np.asarray(total / np.float32(len(visits)))

"""Rigid alignment of one patient's visits."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from longimorph.alignment.align import AlignSettings, VisitVolumes, align_patient
from longimorph.errors import Unusable
from longimorph.io.atomic import write_json
from longimorph.io.contents import hashes
from longimorph.io.transforms import write_rigid
from longimorph.io.volumes import read_image
from longimorph.stages.failing import failure_of
from longimorph.stages.visits import classes_of, remove, visit_of
from longimorph.study import classes as class_tables
from longimorph.study.classes import ClassTable


def align(
    patient: str, visits: Sequence[Mapping[str, Any]], classes: str, out: Path, settings: Mapping[str, Any]
) -> None:
    """Write ``alignment.json`` into the patient's folder ``out`` and ``rigid.tfm`` into each visit's.

    ``alignment.json`` holds the registration grid and, per visit, its status, the matrix that maps the
    reference to the visit (4×4, RAS, mm) and quality measures. A visit that fails has no ``rigid.tfm``.
    ``inputs_sha256`` holds the hashes of the visits' files, taken before they were read.
    """
    names = [str(record["timepoint"]) for record in visits]
    remove(out / name / "rigid.tfm" for name in names)
    inputs = hashes(file for record in visits for file in visit_of(record).files().values())
    table = class_tables.load_classes(classes)
    scans = {name: _scan(record, table) for name, record in zip(names, visits, strict=True)}
    alignment = align_patient(scans, align_settings(settings), len(table.names), table.background)
    for name, visit in alignment.visits.items():
        if visit.matrix is not None:
            write_rigid(out / name / "rigid.tfm", visit.matrix)
    content = alignment.to_dict()
    for name, visit in alignment.visits.items():
        content["visits"][name]["stage"] = failure_of("align", visit.failure).stage if visit.failure else None
    write_json(out / "alignment.json", {"patient": patient, **content, "inputs_sha256": inputs})


def _scan(record: Mapping[str, Any], table: ClassTable) -> VisitVolumes | Unusable:
    visit = visit_of(record)
    try:
        labels, grid = classes_of(visit, table)
        if visit.image is None:
            return VisitVolumes(labels, grid)
        return VisitVolumes(labels, grid, *read_image(visit.image))
    except Unusable as found:
        return found


def align_settings(settings: Mapping[str, Any]) -> AlignSettings:
    """Extract the alignment settings from a configuration."""
    grid = {key: settings[key] for key in ("reference", "spacing_mm", "margin_mm")}
    return AlignSettings(**grid, **settings["align"], threads=settings["threads"])

"""The demo's cohort: four patients with known truth, written as a study that the workflow can run.

``ventricles``  the ventricles widen in two steps, nothing else changes
``oedema``      oedema appears in white matter, nothing moves; label volumes only, no image
``both``        the ventricles widen and oedema appears
``motion``      nothing but the head's position changes

Every visit has its own pose, axes, voxel sizes and field of view.
"""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

import numpy as np
import pandas as pd

from longimorph.demo import course, scan
from longimorph.demo import flow as flows
from longimorph.demo.anatomy import CLASSES, COLORS, REGION_LABELS, load_anatomy
from longimorph.demo.course import PhantomState
from longimorph.demo.scan import Scanner
from longimorph.geometry.grid import Grid
from longimorph.io import atomic, transforms, volumes

_ROTATION_DEG = 6.0
_SHIFT_MM = 8.0
_KINDS = ("image", "regions", "states")


@dataclass(frozen=True)
class PhantomVisit:
    """One visit: name, days since the first visit, the patient's state and the scanner's grid."""

    timepoint: str
    days: int
    state: PhantomState
    scanner: Scanner


@dataclass(frozen=True)
class PhantomPatient:
    """One patient: name, visits in order of time, and whether they have a T1 image and a volume of states."""

    name: str
    visits: tuple[PhantomVisit, ...]
    image: bool = True
    states: bool = True


_LEFT_OEDEMA = PhantomState(0.0, 15.0, (-28.0, -24.0, 30.0))

PATIENTS = (
    PhantomPatient(
        "ventricles",
        (
            PhantomVisit("V1", 0, PhantomState(), Scanner((1.2, 1.2, 1.2), "LPS")),
            PhantomVisit(
                "V2", 182, PhantomState(flow_time=0.5), Scanner((1.0, 1.0, 1.0), "RAS", margin_mm=6.0)
            ),
            PhantomVisit(
                "V3", 365, PhantomState(flow_time=1.0), Scanner((1.0, 1.0, 1.5), "PIR", (8.0, -5.0, 12.0))
            ),
        ),
        states=False,
    ),
    PhantomPatient(
        "oedema",
        (
            PhantomVisit("V1", 0, PhantomState(), Scanner((1.1, 1.1, 1.1), "RAS")),
            PhantomVisit("V2", 90, _LEFT_OEDEMA, Scanner((1.2, 1.0, 1.2), "LAS", margin_mm=14.0)),
        ),
        image=False,
    ),
    PhantomPatient(
        "both",
        (
            PhantomVisit("V1", 0, PhantomState(), Scanner((1.0, 1.0, 1.2), "LIP", (0.0, 6.0, -4.0))),
            PhantomVisit("V2", 120, PhantomState(1.0, 15.0), Scanner((1.1, 1.1, 1.1), "RAS")),
        ),
    ),
    PhantomPatient(
        "motion",
        (
            PhantomVisit("V1", 0, PhantomState(), Scanner((1.0, 1.0, 1.0), "RAS")),
            PhantomVisit("V2", 14, PhantomState(), Scanner((1.3, 1.2, 1.2), "ASL", (-10.0, 4.0, 7.0), 12.0)),
        ),
        states=False,
    ),
)


def write_cohort(
    folder: Path,
    seed: int = 1,
    spacing_mm: float = 4.0,
    cores: int = 1,
    patients: tuple[PhantomPatient, ...] = PATIENTS,
) -> Path:
    """Write the study and its ground truth under ``folder``; return the path of its ``config.yaml``.

    ``seed`` determines poses and noise; ``spacing_mm`` is the study's registration grid. Patients are
    generated in parallel on ``cores`` processes; equal arguments give equal bytes.
    """
    folder.mkdir(parents=True, exist_ok=True)
    course.shared_flow()
    jobs = [(folder, patient, seed, number) for number, patient in enumerate(patients)]
    with ProcessPoolExecutor(max_workers=max(1, cores)) as pool:
        made = list(pool.map(_write_patient, *zip(*jobs, strict=True)))
    changes = pd.concat([table for table, _ in made], ignore_index=True)
    atomic.write_csv(folder / "truth" / "changes.csv", changes, float_format="%.3f")
    poses = {patient.name: poses for patient, (_, poses) in zip(patients, made, strict=True)}
    atomic.write_json(folder / "truth" / "poses.json", poses)
    atomic.write_text(folder / "truth" / "README.txt", _TRUTH_README)
    _write_tables(folder, patients, spacing_mm)
    return folder / "config.yaml"


def _write_patient(
    folder: Path, patient: PhantomPatient, seed: int, number: int
) -> tuple[pd.DataFrame, dict[str, list[list[float]]]]:
    """Write one patient's volumes; return the true changes and the poses (anatomy → scan, RAS mm)."""
    anatomy, rng = load_anatomy(), np.random.default_rng([seed, number])
    centre = anatomy.origin + np.asarray(anatomy.classes.shape) / 2
    poses = {}
    for visit in patient.visits:
        turn, shift = rng.uniform(-_ROTATION_DEG, _ROTATION_DEG, 3), rng.uniform(-_SHIFT_MM, _SHIFT_MM, 3)
        matrix = scan.pose(turn, shift, centre)
        grid = scan.scan_grid(anatomy, visit.scanner, matrix)
        made = scan.render(anatomy, visit.state, grid, matrix, int(rng.integers(1 << 31)))
        for kind, data in zip(_KINDS, (made.image, made.regions, made.states), strict=True):
            if _has(patient, kind):
                volumes.write_nifti(folder / _path(patient, visit, kind), data, grid)
        poses[visit.timepoint] = matrix.tolist()
    for before, after in pairwise(patient.visits):
        _write_displacement(folder / "truth" / patient.name, before, after)
    return pd.DataFrame(list(_true_rows(patient))), poses


def _has(patient: PhantomPatient, kind: str) -> bool:
    return kind == "regions" or (patient.image if kind == "image" else patient.states)


def _path(patient: PhantomPatient, visit: PhantomVisit, kind: str) -> str:
    return f"images/{patient.name}_{visit.timepoint}_{kind}.nii.gz"


def _true_rows(patient: PhantomPatient) -> Iterator[dict[str, str | float]]:
    for before, after in pairwise(patient.visits):
        known = course.truth(load_anatomy(), before.state, after.state)
        for index, name in enumerate(CLASSES):
            yield {
                "patient": patient.name,
                "from": before.timepoint,
                "to": after.timepoint,
                "class": name,
                "deformation_mm3": known.deformation[index],
                "reallocation_mm3": known.reallocation[index],
                "volume_from_mm3": known.volume_from[index],
                "volume_to_mm3": known.volume_to[index],
            }


def _write_displacement(folder: Path, before: PhantomVisit, after: PhantomVisit) -> None:
    """Write the displacement of tissue between two visits, every 4 mm in the anatomy's own frame."""
    flow, every = course.shared_flow(), 2
    moved = flows.displacement(flow, after.state.flow_time - before.state.flow_time)
    moved = moved[:, ::every, ::every, ::every]
    affine = np.diag([4.0, 4.0, 4.0, 1.0])
    affine[:3, 3] = load_anatomy().origin + flow.offset
    i, j, k = moved.shape[1:]
    name = f"{before.timepoint}__{after.timepoint}_displacement.nii.gz"
    transforms.write_displacement(folder / name, moved, Grid((i, j, k), affine))


def _write_tables(folder: Path, patients: tuple[PhantomPatient, ...], spacing_mm: float) -> None:
    """Write config.yaml, cohort.tsv and classes.tsv."""
    rows = ["\t".join(("patient", "timepoint", "days", *_KINDS))]
    for patient in patients:
        for visit in patient.visits:
            files = [_path(patient, visit, kind) if _has(patient, kind) else "" for kind in _KINDS]
            rows.append("\t".join((patient.name, visit.timepoint, str(visit.days), *files)))
    atomic.write_text(folder / "cohort.tsv", "\n".join(rows) + "\n")
    atomic.write_text(folder / "classes.tsv", class_table())
    atomic.write_text(folder / "config.yaml", _CONFIG.format(spacing=spacing_mm))


def class_table() -> str:
    """The text of ``classes.tsv`` for the label volumes of a phantom."""
    rows = ["\t".join(("class", "regions", "states", "region", "state", "color"))]
    for index, name in enumerate(CLASSES):
        region = str(REGION_LABELS.get(index, "*"))
        names = ("WM", "oedema") if name == "oedema" else (name, "healthy")
        rows.append("\t".join((name, region, "1" if name == "oedema" else "0", *names, COLORS[name])))
    return "\n".join(rows) + "\n"


_CONFIG = """\
# A phantom cohort with known truth: what changed, and how, is in truth/changes.csv.
cohort: cohort.tsv
classes: classes.tsv
control: preset:lesion
spacing_mm: {spacing:g}
"""

_TRUTH_README = """\
changes.csv   true change of each pair and class, mm3. + means that the class grew.
              deformation: tissue stretched or compressed; reallocation: tissue changed class in place.
              Between two visits the flow runs at constant speed while white matter turns to oedema
              linearly in time at each point of tissue. With J the Jacobian determinant of the flow and P
              the share of a class in the tissue: deformation = integral of P dJ/dt, reallocation =
              integral of J dP/dt, over time and tissue. Their sum is the change of volume.
poses.json    rigid matrix of each visit, from the anatomy's frame (MNI, RAS mm) to the scan's (RAS mm).
PATIENT/FROM__TO_displacement.nii.gz
              ITK displacement field (mm), every 4 mm in the anatomy's frame: tissue at x at the first
              visit is at x + displacement at the second, before the visits' poses.
"""

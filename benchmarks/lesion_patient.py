"""A patient with multiple sclerosis: lesions that changed, beside those in which an expert saw a change."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import SimpleITK as sitk
import yaml
from numpy.typing import NDArray

from benchmarks import lesion_texts, report
from longimorph import paths
from longimorph.geometry.grid import Grid
from longimorph.io.transforms import from_sitk, read_displacement, to_sitk
from longimorph.maps import lesion_matching
from longimorph.maps import lesions as single
from longimorph.maps.field_of_view import NOT_COMPARED
from longimorph.maps.lattice import Lattice
from longimorph.maps.lesion_matching import EVENTS, STABLE, Flow
from longimorph.maps.lesions import LEAST_MM3
from longimorph.stages.align import align
from longimorph.stages.lesions import lesions
from longimorph.stages.maps import maps
from longimorph.stages.register import register
from longimorph.stages.visits import classes_of, read_json, visit_of
from longimorph.study import classes as class_tables
from longimorph.study.config import defaults
from longimorph.tables import columns
from longimorph.tables.lesions import REST

PATIENT, VISITS, DAYS = "patient12", ("study1", "study2"), 81
LEAST_OVERLAP = 0.1
"""Share of one of two lesions that must lie in the other for one to have found the other."""

Mask = NDArray[np.bool_]


@dataclass(frozen=True)
class Found:
    """How lesions that changed, by some way of finding them, agree with the reference's.

    ``own`` and ``right``: how many were found, and how many of them overlap the reference; ``known`` and
    ``seen``: how many the reference has, and how many of these overlap what was found; ``seen_share``: the
    share of the reference's volume in those.
    """

    own: int
    right: int
    known: int
    seen: int
    seen_share: float = 0.0

    @property
    def precision(self) -> float:
        """Share of what was found that the reference confirms."""
        return self.right / max(self.own, 1)

    @property
    def recall(self) -> float:
        """Share of the reference that was found."""
        return self.seen / max(self.known, 1)

    @property
    def f1(self) -> float:
        """Harmonic mean of precision and recall."""
        both = self.precision + self.recall
        return 2 * self.precision * self.recall / both if both else 0.0


def section(data: Path, folder: Path) -> str:
    """Run the tutorial's study of the patient and compare; a sentence where the data are absent."""
    source = data / "ms_longitudinal" / PATIENT
    if not source.is_dir():
        return (
            f"## A patient\n\nNot measured: there is no `ms_longitudinal/{PATIENT}` in the folder of data.\n"
        )
    visits = segmented(source, folder)
    results = run(visits, folder)
    table = columns.read_table(results / "lesions.csv")
    return markdown(table, *compare(source, results, visits, table))


def segmented(source: Path, folder: Path) -> list[dict[str, Any]]:
    """The visits, with labels made by the script of the tutorial."""
    raw, common = (folder / "data" / kind / PATIENT for kind in ("raw", "coregistered"))
    for place in (raw, common):
        place.mkdir(parents=True)
    for file in source.glob("study*"):
        (raw / file.name).symlink_to(file.resolve())
    (common / "brainmask.nii.gz").symlink_to((source / "brainmask_commonspace.nii.gz").resolve())
    script = paths.repository() / "docs" / "tutorial" / "segment.py"
    subprocess.run([sys.executable, script, folder / "data", PATIENT, folder], check=True)
    return [
        {"patient": PATIENT, "timepoint": visit, "image": str(folder / f"{visit}_flair.nii.gz"),
         "regions": str(folder / f"{visit}_regions.nii.gz"),
         "states": str(folder / f"{visit}_lesions.nii.gz")}
        for visit in VISITS
    ]  # fmt: skip


def run(visits: list[dict[str, Any]], folder: Path) -> Path:
    """Align, map, register and list the lesions; the patient's folder of results."""
    tutorial = paths.repository() / "docs" / "tutorial"
    own = yaml.safe_load((tutorial / "config.yaml").read_text(encoding="utf-8"))
    settings = asdict(defaults()) | {k: v for k, v in own.items() if k in asdict(defaults())}
    settings |= {"device": "cpu", "threads": 1}
    classes, results = str(tutorial / "classes.tsv"), folder / "results"
    align(PATIENT, visits, classes, results, settings)
    for visit in visits:
        maps(visit, classes, results / "alignment.json", results / visit["timepoint"], settings)
    pair = {"patient": PATIENT, "from": VISITS[0], "to": VISITS[1], "days": DAYS}
    first, last = (results / name / "qc.json" for name in VISITS)
    register(pair, classes, own["control"], first, last, results / "__".join(VISITS), settings)
    lesions(visits, [pair], classes, (), results / "lesions.csv")
    return results


def compare(
    source: Path, results: Path, visits: list[dict[str, Any]], table: pd.DataFrame
) -> tuple[dict[str, Found], Found]:
    """What each way of finding change agrees with, and how far the labels allow it."""
    alignment = read_json(results / "alignment.json")
    lattice = Lattice.of(Grid.from_dict(alignment["grid"]))
    known = class_tables.load_classes(paths.repository() / "docs" / "tutorial" / "classes.tsv")
    masks = []
    for visit in visits:
        index, grid = classes_of(visit_of(visit), known)
        matrix = np.array(alignment["visits"][visit["timepoint"]]["matrix"])
        masks.append(lattice.mask(index, grid, matrix, known.pathological.index(True)))
    marked = single.find(reference(source, results, lattice.fine), lattice.fine, 1.0)
    first, last = (single.find(mask, lattice.fine, 1.0) for mask in masks)
    warps = (
        read_displacement(results / "__".join(VISITS) / f"{n}.nii.gz")[0] for n in ("warp", "inverse_warp")
    )
    told = {spot(row): row["event"] for row in table.to_dict("records") if row["event"] != REST}
    changed, every = [], []
    for group in lesion_matching.match(first, last, Flow(lattice, *warps)):
        at = lattice.fine.index_to_world(lesion_matching.place(group, first, last))
        mask = np.isin(first.numbers, group.source) | np.isin(last.numbers, group.target)
        every.append(mask)
        if told[spot(dict(zip(columns.PLACE, at.tolist(), strict=True)))] not in (STABLE, NOT_COMPARED):
            changed.append(mask)
    apart = single.find(masks[0] ^ masks[1], lattice.fine, 1.0)
    pieces = [apart.numbers == n + 1 for n in np.flatnonzero(apart.large)]
    ways = {"lesions that are not stable": changed, "connected voxels with other labels": pieces}
    return {name: agreement(own, marked) for name, own in ways.items()}, agreement(every, marked)


def spot(row: Mapping[Any, Any]) -> tuple[float, ...]:
    """A place as the file has it."""
    return tuple(round(float(row[name]), 3) + 0.0 for name in columns.PLACE)


def reference(source: Path, results: Path, grid: Grid) -> Mask:
    """The expert's mask of lesion voxels that changed, on a grid in the patient's common space."""
    mask = sitk.ReadImage(str(source / "change_gt_commonspace.nii.gz"), sitk.sitkUInt8)
    to_common = sitk.ReadTransform(str(source / f"{VISITS[0]}_FLAIR_to_common_space.txt"))
    rigid = sitk.ReadTransform(str(results / VISITS[0] / "rigid.tfm"))
    path = sitk.CompositeTransform([to_common.GetInverse(), rigid])
    like = to_sitk(np.zeros(grid.shape, dtype=np.uint8), grid)
    return np.asarray(from_sitk(sitk.Resample(mask, like, path, sitk.sitkNearestNeighbor)) > 0)


def agreement(own: list[Mask], marked: single.Lesions) -> Found:
    """Compare masks of what was found with the lesions of the reference that are large enough to count."""
    right, seen = 0, set()
    for mask in own:
        counts = np.bincount(marked.numbers[mask], minlength=marked.count + 1)[1:]
        share = counts / np.bincount(marked.numbers.ravel(), minlength=marked.count + 1)[1:]
        hit = (np.maximum(share, counts / mask.sum()) >= LEAST_OVERLAP) & marked.large
        right += int(hit.any())
        seen |= set(np.flatnonzero(hit).tolist())
    volumes = marked.volumes[marked.large].sum(), sum(marked.volumes[n] for n in seen)
    return Found(len(own), right, int(marked.large.sum()), len(seen), float(volumes[1] / volumes[0]))


def markdown(table: pd.DataFrame, ways: Mapping[str, Found], possible: Found) -> str:
    """The patient's part of the page."""
    rows = table[table["event"] != REST]
    counts = [(event, int((rows["event"] == event).sum())) for event in EVENTS]
    sums = rows[["deformation_mm3", "reallocation_mm3"]].sum()
    lines = [
        lesion_texts.PATIENT.format(
            lesions=len(rows),
            counts=", ".join(f"{count} {event}" for event, count in counts if count),
            moved=sums["deformation_mm3"] / 1000,
            changed=sums["reallocation_mm3"] / 1000,
            known=possible.known,
            possible=possible.seen,
            possible_share=possible.seen_share,
            least=LEAST_MM3,
            overlap=LEAST_OVERLAP,
        ),
        "| change, found as | number | confirmed | precision | recall | F1 | recall by volume |",
        "| --- " * 7 + "|",
    ]
    for name, found in ways.items():
        line = f"| {name} | {found.own} | {found.right} | {found.precision:.2f} | {found.recall:.2f} "
        line += f"| **{found.f1:.2f}** | {found.seen_share:.2f} |"
        report.say(line)
        lines.append(line)
    return "\n".join([*lines, "", lesion_texts.PATIENT_READING])

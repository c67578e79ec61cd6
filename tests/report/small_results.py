"""Results of an invented study, written in a second, from which the pages are made."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import combinations, pairwise
from pathlib import Path

import numpy as np
import pandas as pd

from longimorph import tables
from longimorph.geometry.grid import Grid
from longimorph.io import volumes
from longimorph.io.atomic import write_csv, write_json
from longimorph.report import paging
from longimorph.report.figures import pair_figure
from longimorph.report.sweep import sweep_page
from longimorph.stages.cohort_report import cohort_report
from longimorph.stages.patient_report import patient_report
from longimorph.study import classes as class_tables
from longimorph.study.classes import ClassTable
from longimorph.tables import columns, lesions
from longimorph.tables.sweep import HEALTH
from longimorph.verdict.trust import DAYS_PER_YEAR

NAMES = ("oedema", "WM", "background")
TABLE = "class\tregions\tstates\tcolor\noedema\t*\t1\t#D55E00\nWM\t2\t*\t#F0F0F0\nbackground\t*\t*\t#000000\n"
FAILURE = "the scan is <b>cut off</b> & cannot be read"
STATUS = {
    "status": "ok",
    "stage": None,
    "message": "",
    "stop_reason": "Converged: the cost fell by less than 2 %.",
    "warnings": ["H drifts by 7.0 %: the split is less certain; set more steps."],
    "drift": 0.07,
    "dice_before": {"oedema": None, "WM": 0.9},
    "dice_after": {"oedema": 0.97, "WM": 0.98},
    "folded_share": 0.0,
    "seconds": 3.2,
    "evaluations": 16,
    "device": "CPU, 1 thread",
    "memory_strategy": "store",
    "settings": {"kernel_mm": [4.0], "tolerance": 0.02},
    "control": "preset:lesion",
    "inputs_sha256": {"a/simplex.nii.gz": "0" * 64},
    "versions": {"longimorph": "0.1.0"},
}


def head(shape: tuple[int, int, int], lesion: bool) -> np.ndarray:
    """Maps (3, i, j, k) of a box of white matter, with or without oedema on its right side."""
    maps = np.zeros((3, *shape), dtype=np.float32)
    i, j, k = (slice(n // 8, n - n // 8) for n in shape)
    maps[1, i, j, k] = 1
    if lesion:
        spot = tuple(slice(a, b) for a, b in zip((shape[0] * 5 // 8, shape[1] // 3, shape[2] // 3),
                                                 (shape[0] * 3 // 4, shape[1] * 2 // 3, shape[2] * 2 // 3),
                                                 strict=True))  # fmt: skip
        maps[1][spot], maps[0][spot] = 0, 1
    maps[2] = 1 - maps[:2].sum(axis=0)
    return maps


def write_visit(folder: Path, maps: np.ndarray, grid: Grid, image: bool) -> None:
    """A visit's maps, and its scan where it has one."""
    volumes.write_maps(folder / "simplex.nii.gz", maps, grid)
    if image:
        noise = np.random.default_rng(0).normal(1, 0.1, grid.shape)
        scan = (maps[1] + 2 * maps[0]) * noise
        volumes.write_scalar(folder / "image.nii.gz", scan.astype(np.float32), grid)
    write_json(
        folder / "qc.json",
        {
            "status": "ok",
            "alignment": {"driver": "image", "overlap": 0.97},
            "inputs_sha256": {"scans/regions.nii.gz": "1" * 64},
        },
    )


def write_pair(
    folder: Path, first: np.ndarray, last: np.ndarray, grid: Grid, names: Sequence[str], hidden: bool
) -> None:
    """A pair that is done: all change is reallocation; its lowest quarter ``hidden`` by a field of view."""
    patient, source, target = names
    before, after = (maps.sum(axis=(1, 2, 3)) * grid.voxel_volume for maps in (first, last))
    flow = np.zeros((3, 3))
    flow[1, 0] = (after - before)[0]
    ranges = np.zeros((10, 3))
    ranges[8:] = after - before + np.array([[-20.0], [20.0]])
    found = tables.PairChanges(
        before,
        after,
        np.zeros(3),
        after - before,
        np.zeros((3, 3)),
        flow,
        np.outer([20.0, 20, 20, 20, 70, 30, -20, 20, 0, 0], np.ones(3)) + ranges,
        np.outer([100.0, 60, 120], np.ones(3)),
    )
    tables.write_pair(folder, {"patient": patient, "from": source, "to": target}, NAMES, found)
    volumes.write_maps(folder / "final_simplex.nii.gz", last, grid)
    volumes.write_maps(folder / "deformation.nii.gz", np.zeros_like(first), grid)
    volumes.write_maps(folder / "reallocation.nii.gz", last - first, grid)
    if hidden:
        seen = np.ones(grid.shape, dtype=np.float32)
        seen[..., : grid.shape[2] // 4] = 0
        volumes.write_scalar(folder / "compared.nii.gz", seen, grid)
    growth = np.where(last[0] > 0, 0.1, 0).astype(np.float32)
    volumes.write_scalar(folder / "log_jacobian.nii.gz", growth, grid)
    steps = {"spacing_mm": [4.0, 4.0, 4.0], "evaluations": [1, 2, 4], "cost_mm3": [900.0, 300.0, 120.0]}
    write_csv(folder / "convergence.csv", pd.DataFrame(steps))
    write_json(folder / "status.json", STATUS)


def write_failed(folder: Path, names: Sequence[str], code: str = "unreadable") -> None:
    """A pair that failed, with a message that would be markup if it were not escaped."""
    patient, source, target = names
    tables.write_failed_pair(folder, {"patient": patient, "from": source, "to": target}, NAMES, code)
    write_csv(folder / "convergence.csv", pd.DataFrame({"spacing_mm": [], "evaluations": [], "cost_mm3": []}))
    write_json(folder / "status.json", {"status": code, "stage": "maps", "message": FAILURE})


def write_patient(
    results: Path,
    patient: str,
    days: Mapping[str, float],
    failed: Sequence[str] = (),
    shape: tuple[int, int, int] = (20, 24, 18),
    spacing: float | tuple[float, float, float] = 8.0,
    image: bool = True,
    hidden: bool = False,
) -> list[dict[str, object]]:
    """Visits and consecutive pairs of one patient; ``failed`` visits have no maps. Returns the pairs."""
    folder = results / "patients" / patient
    affine = np.diag([*np.broadcast_to(spacing, 3), 1.0])
    affine[:3, 3] = -np.diag(affine)[:3] * shape / 2
    grid, visits = Grid(shape, affine), list(days)
    maps = {name: head(shape, lesion=place > 0) for place, name in enumerate(visits)}
    for name in visits:
        if name in failed:
            record = {"status": "unreadable", "stage": "maps", "message": FAILURE}
            write_json(folder / name / "qc.json", record)
        else:
            write_visit(folder / name, maps[name], grid, image)
    rows = []
    for source, target in pairwise(visits):
        names, own = (patient, source, target), folder / f"{source}__{target}"
        if source in failed or target in failed:
            write_failed(own, names)
        else:
            write_pair(own, maps[source], maps[target], grid, names, hidden)
        pair_figure(own, folder / source, folder / target, classes(results), own / "overview.png")
        rows.append({"patient": patient, "from": source, "to": target, "days": days[target] - days[source]})
    marginal = [{"class": name, "region": "", "state": ""} for name in NAMES]
    logs = [{**row, "logs": {"maps": f"results/logs/{patient}/maps.log"}} for row in rows]
    pairs = [folder / f"{row['from']}__{row['to']}" for row in rows]
    tables.patient_tables(patient, logs, pairs, marginal, folder)
    spots = {name: grid.index_to_world(np.argwhere(maps[name][0] > 0).mean(axis=0)) for name in visits[1:]}
    write_lesions(folder, rows, spots)
    return rows


def write_lesions(
    folder: Path, rows: Sequence[Mapping[str, object]], spots: Mapping[str, np.ndarray]
) -> None:
    """The table of lesions: the oedema that appears at the second visit, at its place in mm."""
    found = []
    for place, row in enumerate(rows):
        name = f"{row['from']}__{row['to']}"
        changes = tables.read_changes(folder / name / "changes.csv").iloc[0].to_dict()
        names = {key: str(row[key]) for key in columns.PAIR}
        if changes["status"] != "ok":
            found.append(lesions.failed_row(names, NAMES[0], changes["status"]))
            continue
        x, y, z = spots[str(row["to"])].tolist()
        volumes_mm3 = changes["volume_from_mm3"], changes["volume_to_mm3"]
        own = ((0,), (0,)) if volumes_mm3[0] else ((), (0,))
        event = "stable" if volumes_mm3[0] else "new"
        page = paging.page_of(place, len(rows)) + paging.place(name, (x, y, z))
        parts = (changes["deformation_mm3"], changes["reallocation_mm3"], 60.0, 1.0)
        line = lesions.LesionRow(event, own, volumes_mm3, *parts, (x, y, z), (1, 2, 3), page)
        found.append(lesions.class_rows(changes, [line], 0.0))
    table = columns.stack(found, columns.LESIONS)
    lesions.write_lesions(lesions.named(table, range(len(table))), (), folder / "lesions.csv")


def classes(results: Path) -> ClassTable:
    """The classes of the study, from a file beside the results."""
    file = results.parent / "classes.tsv"
    if not file.exists():
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(TABLE, encoding="utf-8")
    return class_tables.load_classes(file)


def write_cohort(results: Path, rows: Sequence[Mapping[str, object]]) -> None:
    """The cohort's tables from the patients' own."""
    folders = [results / "patients" / name for name in dict.fromkeys(str(row["patient"]) for row in rows)]
    marginal = [{"class": name, "region": "", "state": ""} for name in NAMES]
    tables.cohort_tables(folders, marginal, results / "cohort")
    lesions.cohort_lesions(folders, (), results / "cohort" / "lesions.csv")
    left_out = [{"patient": "P9", "reason": "has a single visit"}]
    tables.write_pair_list(rows, left_out, results / "cohort" / "pairs.csv")


def write_sweep(results: Path) -> Path:
    """The page of a made-up sweep over two settings."""
    rows = [
        {"combination": f"steps-{steps}__control-{control}", "steps": steps, "control": control,
         "patient": "P1", "from": "V1", "to": "V2", "class": name, "status": "ok",
         **dict.fromkeys((*columns.VOLUMES, *columns.UNCERTAINTIES), 100.0 * int(steps)),
         **dict.fromkeys(HEALTH, 1.0)}
        for steps in ("4", "8") for control in ("lesion", "atrophy") for name in NAMES
    ]  # fmt: skip
    page = results / "sweep" / "sweep.html"
    sweep_page(pd.DataFrame(rows), ["steps", "control"], "snakemake sweep", page)
    return page


def patient_page(
    results: Path, patient: str, days: Mapping[str, float], rows: Sequence[Mapping[str, object]]
) -> Path:
    """Write a patient's page."""
    classes(results)
    page = results / "patients" / patient / "report.html"
    table = str(results.parent / "classes.tsv")
    patient_report(patient, days, rows, table, f"snakemake patient_{patient}", page)
    return page


def cohort_page(results: Path) -> Path:
    """Write the cohort's page."""
    page = results / "cohort" / "report.html"
    cohort_report(str(results.parent / "classes.tsv"), "snakemake", page)
    return page


def cohort_of(count: int, folder: Path, classes: int = 8, every: bool = False) -> Path:
    """Tables of ``count`` patients with five visits, the last patient's ventricles ten times as fast;
    ``every``: of all pairs of visits, not the consecutive ones alone."""
    names = ["ventricles", *(f"class{i}" for i in range(classes - 2)), "background"]
    chance = np.random.default_rng(1)
    rows, pairs = [], []
    for number in range(count):
        for first, last in combinations(range(1, 6), 2) if every else pairwise(range(1, 6)):
            days = 180.0 * (last - first)
            pair = {"patient": f"P{number:03}", "from": f"V{first}", "to": f"V{last}", "days": days}
            pairs.append(pair)
            for name in names:
                fast = 10 if name == "ventricles" and number == count - 1 else 1
                moved, changed = fast * chance.normal(2000, 300) * days / 180, chance.normal(0, 100)
                row = {**pair, "class": name, "volume_from_mm3": 1e5, "volume_to_mm3": 1e5 + moved + changed}
                row |= {"deformation_mm3": moved, "reallocation_mm3": changed, "unexplained_mm3": 0.0}
                row |= {"status": "ok", **dict.fromkeys(columns.UNCERTAINTIES, 50.0)}
                row |= dict(zip(columns.FLOORS, (300.0, 200.0, 350.0), strict=True)) | {
                    columns.SOURCE: "labels"
                }
                rate = DAYS_PER_YEAR / days
                row |= {"deformation_mm3_per_year": rate * moved, "reallocation_mm3_per_year": rate * changed}
                rows.append(row)
    cohort = folder / "cohort"
    write_csv(cohort / "changes.csv", pd.DataFrame(rows))
    write_csv(cohort / "failures.csv", pd.DataFrame(columns=list(columns.FAILURES)))
    write_csv(cohort / "memory.csv", pd.DataFrame(columns=list(columns.MEMORY)))
    write_csv(cohort / "pairs.csv", pd.DataFrame(pairs).assign(left_out=""))
    table = "class\tregions\tstates\n" + "".join(f"{n}\t{i}\t*\n" for i, n in enumerate(names[:-1], 1))
    (folder.parent / "classes.tsv").write_text(f"{table}background\t*\t*\n")
    return cohort_page(folder)

"""Finished results of invented patients on random oblique grids, written without a run."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import pairwise
from pathlib import Path

import numpy as np
from scipy import ndimage
from spaces import oblique, storage_orders

from longimorph import tables
from longimorph.geometry.grid import Grid
from longimorph.geometry.poses import rotation
from longimorph.io import transforms, volumes
from longimorph.io.atomic import write_json

NAMES = ("oedema", "WM +/-", "background")
CLASSES = [{"class": name, "region": name, "state": "healthy"} for name in NAMES]
SHAPE = (9, 8, 7)


def random_grid(chance: np.random.Generator, shape: tuple[int, int, int] = SHAPE) -> Grid:
    """An oblique grid of three spacings in one of the 48 orders of storage."""
    spacing = chance.uniform(2, 5, 3)
    grid = oblique(shape, tuple(chance.uniform(-0.5, 0.5, 3)), tuple(spacing))
    return storage_orders(np.empty(shape, dtype=bool), grid)[chance.integers(48)][1]


def random_rigid(chance: np.random.Generator) -> np.ndarray:
    """A rigid motion, 4×4 RAS: up to 40° about a random axis, up to 60 mm."""
    matrix = rotation(chance.uniform(-40, 40, 3))
    matrix[:3, 3] = chance.uniform(-60, 60, 3)
    return matrix


def random_warp(chance: np.random.Generator, grid: Grid) -> np.ndarray:
    """Smooth displacements of up to 4 mm along the axes of the grid, (3, i, j, k)."""
    field = np.stack([ndimage.gaussian_filter(chance.normal(size=grid.shape), 1.5) for _ in range(3)])
    return np.asarray(field * (4 / np.abs(field).max()))


def random_maps(chance: np.random.Generator, grid: Grid) -> np.ndarray:
    """Probabilities of the classes, (C, i, j, k)."""
    return np.moveaxis(chance.dirichlet(np.ones(len(NAMES)), grid.shape), -1, 0).astype(np.float32)


def write_visit(
    folder: Path, maps: np.ndarray, grid: Grid, chance: np.random.Generator, scan: str = "scan.nii.gz"
) -> None:
    """A visit that is done; ``scan`` is the name of the file that its image was made from."""
    names = {"patient": folder.parent.name, "timepoint": folder.name}
    sums = (maps.sum(axis=(1, 2, 3), dtype=np.float64) * grid.voxel_volume).tolist()
    record = {"status": "ok", "message": "", "volumes_mm3": dict(zip(NAMES, sums, strict=True))}
    write_json(folder / "qc.json", {**names, **record, "inputs_sha256": {f"scans/{scan}": "0" * 64}})
    volumes.write_maps(folder / "simplex.nii.gz", maps, grid)
    volumes.write_scalar(folder / "image.nii.gz", chance.uniform(size=grid.shape), grid)
    transforms.write_rigid(folder / "rigid.tfm", random_rigid(chance))


def write_pair(folder: Path, grid: Grid, chance: np.random.Generator) -> None:
    """A pair that is done, with random maps and warps."""
    patient, (source, target) = folder.parent.name, folder.name.split("__")
    names = {"patient": patient, "from": source, "to": target}
    zero, none = np.zeros(len(NAMES)), np.zeros((len(NAMES),) * 2)
    found = tables.PairChanges(zero, zero + 5, zero + 3, zero + 2, none, none, np.zeros((10, len(NAMES))))
    tables.write_pair(folder, names, NAMES, found)
    for name in ("deformation", "reallocation"):
        volumes.write_maps(folder / f"{name}.nii.gz", chance.normal(size=(len(NAMES), *grid.shape)), grid)
    volumes.write_scalar(folder / "log_jacobian.nii.gz", chance.normal(size=grid.shape), grid)
    for name in ("warp", "inverse_warp"):
        transforms.write_displacement(folder / f"{name}.nii.gz", random_warp(chance, grid), grid)
    write_json(folder / "status.json", {"status": "ok", **names, "versions": {"longimorph": "0.0.9"}})


def write_patient(folder: Path, days: Mapping[str, float], failed: Sequence[str] = (), seed: int = 0) -> None:
    """Visits, consecutive pairs and tables of one patient; visits that ``failed`` have no maps."""
    chance, names = np.random.default_rng(seed), list(days)
    grid = random_grid(chance)
    failure = {"status": "unreadable", "stage": "maps", "message": "scans/x.nii.gz is cut off"}
    for name in names:
        if name in failed:
            write_json(folder / name / "qc.json", {"patient": folder.name, "timepoint": name, **failure})
        else:
            write_visit(folder / name, random_maps(chance, grid), grid, chance)
    pairs = []
    for source, target in pairwise(names):
        own, pair = folder / f"{source}__{target}", {"patient": folder.name, "from": source, "to": target}
        if {source, target} & set(failed):
            tables.write_failed_pair(own, pair, NAMES, "unreadable")
            write_json(own / "status.json", {**failure, **pair})
        else:
            write_pair(own, grid, chance)
        pairs.append({**pair, "days": days[target] - days[source], "logs": {"maps": "results/logs/x.log"}})
    write_tables(folder, days, pairs)


def write_tables(folder: Path, days: Mapping[str, float], pairs: Sequence[Mapping[str, object]]) -> None:
    """The patient's tables."""
    folders = [folder / f"{pair['from']}__{pair['to']}" for pair in pairs]
    tables.patient_tables(folder.name, pairs, folders, CLASSES, folder)
    visits = [{"timepoint": name, "days": day} for name, day in days.items()]
    tables.write_patient_visits(folder.name, visits, pairs, CLASSES, folder)


def write_cohort(
    results: Path,
    further: Sequence[str] = (),
    cells: Mapping[str, Mapping[str, Sequence[str]]] | None = None,
    left_out: Mapping[str, str] | None = None,
) -> None:
    """The cohort's list of pairs and ``visits.csv``, with further columns of the cohort table."""
    folders = [path for path in sorted((results / "patients").glob("*")) if (path / "visits.csv").is_file()]
    pairs = [
        {"patient": path.name, "from": one["from"], "to": one["to"], "days": 1.0}
        for path in folders
        for one in tables.read_changes(path / "changes.csv")[["from", "to"]]
        .drop_duplicates()
        .to_dict("records")
    ]
    missing = [{"patient": name, "reason": reason} for name, reason in (left_out or {}).items()]
    tables.write_pair_list(pairs, missing, results / "cohort" / "pairs.csv")
    if cells is not None:
        tables.write_cohort_visits(folders, further, cells, CLASSES, results / "cohort")


def head(place: int) -> tuple[np.ndarray, Grid]:
    """Maps of white matter, large enough for a brain, with an oedema that grows inside, and their grid."""
    grid = oblique((24, 26, 22), spacing=(6.0, 6.5, 7.0), flip=(-1, 1, 1))
    index = np.moveaxis(np.indices(grid.shape), 0, -1)
    distance = np.linalg.norm(grid.index_to_world(index) - grid.centre(), axis=-1)
    inside = np.clip((55 - distance) / 10, 0, 1)
    ill = np.clip((14 + 3 * place - distance) / 8, 0, 1)
    return np.stack([ill, inside - ill, 1 - inside]).astype(np.float32), grid

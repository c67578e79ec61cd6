"""Maps of a cohort of phantoms: bent copies of one head, on oblique grids, with a change at a known place."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import nibabel as nib
import numpy as np
import pandas as pd
import pytest
import SimpleITK as sitk
from spaces import oblique, storage_orders

from longimorph.geometry.grid import Grid, transform_points
from longimorph.geometry.poses import rotation
from longimorph.io.atomic import write_json
from longimorph.io.transforms import flip_ras_lps
from longimorph.io.volumes import read_maps, read_scalar, write_maps, write_scalar
from longimorph.stages.group_maps import group_maps
from longimorph.stages.template import template

CLASSES = "class\tregions\tstates\nWM\t1\t*\nfluid\t2\t*\nbackground\t0\t*\n"
NAMES = ("WM", "fluid", "background")
BLOB, WIDTH_MM, HEIGHT = np.array([15.0, 8.0, -6.0]), 5.0, 0.2
YEARS = 2.0
LABELS = [{"class": name, "region": "", "state": ""} for name in NAMES]


def head(x: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Classes and intensities of the head at points (…, 3) in the space of the template, RAS mm."""
    radius = np.linalg.norm(x / [34.0, 42.0, 31.0], axis=-1)
    fluid = np.linalg.norm((x - [6, -4, 5]) / [7, 13, 8], axis=-1) < 1
    fluid |= np.linalg.norm((x - [-14, 16, -8]) / [6, 6, 9], axis=-1) < 1
    bright = np.linalg.norm((x - [-12, -14, 8]) / [9, 7, 6], axis=-1) < 1
    labels = np.where(radius < 1, np.where(fluid, 2, 1), 0)
    texture = np.sin(x[..., 0] / 6) * np.cos(x[..., 1] / 7 + 1) * np.sin(x[..., 2] / 6.5 + 2)
    image = (labels > 0) * (100.0 - 70 * fluid + 40 * bright + 12 * texture)
    return labels, np.where(labels > 0, np.maximum(image, 1), 0)


@dataclass(frozen=True)
class Bend:
    """The true map from the template to a patient, RAS mm: a smooth bend of a few mm, then an affine matrix."""

    matrix: np.ndarray
    amplitude: np.ndarray
    phase: float

    def __call__(self, x: np.ndarray) -> np.ndarray:
        return transform_points(self.matrix, x + self._bent(x))

    def back(self, y: np.ndarray) -> np.ndarray:
        """Where in the template points of the patient lie."""
        aim = transform_points(np.linalg.inv(self.matrix), y)
        x = aim
        for _ in range(30):
            x = aim - self._bent(x)
        return x

    def _bent(self, x: np.ndarray) -> np.ndarray:
        waves = np.sin(x[..., [1, 2, 0]] / 14 + self.phase) * np.cos(x[..., [2, 0, 1]] / 17)
        return waves * self.amplitude


def bend(seed: int) -> Bend:
    chance = np.random.default_rng(seed)
    matrix = rotation(chance.uniform(-12, 12, 3))
    matrix[:3, :3] = matrix[:3, :3] @ (np.diag(chance.uniform(0.9, 1.12, 3)) + chance.uniform(-0.04, 0.04, (3, 3)))
    matrix[:3, 3] = chance.uniform(-25, 25, 3)
    return Bend(matrix, chance.uniform(2, 3, 3), seed)


def around(centre: np.ndarray, seed: int) -> Grid:
    """An oblique grid around a head, in one of the 48 orders of storage."""
    shape = (34, 40, 31)
    grid = oblique(shape, (0.15 * (seed % 3), -0.2, 0.1 * seed), (3.0, 2.9, 3.2))
    affine = grid.affine.copy()
    affine[:3, 3] += centre - grid.centre()
    orders = storage_orders(np.empty(shape, dtype=bool), Grid(shape, affine))
    return orders[(seed * 17 + 5) % 48][1]


def centres(grid: Grid) -> np.ndarray:
    return grid.index_to_world(np.moveaxis(np.indices(grid.shape), 0, -1))


def write_patient(folder: Path, true: Bend, grid: Grid, scan: bool = True, height: float = HEIGHT) -> None:
    """Results of a patient with two visits: the head, and WM that grows by ``height`` at the blob."""
    x = true.back(centres(grid))
    labels, image = head(x)
    maps = np.stack([labels == code for code in (1, 2, 0)]).astype(np.float32)
    for visit in ("V1", "V2"):
        write_json(folder / visit / "qc.json", {"status": "ok", "message": ""})
        write_maps(folder / visit / "simplex.nii.gz", maps, grid)
        if scan:
            write_scalar(folder / visit / "image.nii.gz", 7.0 * image, grid)
    write_json(folder / "alignment.json", {"grid": grid.to_dict()})
    blob = height * np.exp(-(((x - BLOB) / WIDTH_MM) ** 2).sum(-1) / 2)
    write_pair(folder / "V1__V2", np.stack([blob, 0 * blob, -blob]), grid)


def write_pair(folder: Path, change: np.ndarray, grid: Grid) -> None:
    """A pair that is done: ``change`` is its deformation, the opposite half its reallocation."""
    write_json(folder / "status.json", {"status": "ok"})
    write_maps(folder / "deformation.nii.gz", change, grid)
    write_maps(folder / "reallocation.nii.gz", -change / 2, grid)
    write_scalar(folder / "log_jacobian.nii.gz", change[0] / 4, grid)


class Cohort:
    """Results of patients and a template on disk, and the stages on them."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.results = folder, folder / "results"
        self.out = self.results / "cohort" / "group"
        self.classes = folder / "classes.tsv"
        self.pairs: dict[str, list[dict[str, object]]] = {}
        folder.mkdir(parents=True, exist_ok=True)
        self.classes.write_text(CLASSES)
        grid = Grid((36, 43, 33), np.array([[-2.5, 0, 0, 42], [0, 0, 2.5, -50], [0, 2.5, 0, -40], [0, 0, 0, 1.0]]))
        grid = Grid((36, 35, 43), grid.affine)
        self.grid = grid
        self.template = folder / "template.nii.gz"
        write_scalar(self.template, head(centres(grid))[1], grid)

    def add(self, name: str, *pairs: tuple[str, float], **how: object) -> None:
        seed = len(self.pairs) + 1
        true = bend(seed)
        self.pairs[name] = [
            {"patient": name, "from": pair.split("__")[0], "to": pair.split("__")[1], "days": days}
            for pair, days in pairs or [("V1__V2", YEARS * 365.25)]
        ]
        write_patient(self.of(name), true, around(true(np.zeros(3)), seed), **how)

    def of(self, name: str) -> Path:
        return self.results / "patients" / name

    def place(self, name: str) -> dict[str, object]:
        template(name, ["V1", "V2"], str(self.classes), [str(self.template)], self.of(name), 1)
        return json.loads((self.of(name) / "template.json").read_text())

    def average(self, smoothing_mm: float = 0.0) -> None:
        settings = {"template_smoothing_mm": smoothing_mm, "threads": 1}
        files = [str(self.template)]
        group_maps(self.pairs, str(self.classes), LABELS, files, self.results, self.out, settings)

    def table(self, name: str) -> pd.DataFrame:
        return pd.read_csv(self.out / f"{name}.csv")


@pytest.fixture(scope="module")
def cohort(tmp_path_factory: pytest.TempPathFactory) -> Cohort:
    """Three patients with a scan, placed and averaged."""
    made = Cohort(tmp_path_factory.mktemp("group"))
    for name in ("P1", "P2", "P3"):
        made.add(name)
        made.place(name)
    made.average()
    return made


def middle(values: np.ndarray, grid: Grid) -> np.ndarray:
    """Centre of mass in RAS mm of what exceeds half of the maximum."""
    weight = np.where(values > values.max() / 2, values, 0)
    return (centres(grid) * weight[..., None]).sum((0, 1, 2)) / weight.sum()


def test_each_patient_lies_where_the_truth_puts_it(cohort: Cohort) -> None:
    points = np.random.default_rng(0).uniform(-20, 20, (300, 3))
    for seed, name in enumerate(cohort.pairs, 1):
        found = sitk.ReadTransform(str(cohort.of(name) / "template.tfm"))
        placed = flip_ras_lps([found.TransformPoint(p) for p in flip_ras_lps(points).tolist()])
        miss = np.linalg.norm(placed - bend(seed)(points), axis=1)
        print(name, miss.mean(), miss.max(), json.loads((cohort.of(name) / "template.json").read_text()))
        assert miss.mean() < 1.5


def test_a_change_lands_at_its_place_in_the_template(cohort: Cohort) -> None:
    maps, grid = read_maps(cohort.out / "deformation_mean.nii.gz")
    assert grid.shape == cohort.grid.shape and np.allclose(grid.affine, cohort.grid.affine, atol=1e-4)
    print(middle(maps[0], grid), maps[0].max(), cohort.table("maps"))
    assert np.linalg.norm(middle(maps[0], grid) - BLOB) < 1.5 * 2.5

"""Maps of a cohort of phantoms: bent copies of one head, on oblique grids, with a change at a known place."""

from __future__ import annotations

import re
import shutil
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import SimpleITK as sitk
from scipy import stats
from spaces import oblique, storage_orders

from longimorph.alignment.to_template import examine, foreground, stripped
from longimorph.errors import Unusable
from longimorph.geometry.grid import Grid, flip_ras_lps, transform_points
from longimorph.geometry.poses import rotation
from longimorph.io.atomic import write_json
from longimorph.io.transforms import affine_to_itk, write_transform
from longimorph.io.volumes import read_maps, read_scalar, write_maps, write_scalar
from longimorph.stages.group_maps import group_maps
from longimorph.stages.template import template
from longimorph.stages.visits import read_json

CLASSES = "class\tregions\tstates\nWM\t1\t*\nfluid\t2\t*\nbackground\t0\t*\n"
NAMES = ("WM", "fluid", "background")
BLOB, WIDTH_MM, HEIGHT = np.array([15.0, 8.0, -6.0]), 5.0, 0.2
YEARS = 2.0
SEEDS = (1, 2, 4)
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
    """The true map from the template to a patient, RAS mm: a smooth bend, then an affine matrix."""

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
    stretch = np.diag(chance.uniform(0.9, 1.12, 3)) + chance.uniform(-0.04, 0.04, (3, 3))
    matrix[:3, :3] = matrix[:3, :3] @ stretch
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
        self.classes, self.template = folder / "classes.tsv", folder / "template.nii.gz"
        self.pairs: dict[str, list[dict[str, Any]]] = {}
        folder.mkdir(parents=True, exist_ok=True)
        self.classes.write_text(CLASSES)
        affine = np.array([[-2.5, 0, 0, 42], [0, 0, 2.5, -50], [0, 2.5, 0, -40], [0, 0, 0, 1]])
        self.grid = Grid((36, 35, 43), affine)
        write_scalar(self.template, head(centres(self.grid))[1], self.grid)

    def add(self, name: str, true: Bend, grid: Grid, **how: Any) -> None:
        """Add a patient with one pair."""
        self.pairs[name] = [{"patient": name, "from": "V1", "to": "V2", "days": YEARS * 365.25}]
        write_patient(self.of(name), true, grid, **how)

    def of(self, name: str) -> Path:
        """The folder of a patient."""
        return self.results / "patients" / name

    def place(self, name: str, *mask: Path) -> dict[str, Any]:
        """Register a patient, and return its record."""
        files = [str(self.template), *map(str, mask)]
        template(name, ["V1", "V2"], str(self.classes), files, self.of(name), 1)
        return read_json(self.of(name) / "template.json")

    def place_exactly(self, name: str, true: Bend) -> None:
        """Write what the registration of a patient that was not bent would write if it were perfect."""
        write_transform(self.of(name) / "template.tfm", affine_to_itk(true.matrix))
        brain = (head(centres(self.grid))[0] > 0).astype(np.float32)
        write_scalar(self.of(name) / "template_brain.nii.gz", brain, self.grid)
        write_json(self.of(name) / "template.json", {"status": "ok", "verdict": "good", "quality": {}})

    def average(self, smoothing_mm: float = 0.0) -> None:
        """Make the maps."""
        settings = {"template_smoothing_mm": smoothing_mm, "threads": 1}
        files = [str(self.template)]
        group_maps(self.pairs, str(self.classes), LABELS, files, self.results, self.out, settings)

    def map(self, name: str) -> np.ndarray:
        """A map of the cohort, (C, i, j, k)."""
        return read_maps(self.out / f"{name}.nii.gz")[0]

    def rows(self, name: str) -> pd.DataFrame:
        """A table of the maps."""
        return pd.read_csv(self.out / f"{name}.csv", keep_default_na=False)


@pytest.fixture(scope="module")
def cohort(tmp_path_factory: pytest.TempPathFactory) -> Cohort:
    """Three patients, one of them without a scan, registered and averaged."""
    made = Cohort(tmp_path_factory.mktemp("group"))
    for seed, name in zip(SEEDS, ("P1", "P2", "P3"), strict=True):
        true = bend(seed)
        made.add(name, true, around(true(np.zeros(3)), seed), scan=name != "P3")
        assert made.place(name)["status"] == "ok"
    made.average()
    return made


def middle(values: np.ndarray, grid: Grid) -> np.ndarray:
    """Centre of mass in RAS mm of what exceeds half of the maximum."""
    weight = np.where(values > values.max() / 2, values, 0)
    return np.asarray((centres(grid) * weight[..., None]).sum((0, 1, 2)) / weight.sum())


def test_each_patient_lies_where_the_truth_puts_it(cohort: Cohort) -> None:
    points = np.random.default_rng(0).uniform(-18, 18, (300, 3))
    for seed, name in zip(SEEDS, cohort.pairs, strict=True):
        found = sitk.ReadTransform(str(cohort.of(name) / "template.tfm"))
        placed = flip_ras_lps([found.TransformPoint(p) for p in flip_ras_lps(points).tolist()])
        miss = np.linalg.norm(placed - bend(seed)(points), axis=1)
        assert miss.mean() < (3 if name == "P3" else 1), name  # classes alone say less than a scan


def test_the_record_tells_how_a_registration_went(cohort: Cohort) -> None:
    for name, driver in zip(cohort.pairs, ("image", "image", "labels"), strict=True):
        record = read_json(cohort.of(name) / "template.json")
        quality = record["quality"]
        assert record["driver"] == driver and record["used"] == ["V1", "V2"]
        assert record["verdict"] == ("good" if driver == "image" else "look"), record["remarks"]
        for what in ("overlap", "mutual_information"):
            steps = [quality[f"{what}_{step}"] for step in ("headers", "rigid", "deformable")]
            assert steps == sorted(steps), what
        assert quality["overlap_deformable"] > 0.95 and quality["folded_share"] == 0
        assert 0.9 < quality["scale"] < 1.15


def test_a_change_lands_at_its_place_in_the_template(cohort: Cohort) -> None:
    found, grid = read_maps(cohort.out / "deformation_mean.nii.gz")
    assert grid.shape == cohort.grid.shape and np.allclose(grid.affine, cohort.grid.affine, atol=1e-4)
    assert np.linalg.norm(middle(found[0], grid) - BLOB) < 1.5 * 2.5
    assert np.linalg.norm(middle(cohort.map("reallocation_mean")[2], grid) - BLOB) < 1.5 * 2.5
    assert 0.7 < found[0].max() / (HEIGHT / YEARS) < 1.05
    assert read_scalar(cohort.out / "patients.nii.gz").max() == 3


def test_the_same_patient_is_placed_alike_to_the_bit(cohort: Cohort, tmp_path: Path) -> None:
    before = (cohort.of("P1") / "template.tfm").read_bytes()
    shutil.copytree(cohort.of("P1"), tmp_path / "P1")
    template("P1", ["V1", "V2"], str(cohort.classes), [str(cohort.template)], tmp_path / "P1", 1)
    assert (tmp_path / "P1" / "template.tfm").read_bytes() == before


def straight(seed: int) -> Bend:
    """A patient that was turned, scaled and sheared, but not bent."""
    return replace(bend(seed), amplitude=np.zeros(3))


@pytest.fixture
def exact(tmp_path: Path) -> Cohort:
    """Four patients of different change, placed as by a perfect registration."""
    made = Cohort(tmp_path)
    for seed, height in enumerate((0.1, 0.2, 0.3, 0.25), 1):
        name, true = f"P{seed}", straight(seed)
        made.add(name, true, around(true(np.zeros(3)), seed), height=height)
        made.place_exactly(name, true)
    return made


def single(exact: Cohort, name: str, folder: Path) -> np.ndarray:
    """The deformation of WM of one patient on the template, (i, j, k) per year."""
    alone = Cohort(folder / name)
    shutil.copytree(exact.of(name), alone.of(name))
    alone.pairs[name] = exact.pairs[name]
    alone.average()
    return alone.map("deformation_mean")[0]


def test_maps_are_pulled_back_once_and_per_year(exact: Cohort, tmp_path: Path) -> None:
    brain = head(centres(exact.grid))[0] > 0
    found = single(exact, "P2", tmp_path)
    truth = 0.2 / YEARS * np.exp(-(((centres(exact.grid) - BLOB) / WIDTH_MM) ** 2).sum(-1) / 2)
    assert np.abs(found - truth)[brain].max() < 0.12 * 0.2 / YEARS  # one linear interpolation of 3 mm voxels
    assert (found[~brain] == 0).all()
    row = pd.read_csv(tmp_path / "P2" / "results/cohort/group/maps.csv").iloc[1]
    assert row["map"] == "deformation" and row["class"] == "WM"
    assert row["sum_mm3_per_year"] == pytest.approx(truth[brain].sum() * 2.5**3, rel=0.05)
    assert np.linalg.norm(middle(found, exact.grid) - BLOB) < 0.5


def test_the_recipe_of_the_manual_puts_a_map_onto_the_template(
    exact: Cohort, monkeypatch: pytest.MonkeyPatch
) -> None:
    page = (Path(__file__).parents[2] / "docs" / "group-maps.md").read_text(encoding="utf-8")
    recipe = re.search(r"```python\n(.*?)```", page, re.DOTALL)
    exact.of("P2").rename(exact.of("P001"))
    monkeypatch.chdir(exact.folder)
    known: dict[str, Any] = {}
    exec(recipe[1], known)
    found = sitk.GetArrayFromImage(known["on_template"]).T
    truth = 0.05 * np.exp(-(((centres(exact.grid) - BLOB) / WIDTH_MM) ** 2).sum(-1) / 2)
    assert np.abs(found - truth)[head(centres(exact.grid))[0] > 0].max() < 0.12 * 0.05


def test_means_and_tests_are_those_of_the_patients(exact: Cohort, tmp_path: Path) -> None:
    exact.average()
    own = np.stack([single(exact, name, tmp_path) for name in exact.pairs])
    spot = exact.map("deformation_t")[0] != 0
    assert 200 < spot.sum() < 0.3 * spot.size
    assert np.allclose(exact.map("deformation_mean")[0], own.mean(0), atol=1e-6)
    t, p = stats.ttest_1samp(own[:, spot], 0)
    assert np.allclose(exact.map("deformation_t")[0][spot], t, rtol=1e-3)
    assert np.allclose(exact.map("deformation_p")[0][spot], p, rtol=1e-2)
    q = exact.map("deformation_q")[0]
    assert np.allclose(q[spot], stats.false_discovery_control(p), rtol=1e-2) and (q[~spot] == 1).all()
    assert not exact.map("deformation_t")[1].any()  # fluid does not change
    row = exact.rows("maps").iloc[1]
    assert int(row["growth_voxels"]) == (q < 0.05).sum() and int(row["loss_voxels"]) == 0
    assert int(row["tested_voxels"]) == spot.sum() and int(row["patients"]) == 4


def test_the_order_of_voxels_makes_no_difference(exact: Cohort) -> None:
    maps = []
    for order in (3, 29):
        for seed, name in enumerate(exact.pairs, 1):
            grid = around(straight(seed)(np.zeros(3)), seed)
            grid = storage_orders(np.empty(grid.shape, dtype=bool), grid)[order + seed][1]
            write_patient(exact.of(name), straight(seed), grid)
        exact.average()
        maps.append(exact.map("deformation_mean"))
    assert np.abs(maps[0] - maps[1]).max() < 1e-6


def test_a_patient_counts_once_with_the_years_of_its_pairs(exact: Cohort, tmp_path: Path) -> None:
    first = single(exact, "P1", tmp_path / "before")
    change, grid = read_maps(exact.of("P1") / "V1__V2" / "deformation.nii.gz")
    write_pair(exact.of("P1") / "V2__V3", 3 * change, grid)
    later = {"patient": "P1", "from": "V2", "to": "V3", "days": 365.25}
    exact.pairs["P1"].append(later)
    both = single(exact, "P1", tmp_path / "after")
    assert np.allclose(both, first * 4 * YEARS / 3, atol=1e-6)
    exact.average()
    assert int(exact.rows("maps")["patients"].iloc[0]) == 4
    assert exact.rows("registrations").set_index("patient")["years"].to_dict()["P1"] == 3


def test_what_was_not_compared_does_not_count(exact: Cohort) -> None:
    grid = Grid.from_dict(read_json(exact.of("P1") / "alignment.json")["grid"])
    near = np.linalg.norm(straight(1).back(centres(grid)) - BLOB, axis=-1) < 12
    write_scalar(exact.of("P1") / "V1__V2" / "compared.nii.gz", (~near).astype(np.float32), grid)
    exact.average()
    count = read_scalar(exact.out / "patients.nii.gz")
    at = tuple(np.rint(exact.grid.world_to_index(BLOB)).astype(int))
    assert count[at] == 3 and count.max() == 4
    off = exact.grid.index_to_world(at) - BLOB
    expected = np.mean([0.2, 0.3, 0.25]) / YEARS * np.exp(-((off / WIDTH_MM) ** 2).sum() / 2)
    assert exact.map("deformation_mean")[0][at] == pytest.approx(expected, rel=0.1)


def test_smoothing_spreads_a_change_and_keeps_its_place(exact: Cohort) -> None:
    exact.average()
    sharp = exact.map("deformation_mean")[0]
    exact.average(smoothing_mm=4)
    smooth = exact.map("deformation_mean")[0]
    assert smooth.max() == pytest.approx(sharp.max() * (1 + (4 / WIDTH_MM) ** 2) ** -1.5, rel=0.1)
    assert smooth.sum() == pytest.approx(sharp.sum(), rel=0.05)
    assert np.linalg.norm(middle(smooth, exact.grid) - BLOB) < 1


def test_two_patients_have_a_mean_and_no_test(exact: Cohort) -> None:
    exact.average()
    exact.pairs = {name: exact.pairs[name] for name in ("P1", "P2")}
    exact.average()
    left = {file.name for file in exact.out.glob("*.nii.gz")}
    means = {f"{kind}_mean.nii.gz" for kind in ("log_jacobian", "deformation", "reallocation")}
    assert left == {"patients.nii.gz", *means}  # and no t of the run before
    assert read_json(exact.out / "group.json")["tested"] is False


def test_a_patient_that_failed_is_left_out_and_the_others_go_on(exact: Cohort) -> None:
    failed = {"status": "template_overlap", "stage": "template", "message": "no overlap"}
    write_json(exact.of("P1") / "template.json", failed)
    write_json(exact.of("P2") / "V1__V2" / "status.json", {"status": "fov", "stage": "register"})
    exact.average()
    assert read_json(exact.out / "group.json")["patients"] == ["P3", "P4"]
    rows = exact.rows("registrations").set_index("patient")
    assert rows["status"].to_dict() == {"P1": "template_overlap", "P2": "ok", "P3": "ok", "P4": "ok"}
    assert rows["pairs"].astype(int).tolist() == [0, 0, 1, 1]


def test_without_any_patient_there_are_tables_and_no_maps(exact: Cohort) -> None:
    exact.pairs = {"P1": exact.pairs["P1"]}
    write_json(
        exact.of("P1") / "template.json", {"status": "template_scale", "stage": "template", "message": ""}
    )
    exact.average()
    assert list(exact.out.glob("*.nii.gz")) == [] and len(exact.rows("maps")) == 0


def test_a_template_of_noise_fails_with_a_reason(exact: Cohort) -> None:
    brain = head(centres(exact.grid))[0] > 0
    noise = np.random.default_rng(0).normal(100, 20, exact.grid.shape)
    write_scalar(exact.template, noise, exact.grid)
    mask = exact.folder / "mask.nii.gz"
    write_scalar(mask, brain, exact.grid)
    record = exact.place("P1", mask)
    assert record["status"] in ("template_overlap", "template_similarity")
    assert record["stage"] == "template" and "check" in record["message"]
    assert not (exact.of("P1") / "template.tfm").exists()


def test_a_failure_of_an_earlier_stage_is_handed_on(exact: Cohort) -> None:
    for visit in ("V1", "V2"):
        record = {"status": "unreadable", "stage": "maps", "message": "cut off"}
        write_json(exact.of("P1") / visit / "qc.json", record)
    assert exact.place("P1")["stage"] == "maps"


GOOD = {
    "scale": 1.0,
    "overlap_deformable": 0.95,
    "mutual_information_affine": 0.5,
    "mutual_information_deformable": 0.6,
    "folded_share": 0.0,
    "affine_inconsistency_mm": 0.5,
}


@pytest.mark.parametrize(
    "changes, code",
    [
        ({"scale": 2.0}, "template_scale"),
        ({"overlap_deformable": 0.6}, "template_overlap"),
        ({"mutual_information_deformable": 0.02}, "template_similarity"),
        ({"mutual_information_deformable": None}, "template_similarity"),
    ],
)
def test_a_registration_that_cannot_be_used_fails(changes: dict[str, float | None], code: str) -> None:
    with pytest.raises(Unusable) as found:
        examine({**GOOD, **changes})
    assert found.value.code == code


def test_a_registration_that_looks_odd_says_why() -> None:
    assert examine(GOOD) == [] and examine({**GOOD, "overlap_deformable": None}) == []
    odd = {"overlap_deformable": 0.85, "folded_share": 0.01, "affine_inconsistency_mm": 5.0}
    said = examine({**GOOD, **odd, "mutual_information_deformable": 0.4})
    assert [
        word
        for word, text in zip(("Dice", "folds", "5.0 mm", "less alike"), said, strict=True)
        if word in text
    ]
    assert len(said) == 4


def test_what_a_template_shows_is_noticed(exact: Cohort) -> None:
    image = read_scalar(exact.template)
    assert stripped(image) and (foreground(image) == (image > 0)).all()
    chance = np.random.default_rng(0)
    noisy = image + np.abs(chance.normal(0, 3, image.shape)).astype(np.float32)
    assert not stripped(noisy)
    assert (foreground(noisy) == (image > 20)).mean() > 0.9

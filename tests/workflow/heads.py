"""Small heads written to disk, and the real steps run on them in sequence in this process."""

from __future__ import annotations

import copy
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import pandas as pd

from longimorph.geometry.grid import Grid, transform_points
from longimorph.geometry.poses import rotation, translation
from longimorph.stages.align import align
from longimorph.stages.maps import maps
from longimorph.stages.register import register
from longimorph.stages.visits import read_json
from longimorph.tables import read_changes

LESION, WHITE, GREY, VENTRICLES, BACKGROUND = NAMES = ("lesion", "WM", "GM", "ventricles", "background")
CLASSES = "class\tregions\tstates\nlesion\t1-2\t1\nWM\t1\t*\nGM\t2\t*\nventricles\t3\t*\nbackground\t0\t*\n"
CONTROL = (
    "from\tlesion\tWM\tGM\tventricles\tbackground\n"
    "lesion\t1\t0\t0\t1\t1\n"
    "WM\t0\t1\t1\t1\t1\n"
    "GM\t0\t1\t1\t1\t1\n"
    "ventricles\t1\t1\t1\t1\t1\n"
    "background\t1\t1\t1\t1\t1\n"
)
DEFORMATION_ONLY = "from\t" + "\t".join(NAMES) + "\n" + "".join(name + 5 * "\t1" + "\n" for name in NAMES)
ALIGN = {
    "metric_min": 0.25,
    "overlap_min": 0.7,
    "coverage_min": 0.5,
    "max_inconsistency_mm": 3,
    "max_rotation_deg": 60,
    "max_translation_mm": 150,
    "seed": 1,
}
SETTINGS = {
    "reference": "midspace",
    "spacing_mm": 4.0,
    "margin_mm": 8.0,
    "align": ALIGN,
    "smoothing_mm": 1.0,
    "floor": 1e-9,
    "kernel_mm": [4.0],
    "amplitude_mm": 1.0,
    "regularisation": 1e-5,
    "volume_mm": 6.0,
    "reallocation": "projected",
    "volume_weight": 30.0,
    "max_evaluations": 10,
    "tolerance": 0.02,
    "steps": "auto",
    "compared_min": 0.75,
    "device": "cpu",
    "threads": 1,
}
CENTRE = np.array([4.0, -9.0, 13.0])
SEMI_AXES = np.array([40.0, 50.0, 36.0])


@dataclass(frozen=True)
class Head:
    """A head in world mm: an ellipsoid with a grey shell, a ventricle off its centre, deep grey matter on one
    side, perhaps a lesion on the other; ``pose`` moves it (4×4, RAS)."""

    ventricle_mm: float = 12.0
    lesion_mm: float = 0.0
    pose: np.ndarray = field(default_factory=lambda: np.eye(4))

    def labels(self, grid: Grid) -> tuple[np.ndarray, np.ndarray]:
        """Region and state labels at the voxel centres of ``grid``."""
        x = self._inside(grid)
        radius = np.linalg.norm(x / SEMI_AXES, axis=-1)
        regions = np.where(radius < 1, np.where(radius > 0.8, 2, 1), 0)
        regions[np.linalg.norm(x - [14, 16, -6], axis=-1) < 8] = 2
        regions[np.linalg.norm((x - [7, -5, 6]) / [0.8, 1.3, 1], axis=-1) < self.ventricle_mm] = 3
        spot = np.linalg.norm(x - [-16, 12, 4], axis=-1) < self.lesion_mm
        return regions.astype(np.int16), (spot & (regions > 0) & (regions < 3)).astype(np.uint8)

    def image(self, grid: Grid, seed: int = 0) -> np.ndarray:
        """An intensity image on ``grid``: a value per tissue, slow texture that moves along, noise."""
        regions, states = self.labels(grid)
        x = self._inside(grid)
        texture = 6 * np.sin(x[..., 0] / 9) * np.cos(x[..., 1] / 11 + 1) * np.sin(x[..., 2] / 8 + 2)
        noise = np.random.default_rng(seed).normal(0, 2, grid.shape)
        return np.array([5.0, 110, 70, 25])[regions] + 25 * states + (regions > 0) * texture + noise

    def _inside(self, grid: Grid) -> np.ndarray:
        index = np.moveaxis(np.indices(grid.shape), 0, -1)
        return transform_points(np.linalg.inv(self.pose), grid.index_to_world(index)) - CENTRE


def moved(degrees: Sequence[float], shift: Sequence[float]) -> np.ndarray:
    """The pose of a head that turned about its centre and shifted, 4×4 RAS."""
    return translation(CENTRE + shift) @ rotation(list(degrees)) @ translation(-CENTRE)


def save(path: Path, array: np.ndarray, grid: Grid) -> str:
    """Write a volume with both of NIfTI's geometries, in its own type."""
    path.parent.mkdir(parents=True, exist_ok=True)
    image = nib.Nifti1Image(array, grid.affine)
    image.set_sform(grid.affine, code=1)
    image.set_qform(grid.affine, code=1)
    nib.save(image, path)
    return str(path)


class Patient:
    """One patient in ``folder``: scans in ``scans``, tables in ``config``, results in ``results``."""

    def __init__(self, folder: Path, control: str = CONTROL, **settings: Any) -> None:
        self.folder, self.results = folder, folder / "results"
        self.settings = copy.deepcopy(SETTINGS) | settings
        self.visits: list[dict[str, Any]] = []
        self.classes, self.control = str(folder / "classes.tsv"), str(folder / "control.tsv")
        folder.mkdir(parents=True, exist_ok=True)
        Path(self.classes).write_text(CLASSES)
        Path(self.control).write_text(control)

    def add(self, regions: np.ndarray, states: np.ndarray, grid: Grid, image: Any = None) -> dict[str, Any]:
        """Write the volumes of the next visit, called V1, V2 and so on."""
        name = f"V{len(self.visits) + 1}"
        files = {"regions": regions, "states": states, "image": image}
        record: dict[str, Any] = {"patient": "P", "timepoint": name}
        for kind, array in files.items():
            path = self.folder / "scans" / f"{name}_{kind}.nii.gz"
            record[kind] = None if array is None else save(path, array, grid)
        self.visits.append(record)
        return record

    def add_head(self, head: Head, grid: Grid | None = None, image: bool = False) -> dict[str, Any]:
        """Write the next visit of a head, at 3 mm unless a ``grid`` is given."""
        grid = grid or around_the_head((30, 36, 28), (3.0, 3.0, 3.0))
        picture = head.image(grid, seed=len(self.visits)).astype(np.float32) if image else None
        return self.add(*head.labels(grid), grid, picture)

    def add_again(self, record: dict[str, Any]) -> None:
        """The next visit has the same files as an earlier one."""
        self.visits.append(record | {"timepoint": f"V{len(self.visits) + 1}"})

    def prepare(self) -> Patient:
        """Align the visits and make their maps."""
        align("P", self.visits, self.classes, self.results, self.settings)
        for visit in self.visits:
            folder = self.results / visit["timepoint"]
            maps(visit, self.classes, self.results / "alignment.json", folder, self.settings)
        return self

    def register(self, source: str = "V1", target: str = "V2", **settings: Any) -> Path:
        """Register a pair and return the folder of its results."""
        out = self.results / f"{source}__{target}"
        qc = (self.results / name / "qc.json" for name in (source, target))
        pair = {"patient": "P", "from": source, "to": target}
        register(pair, self.classes, self.control, *qc, out, self.settings | settings)  # type: ignore[arg-type, call-arg]
        return out

    def run(self) -> Path:
        """All three steps; the results of the first pair."""
        return self.prepare().register()


def changes(folder: Path) -> Any:
    """The numbers of a pair, by class."""
    table = read_changes(folder / "changes.csv").set_index("class")
    return table[[name for name in table.columns if name.endswith("_mm3")]]


def status(folder: Path) -> dict[str, Any]:
    """The pair's status."""
    return read_json(folder / "status.json")


def volume(path: Path) -> tuple[np.ndarray, Grid]:
    """A map (classes last) or a scalar volume, and its grid."""
    image: Any = nib.load(path)
    i, j, k = image.shape[:3]
    return np.asarray(image.dataobj), Grid((i, j, k), image.affine)


def brain_mm3(table: pd.DataFrame) -> float:
    """The brain's volume at the first visit."""
    return float(table["volume_from_mm3"].drop(BACKGROUND).sum())


def around_the_head(shape: Sequence[int], spacing: Sequence[float], degrees: Iterable[float] = ()) -> Grid:
    """A grid centred on the head, its axes turned by ``degrees``; a negative spacing flips an axis."""
    i, j, k = shape
    turn = rotation(list(degrees) or [0.0, 0.0, 0.0])
    middle = (np.array(shape) - 1) / 2
    return Grid((i, j, k), translation(CENTRE) @ turn @ np.diag([*spacing, 1.0]) @ translation(-middle))

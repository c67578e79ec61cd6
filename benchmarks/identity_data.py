"""Visits of people on public scans, each with a rough segmentation made by one method for all."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import SimpleITK as sitk
from numpy.typing import NDArray
from scipy import ndimage

from benchmarks import growth_data
from longimorph.grid import Grid
from longimorph.io.transforms import from_sitk
from longimorph.io.volumes import read_image, read_labels

TISSUES = ("background", "dark", "middle", "bright")
PARCELS = ("background", "white matter", "cortex", "thalamus", "ventricles", "other")
_MUSE = (range(81, 96), range(100, 208), (59, 60), (51, 52, 49, 50, 4, 11))
_SHADING_MM, _ROUNDS = 25.0, 30
_STUDIES = ("study1", "study2")


@dataclass(frozen=True, eq=False)
class Visit:
    """One scan: ``image`` and ``tissue`` (a class of TISSUES per voxel) on ``grid``; ``parcels`` where the
    data have labels of structures; ``kind`` of scan, and whose it is."""

    name: str
    person: str
    kind: str
    image: NDArray[np.float32]
    tissue: NDArray[np.int8]
    grid: Grid
    parcels: NDArray[np.int8] | None = None


def visits(data: Path) -> Iterator[Visit]:
    """All visits below the folder ``data``, those of one person beside one another."""
    yield from _healthy(data / "ixi_dlmuse_2mm")
    yield from _glioblastomas(data / "gbm_progression")
    yield from _sclerosis(data / "ms_longitudinal" / "patient12")


def _healthy(folder: Path) -> Iterator[Visit]:
    for file in sorted(folder.glob("*_ds.nii.gz")):
        image, grid = read_image(file)
        labels, _ = read_labels(folder / file.name.replace("_ds.", "_ds_DLMUSE."))
        person = f"IXI {file.name[3:6]}"
        parcels = np.where(labels > 0, len(PARCELS) - 1, 0).astype(np.int8)
        for index, numbers in enumerate(_MUSE, 1):
            parcels[np.isin(labels, list(numbers))] = index
        yield Visit(person, person, "T1", image, tissue(image, labels > 0, grid), grid, parcels)


def _glioblastomas(folder: Path) -> Iterator[Visit]:
    for patient in sorted(path for path in folder.glob("[0-9]*") if path.is_dir()):
        for number, when in enumerate(("Pre", "Post"), 1):
            scan = growth_data.read(patient, when)
            image = np.asarray(scan.image, dtype=np.float32)
            brain = scan.labels != growth_data.OUTSIDE
            person = f"GBM {patient.name}"
            classes = tissue(image, brain, scan.label_grid)
            yield Visit(f"{person} visit {number}", person, "T1 after contrast", image, classes, scan.label_grid)


def _sclerosis(folder: Path) -> Iterator[Visit]:
    """Both studies, every kind of scan on the voxels of its study's FLAIR."""
    if not folder.is_dir():
        return
    mask = sitk.ReadImage(str(folder / "brainmask_commonspace.nii.gz"), sitk.sitkFloat32)
    for number, study in enumerate(_STUDIES, 1):
        flair = sitk.ReadImage(str(folder / f"{study}_FLAIR.nii.gz"), sitk.sitkFloat32)
        to_common = sitk.ReadTransform(str(folder / f"{study}_FLAIR_to_common_space.txt"))
        brain = from_sitk(sitk.Resample(mask, flair, to_common.GetInverse(), sitk.sitkNearestNeighbor)) > 0.5
        _, grid = read_image(folder / f"{study}_FLAIR.nii.gz")
        for kind in ("FLAIR", "T1", "T2"):
            image = from_sitk(flair if kind == "FLAIR" else _onto(flair, folder, study, f"{kind}W"))
            image = np.asarray(image, dtype=np.float32)
            classes = tissue(image, brain, grid)
            yield Visit(f"MS 12 visit {number}, {kind}", "MS 12", kind, image, classes, grid)


def _onto(flair: sitk.Image, folder: Path, study: str, name: str) -> sitk.Image:
    scan = sitk.ReadImage(str(folder / f"{study}_{name}.nii.gz"), sitk.sitkFloat32)
    to_flair = sitk.ReadTransform(str(folder / f"{study}_{name}_intrastudy_to_FLAIR.txt"))
    return sitk.Resample(scan, flair, to_flair, sitk.sitkLinear)


def tissue(image: NDArray[np.float32], brain: NDArray[np.bool_], grid: Grid) -> NDArray[np.int8]:
    """The brain in three classes of brightness (k-means), after the coil's shading is divided out."""
    sigma = _SHADING_MM / grid.spacing
    weight = ndimage.gaussian_filter(brain.astype(np.float32), sigma, truncate=3.0)
    local = ndimage.gaussian_filter(np.where(brain, image, 0).astype(np.float32), sigma, truncate=3.0)
    values = (image * weight / np.maximum(local, 1e-6))[brain]
    values = np.clip(values, *np.percentile(values, (1, 99)))
    centres = np.percentile(values, (5, 40, 80))
    for _ in range(_ROUNDS):
        nearest = np.abs(values[:, None] - centres).argmin(axis=1)
        centres = np.array([values[nearest == c].mean() for c in range(3)])
    classes = np.zeros(image.shape, dtype=np.int8)
    classes[brain] = 1 + nearest
    return classes

"""Visits of people from public scans, each with a rough segmentation by the same method."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
import SimpleITK as sitk
from numpy.typing import NDArray
from scipy import ndimage

from benchmarks import growth_data
from longimorph.geometry.grid import Grid
from longimorph.io.transforms import from_sitk
from longimorph.io.volumes import read_image, read_labels

TUMOUR = "T1 after contrast"
TISSUES = ("background", "dark", "middle", "bright")
PARCELS = ("background", "white matter", "cortex", "thalamus", "ventricles", "other")
_MUSE = (range(81, 96), range(100, 208), (59, 60), (51, 52, 49, 50, 4, 11))
_SHADING_MM, _ROUNDS = 25.0, 30


@dataclass(frozen=True, eq=False)
class PublicVisit:
    """One scan: ``image`` and ``tissue`` (a class of TISSUES per voxel) on ``grid``; ``parcels`` where the
    data have labels of structures; ``kind`` of scan, and whose it is."""

    name: str
    person: str
    kind: str
    image: NDArray[np.float32]
    tissue: NDArray[np.int8]
    grid: Grid
    parcels: NDArray[np.int8] | None = None


def visits(data: Path) -> list[Callable[[], PublicVisit]]:
    """The readers of each visit below the folder ``data``; those of one person are adjacent."""
    healthy = sorted((data / "ixi_dlmuse_2mm").glob("*_ds.nii.gz"))
    found: list[Callable[[], PublicVisit]] = [partial(_healthy, file) for file in healthy]
    for patient in sorted(path for path in (data / "gbm_progression").glob("[0-9]*") if path.is_dir()):
        found += [partial(_glioblastoma, patient, number) for number in (1, 2)]
    folder = data / "ms_longitudinal" / "patient12"
    if folder.is_dir():
        kinds = ("FLAIR", "T1")
        found += [partial(_sclerosis, folder, number, kind) for number in (1, 2) for kind in kinds]
    return found


def read_visits(visit: Callable[[], PublicVisit]) -> PublicVisit:
    """Read one visit."""
    return visit()


def _healthy(file: Path) -> PublicVisit:
    image, grid = read_image(file)
    labels, _ = read_labels(file.with_name(file.name.replace("_ds.", "_ds_DLMUSE.")))
    person = f"IXI {file.name[3:6]}"
    parcels = np.where(labels > 0, len(PARCELS) - 1, 0).astype(np.int8)
    for index, numbers in enumerate(_MUSE, 1):
        parcels[np.isin(labels, list(numbers))] = index
    return PublicVisit(person, person, "T1", image, tissue(image, labels > 0, grid), grid, parcels)


def _glioblastoma(folder: Path, number: int) -> PublicVisit:
    scan = growth_data.read_tumour(folder, ("Pre", "Post")[number - 1])
    image, person = np.asarray(scan.image, dtype=np.float32), f"GBM {folder.name}"
    classes = tissue(image, scan.labels != growth_data.OUTSIDE, scan.label_grid)
    return PublicVisit(f"{person} visit {number}", person, TUMOUR, image, classes, scan.label_grid)


def _sclerosis(folder: Path, number: int, kind: str) -> PublicVisit:
    """A scan resampled to the voxels of its study's FLAIR."""
    study = f"study{number}"
    mask = sitk.ReadImage(str(folder / "brainmask_commonspace.nii.gz"), sitk.sitkFloat32)
    flair = sitk.ReadImage(str(folder / f"{study}_FLAIR.nii.gz"), sitk.sitkFloat32)
    to_common = sitk.ReadTransform(str(folder / f"{study}_FLAIR_to_common_space.txt"))
    brain = from_sitk(sitk.Resample(mask, flair, to_common.GetInverse(), sitk.sitkNearestNeighbor)) > 0.5
    _, grid = read_image(folder / f"{study}_FLAIR.nii.gz")
    scan = flair if kind == "FLAIR" else _onto(flair, folder, study, f"{kind}W")
    image = np.asarray(from_sitk(scan), dtype=np.float32)
    return PublicVisit(
        f"MS 12 visit {number}, {kind}", "MS 12", kind, image, tissue(image, brain, grid), grid
    )


def _onto(flair: sitk.Image, folder: Path, study: str, name: str) -> sitk.Image:
    scan = sitk.ReadImage(str(folder / f"{study}_{name}.nii.gz"), sitk.sitkFloat32)
    to_flair = sitk.ReadTransform(str(folder / f"{study}_{name}_intrastudy_to_FLAIR.txt"))
    return sitk.Resample(scan, flair, to_flair, sitk.sitkLinear)


def tissue(image: NDArray[np.float32], brain: NDArray[np.bool_], grid: Grid) -> NDArray[np.int8]:
    """The brain in three classes of brightness (k-means), after correction for coil shading."""
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

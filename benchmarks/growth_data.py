"""Visits of real glioblastomas as label volumes: enhancing tumour, the necrosis it encloses, other brain."""

from __future__ import annotations

from pathlib import Path

import nibabel as nib
import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from longimorph.alignment.align import VisitVolumes
from longimorph.geometry.grid import Grid
from longimorph.study.classes import BACKGROUND, HEALTHY, ClassRow, ClassTable

SPACING_MM = (0.9, 0.9, 6.5)
"""An estimate: the files have lost their geometry."""
ENHANCING, NECROSIS, REST, OUTSIDE = range(4)
CLASSES = ClassTable(
    "growth",
    (
        ClassRow("enhancing", None, ((1, 1),), "enhancing", "enhancing", "#D55E00"),
        ClassRow("necrosis", None, ((2, 2),), "necrosis", "necrosis", "#009E73"),
        ClassRow("rest of the brain", ((1, 1),), None, "brain", HEALTHY, "#999999"),
        ClassRow(BACKGROUND, ((0, 0),), None, BACKGROUND, "", "#000000"),
    ),
)
_HEAD_SHARE = 0.15
_TISSUE = 0.6, 1.45
_DEEP_MM, _SKULL_MM, _BRIDGE_MM, _CLOSING_MM, _OPENING_MM = 20.0, 5.0, 3.0, 8.0, 5.0

Mask = NDArray[np.bool_]
Image = NDArray[np.float64]


def read_tumour(folder: Path, visit: str) -> VisitVolumes:
    """Read one visit, ``Pre`` or ``Post``, of a patient's folder, with the spacing that its header lacks."""
    image, mask = (
        np.asarray(nib.Nifti1Image.from_filename(folder / f"{visit}_{kind}.nii.gz").dataobj, dtype=np.float64)
        for kind in ("Scan_T1", "Mask")
    )
    grid = Grid(image.shape, np.diag([-SPACING_MM[0], -SPACING_MM[1], SPACING_MM[2], 1.0]))
    return VisitVolumes(labels_of(image, mask > 0), grid, image, grid)


def labels_of(image: Image, enhancing: Mask) -> NDArray[np.int8]:
    """The class of each voxel (i, j, k); necrosis is what the enhancing rim encloses within a slice."""
    labels = np.full(image.shape, OUTSIDE, dtype=np.int8)
    labels[brain(image, enhancing)] = REST
    labels[_filled(enhancing)] = NECROSIS
    labels[enhancing] = ENHANCING
    return labels


def brain(image: Image, lesion: Mask) -> Mask:
    """A rough mask of the brain in a T1 image of the head, with ``lesion`` in it.

    Tissue of about the brightness that is most frequent deep in the head, without what bridges the skull.
    """
    head = image > _HEAD_SHARE * np.percentile(image, 99)
    head = _filled(ndimage.binary_closing(head, _disk(_BRIDGE_MM)))
    smooth = ndimage.gaussian_filter(image, (1.0, 1.0, 0.0))
    low, high = (share * _typical(image[ndimage.binary_erosion(head, _disk(_DEEP_MM)) & ~lesion])
                 for share in _TISSUE)  # fmt: skip
    tissue = ((smooth > low) & (smooth < high)) | lesion
    tissue &= ndimage.binary_erosion(head, _disk(_SKULL_MM))
    core = _largest(ndimage.binary_erosion(tissue, _disk(_BRIDGE_MM)))
    found = ndimage.binary_dilation(core, _disk(_BRIDGE_MM + 1)) | lesion
    found = ndimage.binary_closing(found, _disk(_CLOSING_MM)) | found
    return _largest(_filled(ndimage.binary_opening(found, _disk(_OPENING_MM)))) | lesion


def _typical(values: Image) -> float:
    """The most frequent brightness."""
    counts, edges = np.histogram(values, 128, tuple(np.percentile(values, (5, 95))))
    return float(edges[ndimage.gaussian_filter1d(counts.astype(float), 3.0).argmax()])


def _largest(mask: Mask) -> Mask:
    numbers, _ = ndimage.label(mask)
    sizes = np.bincount(numbers.ravel())
    sizes[0] = 0
    return np.asarray(numbers == sizes.argmax())


def _filled(mask: Mask) -> Mask:
    """The mask with its holes filled, slice by slice."""
    slices = [ndimage.binary_fill_holes(mask[:, :, k]) for k in range(mask.shape[2])]
    return np.stack(slices, axis=2)


def _disk(radius_mm: float) -> Mask:
    """A disk within a slice."""
    r = round(radius_mm / SPACING_MM[0])
    y, x = np.ogrid[-r : r + 1, -r : r + 1]
    return np.asarray(x * x + y * y <= r * r)[:, :, None]

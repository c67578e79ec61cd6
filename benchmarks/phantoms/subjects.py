"""Anatomies from label maps on disk: real brains to build phantoms on, beside the one that packages ship.

``synthseg_NN`` is a label map at 1 mm with FreeSurfer's numbers, ``ixi_NNN`` one at 2 mm with MUSE's numbers;
both are looked for in a folder of public data. ``demo`` is the shipped anatomy.
"""

from __future__ import annotations

import functools
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from longimorph.demo.anatomy import (
    BACKGROUND,
    GM,
    THALAMUS,
    VENTRICLES,
    WM,
    Anatomy,
    fill_holes,
    load_anatomy,
)
from longimorph.demo.anatomy import regularise as smooth_edges
from longimorph.errors import LongimorphError
from longimorph.geometry.grid import Grid, bounding_box, canonical, crop
from longimorph.io.volumes import read_labels

DEMO = "demo"
_MARGIN_MM = 16.0
_SMOOTHING_PER_VOXEL = 0.7
_LESION_DEPTH_MM, _LESION_LATERAL_MM, _FROM_VENTRICLES_MM = 25.0, 18.0, 12.0

Numbers = tuple[int, ...]


@dataclass(frozen=True)
class Atlas:
    """A numbering of labels: the file of a subject, the labels of each class, those of the fourth ventricle.

    Labels that no class names are background.
    """

    pattern: str
    classes: Mapping[int, Numbers]
    fourth: int


_SYNTHSEG = Atlas(
    "synthseg_labelmaps/training_seg_*.nii.gz",
    {
        WM: (2, 41, 7, 46, 16, 25, 57, 28, 60, 30, 62, 72, 77, 251, 252, 253, 254, 255),
        GM: (3, 42, 8, 47, 11, 50, 12, 51, 13, 52, 17, 53, 18, 54, 26, 58),
        THALAMUS: (10, 49),
        VENTRICLES: (4, 43, 5, 44, 14, 15, 136, 137, 163, 164),
    },
    fourth=15,
)
_IXI = Atlas(
    "ixi_dlmuse_2mm/IXI*_DLMUSE.nii.gz",
    {
        WM: (*range(81, 96), 35, 40, 41, 61, 62, 69),
        GM: (*range(100, 208), 23, *range(30, 33), *range(36, 40), 47, 48, *range(55, 59), *range(71, 77)),
        THALAMUS: (59, 60),
        VENTRICLES: (4, 11, *range(49, 53)),
    },
    fourth=11,
)


def available(data: Path) -> dict[str, Path | None]:
    """The names of the anatomies that the folder ``data`` provides, and the file of each."""
    found: dict[str, Path | None] = {DEMO: None}
    for file in sorted(data.glob(_SYNTHSEG.pattern)):
        found["synthseg_" + re.sub(r"\D", "", file.name.split(".")[0])] = file
    for file in sorted(data.glob(_IXI.pattern)):
        found["ixi_" + file.name[3:6]] = file
    return found


@functools.lru_cache(maxsize=2)
def subject(name: str, data: Path) -> Anatomy:
    """The anatomy called ``name``. Raises LongimorphError with the known names."""
    known = available(data)
    if name not in known:
        raise LongimorphError(f"There is no anatomy '{name}' in {data}; there are: {', '.join(known)}.")
    file = known[name]
    if file is None:
        return load_anatomy()
    return from_labels(file, _SYNTHSEG if name.startswith("synthseg") else _IXI)


def from_labels(file: Path, atlas: Atlas) -> Anatomy:
    """Read a label map whose voxels are cubes of whole millimetres, as an anatomy at 1 mm.

    Labels of more than 1 mm are divided and their steps smoothed. Axes may be stored in any order.
    """
    volume, stored = read_labels(file)
    labels, grid = _cropped(*canonical(stored, volume), file, atlas)
    native = round(float(grid.spacing[0]))
    origin = grid.affine[:3, 3] - (native - 1) / 2
    classes = _classify(labels, atlas)
    fourth = ndimage.binary_dilation(_divided(labels == atlas.fourth, native), iterations=2)
    classes = fill_holes(_divided(classes, native))
    classes = smooth_edges(classes, _SMOOTHING_PER_VOXEL * native)
    widening = (classes == VENTRICLES) & ~fourth
    t1 = np.zeros(classes.shape, dtype=np.float32)
    return Anatomy(classes, t1, origin, widening, _lesion_centre(classes, origin), native)


def _cropped(labels: NDArray[Any], grid: Grid, file: Path, atlas: Atlas) -> tuple[NDArray[Any], Grid]:
    """The box of the brain with a margin. Raises LongimorphError for voxels that are no such cubes."""
    spacing = grid.affine[:3, :3]
    native = float(np.round(spacing[0, 0]))
    if native < 1 or not np.allclose(spacing, native * np.eye(3), atol=1e-3):
        raise LongimorphError(
            f"{file}: a phantom needs voxels that are cubes of whole millimetres along the world's axes; "
            f"found the axes {np.round(spacing, 3).tolist()}. Use another label map."
        )
    brain = np.isin(labels, np.concatenate([list(numbers) for numbers in atlas.classes.values()]))
    box = bounding_box(brain, grid, _MARGIN_MM)
    if box is None:
        raise LongimorphError(f"{file}: holds no label of a brain in the numbering of {atlas.pattern}.")
    return labels[box], crop(grid, box)


def _classify(labels: NDArray[Any], atlas: Atlas) -> NDArray[np.int8]:
    table = np.full(int(labels.max()) + 1, BACKGROUND, dtype=np.int8)
    for index, numbers in atlas.classes.items():
        table[[number for number in numbers if number < len(table)]] = index
    classes: NDArray[np.int8] = table[labels]
    return classes


def _divided(volume: NDArray[Any], parts: int) -> NDArray[Any]:
    """Split each voxel into ``parts``³ equal ones."""
    for axis in range(3):
        volume = np.repeat(volume, parts, axis=axis)
    return volume


def _lesion_centre(classes: NDArray[np.int8], origin: NDArray[np.float64]) -> tuple[float, float, float]:
    """Deep in the right white matter, above the middle of the ventricles and away from them; RAS mm.

    The place whose surroundings hold most white matter among those deep and lateral enough.
    """
    brain = ndimage.binary_closing(classes != BACKGROUND, iterations=4)
    lateral = np.arange(classes.shape[0]) - np.argwhere(brain)[:, 0].mean()
    depth = ndimage.distance_transform_edt(brain)
    away = ndimage.distance_transform_edt(classes != VENTRICLES)
    white = ndimage.gaussian_filter((classes == WM).astype(np.float32), 6.0)
    good = (depth >= _LESION_DEPTH_MM) & (away >= _FROM_VENTRICLES_MM)
    good &= (lateral >= _LESION_LATERAL_MM)[:, None, None]
    good[:, :, : round(np.argwhere(classes == VENTRICLES)[:, 2].mean())] = False
    white[~good] *= 0.1
    x, y, z = np.array(np.unravel_index(int(white.argmax()), white.shape)) + origin
    return float(x), float(y), float(z)

"""Check whether a visit's labels, as interpreted by the class table, can be those of a whole brain."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from longimorph.maps.field_of_view import CUT_MM2
from longimorph.study.classes import ClassTable
from longimorph.study.labels import LabelCounts
from longimorph.study.scans import Extent

BRAIN_MM3 = 0.3e6, 2.5e6
"""Smallest and largest plausible volume of all classes but background."""

SMALLEST_SHARE, LARGEST_ICV_MM3 = 0.8, 3e6
"""Smallest plausible intracranial volume, as a share of all classes but background, and the largest one."""

FACES = "left", "right", "back", "front", "bottom", "top"
"""The faces of a volume in the order of `Extent.faces`, those of the RAS+ axes."""


def remarks(classes: ClassTable, counts: LabelCounts, extent: Extent) -> Iterator[str]:
    """Yield sentences on what is implausible; nothing can be checked without a background class."""
    if classes.background is None:
        return
    volume = _brain(classes, counts) * extent.voxel_mm3
    if not BRAIN_MM3[0] <= volume <= BRAIN_MM3[1]:
        text = f"all classes but {classes.names[classes.background]} add up to {volume / 1e6:.3g} L"
        expected = f"a plausible brain has {BRAIN_MM3[0] / 1e6:g} to {BRAIN_MM3[1] / 1e6:g} L"
        yield f"{text}; {expected}. Check the voxel size, and whether the segmentation is complete"
    cut = {
        name: area
        for name, face, size in zip(FACES, extent.faces, extent.face_mm2, strict=True)
        if (area := _brain(classes, face) * size) > CUT_MM2
    }
    if cut:
        faces = ", ".join(f"{name} ({area / 100:.1f} cm²)" for name, area in cut.items())
        text = f"the brain reaches the edge of the field of view: {faces}"
        yield f"{text}. Tissue beyond it is not compared, even if another visit shows it"


def intracranial(classes: ClassTable, counts: LabelCounts, extent: Extent, icv_mm3: float) -> Iterator[str]:
    """Yield a sentence on an intracranial volume that cannot hold the classes, or is that of no head."""
    if classes.background is None:
        return
    volume = _brain(classes, counts) * extent.voxel_mm3
    if not SMALLEST_SHARE * volume <= icv_mm3 <= LARGEST_ICV_MM3:
        text = f"icv_mm3 is {icv_mm3:.6g}, and all classes but {classes.names[classes.background]} add up to "
        yield f"{text}{volume:.6g} mm³. Give the intracranial volume in mm³ (1 mL is 1000 mm³)"


def _brain(classes: ClassTable, counts: LabelCounts) -> float:
    """Number of voxels of all classes but background; labels without a class count as brain."""
    found = classes.classify(counts.regions, counts.states)
    return float(counts.voxels[np.asarray(found) != classes.background].sum())

"""Rough label volumes of both visits of one patient of the Ljubljana MS data, for docs/tutorial.md.

    python segment.py DATA/longitudinal patient12 FOLDER

Brightness decides, so this is for learning the tool on public data, not for a study: see the tutorial.
"""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import SimpleITK as sitk
from scipy import ndimage

FLUID, GREY, WHITE = 1, 2, 3
RIM_MM, SHORE_MM = 8.0, 3.0  # so near to the brain's surface, or to fluid, bright FLAIR is often no lesion
LESION, LESION_CORE = 1.35, 1.55  # of the median of white matter: its edge, and what it must reach somewhere


def segment(data: Path, patient: str, visit: str, folder: Path) -> None:
    """Write the FLAIR, its tissues and its lesions, all on the grid of the FLAIR."""
    raw = data / "raw" / patient
    mask = sitk.ReadImage(str(data / "coregistered" / patient / "brainmask.nii.gz"), sitk.sitkUInt8)
    flair = sitk.ReadImage(str(raw / f"{visit}_FLAIR.nii.gz"), sitk.sitkFloat32)
    t1 = sitk.ReadImage(str(raw / f"{visit}_T1W.nii.gz"), sitk.sitkFloat32)
    to_common = sitk.ReadTransform(str(raw / f"{visit}_FLAIR_to_common_space.txt"))
    to_t1 = sitk.ReadTransform(str(raw / f"{visit}_T1W_intrastudy_to_FLAIR.txt"))

    brain = sitk.Resample(mask, flair, to_common.GetInverse(), sitk.sitkNearestNeighbor)
    t1 = even(sitk.Resample(t1, flair, to_t1), brain)
    regions, inside = tissues(t1, brain)
    states = lesions(even(flair, brain), regions, inside, flair.GetSpacing())
    for name, values in (("regions", regions), ("lesions", states)):
        image = sitk.GetImageFromArray(values.astype(np.uint8))
        image.CopyInformation(flair)
        sitk.WriteImage(image, str(folder / f"{visit}_{name}.nii.gz"))
    sitk.WriteImage(flair, str(folder / f"{visit}_flair.nii.gz"))
    print(f"{patient} {visit}: {volume(states > 0, flair):.1f} mL of lesions")


def even(image: sitk.Image, brain: sitk.Image) -> sitk.Image:
    """The image without its slow change of brightness (N4, at a quarter of the resolution)."""
    small = [sitk.Shrink(one, [4, 4, 1]) for one in (image, brain)]
    n4 = sitk.N4BiasFieldCorrectionImageFilter()
    n4.SetMaximumNumberOfIterations([30, 30, 30])
    n4.Execute(*small)
    return image / sitk.Exp(n4.GetLogBiasFieldAsImage(image))


def tissues(t1: sitk.Image, brain: sitk.Image) -> tuple[np.ndarray, np.ndarray]:
    """Fluid, grey and white matter by two thresholds on the T1 (Otsu), and the mask as an array."""
    values, inside = sitk.GetArrayFromImage(t1), sitk.GetArrayFromImage(brain) > 0
    line = sitk.GetImageFromArray(values[inside][np.newaxis])
    parts = sitk.OtsuMultipleThresholds(line, numberOfThresholds=2, numberOfHistogramBins=256)
    regions = np.zeros(values.shape, np.uint8)
    regions[inside] = sitk.GetArrayFromImage(parts)[0] + FLUID
    return regions, inside


def lesions(
    flair: sitk.Image, regions: np.ndarray, inside: np.ndarray, spacing: tuple[float, ...]
) -> np.ndarray:
    """What is much brighter than white matter on the FLAIR, well inside the brain and away from its fluid."""
    values = sitk.GetArrayFromImage(flair)
    values = values / np.median(values[regions == WHITE])
    dry = ~ndimage.binary_opening(regions == FLUID)
    deep = ndimage.distance_transform_edt(inside, sampling=spacing[::-1]) > RIM_MM
    deep &= ndimage.distance_transform_edt(dry, sampling=spacing[::-1]) > SHORE_MM
    pieces, _ = ndimage.label(deep & (values > LESION))
    reached = np.unique(pieces[values > LESION_CORE])
    return np.isin(pieces, reached[reached > 0])


def volume(voxels: np.ndarray, grid: sitk.Image) -> float:
    """Millilitres."""
    return float(voxels.sum() * np.prod(grid.GetSpacing()) / 1000)


if __name__ == "__main__":
    source, name, target = sys.argv[1:]
    for study in ("study1", "study2"):
        segment(Path(source), name, study, Path(target))

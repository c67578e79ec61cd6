"""How much of the lesions' reallocation lies where an expert saw lesions change, for docs/tutorial.md.

python expert.py DATA/longitudinal FOLDER/results/patients/patient12
"""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import SimpleITK as sitk

data, results = map(Path, sys.argv[1:])
to_flair = data / "raw" / results.name / "study1_FLAIR_to_common_space.txt"
marked = sitk.ReadImage(str(data / "coregistered" / results.name / "gt.nii.gz"), sitk.sitkFloat32)
change = sitk.ReadImage(str(results / "study1__study2" / "reallocation.nii.gz"))
lesion = change[:, :, :, 0]  # the first class of classes.tsv

# A point of the patient's grid, to the first FLAIR (rigid.tfm), to the expert's space.
rigid = sitk.ReadTransform(str(results / "study1" / "rigid.tfm"))
path = sitk.CompositeTransform([sitk.ReadTransform(str(to_flair)).GetInverse(), rigid])
inside = sitk.GetArrayFromImage(sitk.Resample(marked, lesion, path)) > 0.25

voxel = np.prod(lesion.GetSpacing()) / 1000  # mL
lost = -np.minimum(sitk.GetArrayFromImage(lesion), 0) * voxel
print(f"lesion that turned into other tissue: {lost.sum():.2f} mL, of these {lost[inside].sum():.2f} mL")
print(f"in the {inside.sum() * voxel:.1f} mL where the expert saw a change")

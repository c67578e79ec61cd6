"""Texts around the tables of the page on single lesions."""

HEAD = """\
How well `lesions.csv` tells what happened to each lesion. The F1 of events counts a known event as right if a
row with the same event lies there, as missed if none does, and every other row as wrong.
"""

KNOWN = """\
## Phantoms

A ball of white matter with 20 lesions of 2 to 5 mm radius, {seeds} such phantoms for each row, labels of
1 mm and maps of {spacing:g} mm. The ventricle in the middle widens from 7 to 33 mL. It pushes every lesion
outwards, by 1 to 6 mm, and keeps its volume. New, enlarged (to 2.2 to 3.5 times the volume), merged, split,
shrunk, gone and stable lesions are about equally frequent. *Noise* is the standard deviation by which the
edges of the lesions are displaced at each visit, smooth over 2 mm; with noise, the alignment errs by
{shift:g} mm along each axis (standard deviation). Here the warp is the phantom's own motion; *without motion*
the lesions are compared in place. The columns on the right are the F1 of each event with the motion.
"""

REGISTERED = """\
## Registered phantoms

The same with the warp that a registration finds: {seeds} other phantoms with a noise of {noise:g}, maps of
{spacing:g} mm, and the default settings. The motion keeps the volume of each lesion, so that none changes it
by deformation: *deformation* is the root mean square of what the table gives instead, and *within* counts the
lesions for which it does not exceed its uncertainty.
"""

PATIENT = """\
## A patient with multiple sclerosis

The two visits of the [tutorial](../tutorial.md): labels from its thresholds of brightness, maps at 3 mm,
`preset:lesion`. The data set has an expert's mask of the lesion voxels that changed, which does not say how.
Reference lesions are its connected parts of at least {least:g} mm³: {known}. A lesion and a reference lesion
agree if {overlap:.0%} of one lie in the other.

longimorph finds {lesions} lesions: {counts}. Together they moved by {moved:+.2f} mL and changed class by
{changed:+.2f} mL. Of the {known} reference lesions, {possible} agree with any lesion of the labels, whatever
became of it ({possible_share:.0%} of the reference's volume): no way of matching these labels can find more.
The second row of the table does without matching: it takes connected voxels of at least {least:g} mm³ that
are a lesion at one of the two visits only.
"""

KNOWN_READING = """\
The target is an F1 of 0.95. It is reached up to half a voxel of noise, and missed from three quarters of a
voxel on. The F1 falls first for stable lesions, then for merged ones, whose bridges are as thin as 1.8 mm in
radius. Without the motion, a small lesion that was pushed by its own diameter is gone at one place and new at
another.
"""

PATIENT_READING = """\
The F1 is low, and the labels limit it: two thirds of the expert's lesions agree with no lesion of either
segmentation, and two thirds of the lesions that change in these are not in the expert's mask. They agree on
the few large lesions, and hardly on the small ones. Nor are they independent: the tutorial's
thresholds were chosen by their agreement with this mask. Matching changes little here, because no lesion is
pushed; it halves the number of changes that one has to look at. One patient whose labels come from thresholds
does not tell how well the table does with the segmentations of a usual tool.
"""

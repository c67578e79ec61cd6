"""Texts around the tables of the page on noise."""

HEAD = """\
How often the 90 % intervals of `changes.csv` hold the truth, and whether the noise floor is as high as the
changes that noise makes. Phantoms at {spacing} mm, default settings, {seeds} seeds per row and anatomy
({anatomies}). The noise is estimated from each pair by itself
([theory.md](../theory.md#noise-of-the-labels)). Its constants come from other seeds and other anatomies,
except that the demo's anatomy served for both.

*Flipped* is noise that is independent from voxel to voxel: each boundary voxel of the labels takes the class
of a neighbour with the probability given. *Segmenter* is noise that neighbours share, with a standard
deviation of one label voxel ([soft.md](soft.md) describes it), given as labels or as posteriors. A *random*
case widens the ventricles and changes an oedema by random amounts at a random place.
"""

COVERAGE = """\
## Intervals

The share of numbers whose 90 % interval holds the truth, over deformation and reallocation of every class
whose estimated noise exceeds {least:g} mm³. Other numbers are zeros, which every interval holds.

*random1* falls short: an oedema along the ventricles grows while they widen, and the split of the lesion
itself errs, in the same direction for every seed, by more than its noise and a third of its uncertainty.
"""

ERRORS = """\
## Errors

Root mean squares, in mm³, of the errors of deformation and reallocation over all classes, anatomies and seeds
of a row, and the same of the control matrix alone, which splits the difference of the two maps voxel by
voxel.
"""

FLOORS = """\
## Floors

Nothing changes between the visits, so each measured change is noise. *Spread* is the root mean square over
the seeds of the measured deformation, *estimate* that of the estimated standard error, both in mm³ and summed
over classes in squares. *Below the floor* is the share of changes that the 95 % floor calls noise.

The floor is too low for the segmenter's labels, above all with label voxels of 2 mm (ixi): taking the most
probable class makes a thin class thicker or thinner everywhere alike, by how the voxels of the scan lie in
it. Posteriors do not have this error. It belongs to no voxel, so one pair cannot show it; repeated scans do.
"""

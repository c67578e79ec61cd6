"""Texts around the table of the page on more than two visits."""

HEAD = """\
How well a slope is known from {visits} visits of a patient, if all pairs are registered. In the demo's
anatomy the ventricles widen to 1.37 times their volume and 15 mL of white matter turn into oedema, in equal
steps from visit to visit; 5 % of the boundary voxels of each visit's labels are flipped. Default settings at
{spacing} mm. Figures are root mean squares over {seeds} seeds of the error of the slope over the {visits}
visits, by least squares, in mm³ per visit: of the sums of consecutive pairs, of the pairs with the first
visit, and of the course in `fit.csv` (E16 of [theory.md](../theory.md#one-course-through-all-visits-e16)).
*Control matrix alone* splits the difference of two maps voxel by voxel, without a registration. The last row
is the same of the volumes of the maps themselves.
"""

TAIL = """\
What the pairs of a visit share cannot be told from change: the noise of its labels, and what the model
misses alike in every pair. The fit lowers only what each registration adds of its own.
"""

"""Texts around the tables of the page on soft segmentations."""

HEAD = """\
How much the split gains if a segmenter's posteriors are used instead of its labels. Phantoms on the demo's
anatomy at {spacing} mm, default settings; the median over {seeds} seeds, in brackets the smallest and the
largest. *Error* is the gross attribution error in % of the true gross change; *control matrix alone* is the
error without registration; *change of volumes* is the error of the change of the maps' volumes, which no
registration can remove.

The same simulated segmenter gives posteriors and labels. Its posteriors are the shares of the classes in
voxels of 1 mm, which lie a quarter of a voxel beside those of the anatomy, blurred by 0.7 mm; noise is added
to the logit of each class (standard deviation {noise:g}, smooth over 1 mm). Its labels are the *most probable
class*. The noise gives another class to about as many boundary voxels as that of [truth.md](truth.md), 5 %.
Rows with 0.0 % are without noise: they show what taking the most probable class costs by itself. *Exact
volumes, flipped* is the noise of truth.md: labels whose volumes are the true ones, of which 5 % of the
boundary voxels then take the class of a neighbour, each independently. Such errors average out within a
class, which those of a real segmenter need not do.
"""

WIDTHS = """\
## Smoothing

Errors of noisy posteriors in % by `smoothing_mm`, of which 1 is the default.
"""

"""Texts around the tables of the page on real growth."""

HEAD = """\
Two patients of Brain-Tumor-Progression (Schmainda and Prah 2018, The Cancer Imaging Archive,
[doi:10.7937/K9/TCIA.2018.15quzvnb](https://doi.org/10.7937/K9/TCIA.2018.15quzvnb),
[CC BY 3.0](https://creativecommons.org/licenses/by/3.0/); the pictures below show their images, resampled and
overlaid): T1 after contrast, within 90 days after chemoradiation and at progression, and a mask of what
enhances. Necrosis is what the mask encloses within a slice, the brain a rough mask by brightness. The files
have lost their geometry; 0.9 × 0.9 × 6.5 mm is assumed, so volumes are no better than that estimate, shares
are. There is no known truth here: the question is whether the split agrees with what the images show.

Visits aligned by their images to half-way, maps at 3 mm, default settings, preset `growth`; only the slices
around the tumour that both visits see.
"""
READING = {
    "01": """\
Beside the images (slices at 72 and 84 mm): the ring breaks up and necrosis takes its inner side, which
is where enhancing turns into something else in place (blue under reallocation); the outer contour moves
out by a voxel or two, called deformation. A second focus that the later mask does not have at that
height is called deformation too, since the preset lets nothing else become of what enhances; the images
do not show which it was. What is left unexplained is enhancement at a distance from the old rim, in
front and at the side, where there was none to be moved; slices of 6.5 mm may account for some of it. That
makes sense, but more than a third of the growth of the enhancing class stays unexplained.
""",
    "05": """\
Beside the images (slices at 72 and 81 mm): two foci grow to more than twice their volume and merge, and
their middle turns necrotic. The latter is found (blue under reallocation). Between the foci and the
ventricle tissue enhances anew that looks ordinary in the first image; the preset leaves it unexplained,
since it does not allow healthy tissue to turn into tumour. A quarter of the growth, around the old foci,
it calls deformation; the path that does it is at the edge of what can be shot (80 steps, a drift of H at
its limit), a sign that the preset does not suit this tumour. With `lesion` the same change is
reallocation, with `atrophy` all of it is deformation, without an image that speaks for it: for growth by
infiltration choose `lesion`, and compare the presets where both may happen.
""",
}
"""Per patient: whether the split agrees with the images, as seen when the page was made."""

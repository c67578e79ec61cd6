"""Texts around the tables of the page on real growth."""

HEAD = """\
Two patients of Brain-Tumor-Progression (Schmainda and Prah 2018, The Cancer Imaging Archive,
[doi:10.7937/K9/TCIA.2018.15quzvnb](https://doi.org/10.7937/K9/TCIA.2018.15quzvnb),
[CC BY 3.0](https://creativecommons.org/licenses/by/3.0/); the pictures below show their images, resampled and
overlaid): T1 after contrast, within 90 days after chemoradiation and at progression, and a mask of what
enhances. Necrosis is what the mask encloses within a slice, the brain a rough mask by brightness. The files
have lost their geometry; 0.9 × 0.9 × 6.5 mm is assumed, so volumes are no better than that estimate, shares
are. There is no known truth here: the question is whether the split agrees with what the images show.

Visits aligned by their images to half-way, maps at 3 mm, default settings, only the slices around the tumour
that both visits see. Tables and pictures are those of `preset:open`, which lets the surroundings decide; the
presets that decide by themselves are beside it. With `open`, what the flow leaves of an exchange between
tumour and tissue counts as reallocation, so that little can stay unexplained: the range tells how well it is
known.
"""
READING = {
    "01": """\
Beside the images (slices at 72 and 84 mm): the rim reaches further out, most of all in front and at the
side, where ordinary tissue enhances anew (red under reallocation). Its inner side turns into necrosis, and a
second focus at 84 mm no longer enhances (blue). More than four fifths of the growth are reallocation, which
agrees with the images, but the range of the deformation is wider than the growth itself: the labels have
neither ventricles nor sulci, which would show where tissue gave way, and the outline of this rough mask of
the brain changes by twice as much as the tumour. The answer is therefore that these labels cannot tell.
`growth` and `atrophy` call all of it deformation and `lesion` all of it reallocation, each with less than a
tenth unexplained: how well a preset fits does not say which one is right.
""",
    "05": """\
Beside the images (slices at 72 and 81 mm): two foci grow to more than twice their volume and merge. Between
them and towards the ventricle, tissue enhances that looks ordinary in the first image (red under
reallocation), and the middle turns necrotic (blue). Nearly all of the growth is reallocation, and at most
about a quarter of it could be deformation, since no more than that gave way around the tumour: this is
decided by the data, and agrees with the images. `lesion` comes to the same answer because it is told so;
`growth` and `atrophy` call all of it deformation, without an image that speaks for it.
""",
}
"""Per patient: whether the split agrees with the images, as seen when the page was made."""

"""What the page of real growth says around its tables."""

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
READING: dict[str, str] = {}
"""Per patient: whether the split agrees with the images, as seen on the page of the date given."""

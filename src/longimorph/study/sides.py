"""Detection of exchanged left and right from the labels, where they are informative."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from longimorph.study.layout import Layout

FREESURFER = {
    2: 41,
    3: 42,
    4: 43,
    5: 44,
    7: 46,
    8: 47,
    10: 49,
    11: 50,
    12: 51,
    13: 52,
    17: 53,
    18: 54,
    26: 58,
    28: 60,
}
"""Left labels and their right counterparts, as numbered by FreeSurfer, FastSurfer, SynthSeg and SAMSEG."""

APART_MM = 10.0
"""Minimum distance of a label pair that indicates a side; a label must be half as far from the midline."""

_FEWEST_TWINS, _FEWEST_LABELS = 3, 4
_ALIKE = 0.5
"""Cosine between the positions of labels at two visits above which they lie on the same sides."""


def swapped_twins(layout: Layout) -> list[int] | None:
    """Return FreeSurfer's left labels that lie to the right of their counterparts.

    Returns an empty list when each label lies on its own side, and None when the labels are not
    informative. They are informative only if all pairs agree.
    """
    place = layout.right_mm
    apart = {
        left: place[right] - place[left]
        for left, right in FREESURFER.items()
        if {left, right} <= place.keys()
    }
    clear = {left: gap for left, gap in apart.items() if abs(gap) > APART_MM}
    if len(clear) < max(_FEWEST_TWINS, len(apart) / 2) or len({gap > 0 for gap in clear.values()}) != 1:
        return None
    return [left for left, gap in clear.items() if gap < 0]


def same_sides(one: Layout, other: Layout) -> bool | None:
    """Return whether the labels of two visits lie on the same sides; None if they are not informative."""
    shared = [
        label
        for label in one.right_mm.keys() & other.right_mm.keys()
        if min(abs(one.right_mm[label]), abs(other.right_mm[label])) > APART_MM / 2
    ]
    if len(shared) < _FEWEST_LABELS:
        return None
    a, b = (_places(layout.right_mm, shared) for layout in (one, other))
    if min(a.max(), -a.min(), b.max(), -b.min()) <= 0:  # all on one side: a lesion, not an atlas
        return None
    alike = float(a @ b / np.sqrt((a @ a) * (b @ b)))
    return None if abs(alike) < _ALIKE else alike > 0


def _places(right_mm: Mapping[int, float], labels: Sequence[int]) -> np.ndarray:
    return np.array([right_mm[label] for label in labels])

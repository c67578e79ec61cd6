"""Unexpected differences between the scans of a patient's visits: kind, voxel size, storage order, sides."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from math import prod

from longimorph.io.headers import shown_mm
from longimorph.io.posteriors import is_soft
from longimorph.study import sides
from longimorph.study.layout import Layout
from longimorph.study.table import Visit

SAME_SIZE = 0.01
"""Relative difference up to which voxel sizes count as equal."""

OTHER_VOLUME = 1.5
"""Ratio of voxel volumes above which two visits count as having different resolutions."""


def remarks(visits: Sequence[tuple[Visit, Layout]]) -> Iterator[tuple[Visit, str]]:
    """Yield sentences on what is unusual about each visit of a patient, compared with the earliest one."""
    told = {}
    for visit, layout in visits:
        told[visit.timepoint] = sides.swapped_twins(layout)
        if swapped := told[visit.timepoint]:
            yield visit, _exchanged(visit, swapped)
    for visit, layout in visits[1:]:
        first, own = visits[0]
        yield from ((visit, text) for text in _sizes(visit, layout, first, own))
        known = None not in (told[first.timepoint], told[visit.timepoint])
        if not known:
            yield from ((visit, text) for text in _sides(visit, layout, first, own))


def kinds(visits: Sequence[Visit]) -> Iterator[tuple[Visit, str]]:
    """Yield a sentence for each visit that has posteriors where the patient's earliest visit has labels, or
    the reverse: regions and states by themselves, each beside the earliest visit that has the column.
    """
    for name in ("regions", "states"):
        known = [(visit, path) for visit in visits if (path := getattr(visit, name)) is not None]
        soft = [is_soft(path) for _, path in known]
        for (visit, _), own in zip(known, soft, strict=True):
            if own != soft[0]:
                mine, theirs = ("posteriors", "labels") if own else ("labels", "posteriors")
                yield (
                    visit,
                    f"its {name} are {mine}, those of {known[0][0].timepoint} {theirs}. The two place every "
                    "boundary differently, so volumes differ, and the difference is measured as change: give "
                    "the same kind at every visit of a patient",
                )


def vanished(visits: Sequence[Visit]) -> Iterator[tuple[Visit, str]]:
    """Yield a sentence for each visit without states after one with states: its mask may be missing."""
    marked = None
    for visit in visits:
        if visit.states is not None:
            marked = visit
        elif marked is not None:
            yield (
                visit,
                f"has no states, although {marked.timepoint} before it has: an empty cell means that the "
                "visit has no lesion, so all lesions vanish. If its mask is missing, enter it, or leave the "
                "visit out",
            )


def _exchanged(visit: Visit, swapped: Sequence[int]) -> str:
    labels = ", ".join(map(str, swapped[:5])) + (", …" if len(swapped) > 5 else "")
    return (
        f"{visit.regions.name}: labels that FreeSurfer numbers as left ({labels}) lie on the patient's "
        "right. Left and right are swapped, in the header or by a tool: convert the scan again from the "
        "source and segment the new file"
    )


def _sizes(visit: Visit, layout: Layout, first: Visit, own: Layout) -> Iterator[str]:
    mine, theirs = sorted(layout.sizes), sorted(own.sizes)
    if all(abs(a - b) <= SAME_SIZE * b for a, b in zip(mine, theirs, strict=True)):
        return
    volumes = prod(mine) / prod(theirs)
    sizes = f"voxels of {shown_mm(layout.sizes)} mm, {first.timepoint} of {shown_mm(own.sizes)} mm"
    if sorted(layout.shape) == sorted(own.shape):
        count = "×".join(map(str, layout.shape))
        yield (
            f"{visit.regions.name} has as many voxels as {first.regions.name} ({count}), but {sizes}: every "
            f"volume becomes {volumes:.3g} times as large. Check whether one header is wrong"
        )
    elif not 1 / OTHER_VOLUME < volumes < OTHER_VOLUME:
        yield (
            f"{visit.regions.name} has {sizes}. Segmentations of different resolution differ at every "
            "boundary, and the difference is measured as change"
        )


def _sides(visit: Visit, layout: Layout, first: Visit, own: Layout) -> Iterator[str]:
    same = sides.same_sides(layout, own)
    names = f"{visit.regions.name} and {first.regions.name} ({first.timepoint})"
    if same is False:
        yield (
            f"the labels of {names} lie on opposite sides: left and right are swapped in one of the two, "
            "in the header or by a tool. Find out which, and convert that scan again from the source"
        )
    elif same is None and layout.codes != own.codes and sorted(layout.shape) == sorted(own.shape):
        yield (
            f"the voxels of {names} are stored in different orders ({layout.codes}, {own.codes}), and their "
            "labels do not distinguish left from right. If a tool changed only the header, one of the two "
            "is mirrored: compare them in a viewer"
        )

"""Pairs that cannot run although the study can: problems of a visit, or of the two together."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from longimorph.maps.field_of_view import CUT_MM2
from longimorph.study.classes import ClassTable
from longimorph.study.labels import LabelCounts
from longimorph.study.pairs import Pair
from longimorph.study.scans import ScanReport, ScanWarning
from longimorph.study.study import Study
from longimorph.study.table import Visit

_MARGIN = 0.05
"""Share by which one brain may be smaller than another for reasons other than the field of view."""


@dataclass(frozen=True)
class Blocked:
    """A pair that will fail, and why."""

    pair: Pair
    reason: str

    def __str__(self) -> str:
        pair = self.pair
        return f"{pair.patient} {pair.source.timepoint} to {pair.target.timepoint}: {self.reason}"


def blocked(study: Study, reports: Sequence[ScanReport], warnings: Sequence[ScanWarning]) -> list[Blocked]:
    """Return the pairs of a study that will fail; ``reports`` are those of its visits, in the same order.

    Failures that only appear after the alignment of the visits are not predicted.
    """
    faulty = {(one.patient, one.timepoint): one for one in reversed(warnings)}
    seen = dict(zip(study.cohort.visits, reports, strict=True))
    found = []
    for pair in study.plan.pairs:
        of_visits = [(pair.patient, visit.timepoint) for visit in (pair.source, pair.target)]
        if study.config.reference == "baseline":
            of_visits.insert(0, (pair.patient, study.cohort.visits_of(pair.patient)[0].timepoint))
        reasons = [_of_visit(faulty[name]) for name in of_visits if name in faulty]
        reasons += _too_little_in_view(pair, seen, study.classes, study.config.compared_min)
        found += [Blocked(pair, reasons[0])] if reasons else []
    return found


def _of_visit(warning: ScanWarning) -> str:
    return f"{warning.timepoint} cannot be used ({warning.stage}: {warning.code})"


def _too_little_in_view(
    pair: Pair, seen: dict[Visit, ScanReport], classes: ClassTable, least: float
) -> Iterator[str]:
    """Yield how much less of the brain a truncated visit shows than the other, where that is too little."""
    sizes = {visit.timepoint: _brain_mm3(classes, seen[visit]) for visit in (pair.source, pair.target)}
    (small, least_mm3), (_, most_mm3) = sorted(sizes.items(), key=lambda item: item[1])
    cut = next(visit for visit in (pair.source, pair.target) if visit.timepoint == small)
    if 0 < least_mm3 < (least - _MARGIN) * most_mm3 and _is_cut(classes, seen[cut]):
        share = f"{least_mm3 / 1000:.0f} of {most_mm3 / 1000:.0f} mL of the brain"
        yield f"{small} shows only {share}; at least {least:.0%} must be comparable (compared_min)"


def _brain_mm3(classes: ClassTable, report: ScanReport) -> float:
    if report.counts is None or report.extent is None or classes.background is None:
        return 0.0
    return _brain_voxels(classes, report.counts) * report.extent.voxel_mm3


def _brain_voxels(classes: ClassTable, counts: LabelCounts) -> float:
    """Number of voxels of all classes but background."""
    found = np.asarray(classes.classify(counts.regions, counts.states))
    return float(counts.voxels[found != classes.background].sum())


def _is_cut(classes: ClassTable, report: ScanReport) -> bool:
    """Return whether the brain reaches a face of the volume."""
    extent = report.extent
    return extent is not None and any(
        _brain_voxels(classes, face) * area > CUT_MM2
        for face, area in zip(extent.faces, extent.face_mm2, strict=True)
    )

"""Rigid alignment of all visits of one patient to a common reference; performs no file I/O.

Every pair of visits is registered in both directions. The poses that agree best with all successful pairs are
estimated jointly, so no visit is privileged. A visit that cannot be aligned fails alone.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from itertools import combinations
from typing import Any

import numpy as np

from longimorph.alignment.overlap import agreement
from longimorph.alignment.rigid import correlation, from_world
from longimorph.alignment.visit_pairs import AlignSettings, MeasuredPair, Reference, Visits, VisitVolumes
from longimorph.errors import Unusable
from longimorph.geometry.grid import (
    FloatArray,
    Grid,
    canonical,
    encloses,
    mask_extent,
    registration_grid,
    transform_points,
)
from longimorph.geometry.poses import (
    Edge,
    centred_on_mean,
    components,
    inverse,
    mean_displacement,
    rigid,
    rotation_deg,
    solve_poses,
    translation,
)

__all__ = ["AlignSettings", "Alignment", "Quality", "VisitAlignment", "VisitVolumes", "align_patient"]


@dataclass(frozen=True)
class Quality:
    """How well one visit is aligned; comparisons are means over the other aligned visits.

    ``rotation_deg`` and ``translation_mm`` (of the brain's centre) are those of reference → visit. ``before``
    is the agreement by the headers alone. ``overlap``, ``coverage`` and Dice are shares of brain volume (see
    `Agreement`). Correlations are over the brain at 2 mm, and None without images. For a single usable visit
    all comparisons are None.
    """

    driver: str
    rotation_deg: float
    translation_mm: float
    mutual_information: float | None = None
    overlap: float | None = None
    coverage: float | None = None
    dice_before: float | None = None
    dice_after: float | None = None
    correlation_before: float | None = None
    correlation_after: float | None = None
    inverse_consistency_mm: float | None = None
    cycle_consistency_mm: float | None = None


@dataclass(frozen=True)
class VisitAlignment:
    """Result for one visit: either ``matrix`` with its ``quality``, or the ``failure`` that excludes the
    visit.

    ``matrix`` is the rigid 4×4 map, RAS, from the reference to this visit's world.
    """

    matrix: FloatArray | None = None
    quality: Quality | None = None
    failure: Unusable | None = None

    def to_dict(self) -> dict[str, Any]:
        """Plain values for JSON: status (``ok`` or the failure's code), message, matrix, quality."""
        return {
            "status": self.failure.code if self.failure else "ok",
            "message": self.failure.message if self.failure else "",
            "matrix": None if self.matrix is None else self.matrix.tolist(),
            "quality": asdict(self.quality) if self.quality else None,
        }


@dataclass(frozen=True)
class Alignment:
    """All visits of one patient, in order, and the registration grid around their brains.

    The grid is in the reference's world, and None when no visit can be used.
    """

    reference: Reference
    grid: Grid | None
    visits: dict[str, VisitAlignment]

    def to_dict(self) -> dict[str, Any]:
        """Plain values for JSON."""
        return {
            "reference": self.reference,
            "grid": self.grid.to_dict() if self.grid else None,
            "visits": {name: visit.to_dict() for name, visit in self.visits.items()},
        }


def align_patient(
    scans: Mapping[str, VisitVolumes | Unusable],
    settings: AlignSettings,
    n_classes: int,
    background: int | None,
) -> Alignment:
    """Align the visits of one patient.

    ``scans`` are in order of time, baseline first; a scan that could not be read is given as its failure.
    Class indices are 0 … ``n_classes`` − 1; the brain is everything except ``background`` (None: everything).
    With ``midspace`` the result does not depend on the order. With ``baseline`` the first visit is the
    reference, and each visit is aligned by the earlier ones alone. With ``none`` every matrix is the identity
    and nothing is registered.
    """
    visits = Visits(
        {name: s for name, s in scans.items() if isinstance(s, VisitVolumes)}, settings, n_classes, background
    )
    failures = {name: s for name, s in scans.items() if isinstance(s, Unusable)} | visits.failures
    pairs = [visits.measure(a, b) for a, b in combinations(visits.scans, 2)]
    baseline = next(iter(scans), "") if settings.reference == "baseline" else None
    kept = _aligned_together(list(visits.scans), pairs, baseline)
    failures |= {
        name: _why_not(name, kept, pairs, baseline, failures) for name in visits.scans if name not in kept
    }
    matrices = _matrices(visits, kept, pairs)
    figures = _figures(visits, matrices, pairs)
    result = {
        name: VisitAlignment(matrices[name], _quality(name, visits, matrices[name], figures))
        if name in matrices
        else VisitAlignment(failure=failures[name])
        for name in scans
    }
    return Alignment(settings.reference, _grid(visits, matrices), result)


def _aligned_together(names: list[str], pairs: Sequence[MeasuredPair], baseline: str | None) -> list[str]:
    """The visits connected by good pairs: the group of the baseline if it is required, else the largest
    group.

    Among groups of equal size the one with more mutual information is chosen.
    """
    good = [p for p in pairs if p.failure is None]
    edges = [Edge(names.index(p.start), names.index(p.end), p.matrix) for p in good]
    groups = [[names[v] for v in group] for group in components(len(names), edges)]
    if baseline is not None:
        return next((group for group in groups if baseline in group), [])
    if len(names) > 1:
        groups = [group for group in groups if len(group) > 1]

    def strength(group: list[str]) -> tuple[int, float]:
        return len(group), sum(p.mutual_information for p in good if p.start in group)

    return max(groups, key=strength, default=[])


def _why_not(
    name: str,
    kept: Sequence[str],
    pairs: Sequence[MeasuredPair],
    baseline: str | None,
    failures: Mapping[str, Unusable],
) -> Unusable:
    """The failure of a usable visit that is not in the aligned group."""
    if baseline is not None and baseline in failures:
        message = (
            f"the baseline {baseline}, the reference of {name}, cannot be used: {failures[baseline].message}"
        )
        return Unusable("reference", message)
    failed = [p for p in pairs if p.failure is not None and name in (p.start, p.end)]
    to_kept = [p for p in failed if {p.start, p.end} & set(kept)] or failed
    reasons = {p.mutual_information: p.failure for p in to_kept if p.failure is not None}
    return reasons[max(reasons)]


def _matrices(visits: Visits, kept: Sequence[str], pairs: Sequence[MeasuredPair]) -> dict[str, FloatArray]:
    """Reference → visit, 4×4 between worlds, for each retained visit, in order of time."""
    if visits.settings.reference == "none":
        return {name: np.eye(4) for name in kept}
    if visits.settings.reference == "baseline":
        return _from_the_baseline(visits, kept, pairs)
    return _joint(visits, kept, pairs) if kept else {}


def _from_the_baseline(
    visits: Visits, kept: Sequence[str], pairs: Sequence[MeasuredPair]
) -> dict[str, FloatArray]:
    """The matrix of each visit from the visits up to it, so that a later visit changes none.

    Only a visit that earlier ones do not connect to the baseline takes part in the estimate from all.
    """
    twins, found = _twins(kept, pairs), dict[str, FloatArray]()
    for place, name in enumerate(kept):
        if name in twins:
            twin, motion = twins[name]
            found[name] = _exact(motion @ found[twin])
            continue
        known = list(kept[: place + 1])
        connected = _aligned_together(known, _among(known, pairs), kept[0]) == known
        found[name] = _joint(visits, known if connected else kept, pairs)[name]
    return found


def _among(names: Sequence[str], pairs: Sequence[MeasuredPair]) -> list[MeasuredPair]:
    return [pair for pair in pairs if pair.start in names and pair.end in names]


def _joint(visits: Visits, kept: Sequence[str], pairs: Sequence[MeasuredPair]) -> dict[str, FloatArray]:
    """Reference → visit for each retained visit, from all of them together."""
    twins = _twins(kept, pairs)
    centred = _centred_poses(visits, kept, pairs, twins)
    centres = {name: visits.points[name].centre for name in kept}
    if visits.settings.reference == "baseline":
        home, middle = centred[kept[0]], centres[kept[0]]
    else:
        home, middle = np.eye(4), np.mean([centres[name] for name in kept], axis=0)
    matrices: dict[str, FloatArray] = {}
    for name in kept:
        if name in twins:
            twin, motion = twins[name]
            matrices[name] = _exact(motion @ matrices[twin])
        else:
            pose = translation(centres[name]) @ centred[name] @ inverse(home) @ translation(-middle)
            matrices[name] = _exact(rigid(pose))
    return matrices


def _twins(kept: Sequence[str], pairs: Sequence[MeasuredPair]) -> dict[str, tuple[str, FloatArray]]:
    """For each visit with exactly the voxels of an earlier one: the first such visit and the exact motion."""
    twins: dict[str, tuple[str, FloatArray]] = {}
    for pair in pairs:
        both_kept = pair.start in kept and pair.end in kept
        if pair.exact and both_kept and pair.start not in twins and pair.end not in twins:
            twins[pair.end] = (pair.start, pair.matrix)
    return twins


def _centred_poses(
    visits: Visits,
    kept: Sequence[str],
    pairs: Sequence[MeasuredPair],
    twins: Mapping[str, tuple[str, FloatArray]],
) -> dict[str, FloatArray]:
    """Poses about the brains' centres, from the space in the middle of all retained visits."""
    single = [name for name in kept if name not in twins]

    def about_brains(matrix: FloatArray, start: str, end: str) -> FloatArray:
        there, back = visits.points[end].centre, visits.points[start].centre
        return rigid(translation(-there) @ matrix @ translation(back))

    edges = [
        Edge(single.index(p.start), single.index(p.end), about_brains(p.matrix, p.start, p.end))
        for p in pairs
        if p.failure is None and p.start in single and p.end in single
    ]
    poses = dict(zip(single, solve_poses(len(single), edges), strict=True))
    for name, (twin, motion) in twins.items():
        poses[name] = about_brains(motion, twin, name) @ poses[twin]
    return dict(zip(poses, centred_on_mean(list(poses.values())), strict=True))


def _exact(matrix: FloatArray) -> FloatArray:
    """Replace a matrix that differs from the identity only by rounding by the identity."""
    return np.eye(4) if np.abs(matrix - np.eye(4)).max() < 1e-9 else matrix


def _grid(visits: Visits, matrices: Mapping[str, FloatArray]) -> Grid | None:
    """The registration grid around all brains in the reference's world.

    With a baseline it is that around the baseline's brain, so that a later visit does not change it, unless
    another brain comes within half the margin of its border.
    """
    if not matrices:
        return None
    settings = visits.settings
    own = {n: canonical(visits.scans[n].label_grid, visits.scans[n].labels)[1] for n in matrices}
    frame = None if settings.reference == "midspace" else own[next(iter(matrices))]
    if settings.spacing_mm != "native":
        spacing = np.full(3, float(settings.spacing_mm))
    elif frame is not None:
        spacing = frame.spacing
    else:
        spacing = np.round(sum(grid.spacing for grid in own.values()) / len(own), 4)
    points = [
        transform_points(inverse(matrix), mask_extent(visits.brain(name), visits.scans[name].label_grid))
        for name, matrix in matrices.items()
    ]
    if settings.reference == "baseline":
        own_box = registration_grid(points[:1], spacing, settings.margin_mm, frame)
        if all(encloses(own_box, cloud, settings.margin_mm / 2) for cloud in points):
            return own_box
    return registration_grid(points, spacing, settings.margin_mm, frame)


def _figures(
    visits: Visits, matrices: Mapping[str, FloatArray], pairs: Sequence[MeasuredPair]
) -> dict[tuple[str, str], dict[str, float | None]]:
    """Agreement measures of every pair of aligned visits."""
    both = [p for p in pairs if p.start in matrices and p.end in matrices]
    return {(p.start, p.end): _pair_figures(p, visits, matrices) for p in both}


def _quality(
    name: str, visits: Visits, matrix: FloatArray, figures: Mapping[tuple[str, str], dict[str, float | None]]
) -> Quality:
    """The quality of one visit, averaged over its pairs with the other aligned visits."""
    centre = visits.points[name].centre
    shift = float(np.linalg.norm(centre - transform_points(inverse(matrix), centre)))
    mine = [f for names, f in figures.items() if name in names]
    means = {key: _mean([f[key] for f in mine]) for key in (mine[0] if mine else {})}
    others = {n for names in figures for n in names}
    return Quality(visits.driver(*(others or {name})), rotation_deg(matrix), shift, **means)


def _mean(values: Sequence[float | None]) -> float | None:
    known = [v for v in values if v is not None and np.isfinite(v)]
    return float(np.mean(known)) if known else None


def _pair_figures(
    pair: MeasuredPair, visits: Visits, matrices: Mapping[str, FloatArray]
) -> dict[str, float | None]:
    """Agreement measures of one pair under the final poses."""
    motion = matrices[pair.end] @ inverse(matrices[pair.start])
    points = visits.points[pair.start], visits.points[pair.end]
    before, after = agreement(*points, np.eye(4)), agreement(*points, motion)
    start, end = visits.workings(pair.start, pair.end)
    images = visits.driver(pair.start, pair.end) == "image"
    return {
        "mutual_information": pair.mutual_information,
        "overlap": after.overlap,
        "coverage": after.coverage,
        "dice_before": before.dice,
        "dice_after": after.dice,
        "correlation_before": correlation(start, end, from_world(np.eye(4), start, end)) if images else None,
        "correlation_after": correlation(start, end, from_world(motion, start, end)) if images else None,
        "inverse_consistency_mm": pair.inconsistency_mm,
        "cycle_consistency_mm": mean_displacement(inverse(pair.matrix) @ motion, points[0].world),
    }

"""Pairwise alignment of one patient's visits: register or recognise a known motion, then accept or reject."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

import numpy as np

from longimorph.alignment.overlap import Agreement, BrainPoints, agreement, brain_points
from longimorph.alignment.rigid import (
    RigidFit,
    Working,
    contrast_values,
    from_world,
    prepare,
    register,
    similarity,
    to_world,
)
from longimorph.errors import Unusable
from longimorph.geometry.grid import Array, FloatArray, Grid, canonical, nearest_orthogonal, transform_points
from longimorph.geometry.poses import rigid, rotation_deg
from longimorph.io.transforms import is_rigid

log = logging.getLogger(__name__)

Reference = Literal["midspace", "baseline", "none"]


@dataclass(frozen=True)
class VisitVolumes:
    """One visit in memory.

    ``labels`` (i, j, k) are class indices on ``label_grid``. The optional intensity ``image`` lies on
    ``image_grid``, a grid of the same physical space.
    """

    labels: Array
    label_grid: Grid
    image: Array | None = None
    image_grid: Grid | None = None


@dataclass(frozen=True)
class AlignSettings:
    """Targets and acceptance limits of the alignment; the limits apply to each pair of visits.

    ``spacing_mm``, ``margin_mm``: the registration grid. ``overlap_min``: Dice of the two brains inside the
    common field of view. ``coverage_min``: share of a brain inside the other's field of view. ``metric_min``:
    mutual information, nats. ``max_inconsistency_mm``: limit on the disagreement of the two directions.
    ``max_rotation_deg``, ``max_translation_mm``: motion of the head relative to the headers or, where that is
    less, relative to the voxel axes and the other brain's centre. ``seed``: of the sampling. The defaults are
    defined only in the configuration's schema.
    """

    reference: Reference
    spacing_mm: float | Literal["native"]
    margin_mm: float
    overlap_min: float
    coverage_min: float
    metric_min: float
    max_inconsistency_mm: float
    max_rotation_deg: float
    max_translation_mm: float
    seed: int
    threads: int


@dataclass(frozen=True)
class MeasuredPair:
    """The result for one pair of visits.

    ``matrix`` maps start → end (4×4, between their worlds). Further fields are its mutual information, the
    disagreement of the two directions, whether the motion is ``exact`` (known beforehand), and the reason why
    it cannot be used, if any.
    """

    start: str
    end: str
    matrix: FloatArray
    mutual_information: float
    inconsistency_mm: float
    exact: bool
    failure: Unusable | None


class Visits:
    """The usable scans of one patient, with per-visit results that are computed once."""

    def __init__(
        self,
        scans: Mapping[str, VisitVolumes],
        settings: AlignSettings,
        n_classes: int,
        background: int | None,
    ) -> None:
        self.settings = settings
        self.scans: dict[str, VisitVolumes] = {}
        self.points: dict[str, BrainPoints] = {}
        self.failures: dict[str, Unusable] = {}
        for name, scan in scans.items():
            points = brain_points(scan.labels, scan.label_grid, background)
            if points is None:
                message = f"the segmentation of {name} contains only background"
                self.failures[name] = Unusable("no_brain", message)
            else:
                self.scans[name], self.points[name] = scan, points
        self._background = background
        shown = [s.labels for s in self.scans.values()]
        if settings.reference == "baseline":  # so that a later visit changes no earlier alignment
            shown = shown[:1]
        self._contrast = contrast_values(shown, n_classes, background)
        self._working: dict[tuple[str, str], Working] = {}

    def brain(self, name: str) -> Array:
        """The brain mask on the label grid."""
        labels = self.scans[name].labels
        return np.ones(labels.shape, dtype=bool) if self._background is None else labels != self._background

    def driver(self, *names: str) -> str:
        """Return what drives the alignment of these visits: ``image`` if all have one, else ``labels``."""
        return "image" if all(self.scans[n].image is not None for n in names) else "labels"

    def workings(self, a: str, b: str) -> tuple[Working, Working]:
        """The working volumes of a pair, both of the same kind."""
        driver = self.driver(a, b)
        return self._volume(a, driver), self._volume(b, driver)

    def measure(self, a: str, b: str) -> MeasuredPair:
        """Register one pair, unless its motion is known, and check the result."""
        start, end = self.workings(a, b)
        known = self._known(a, b)
        if known is None:
            found = register(start, end, self.settings.seed, self.settings.threads)
            matrix = to_world(found.matrix, start, end)
        else:
            matrix, centred = known, from_world(known, start, end)
            found = RigidFit(centred, similarity(start, end, centred, self.settings.threads, -1), 0.0)
        agree = agreement(self.points[a], self.points[b], matrix)
        log.info(
            "%s and %s: mutual information %.3f, brains overlap %.3f",
            a,
            b,
            found.mutual_information,
            agree.overlap,
        )
        failure = self._judge(a, b, found, matrix, agree)
        gap = found.inverse_consistency_mm
        return MeasuredPair(a, b, matrix, found.mutual_information, gap, known is not None, failure)

    def _volume(self, name: str, driver: str) -> Working:
        if (name, driver) not in self._working:
            scan = self.scans[name]
            image, grid = scan.image, scan.image_grid
            if driver == "labels" or image is None or grid is None:
                image, grid = self._contrast[scan.labels].astype(np.float32), scan.label_grid
            volume = prepare(image, grid, self.brain(name), scan.label_grid, shading=driver == "image")
            self._working[name, driver] = volume
        return self._working[name, driver]

    def _known(self, a: str, b: str) -> FloatArray | None:
        """The motion of a pair that needs no registration, else None."""
        if self.settings.reference == "none":
            return np.eye(4)
        return known_motion(self.scans[a], self.scans[b])

    def _judge(
        self, a: str, b: str, found: RigidFit, matrix: FloatArray, agree: Agreement
    ) -> Unusable | None:
        """Return why the motion of a pair cannot be used, or None."""
        limit, moved = self.settings, self.settings.reference != "none"
        checks = _overlap_checks(a, b, agree, limit)
        if moved:
            checks += _motion_checks(a, b, found, _motion(*self.workings(a, b), matrix), limit)
        return next((Unusable(code, text) for bad, code, text in checks if bad), None)


def known_motion(a: VisitVolumes, b: VisitVolumes) -> FloatArray | None:
    """The exact motion a → b when both hold exactly the same voxels; else None.

    It is the motion given by their headers, 4×4 between worlds, and the identity itself when the headers
    agree.
    """
    if not _same_voxels(a.labels, a.label_grid, b.labels, b.label_grid):
        return None
    first, second = (canonical(s.label_grid, s.labels)[1].affine for s in (a, b))
    motion = np.eye(4) if np.array_equal(first, second) else second @ np.linalg.inv(first)
    if a.image is not None and b.image is not None and a.image_grid and b.image_grid:
        if not _same_voxels(a.image, a.image_grid, b.image, b.image_grid):
            return None
        moved = motion @ canonical(a.image_grid, a.image)[1].affine
        if not np.allclose(moved, canonical(b.image_grid, b.image)[1].affine, atol=1e-3):
            return None
    elif a.image is not None or b.image is not None:
        return None
    if not is_rigid(motion, tol=1e-4):
        return None
    return motion if np.array_equal(motion, np.eye(4)) else rigid(motion)


def _same_voxels(a: Array, a_grid: Grid, b: Array, b_grid: Grid) -> bool:
    return bool(np.array_equal(canonical(a_grid, a)[0], canonical(b_grid, b)[0]))


def _motion(start: Working, end: Working, matrix: FloatArray) -> tuple[float, float]:
    """Rotation in degrees and translation in mm of the head, since many headers do not record the head's
    position.

    The result is the smaller of the motion by the headers and the motion by the voxel axes and the brain's
    centre.
    """
    axes = np.linalg.inv(end.grid.directions) @ matrix[:3, :3] @ start.grid.directions
    turn = min(rotation_deg(matrix), rotation_deg(nearest_orthogonal(axes)))
    moved = transform_points(matrix, start.centre)
    shift = min(np.linalg.norm(moved - start.centre), np.linalg.norm(moved - end.centre))
    return turn, float(shift)


def _overlap_checks(a: str, b: str, agree: Agreement, limit: AlignSettings) -> list[tuple[bool, str, str]]:
    how = "according to their headers" if limit.reference == "none" else "after alignment"
    return [
        (
            agree.coverage < limit.coverage_min,
            "coverage",
            f"of {a} and {b}, only {agree.coverage:.0%} of one brain lies in the other's field of view "
            f"{how}; at least {limit.coverage_min:.0%} is required (align.coverage_min)",
        ),
        (
            agree.overlap < limit.overlap_min,
            "overlap",
            f"the brains of {a} and {b} overlap by {agree.overlap:.2f} (Dice) {how}; "
            f"at least {limit.overlap_min:g} is required (align.overlap_min)",
        ),
    ]


def _motion_checks(
    a: str, b: str, found: RigidFit, motion: tuple[float, float], limit: AlignSettings
) -> list[tuple[bool, str, str]]:
    turn, shift = motion
    return [
        (
            found.mutual_information < limit.metric_min,
            "metric",
            f"{a} and {b} have little in common: mutual information {found.mutual_information:.3f} after "
            f"alignment; at least {limit.metric_min:g} is required (align.metric_min)",
        ),
        (
            found.inverse_consistency_mm > limit.max_inconsistency_mm,
            "inconsistent",
            f"the alignments {a} to {b} and {b} to {a} disagree by {found.inverse_consistency_mm:.1f} mm; "
            f"at most {limit.max_inconsistency_mm:g} mm is allowed (align.max_inconsistency_mm)",
        ),
        (
            turn > limit.max_rotation_deg,
            "motion",
            f"between {a} and {b} the head would have turned by {turn:.0f} degrees; "
            f"at most {limit.max_rotation_deg:g} is allowed (align.max_rotation_deg)",
        ),
        (
            shift > limit.max_translation_mm,
            "motion",
            f"between {a} and {b} the head would have moved by {shift:.0f} mm; "
            f"at most {limit.max_translation_mm:g} mm is allowed (align.max_translation_mm)",
        ),
    ]

"""Registration of a patient's common space to a template by mutual information: rigid, affine, B-spline.

Working volumes and the rigid search are those of `rigid`. Matrices map centred points of the template to
centred points of the patient, RAS mm. The result is one ITK transform from the template's world to the
patient's, LPS mm: what `sitk.Resample` needs to bring a map of the patient onto the template.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import SimpleITK as sitk
from scipy import linalg

from longimorph.alignment import rigid
from longimorph.alignment.rigid import Level, Working
from longimorph.errors import Unusable
from longimorph.geometry.grid import Array, FloatArray, Grid
from longimorph.geometry.poses import inverse, mean_displacement, translation
from longimorph.geometry.resample import image_means
from longimorph.io.transforms import affine_to_itk, from_sitk, rigid_from_itk, to_sitk

SCALE = 0.7, 1.4
"""Range of plausible factors, per axis on average, between the sizes of the two brains."""
LEAST_OVERLAP, GOOD_OVERLAP = 0.75, 0.9
"""Dice of the brain masks below which a registration fails, and below which it needs a look."""
LEAST_INFORMATION = 0.1
"""Mutual information, nats, below which a registration fails."""
MOST_FOLDED = 1e-3
"""Share of the brain where the transform folds above which a registration needs a look."""
MOST_INCONSISTENT_MM = 3.0
SAMPLING_SEED = 1
"""Of the samples of voxels, so that the same input gives the same result."""

_MESH_MM = 40.0  # between control points on the coarse level; half of it on the fine one
_ITERATIONS = 40
_SHARE = 0.3  # of the voxels that count on the fine level
_STAGES = ("headers", "rigid", "affine", "deformable")


@dataclass(frozen=True, eq=False)
class Head:
    """An image (i, j, k) with a mask of its brain on the same grid.

    ``scan``: its intensities come from a scanner, whose coils shade them. ``outlined``: the mask is that of a
    brain, and not only of all that is not empty.
    """

    image: Array
    brain: npt.NDArray[np.bool_]
    grid: Grid
    scan: bool = True
    outlined: bool = True


@dataclass(frozen=True, eq=False)
class TemplateFit:
    """``transform`` maps points of the template to points of the patient's common space, LPS mm.

    ``quality`` holds plain numbers for JSON, None where they are not known; `examine` judges them.
    """

    transform: sitk.CompositeTransform
    quality: dict[str, float | None]


def fit(template: Head, patient: Head, threads: int) -> TemplateFit:
    """Register a patient to a template; the same input gives the same result.

    Raises Unusable when one of the brains has no voxel.
    """
    works = _working(template, "template"), _working(patient, "patient's image")
    start = rigid.register(*works, SAMPLING_SEED, threads).matrix
    affine, gap = _affine(works, start, template.outlined, threads)
    level = _masked(works, affine, template.outlined)
    curved = _curved(level, works[1].levels[-1], affine, threads)
    matrices = rigid.from_world(np.eye(4), *works), start, affine, affine
    quality: dict[str, float | None] = {}
    for name, matrix in zip(_STAGES, matrices, strict=True):
        whole = _composed(curved if name == "deformable" else None, matrix)
        quality[f"mutual_information_{name}"] = _information(level, works[1].levels[-1], whole, threads)
        quality[f"overlap_{name}"] = _overlap(works, whole) if template.outlined else None
    whole = _composed(curved, affine)
    quality |= _shape(level, whole, affine) | {"affine_inconsistency_mm": gap}
    return TemplateFit(_in_world(curved, affine, works), quality)


def examine(quality: dict[str, float | None]) -> list[str]:
    """Sentences on what looks odd about a registration; none if nothing does.

    Raises Unusable when the registration cannot be used.
    """
    scale, overlap = quality["scale"], quality["overlap_deformable"]
    information, gained = quality["mutual_information_deformable"], quality["mutual_information_affine"]
    if scale is None or not SCALE[0] <= scale <= SCALE[1]:
        text = f"the brain would have {scale or 0:.2f} times the size of that of the template"
        raise Unusable("template_scale", f"{text}; check that the template shows a brain of the same species")
    if overlap is not None and overlap < LEAST_OVERLAP:
        text = f"after registration to the template, the brains overlap by a Dice of {overlap:.2f} only"
        raise Unusable(
            "template_overlap", f"{text} (at least {LEAST_OVERLAP}); check template and template_mask"
        )
    if information is None or information < LEAST_INFORMATION:
        text = f"after registration, template and patient share {information or 0:.2f} nats of information"
        raise Unusable("template_similarity", f"{text} (at least {LEAST_INFORMATION}); check the template")
    found = []
    if overlap is not None and overlap < GOOD_OVERLAP:
        found.append(f"the brains overlap by a Dice of {overlap:.2f}, less than {GOOD_OVERLAP}")
    if (folded := quality["folded_share"]) is not None and folded > MOST_FOLDED:
        found.append(f"the transform folds in {100 * folded:.2f} % of the brain")
    if (gap := quality["affine_inconsistency_mm"]) is not None and gap > MOST_INCONSISTENT_MM:
        found.append(f"the affine registrations in the two directions differ by {gap:.1f} mm")
    if gained is not None and information < gained:
        found.append("the deformable registration made the images less alike than the affine one")
    return found


def _working(head: Head, what: str) -> Working:
    if not head.brain.any():
        raise Unusable("empty", f"the {what} has no voxel of a brain to register; check its mask")
    return rigid.prepare(head.image, head.grid, head.brain, head.grid, head.scan)


def _affine(
    works: tuple[Working, Working], start: FloatArray, outlined: bool, threads: int
) -> tuple[FloatArray, float | None]:
    """The affine matrix template → patient, and how far its two directions disagree, mm.

    Without an outline of the template's brain only the patient's mask counts, so there is one direction. The
    rigid motion stays if no affine matrix makes the images more alike.
    """
    template, patient = works
    there = np.asarray(np.linalg.inv(_descended(patient, template, inverse(start), threads)))
    if not outlined:
        return max((start, there), key=lambda m: _alike(patient, template, inverse(m), threads)), None
    other = _descended(template, patient, start, threads)
    gap = mean_displacement(inverse(there) @ other, template.points)
    tried = [start, there, other, *([_between(there, other)] if gap < MOST_INCONSISTENT_MM else [])]
    scores = [
        _alike(template, patient, m, threads) + _alike(patient, template, inverse(m), threads) for m in tried
    ]
    return tried[int(np.argmax(scores))], gap


def _descended(fixed: Working, moving: Working, matrix: FloatArray, threads: int) -> FloatArray:
    """Optimise an affine matrix fixed → moving on every level, the coarse one first."""
    for level in range(len(rigid.LEVELS_MM)):
        matrix = _optimised(fixed.levels[level], moving.levels[level], matrix, threads)
    return matrix


def _alike(fixed: Working, moving: Working, matrix: FloatArray, threads: int) -> float:
    found = _information(fixed.levels[-1], moving.levels[-1], affine_to_itk(matrix), threads)
    return float("-inf") if found is None else found


def _between(a: FloatArray, b: FloatArray) -> FloatArray:
    """The affine matrix half-way between two that are alike."""
    return np.asarray(a @ np.real(linalg.sqrtm(np.linalg.inv(a) @ b)))


def _optimised(fixed: Level, moving: Level, guess: FloatArray, threads: int) -> FloatArray:
    """Optimise an affine matrix fixed → moving; unchanged when the volumes do not overlap."""
    search = rigid.method(fixed, threads)
    if fixed.grid.spacing.max() < rigid.LEVELS_MM[0]:
        search.SetMetricSamplingStrategy(search.RANDOM)
        search.SetMetricSamplingPercentage(_SHARE, SAMPLING_SEED)
    search.SetOptimizerAsRegularStepGradientDescent(1.0, 0.002, 120, 0.5, 1e-9)
    search.SetOptimizerScales([3600.0] * 9 + [1.0] * 3)
    transform = affine_to_itk(guess)
    search.SetInitialTransform(transform, inPlace=True)
    try:
        search.Execute(fixed.image, moving.image)
    except RuntimeError:  # raised by ITK when too few voxels overlap
        return guess
    return rigid_from_itk(transform)


def _masked(works: tuple[Working, Working], affine: FloatArray, outlined: bool) -> Level:
    """The template's finest level; without an outline, with the patient's brain in the place of its own."""
    level, other = works[0].levels[-1], works[1].levels[-1]
    if outlined:
        return level
    share = image_means(other.inside.astype(np.float32), other.grid, affine, level.grid)
    inside = share > 0.5
    mask = to_sitk(rigid.near(inside, level.grid).astype(np.uint8), level.grid)
    return Level(level.image, mask, level.values, inside, level.grid)


def _curved(fixed: Level, moving: Level, affine: FloatArray, threads: int) -> sitk.BSplineTransform | None:
    """The B-spline that follows the template and precedes the affine matrix; None where it does not help."""
    extent = np.array(fixed.grid.shape) * fixed.grid.spacing
    mesh = np.maximum(np.rint(extent / _MESH_MM), 2).astype(int).tolist()
    transform: sitk.BSplineTransform = sitk.BSplineTransformInitializer(fixed.image, mesh, 3)
    search = rigid.method(fixed, threads)
    search.SetShrinkFactorsPerLevel([2, 1])
    search.SetSmoothingSigmasPerLevel([2.0, 0.0])
    search.SmoothingSigmasAreSpecifiedInPhysicalUnitsOn()
    search.SetMetricSamplingStrategy(search.RANDOM)
    search.SetMetricSamplingPercentagePerLevel([1.0, _SHARE], SAMPLING_SEED)
    search.SetOptimizerAsLBFGS2(1e-5, _ITERATIONS, 5, 5, 1e-4)
    search.SetMovingInitialTransform(affine_to_itk(affine))
    search.SetInitialTransformAsBSpline(transform, inPlace=True, scaleFactors=[1, 2])
    try:
        search.Execute(fixed.image, moving.image)
    except RuntimeError:  # raised by ITK when too few voxels overlap
        return None
    return transform


def _composed(curved: sitk.BSplineTransform | None, matrix: FloatArray) -> sitk.Transform:
    """The map of centred points; the B-spline is applied first."""
    parts: list[sitk.Transform] = [affine_to_itk(matrix)]
    return sitk.CompositeTransform([*parts, curved] if curved is not None else parts)


def _in_world(
    curved: sitk.BSplineTransform | None, affine: FloatArray, works: tuple[Working, Working]
) -> sitk.CompositeTransform:
    """The map of the template's world to the patient's; the last part is applied first."""
    template, patient = works
    last = affine_to_itk(translation(patient.centre) @ affine)
    first = affine_to_itk(translation(-template.centre))
    middle = [curved] if curved is not None else []
    return sitk.CompositeTransform([last, *middle, first])


def _information(fixed: Level, moving: Level, whole: sitk.Transform, threads: int) -> float | None:
    """Mutual information in nats around the template's brain; None when the volumes do not overlap."""
    method = rigid.method(fixed, threads)
    method.SetMovingInitialTransform(whole)
    method.SetInitialTransform(sitk.TranslationTransform(3))
    try:
        return float(-method.MetricEvaluate(fixed.image, moving.image))
    except RuntimeError:
        return None


def _overlap(works: tuple[Working, Working], whole: sitk.Transform) -> float:
    """Dice of the two brains on the template's finest level."""
    own, other = works[0].levels[-1], works[1].levels[-1]
    brain = to_sitk(other.inside.astype(np.float32), other.grid)
    moved = from_sitk(sitk.Resample(brain, own.image, whole, sitk.sitkLinear, 0.0)) > 0.5
    return float(2 * (moved & own.inside).sum() / max(int(moved.sum()) + int(own.inside.sum()), 1))


def _shape(level: Level, whole: sitk.Transform, affine: FloatArray) -> dict[str, float | None]:
    """What the transform does to the brain: size relative to the template, stretch, folds.

    ``scale``: the size of the patient's brain relative to the template, per axis. ``deformable_mm``: mean
    distance by which the B-spline moves points of the brain beyond the affine matrix.
    """
    field = sitk.TransformToDisplacementField(
        whole, sitk.sitkVectorFloat64, level.image.GetSize(), level.image.GetOrigin(),
        level.image.GetSpacing(), level.image.GetDirection(),
    )  # fmt: skip
    determinant = from_sitk(sitk.DisplacementFieldJacobianDeterminant(field))[level.inside]
    straight = sitk.TransformToDisplacementField(
        affine_to_itk(affine), sitk.sitkVectorFloat64, level.image.GetSize(), level.image.GetOrigin(),
        level.image.GetSpacing(), level.image.GetDirection(),
    )  # fmt: skip
    beyond = np.linalg.norm(sitk.GetArrayFromImage(field - straight), axis=-1).T[level.inside]
    return {
        "scale": float(max(np.linalg.det(affine[:3, :3]), 0.0) ** (1 / 3)),
        "deformable_mm": float(beyond.mean()) if beyond.size else None,
        "folded_share": float((determinant <= 0).mean()) if determinant.size else None,
    }


def foreground(image: Array) -> npt.NDArray[np.bool_]:
    """Mask of what is not empty in an image: above Otsu's threshold, or above 0 if all around it is 0."""
    if stripped(image):
        return np.asarray(image > 0)
    found = sitk.OtsuThreshold(sitk.GetImageFromArray(np.asarray(image, dtype=np.float32)), 0, 1)
    return sitk.GetArrayFromImage(found).astype(bool)


def stripped(image: Array) -> bool:
    """Return whether an image shows a brain without its skull: most of what lies around it is exactly 0."""
    return bool((image == 0).mean() > 0.35 and image.min() >= 0 and _empty_faces(image))


def _empty_faces(image: Array) -> bool:
    """Return whether nearly all voxels on the sides of an image are 0; a neck may reach the lower one."""
    faces = [np.take(image, side, axis=axis) for axis in range(3) for side in (0, -1)]
    return sorted(float((face == 0).mean()) for face in faces)[1] > 0.98


def means(images: Sequence[Array], brains: Sequence[npt.NDArray[np.bool_]]) -> npt.NDArray[np.float32]:
    """The mean of images of one grid, each divided by its mean over its brain."""
    total = np.zeros(images[0].shape, dtype=np.float64)
    for image, brain in zip(images, brains, strict=True):
        level = float(image[brain].mean()) if brain.any() else 0.0
        total += image / (level if level > 0 else 1.0)
    return np.asarray(total / len(images), dtype=np.float32)

"""Alignment finds the motion, treats visits alike, and fails per visit."""

from __future__ import annotations

import numpy as np
import pytest
import SimpleITK as sitk
from default_settings import align_settings
from real_data import BACKGROUND, CLASSES, freesurfer_classes, muse_classes, scan
from scipy import ndimage
from spaces import storage_orders

from longimorph.alignment.align import VisitVolumes, align_patient
from longimorph.errors import Unusable
from longimorph.geometry import grid as g
from longimorph.geometry import poses as p
from longimorph.geometry.grid import Grid
from longimorph.geometry.resample import image_means, label_fractions
from longimorph.io.transforms import from_sitk, rigid_from_itk
from longimorph.io.volumes import read_image, read_labels
from longimorph.maps.simplex import simplex_maps

SHAPE = (44, 48, 40)
GRID = Grid(SHAPE, p.translation([-60, -70, -55]) @ np.diag([3.0, 3.0, 3.0, 1.0]))


def head(seed=0, shape=SHAPE):
    """A small head without symmetry: classes 0 background, 1 shell, 2 inside, 3 and 4 deep parts."""
    x = np.moveaxis(np.indices(shape) - (np.array(shape).reshape(3, 1, 1, 1) - 1) / 2, 0, -1) * 3.0
    bumps = ndimage.gaussian_filter(np.random.default_rng(seed).normal(size=shape), 2.5)
    bumps /= np.abs(bumps).max()
    radius = np.sqrt(((x / [44, 52, 40]) ** 2).sum(axis=-1)) + 0.25 * bumps
    labels = np.where(radius < 1, 1, 0)
    labels[radius < 0.8] = 2
    labels[((x - [8, 14, 5]) ** 2).sum(axis=-1) < 14**2] = 3
    labels[((x - [-12, -10, -4]) ** 2).sum(axis=-1) < 11**2] = 4
    return labels


def picture(labels, seed, levels=(5, 60, 100, 20, 80)):
    rng = np.random.default_rng(seed)
    smooth = ndimage.gaussian_filter(np.array(levels, dtype=np.float64)[labels], 0.6)
    return (smooth + rng.normal(0, 3, labels.shape)).astype(np.float32)


def motion(vector_deg, shift, about=None):
    centre = GRID.centre() if about is None else about
    return p.translation(centre + shift) @ p.rotation(vector_deg) @ p.translation(-centre)


def moved(labels, matrix, grid=GRID, onto=None, n_classes=5, background=0):
    """The head after a motion ``matrix`` (old world → new), on the grid ``onto``."""
    target = onto or grid
    return label_fractions(labels, grid, np.linalg.inv(matrix), target, n_classes, background).argmax(axis=0)


def visit(labels, grid=GRID, seed=None, **changes):
    if seed is None:
        return VisitVolumes(labels, grid)
    return VisitVolumes(labels, grid, picture(labels, seed, **changes), grid)


def error_mm(result, names, truth, points):
    """Mean distance of the motion found between two visits from the true one."""
    first, second = (result.visits[n].matrix for n in names)
    return p.mean_displacement(np.linalg.inv(truth) @ second @ np.linalg.inv(first), points)


def brain_of(labels, grid, background=0):
    return grid.index_to_world(np.argwhere(labels != background)[::50])


def align(scans, **settings):
    return align_patient(scans, align_settings(**settings), 5, 0)


TRUTH = motion([8.0, -12.0, 15.0], [10.0, -6.0, 8.0])


@pytest.mark.parametrize("seeds", [(1, 2), (None, None), (1, None)])
def test_the_motion_is_found_from_images_or_segmentations(seeds):
    labels = head()
    scans = {"a": visit(labels, seed=seeds[0]), "b": visit(moved(labels, TRUTH), seed=seeds[1])}
    result = align(scans)
    assert error_mm(result, "ab", TRUTH, brain_of(labels, GRID)) < 0.5
    quality = result.visits["b"].quality
    assert quality.driver == ("image" if None not in seeds else "labels")
    assert quality.dice_before < quality.dice_after > 0.85
    assert quality.inverse_consistency_mm < 0.5
    assert abs(quality.rotation_deg - p.rotation_deg(TRUTH) / 2) < 0.5


def test_the_middle_is_in_the_middle_and_the_order_does_not_matter():
    labels = head()
    scans = {
        "a": visit(labels),
        "b": visit(moved(labels, TRUTH)),
        "c": visit(moved(labels, motion([0, 9, 0], [0, 5, 0]))),
    }
    result = align(scans)
    again = align(dict(reversed(scans.items())))
    for name in scans:
        assert np.allclose(result.visits[name].matrix, again.visits[name].matrix, atol=1e-8)
    assert g.same_grid(result.grid, again.grid, tol=1e-6)
    turns = sum(v.matrix[:3, :3] for v in result.visits.values())
    assert np.allclose(turns, turns.T, atol=1e-6)


def test_images_of_opposite_contrast_and_on_their_own_grids():
    labels = head()
    there = moved(labels, TRUTH)
    fine = Grid((60, 66, 50), GRID.affine @ p.translation([1, 1, 1]) @ np.diag([0.7, 0.7, 0.75, 1.0]))
    image = picture(labels, 3, levels=(0, 90, 50, 120, 10))
    scans = {
        "a": VisitVolumes(labels, GRID, image_means(image, GRID, np.eye(4), fine), fine),
        "b": visit(there, seed=4),
    }
    assert error_mm(align(scans), "ab", TRUTH, brain_of(labels, GRID)) < 0.7


def test_a_header_far_away_is_no_obstacle():
    labels = head()
    there = moved(labels, TRUTH)
    far = p.translation([900.0, -700.0, 400.0])
    result = align({"a": visit(labels, seed=1), "b": visit(there, Grid(SHAPE, far @ GRID.affine), seed=2)})
    assert error_mm(result, "ab", far @ TRUTH, brain_of(labels, GRID)) < 0.5


def test_baseline_is_the_reference_when_asked_for():
    labels = head()
    grid = Grid(SHAPE, motion([5.0, 4.0, -9.0], [0, 0, 0]) @ GRID.affine)
    scans = {"a": visit(labels, grid), "b": visit(moved(labels, TRUTH, grid), grid)}
    result = align(scans, reference="baseline", spacing_mm="native")
    assert np.array_equal(result.visits["a"].matrix, np.eye(4))
    index = grid.world_to_index(result.grid.index_to_world(g.grid_corners(result.grid.shape)))
    assert np.allclose(index, np.rint(index), atol=1e-8)
    maps = simplex_maps(labels, grid, result.visits["a"].matrix, result.grid, 5, 0)
    assert set(np.unique(maps)) == {0.0, 1.0}


@pytest.mark.parametrize("images", [True, False])
def test_with_a_baseline_a_later_visit_changes_no_earlier_one(images):
    labels = head()
    scans = {
        name: visit(moved(labels, motion(turn, shift)), seed=number if images else None)
        for number, (name, turn, shift) in enumerate(
            [("a", [0, 0, 0], [0, 0, 0]), ("b", [4, -3, 2], [3, 1, -2]), ("c", [-2, 5, 1], [0, -4, 2])]
        )
    }
    two = align({name: scans[name] for name in "ab"}, reference="baseline")
    three = align(scans, reference="baseline")
    assert np.array_equal(two.visits["b"].matrix, three.visits["b"].matrix)
    assert two.grid.to_dict() == three.grid.to_dict()
    assert three.visits["c"].failure is None


def test_a_later_brain_that_the_grid_of_the_baseline_does_not_hold_enlarges_it():
    labels = head()
    large = ndimage.zoom(labels, 1.12, order=0)
    edge = [(n - m) // 2 for n, m in zip(large.shape, SHAPE, strict=True)]
    large = large[tuple(slice(e, e + m) for e, m in zip(edge, SHAPE, strict=True))]
    alone = align({"a": visit(labels)}, reference="baseline", margin_mm=2)
    both = align({"a": visit(labels), "b": visit(large)}, reference="baseline", margin_mm=2)
    assert both.visits["b"].failure is None
    assert all(n > m for n, m in zip(both.grid.shape, alone.grid.shape, strict=True))


def test_none_leaves_everything_where_it_is():
    labels = head()
    result = align({"a": visit(labels), "b": visit(np.roll(labels, 1, axis=0))}, reference="none")
    assert all(np.array_equal(v.matrix, np.eye(4)) for v in result.visits.values())
    apart = align({"a": visit(labels), "b": visit(np.roll(labels, 16, axis=0))}, reference="none")
    assert {v.failure.code for v in apart.visits.values()} == {"overlap"}
    assert apart.grid is None
    assert "according to their headers" in apart.visits["a"].failure.message


@pytest.mark.parametrize("reference", ["midspace", "baseline"])
def test_identical_visits_have_identical_maps(reference):
    labels = head()
    other = moved(labels, TRUTH)
    scans = {"a": visit(labels, seed=1), "b": visit(labels, seed=1), "c": visit(other, seed=2)}
    result = align(scans, reference=reference)
    assert np.array_equal(result.visits["a"].matrix, result.visits["b"].matrix)
    alone = align({n: scans[n] for n in "ab"}, reference=reference)
    assert all(np.array_equal(v.matrix, np.eye(4)) for v in alone.visits.values())
    assert alone.visits["b"].quality.correlation_after == pytest.approx(1.0)


def test_the_same_voxels_under_another_header_are_known_exactly():
    labels = head()
    tilted = p.translation([20, 30, -10]) @ p.rotation([10, 20, 30])
    scans = {"a": visit(labels), "b": visit(labels, Grid(SHAPE, tilted @ GRID.affine))}
    result = align(scans)
    assert error_mm(result, "ab", tilted, brain_of(labels, GRID)) < 1e-9
    maps = [
        simplex_maps(s.labels, s.label_grid, result.visits[n].matrix, result.grid, 5, 0)
        for n, s in scans.items()
    ]
    assert np.abs(maps[0] - maps[1]).max() < 1e-6


def test_storage_order_does_not_matter():
    labels = head()
    there = moved(labels, TRUTH)
    expected = align({"a": visit(labels), "b": visit(there)})
    stored, grid = storage_orders(there, GRID)[29]
    result = align({"a": visit(labels), "b": visit(stored, grid)})
    for name in "ab":
        assert np.allclose(result.visits[name].matrix, expected.visits[name].matrix, atol=1e-6)


def test_a_bad_visit_spoils_no_other():
    labels = head()
    unreadable = Unusable("unreadable", "b.nii.gz cannot be read")
    noise = VisitVolumes(
        ndimage.gaussian_filter(np.random.default_rng(3).random(SHAPE), 1.0).argsort(axis=0) % 5, GRID
    )
    scans = {
        "a": visit(labels),
        "b": unreadable,
        "c": visit(np.zeros(SHAPE, dtype=int)),
        "d": noise,
        "e": visit(moved(labels, TRUTH)),
    }
    result = align(scans)
    assert list(result.visits) == list("abcde")
    assert error_mm(result, "ae", TRUTH, brain_of(labels, GRID)) < 0.5
    codes = {n: v.failure.code for n, v in result.visits.items() if v.failure}
    assert codes["b"] == "unreadable" and codes["c"] == "no_brain"
    assert codes["d"] in {"metric", "overlap", "coverage", "inconsistent"}
    assert result.to_dict()["visits"]["c"]["status"] == "no_brain"


def test_without_its_baseline_a_patient_has_no_reference():
    lost = Unusable("unreadable", "a.nii.gz cannot be read")
    result = align({"a": lost, "b": visit(head())}, reference="baseline")
    assert result.visits["a"].failure is lost
    assert result.visits["b"].failure.code == "reference"
    assert "a.nii.gz" in result.visits["b"].failure.message
    middle = align({"a": lost, "b": visit(head())})
    assert np.array_equal(middle.visits["b"].matrix, np.eye(4))
    assert middle.grid is not None


def test_limits_are_kept_and_named():
    labels = head()
    scans = {"a": visit(labels), "b": visit(moved(labels, TRUTH))}
    for setting, code in [
        ({"max_rotation_deg": 5.0}, "motion"),
        ({"overlap_min": 0.999}, "overlap"),
        ({"metric_min": 5.0}, "metric"),
        ({"max_inconsistency_mm": 0.0}, "inconsistent"),
    ]:
        failures = [v.failure for v in align(scans, **setting).visits.values()]
        assert [f.code for f in failures] == [code, code]
        assert f"align.{next(iter(setting))}" in failures[0].message


def test_half_a_head_still_aligns_and_says_what_it_covers():
    labels = head()
    there = moved(labels, TRUTH)
    box = (slice(None), slice(None), slice(0, 25))
    scans = {"a": visit(labels, seed=1), "b": visit(there[box], g.crop(GRID, box), seed=2)}
    result = align(scans)
    assert error_mm(result, "ab", TRUTH, brain_of(labels, GRID)) < 1.0
    assert 0.5 < result.visits["a"].quality.coverage < 0.85


def test_the_grid_holds_every_brain_with_its_margin():
    labels = head()
    scans = {"a": visit(labels), "b": visit(moved(labels, TRUTH))}
    result = align(scans, margin_mm=6.0)
    for name, one in scans.items():
        points = brain_of(one.labels, one.label_grid)
        index = result.grid.world_to_index(
            g.transform_points(np.linalg.inv(result.visits[name].matrix), points)
        )
        assert (index * 2 >= 6.0 - 1e-6).all()
        assert ((np.array(result.grid.shape) - 1 - index) * 2 >= 6.0 - 1e-6).all()


IXI = "ixi_dlmuse_2mm/IXI{}-T1_ds{}.nii.gz"


@pytest.mark.slow
@pytest.mark.parametrize(("number", "seed"), [("012-HH-1211", 0), ("033-HH-1259", 1)])
@pytest.mark.parametrize("driver", ["image", "labels"])
def test_large_motions_of_real_heads(number, seed, driver):
    labels, grid = read_labels(scan(IXI.format(number, "_DLMUSE")))
    image, image_grid = read_image(scan(IXI.format(number, "")))
    classes = muse_classes(labels)
    rng = np.random.default_rng(seed)
    axis, way = (v / np.linalg.norm(v) for v in rng.normal(size=(2, 3)))
    truth = motion(25.0 * axis, 40.0 * way, grid.centre())
    onto = Grid(grid.shape, p.translation(40.0 * way) @ grid.affine)
    later = label_fractions(classes, grid, np.linalg.inv(truth), onto, len(CLASSES), BACKGROUND).argmax(
        axis=0
    )
    picture = image_means(image, image_grid, np.linalg.inv(truth), onto)
    picture = np.abs(picture + rng.normal(0, 0.04 * picture.max(), picture.shape)) ** 0.8  # type: ignore[assignment]
    if driver == "labels":
        scans = {"a": VisitVolumes(classes, grid), "b": VisitVolumes(later, onto)}
    else:
        scans = {
            "a": VisitVolumes(classes, grid, image, image_grid),
            "b": VisitVolumes(later, onto, picture, onto),
        }
    result = align_patient(scans, align_settings(), len(CLASSES), BACKGROUND)
    assert error_mm(result, "ab", truth, brain_of(classes, grid, BACKGROUND)) < 0.5


@pytest.mark.slow
def test_full_size_labels_of_synthseg():
    labels, grid = read_labels(scan("synthseg_labelmaps/training_seg_01.nii.gz"))
    classes = freesurfer_classes(labels)
    truth = motion([6.0, -9.0, 14.0], [12.0, -8.0, 15.0], grid.centre())
    onto = g.canonical(grid, classes)[1]
    later = label_fractions(classes, grid, np.linalg.inv(truth), onto, len(CLASSES), BACKGROUND).argmax(
        axis=0
    )
    scans = {"a": VisitVolumes(classes, grid), "b": VisitVolumes(later, onto)}
    result = align_patient(scans, align_settings(), len(CLASSES), BACKGROUND)
    assert error_mm(result, "ab", truth, brain_of(classes, grid, BACKGROUND)) < 0.3


@pytest.mark.slow
def test_two_real_visits_align_as_well_as_a_rigid_motion_can():
    folder = "ms_longitudinal/patient12/"
    mask = sitk.ReadImage(str(scan(folder + "brainmask_commonspace.nii.gz")), sitk.sitkFloat32)
    brain, common = read_labels(scan(folder + "brainmask_commonspace.nii.gz"))
    scans, to_scan = {}, {}
    for name in ("study1", "study2"):
        path = scan(f"{folder}{name}_FLAIR.nii.gz")
        reference = sitk.ReadTransform(str(scan(f"{folder}{name}_FLAIR_to_common_space.txt")))
        native = sitk.Resample(
            mask, sitk.ReadImage(str(path)), reference.GetInverse(), sitk.sitkNearestNeighbor
        )
        image, grid = read_image(path)
        scans[name] = VisitVolumes((from_sitk(native) > 0.5).astype(int), grid, image, grid)
        to_scan[name] = rigid_from_itk(reference)
    result = align_patient(scans, align_settings(), 2, 0)
    first, second = (result.visits[name].matrix for name in scans)
    there = second @ np.linalg.inv(first) @ to_scan["study1"]
    one = image_means(scans["study1"].image, scans["study1"].image_grid, to_scan["study1"], common)
    two = image_means(scans["study2"].image, scans["study2"].image_grid, there, common)
    assert np.corrcoef(one[brain > 0], two[brain > 0])[0, 1] >= 0.95
    assert result.visits["study2"].quality.correlation_after > 0.95

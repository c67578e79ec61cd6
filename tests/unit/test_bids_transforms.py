"""SimpleITK and nitransforms apply exported transforms as the library does, on oblique grids in any order."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import SimpleITK as sitk
import torch
from finished_results import random_grid, write_patient
from scipy import ndimage

from longimorph.bids.export import export
from longimorph.geometry.grid import Grid, axis_codes, flip_ras_lps, transform_points
from longimorph.geometry.poses import inverse
from longimorph.io import atomic
from longimorph.io.transforms import read_displacement, read_rigid
from longimorph.numerics.fields import interpolate

SEEDS = range(6)
CLOSE_MM = 0.01
Points = np.ndarray
Map = Callable[[Points], Points]


class Case:
    """One patient on a random grid: the library's own maps of points (RAS mm), and the exported files."""

    def __init__(self, folder: Path, seed: int) -> None:
        patient = folder / "results" / "patients" / "P1"
        write_patient(patient, {"V1": 0.0, "V2": 100.0}, seed=seed)
        export(folder / "results", folder / "bids")
        self.folder = folder / "bids" / "sub-P1"
        self.grid = read_displacement(patient / "V1__V2" / "warp.nii.gz")[1]
        first, second = (read_rigid(patient / visit / "rigid.tfm") for visit in ("V1", "V2"))
        pair = "ses-V2_from-{}_to-{}_space-common_mode-image_xfm.nii.gz"
        rigid = "{}_from-{}_to-{}_mode-image_xfm.txt"
        warp, back = (patient / "V1__V2" / f"{name}.nii.gz" for name in ("warp", "inverse_warp"))
        self.own: dict[str, Map] = {
            rigid.format("ses-V1", "orig", "common"): lambda x: transform_points(first, x),
            rigid.format("ses-V2", "orig", "common"): lambda x: transform_points(second, x),
            rigid.format("ses-V1", "common", "orig"): lambda x: transform_points(inverse(first), x),
            rigid.format("ses-V2", "common", "orig"): lambda x: transform_points(inverse(second), x),
            pair.format("V1", "V2"): lambda x: moved(warp, x),
            pair.format("V2", "V1"): lambda x: moved(back, x),
        }
        self.warps = {pair.format("V1", "V2"): warp, pair.format("V2", "V1"): back}
        names = list(self.own)
        self.chain = (names[3], names[4], names[0])
        """In the order of application: from the scan of V2 to the common space, to V1, to its scan."""

    def file(self, name: str) -> str:
        return str(self.folder / name[:6] / "anat" / f"sub-P1_{name}")


def moved(file: Path, points: Points) -> Points:
    """Points (n, 3), RAS mm, moved by a displacement field as the registration interpolates it."""
    field, grid = read_displacement(file)
    spacing = grid.spacing.tolist()
    where = torch.from_numpy((grid.world_to_index(points) * grid.spacing).T.reshape(3, -1, 1, 1).copy())
    steps = interpolate(torch.from_numpy(field.copy()), where, spacing).numpy().reshape(3, -1)
    return points + (grid.directions @ steps).T


def inside(grid: Grid, chance: np.random.Generator, count: int = 200) -> Points:
    """Random points inside a grid, RAS mm."""
    return grid.index_to_world(chance.uniform(0.01, 0.99, (count, 3)) * (np.array(grid.shape) - 1))


def nodes(grid: Grid, chance: np.random.Generator, count: int = 200) -> Points:
    """Random voxel centres."""
    return grid.index_to_world(chance.integers(0, grid.shape, (count, 3)))


@pytest.fixture(scope="module", params=SEEDS)
def case(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Case:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(atomic, "_flush", lambda path: None)
        return Case(tmp_path_factory.mktemp("case"), request.param)


def itk(file: str) -> sitk.Transform:
    if file.endswith(".txt"):
        return sitk.ReadTransform(file)
    return sitk.DisplacementFieldTransform(sitk.ReadImage(file, sitk.sitkVectorFloat64))


def by_itk(transform: sitk.Transform, points: Points) -> Points:
    found = [transform.TransformPoint(point) for point in flip_ras_lps(points).tolist()]
    return flip_ras_lps(np.array(found))


def apart(a: Points, b: Points) -> float:
    return float(np.linalg.norm(a - b, axis=1).max())


def test_the_grids_are_oblique_and_most_are_not_stored_as_ras() -> None:
    grids = [random_grid(np.random.default_rng(seed)) for seed in SEEDS]
    assert len({axis_codes(grid) for grid in grids}) > 3
    assert all(np.abs(grid.directions).max(axis=0).min() < 0.99 for grid in grids)


def test_every_exported_transform_is_tested(case: Case) -> None:
    files = {path.name.removeprefix("sub-P1_") for path in case.folder.rglob("*_xfm.[tn]*")}
    assert files == set(case.own)


def test_simpleitk_applies_each_as_the_library_does(case: Case) -> None:
    points = inside(case.grid, np.random.default_rng(1))
    for name, own in case.own.items():
        assert apart(own(points), points) > 0.5
        assert apart(by_itk(itk(case.file(name)), points), own(points)) < CLOSE_MM, name


def test_simpleitk_composes_them_from_scan_to_scan(case: Case) -> None:
    common = inside(case.grid, np.random.default_rng(2))
    back = case.own["ses-V2_from-orig_to-common_mode-image_xfm.txt"]
    points = wanted = back(common)
    for name in case.chain:
        wanted = case.own[name](wanted)
    together = sitk.CompositeTransform([itk(case.file(name)) for name in reversed(case.chain)])
    assert apart(by_itk(together, points), wanted) < CLOSE_MM
    assert apart(wanted, points) > 1


def by_nitransforms(file: str, points: Points) -> Points:
    import nitransforms

    kind = nitransforms.linear if file.endswith(".txt") else nitransforms.nonlinear
    return np.asarray(kind.load(file, fmt="itk").map(points))


def test_nitransforms_applies_each_as_the_library_does(case: Case) -> None:
    """Warps at voxel centres: between them nitransforms interpolates by cubic splines."""
    pytest.importorskip("nitransforms", reason="needs nitransforms (make test-bids)")
    points = nodes(case.grid, np.random.default_rng(3))
    for name, own in case.own.items():
        assert apart(by_nitransforms(case.file(name), points), own(points)) < CLOSE_MM, name


def splined(file: Path, points: Points) -> Points:
    """As ``moved``, but by a cubic spline through the places that the voxel centres move to."""
    field, grid = read_displacement(file)
    centres = grid.index_to_world(np.moveaxis(np.indices(grid.shape), 0, -1))
    ends = centres + np.einsum("ab,bijk->ijka", grid.directions, field)
    index = grid.world_to_index(points).T
    return np.stack([ndimage.map_coordinates(ends[..., a], index, order=3) for a in range(3)], axis=-1)


def test_nitransforms_differs_between_voxel_centres_by_its_cubic_splines_alone(case: Case) -> None:
    pytest.importorskip("nitransforms", reason="needs nitransforms (make test-bids)")
    points = inside(case.grid, np.random.default_rng(5))
    for name, source in case.warps.items():
        found = by_nitransforms(case.file(name), points)
        assert apart(found, splined(source, points)) < CLOSE_MM < apart(found, moved(source, points)), name


def test_nitransforms_composes_them_from_scan_to_scan(case: Case) -> None:
    pytest.importorskip("nitransforms", reason="needs nitransforms (make test-bids)")
    common = nodes(case.grid, np.random.default_rng(4))
    found = wanted = case.own["ses-V2_from-orig_to-common_mode-image_xfm.txt"](common)
    for name in case.chain:
        found, wanted = by_nitransforms(case.file(name), found), case.own[name](wanted)
    assert apart(found, wanted) < CLOSE_MM

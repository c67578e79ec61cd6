"""Laws of the whole chain from files to tables: storage, identity, motion, volumes, order, repetition."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from heads import (
    BACKGROUND,
    LESION,
    NAMES,
    VENTRICLES,
    Head,
    Patient,
    around_the_head,
    brain_mm3,
    changes,
    moved,
    status,
    volume,
)
from spaces import storage_orders

from longimorph.geometry.grid import Grid
from longimorph.geometry.poses import rotation, translation
from longimorph.stages.visits import read_json

MEASURED = ("seconds", "observed_peak_bytes")
MEASURED_MEMORY = ("process_bytes", "observed_host_bytes")
WAYS = ["deformation_mm3", "reallocation_mm3"]
FIRST, SECOND = Head(12, lesion_mm=7), Head(15, lesion_mm=9)
UPRIGHT = around_the_head((30, 36, 28), (3, 3, 3))
OBLIQUE = around_the_head((30, 36, 28), (3.1, 2.8, 3.3), (12, -17, 23))
WIDE = around_the_head((36, 42, 34), (3, 3, 3))
ANISOTROPIC = around_the_head((44, 30, 32), (-2.5, 4.2, 3.4), (4, 0, -7))
COARSE: dict[str, Any] = {"spacing_mm": 6.0, "max_evaluations": 3}


def stored(folder: Path, grid: Grid, order: int, **settings: Any) -> Patient:
    """Both visits on ``grid``, in two different orders of their axes, the first in number ``order``."""
    patient = Patient(folder, **COARSE | settings)
    for head, number in ((FIRST, order), (SECOND, (7 * order + 5) % 48)):
        regions, states = (storage_orders(array, grid)[number] for array in head.labels(grid))
        patient.add(regions[0], states[0], regions[1])
    return patient.prepare()


def maps_of(patient: Patient) -> list[tuple[np.ndarray, Grid]]:
    return [volume(patient.results / visit["timepoint"] / "simplex.nii.gz") for visit in patient.visits]


def difference(a: Patient, b: Patient) -> float:
    """The largest difference between the maps of two patients, which must lie on one grid."""
    pairs = list(zip(maps_of(a), maps_of(b), strict=True))
    assert all(np.allclose(one[1].affine, other[1].affine, atol=1e-4) for one, other in pairs)
    return max(float(np.abs(one[0] - other[0]).max()) for one, other in pairs)


def gap_mm3(a: Path, b: Path) -> float:
    """The largest difference between two tables of changes."""
    return float(np.abs(changes(a) - changes(b)).to_numpy().max())


def files(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_the_48_storage_orders_of_an_oblique_scan_give_one_map(tmp_path):
    """Beyond the rounding of headers, which NIfTI keeps in single precision."""
    first = stored(tmp_path / "0", OBLIQUE, 0, reference="none")
    for order in range(1, 48):
        other = stored(tmp_path / str(order), OBLIQUE, order, reference="none")
        assert difference(first, other) < 1e-5, order
        if order in (13, 46):
            assert gap_mm3(first.register(), other.register()) < 1, order


@pytest.mark.parametrize("reference", ["none", "midspace"])
def test_the_storage_order_of_an_upright_scan_changes_no_bit(tmp_path, reference):
    first = stored(tmp_path / "0", UPRIGHT, 0, reference=reference)
    for order in (20, 47):
        other = stored(tmp_path / str(order), UPRIGHT, order, reference=reference)
        for visit in ("V1", "V2"):
            maps = [files(one.results / visit)["simplex.nii.gz"] for one in (first, other)]
            assert maps[0] == maps[1], (order, visit)
    assert gap_mm3(first.register(), other.register()) == 0


def test_in_the_middle_space_the_storage_order_of_an_oblique_scan_does_not_matter(tmp_path):
    first = stored(tmp_path / "0", OBLIQUE, 0)
    for order in (11, 38):
        other = stored(tmp_path / str(order), OBLIQUE, order)
        assert difference(first, other) < 1e-4
        assert gap_mm3(first.register(), other.register()) < 5


def test_turning_the_world_turns_the_maps_and_leaves_the_table(tmp_path):
    turn = translation([20, -7, 4]) @ rotation([25, 10, -30])
    results = []
    for name, world in (("here", np.eye(4)), ("there", turn)):
        patient = Patient(tmp_path / name, reference="none", **COARSE)
        for head in (FIRST, SECOND):
            patient.add(*head.labels(UPRIGHT), Grid(UPRIGHT.shape, world @ UPRIGHT.affine))
        results.append((patient.run(), volume(patient.results / "V1" / "simplex.nii.gz")))
    (here, (maps, grid)), (there, (turned, its_grid)) = results
    assert np.allclose(its_grid.affine, turn @ grid.affine, atol=1e-4)
    assert np.abs(maps - turned).max() < 1e-5
    assert gap_mm3(here, there) < 1
    assert abs(changes(here).loc[VENTRICLES, "deformation_mm3"]) > 1000


@pytest.mark.parametrize("image", [False, True])
@pytest.mark.parametrize("third", [False, True])
def test_the_same_scan_twice_gives_exact_zeros(tmp_path, image, third):
    patient = Patient(tmp_path, **COARSE)
    patient.add_again(patient.add_head(FIRST, image=image))
    if third:
        patient.add_head(replace(SECOND, pose=moved((5, -6, 8), (4, 2, -3))), WIDE, image=image)
    folder = patient.run()
    assert status(folder)["status"] == "ok"
    table = changes(folder)
    assert (table[[*WAYS, "unexplained_mm3"]] == 0).all(axis=None) and table["volume_from_mm3"].min() > 1000
    zeros = ("deformation", "reallocation", "momentum", "warp", "inverse_warp", "log_jacobian")
    assert all(not volume(folder / f"{name}.nii.gz")[0].any() for name in zeros)
    if third:
        assert changes(patient.register("V2", "V3")).loc[VENTRICLES, "deformation_mm3"] > 1000


def test_the_same_scan_in_another_storage_order_gives_exact_zeros(tmp_path):
    patient = Patient(tmp_path, spacing_mm=6.0)
    for order in (0, 29):
        regions, states = (storage_orders(array, UPRIGHT)[order] for array in FIRST.labels(UPRIGHT))
        patient.add(regions[0], states[0], regions[1])
    assert (changes(patient.run())[WAYS] == 0).all(axis=None)


@pytest.mark.parametrize(
    "image, degrees, shift",
    [
        (False, (6, -9, 12), (5, -4, 6)),
        (False, (-15, 4, 20), (6, 5, -4)),
        (True, (-15, 4, 20), (6, 5, -4)),
    ],
)
def test_a_head_that_only_moves_changes_less_than_a_hundredth(tmp_path, image, degrees, shift):
    patient = Patient(tmp_path)
    patient.add_head(FIRST, WIDE, image)
    patient.add_head(replace(FIRST, pose=moved(degrees, shift)), ANISOTROPIC, image)
    folder = patient.run()
    assert status(folder)["status"] == "ok"
    table = changes(folder)
    assert table[WAYS].abs().max(axis=None) < 0.01 * brain_mm3(table)


@pytest.mark.parametrize("reference", ["none", "baseline", "midspace"])
def test_maps_keep_the_volumes_of_the_scans(tmp_path, reference):
    patient = Patient(tmp_path, reference=reference)
    patient.add_head(FIRST, ANISOTROPIC)
    pose = np.eye(4) if reference == "none" else moved((5, -6, 8), (4, 2, -3))
    patient.add_head(replace(SECOND, pose=pose), WIDE)
    for visit, (maps, _) in zip(("V1", "V2"), maps_of(patient.prepare()), strict=True):
        assert maps.ndim == 4 and maps.shape[-1] == len(NAMES) and maps.dtype == np.float32
        assert maps.min() >= 0 and np.abs(maps.sum(-1, dtype=np.float64) - 1).max() < 1e-6
        qc = read_json(patient.results / visit / "qc.json")
        native, found = qc["volumes_native_mm3"], qc["volumes_mm3"]
        for name in set(NAMES) - {BACKGROUND}:
            assert native[name] > 500 and abs(found[name] - native[name]) < 0.01 * native[name], name


@pytest.mark.parametrize("first, second", [(Head(12), Head(12, lesion_mm=9)), (Head(12, 6), Head(15, 9))])
def test_exchanging_the_visits_exchanges_the_signs(tmp_path, first, second):
    """As far as the fits go: the way back is another geodesic than the way there."""
    patient = Patient(tmp_path, reference="none", max_evaluations=30)
    patient.add_head(first)
    patient.add_head(second)
    there, back = changes(patient.prepare().register()), changes(patient.register("V2", "V1"))
    grown = there["volume_to_mm3"] - there["volume_from_mm3"]
    for name, way in ((LESION, "reallocation_mm3"), (VENTRICLES, "deformation_mm3")):
        if grown[name] > 0:
            assert min(there.loc[name, way], -back.loc[name, way]) > 0.85 * grown[name], name
    assert grown[LESION] > 2000
    assert (there[WAYS] + back[WAYS]).abs().max(axis=None) < 0.05 * grown.abs().max()


def test_the_order_of_the_visits_does_not_change_their_maps(tmp_path):
    heads = [FIRST, replace(SECOND, pose=moved((5, -6, 8), (4, 2, -3)))]
    maps = []
    for name, order in (("there", (0, 1)), ("back", (1, 0))):
        patient = Patient(tmp_path / name)
        for number in order:
            patient.add_head(heads[number], WIDE)
        patient.prepare()
        maps.append([files(patient.results / f"V{order.index(n) + 1}")["simplex.nii.gz"] for n in (0, 1)])
    assert maps[0] == maps[1]


def test_a_second_run_gives_the_same_bytes(tmp_path):
    patient = Patient(tmp_path, spacing_mm=5.0, max_evaluations=6)
    patient.add_head(FIRST, WIDE, image=True)
    patient.add_head(replace(SECOND, pose=moved((5, -6, 8), (4, 2, -3))), ANISOTROPIC, image=True)
    runs = []
    for _ in range(2):
        told = status(patient.run())
        told["memory"] = {k: v for k, v in told["memory"].items() if k not in MEASURED_MEMORY}
        runs.append((files(patient.results), {k: told[k] for k in told if k not in MEASURED}))
        del runs[-1][0]["V1__V2/status.json"]
    assert len(runs[0][0]) > 15 and [n for n in runs[0][0] if runs[0][0][n] != runs[1][0][n]] == []
    assert runs[0][1] == runs[1][1]

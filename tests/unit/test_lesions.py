"""Single lesions: which are the same at two visits, what happened to them, and sums that add up."""

from __future__ import annotations

import json
import sys
from decimal import Decimal
from itertools import pairwise
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

REPOSITORY = Path(__file__).parents[2]
sys.path.insert(0, str(REPOSITORY))

from benchmarks.phantoms import lesion_results as written  # noqa: E402
from benchmarks.phantoms import lesions as phantoms  # noqa: E402
from benchmarks.phantoms.lesions import FLUID, LESION, OUTSIDE, WHITE  # noqa: E402
from longimorph.geometry.grid import Grid  # noqa: E402
from longimorph.io.transforms import read_displacement, write_displacement  # noqa: E402
from longimorph.maps import lesion_regions  # noqa: E402
from longimorph.maps import lesions as single  # noqa: E402
from longimorph.maps.lattice import Lattice  # noqa: E402
from longimorph.maps.lesion_matching import Flow, match  # noqa: E402
from longimorph.tables import columns, read_changes  # noqa: E402
from longimorph.tables.lesions import REST, cohort_lesions  # noqa: E402

SIDE = 48
GRID = Grid((SIDE,) * 3, np.diag([1.0, 1.0, 1.0, 1.0]))


def box(*balls: tuple[tuple[float, float, float], float]) -> np.ndarray:
    """A cube of white matter in background, with lesions that are balls (centre in voxels, radius)."""
    labels = np.full(GRID.shape, OUTSIDE, dtype=np.int16)
    labels[6:-6, 6:-6, 6:-6] = WHITE
    for centre, radius in balls:
        away = np.linalg.norm(np.indices(GRID.shape) - np.reshape(centre, (3, 1, 1, 1)), axis=0)
        labels[(away < radius) & (labels == WHITE)] = LESION
    return labels


def results(folder: Path, *labels: np.ndarray, pairs: str = "consecutive") -> written.Results:
    """Results of visits V1, V2 and so on, in which nothing moves."""
    names = [f"V{number}" for number in range(1, len(labels) + 1)]
    planned = {
        "consecutive": list(pairwise(names)),
        "baseline": [(names[0], name) for name in names[1:]],
        "all": [(a, b) for i, a in enumerate(names) for b in names[i + 1 :]],
    }[pairs]
    found = written.write_visits(
        folder, {name: (own, GRID) for name, own in zip(names, labels, strict=True)}, 2.0, planned
    )
    for first, last in planned:
        written.write_pair(found, first, last, moves=False)
    return found


def events(rows: pd.DataFrame) -> list[str]:
    """What happened, without the row of the rest."""
    return rows.loc[rows["event"] != REST, "event"].tolist()


@pytest.mark.parametrize(("noise", "shift_mm"), [(0.0, 0.0), (0.5, 0.3)])
def test_known_events_are_found(tmp_path: Path, noise: float, shift_mm: float) -> None:
    """Of lesions that a widening ventricle pushes, with exact and with noisy labels."""
    found = written.Score(0, 0, 0)
    for seed in range(4):
        phantom = phantoms.phantom(seed, noise=noise, shift_mm=shift_mm)
        made = written.of_phantom(tmp_path / str(seed), phantom, 2.0)
        written.write_pair(made, "V1", "V2")
        found += written.total(written.score(made.lesions(), phantom.sites))
    assert found.right + found.missed == 80
    assert found.f1 >= 0.95, found


def test_the_score_counts_what_is_missed_and_what_is_invented() -> None:
    sites = [phantoms.Site("new", (0, 0, 0), 3.0), phantoms.Site("gone", (40, 0, 0), 3.0)]
    rows = pd.DataFrame({"event": ["new", "stable", "gone", REST], "x_mm": [1, 2, 90, np.nan]})
    found = written.score(rows.assign(y_mm=0.0, z_mm=0.0), sites)
    assert written.total(found) == written.Score(right=1, missed=1, wrong=2)


def test_the_rows_of_a_class_add_up_to_its_row_in_changes(tmp_path: Path) -> None:
    phantom = phantoms.phantom(5, noise=0.5)
    made = written.of_phantom(tmp_path, phantom, 3.0)
    written.write_pair(made, "V1", "V2")
    made.lesions()
    text = pd.read_csv(tmp_path / "lesions.csv", dtype=str, keep_default_na=False)
    changes = pd.read_csv(tmp_path / "V1__V2" / "changes.csv", dtype=str).set_index("class")
    assert len(text) > 15 and (text["class"] == "lesion").all()
    for name in columns.VOLUMES:
        assert sum(map(Decimal, text[name])) == Decimal(str(changes.loc["lesion", name])), name
    for row in text.to_dict("records"):
        before, after, change = (Decimal(row[f"{k}_mm3"]) for k in ("volume_from", "volume_to", "change"))
        parts = (Decimal(row[f"{k}_mm3"]) for k in ("deformation", "reallocation", "unexplained"))
        assert after - before == change == sum(parts)


def test_what_belongs_to_no_lesion_is_what_lies_in_no_region(tmp_path: Path) -> None:
    """The last row is a difference in the file; the maps say the same."""
    made = results(tmp_path, box(((20, 20, 20), 5)), box(((20, 20, 20), 6), ((35, 35, 35), 1.2)))
    rows = made.lesions()
    assert events(rows) == ["enlarged"]  # the second lesion is smaller than the least that counts
    rest = rows[rows["event"] == REST].iloc[0]
    assert rest["volume_to_mm3"] == pytest.approx(7, abs=0.5) and rest["volume_from_mm3"] < 0.5
    assert rest["reallocation_mm3"] == pytest.approx(rest["change_mm3"], abs=0.01)


@settings(max_examples=25, deadline=None)
@given(st.integers(0, 10_000), st.floats(0.7, 3.5), st.floats(0, 6))
def test_sums_over_regions_and_the_rest_are_the_sum_over_the_grid(
    seed: int, spacing: float, reach_mm: float
) -> None:
    chance = np.random.default_rng(seed)
    grid = Grid((7, 6, 8), np.diag([spacing, spacing, 1.5 * spacing, 1.0]))
    lattice = Lattice.of(grid)
    one, two = (single.find(chance.random(lattice.fine.shape) < 0.03, lattice.fine, 1.0) for _ in range(2))
    nothing = np.zeros((3, *grid.shape))
    groups = match(one, two, Flow(lattice, nothing, nothing))
    places = lesion_regions.regions(groups, one, two, lattice, reach_mm)
    values = chance.normal(size=grid.shape)
    sums = places.sums(values)
    assert len(sums) == len(groups) + 1
    assert sums.sum() == pytest.approx(values.sum() * grid.voxel_volume, abs=1e-6)
    ones = places.sums(np.ones(grid.shape))
    assert (ones >= -1e-9).all() and ones[:-1].sum() <= np.prod(grid.shape) * grid.voxel_volume * (1 + 1e-12)


@settings(max_examples=25, deadline=None)
@given(st.integers(0, 10_000))
def test_every_lesion_is_in_one_group_and_time_runs_both_ways(seed: int) -> None:
    chance = np.random.default_rng(seed)
    grid = Grid((20, 18, 16), np.diag([1.0, 1.0, 1.0, 1.0]))
    lattice = Lattice.of(grid)
    one, two = (single.find(chance.random(grid.shape) < 0.04, grid, 1.0) for _ in range(2))
    field = chance.normal(size=(3, 1, 1, 1)) * np.ones((3, *grid.shape))
    groups = match(one, two, Flow(lattice, field, -field))
    back = match(two, one, Flow(lattice, -field, field))
    for side, found in ((0, one), (1, two)):
        own = [n for group in groups for n in (group.source, group.target)[side]]
        assert len(set(own)) == len(own) and set(own) <= set(range(1, found.count + 1))
        assert set(own) >= {int(n) + 1 for n in np.flatnonzero(found.large)}
    assert {(g.source, g.target) for g in groups} == {(g.target, g.source) for g in back}


def test_a_lattice_divides_voxels_and_keeps_their_places() -> None:
    grid = Grid((4, 3, 2), np.array([[0, 2.0, 0, 5], [-3.0, 0, 0, 6], [0, 0, 0.5, 7], [0, 0, 0, 1]]))
    lattice = Lattice.of(grid)
    assert lattice.factors == (3, 2, 1) and lattice.fine.shape == (12, 6, 2)
    assert lattice.fine.voxel_volume * 6 == pytest.approx(grid.voxel_volume)
    np.testing.assert_allclose(lattice.fine.centre(), grid.centre())
    parts = np.moveaxis(np.indices((3, 2, 1)), 0, -1).reshape(-1, 3)
    np.testing.assert_allclose(
        lattice.fine.index_to_world(parts).mean(axis=0), grid.index_to_world([0, 0, 0])
    )
    values = np.arange(24.0).reshape(4, 3, 2)
    whole = (slice(0, 12), slice(0, 6), slice(0, 2))
    assert lattice.spread(values, whole)[3:6, 2:4, 1].ravel().tolist() == [values[1, 1, 1]] * 6


def test_surface_and_uncertainty_of_a_ball() -> None:
    found = single.find(box(((24, 24, 24), 10)) == LESION, GRID, 1.0)
    assert found.count == 1 and found.volumes[0] == pytest.approx(4 / 3 * np.pi * 1000, rel=0.03)
    assert found.surfaces[0] == pytest.approx(4 * np.pi * 100, rel=0.05)
    coarse = single.find(box(((24, 24, 24), 10)) == LESION, GRID, 2.0)
    assert found.uncertainties[0] < coarse.uncertainties[0] < 4 * found.uncertainties[0]
    assert 0.05 < found.uncertainties[0] / found.volumes[0] < 0.1


def test_a_lesion_that_is_pushed_away_from_its_place_is_the_same(tmp_path: Path) -> None:
    phantom = phantoms.phantom(3, sites=0)
    here = np.array([14.0, 0.0, 0.0])
    there = phantoms.pushed(here)
    labels = [own.copy() for own in phantom.labels]
    for own, at in zip(labels, (here, there), strict=True):
        places = np.moveaxis(phantom.grid.index_to_world(np.moveaxis(np.indices(own.shape), 0, -1)), -1, 0)
        own[np.linalg.norm(places - at.reshape(3, 1, 1, 1), axis=0) < 1.7] = LESION
    assert not ((labels[0] == LESION) & (labels[1] == LESION)).any()
    visits = {name: (own, phantom.grid) for name, own in zip(("V1", "V2"), labels, strict=True)}
    made = written.write_visits(tmp_path, visits, 2.0, [("V1", "V2")])
    written.write_pair(made, "V1", "V2")
    assert events(made.lesions()) == ["stable"]
    written.write_pair(made, "V1", "V2", moves=False)
    assert sorted(events(made.lesions())) == ["gone", "new"]


def test_a_warp_that_follows_noise_parts_no_lesion_from_itself(tmp_path: Path) -> None:
    """The warp moves all by 6 mm, but the lesion is where it was."""
    made = results(tmp_path, box(((20, 20, 20), 2)), box(((20, 20, 20), 2)))
    for name, step in (("warp", 6.0), ("inverse_warp", -6.0)):
        _, own = read_displacement(tmp_path / "V1__V2" / f"{name}.nii.gz")
        field = np.zeros((3, *own.shape))
        field[0] = step
        write_displacement(tmp_path / "V1__V2" / f"{name}.nii.gz", field, own)
    assert events(made.lesions()) == ["stable"]


def test_a_lesion_shrinks_below_the_least_volume_without_being_gone(tmp_path: Path) -> None:
    made = results(tmp_path, box(((20, 20, 20), 3)), box(((20, 20, 20), 1.2)), box(((20, 20, 20), 3)))
    rows = made.lesions()
    assert events(rows) == ["shrunk", "enlarged"]
    assert set(rows["lesion"]) == {"1", ""}


def test_new_and_gone_lesions_close_by_are_one_that_was_drawn_elsewhere(tmp_path: Path) -> None:
    near = results(tmp_path / "near", box(((20, 20, 20), 2)), box(((24, 20, 20), 2)))
    assert events(near.lesions()) == ["stable"]
    far = results(tmp_path / "far", box(((20, 20, 20), 2)), box(((28, 20, 20), 2)))
    assert sorted(events(far.lesions())) == ["gone", "new"]


LEFT, RIGHT, MIDDLE = ((15, 20, 20), 3.5), ((25, 20, 20), 4.0), ((20, 20, 20), 4.0)


def test_one_name_through_all_visits(tmp_path: Path) -> None:
    """A lesion that others join keeps the name of the largest, which the largest part keeps afterwards."""
    other = ((35, 35, 35), 3.0)
    made = results(
        tmp_path, box(LEFT, RIGHT), box(LEFT, RIGHT, MIDDLE), box(LEFT, RIGHT, other), box(LEFT, other)
    )
    rows = made.lesions()
    told = [(r["from"], r["event"], r["lesion"], r["lesions_from"], r["lesions_to"]) for r in
            rows[rows["event"] != REST].to_dict("records")]  # fmt: skip
    assert told == [
        ("V1", "merged", "1", "1; 2", "1"),
        ("V2", "split", "1", "1", "1; 3"),
        ("V2", "new", "4", "", "4"),
        ("V3", "gone", "1", "1", ""),
        ("V3", "stable", "3", "3", "3"),
        ("V3", "stable", "4", "4", "4"),
    ]


@pytest.mark.parametrize(("pairs", "names"), [("baseline", ["1", "2"]), ("all", ["1"])])
def test_with_other_pairs_only_pairs_connect_visits(tmp_path: Path, pairs: str, names: list[str]) -> None:
    spot = ((20, 20, 20), 3.0)
    rows = results(tmp_path, box(), box(spot), box(spot), pairs=pairs).lesions()
    assert sorted(set(rows["lesion"]) - {""}) == names
    assert set(events(rows)) == ({"new"} if pairs == "baseline" else {"new", "stable"})


def test_a_further_visit_renames_no_lesion(tmp_path: Path) -> None:
    labels = [box(LEFT), box(LEFT, RIGHT), box(LEFT, RIGHT, ((35, 35, 35), 3))]
    few = results(tmp_path / "few", *labels[:2], pairs="all").lesions()
    more = results(tmp_path / "more", *labels, pairs="all").lesions()
    same = more[(more["from"] == "V1") & (more["to"] == "V2")]
    assert same["lesion"].tolist() == few["lesion"].tolist()


def test_without_lesions_the_whole_class_is_the_rest(tmp_path: Path) -> None:
    rows = results(tmp_path, box(), box()).lesions()
    assert rows["event"].tolist() == [REST] and rows["lesion"].tolist() == [""]
    assert rows["page"].tolist() == [""] and float(rows[list(columns.VOLUMES)].abs().to_numpy().max()) < 0.1


def test_without_pathological_classes_there_are_no_rows(tmp_path: Path) -> None:
    made = results(tmp_path, box(), box())
    healthy = made.folder / "classes.tsv"
    healthy.write_text("class\tregions\tstates\nwhite matter\t1\t*\nfluid\t2\t*\nbackground\t0\t*\n")
    rows = made.lesions()
    assert len(rows) == 0 and tuple(rows.columns) == columns.LESIONS


def test_a_lesion_at_the_edge_of_the_grid(tmp_path: Path) -> None:
    labels = [np.full(GRID.shape, WHITE, dtype=np.int16) for _ in range(2)]
    for own, depth in zip(labels, (4, 8), strict=True):
        own[:depth, :8, -8:] = LESION
    made = results(tmp_path, *labels)
    rows = made.lesions()
    assert events(rows) == ["enlarged"]
    assert rows["volume_to_mm3"].iloc[0] > 400 and rows["volume_from_mm3"].iloc[0] > 200


def test_what_one_visit_does_not_show_is_neither_new_nor_gone(tmp_path: Path) -> None:
    """The second scan ends in the brain; a lesion beyond its end was not compared."""
    first, last = box(((24, 24, 36), 3), ((24, 24, 14), 3)), box(((24, 24, 36), 3), ((24, 24, 14), 3))
    cut = Grid((SIDE, SIDE, 28), GRID.affine)
    visits = {"V1": (first, GRID), "V2": (last[:, :, :28], cut)}
    made = written.write_visits(tmp_path, visits, 2.0, [("V1", "V2")])
    written.write_pair(made, "V1", "V2", moves=False)
    assert (tmp_path / "V1__V2" / "compared.nii.gz").exists()
    rows = made.lesions()
    assert sorted(events(rows)) == ["not compared", "stable"]
    assert read_changes(tmp_path / "V1__V2" / "changes.csv")["volume_to_mm3"].iloc[0] == pytest.approx(
        rows["volume_to_mm3"].sum(), abs=1e-6
    )


def test_a_failed_pair_has_a_row_with_its_failure(tmp_path: Path) -> None:
    made = results(tmp_path, box(LEFT), box(LEFT), box(LEFT))
    (tmp_path / "V2__V3" / "status.json").write_text(json.dumps({"status": "diverged", "stage": "register"}))
    rows = made.lesions()
    assert rows["status"].tolist() == ["ok", "ok", "diverged"]
    failed = rows.iloc[2]
    assert (failed["from"], failed["class"], failed["event"], failed["page"]) == ("V2", "lesion", "", "")
    assert rows.loc[2:, list(columns.LESION_NUMBERS)].isna().all(axis=None)


def test_uncertainties_of_the_split(tmp_path: Path) -> None:
    """The class's uncertainty in proportion to all that changed, what is not explained, and the edges."""
    made = results(tmp_path, box(LEFT), box(LEFT, ((35, 35, 35), 4)))
    changes = columns.read_table(tmp_path / "V1__V2" / "changes.csv")
    changes["reallocation_low_mm3"] = changes["reallocation_mm3"] - 300
    changes["reallocation_high_mm3"] = changes["reallocation_mm3"] + 500
    columns.as_text(changes).to_csv(tmp_path / "V1__V2" / "changes.csv", index=False)
    rows = made.lesions().set_index("event")
    edges, both = rows["change_uncertainty_mm3"].fillna(0), rows["reallocation_uncertainty_mm3"]
    own = np.sqrt(both**2 - edges**2)
    assert own.sum() == pytest.approx(500 + rows["unexplained_mm3"].abs().sum(), abs=0.1)
    assert own["new"] > 490 and (edges[["new", "stable"]] > 20).all()
    moved = rows["deformation_uncertainty_mm3"] - rows["unexplained_mm3"].abs()
    assert moved[["new", "stable"]].to_numpy() == pytest.approx(edges[["new", "stable"]].to_numpy(), abs=0.01)


def test_links_lead_from_each_table_to_the_page(tmp_path: Path) -> None:
    patient = tmp_path / "patients" / "P"
    rows = results(patient, box(), box(LEFT)).lesions()
    (page,) = [page for page in rows["page"] if page]
    assert page == "report.html#pair=V1__V2&at=15.0,20.0,20.0"
    cohort_lesions([patient], (), tmp_path / "cohort" / "lesions.csv")
    cohort = columns.read_table(tmp_path / "cohort" / "lesions.csv")
    assert cohort["page"].tolist() == [f"../patients/P/{page}", ""]
    assert cohort.drop(columns="page").equals(rows.drop(columns="page"))


def test_two_lesions_in_one_voxel_of_the_grid_share_it(tmp_path: Path) -> None:
    """Maps of 6 mm; the lesions are told apart by the labels, and each has about its own volume."""
    labels = box(((20, 20, 20), 2.2), ((20, 20, 26), 2.2))
    names = {"V1": (box(), GRID), "V2": (labels, GRID)}
    made = written.write_visits(tmp_path, names, 6.0, [("V1", "V2")])
    written.write_pair(made, "V1", "V2", moves=False)
    rows = made.lesions()
    assert events(rows) == ["new", "new"]
    assert (rows["volume_to_mm3"][:2] > 25).all()
    assert (labels == FLUID).sum() == 0

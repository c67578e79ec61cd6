"""``visits.csv``: sums over pairs, what failures leave, percentages, covariates; dictionaries of tables."""

from __future__ import annotations

import csv
import json
from collections.abc import Sequence
from decimal import Decimal
from itertools import combinations, pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from longimorph import tables
from longimorph.report import courses
from longimorph.report.pairs import load_pair_results
from longimorph.study.further import VISIT_COLUMNS
from longimorph.tables import columns, dictionary, reference
from longimorph.tables.dictionary import sidecar

REPOSITORY = Path(__file__).parents[2]
CLASSES = ["lesion", "WM", "background"]
NAMED = [
    {"class": "lesion", "region": "WM", "state": "ill"},
    {"class": "WM", "region": "WM", "state": "healthy"},
    {"class": "background", "region": "", "state": "healthy"},
]
VISITS = ["V10", "V2", "V3"]  # in order of time, which is not that of their names
DAYS = {"V10": -10.0, "V2": 355.25, "V3": 720.5}
MOVED = np.array([[0, 0, 0], [2.0, -500.25, 498.25], [5.125, -900.5, 895.375]])
TURNED = np.array([[0, 0, 0], [40.0, -40.0, 0], [100.0, -100.0, 0]])
VOLUMES = np.array([0.25, 500_000.0, 900_000.0]) + MOVED + TURNED
MODES = {
    "consecutive": list(pairwise(range(3))),
    "baseline": [(0, 1), (0, 2)],
    "all": list(combinations(range(3), 2)),
}


NOISE = np.arange(1.0, 10.0).reshape(3, 3)  # deformation, reallocation, change; times i + j per pair
FLOORS = [f"{kind}_since_first_floor_mm3" for kind in ("deformation", "reallocation", "change")]


def make(
    root: Path,
    pairs: Sequence[tuple[int, int]],
    failed: Sequence[tuple[int, int]] = (),
    lost: str = "",
    icv: Any = (),
    patient: str = "001",
) -> pd.DataFrame:
    """The table of a patient with these pairs; ``lost``: a visit without maps; ``icv``: given ones."""
    out = root / "patients" / patient
    rows, folders = [], []
    for i, j in pairs:
        names = {"patient": patient, "from": VISITS[i], "to": VISITS[j]}
        folder = out / f"{VISITS[i]}__{VISITS[j]}"
        bad = (i, j) in failed or lost in (VISITS[i], VISITS[j])
        said: dict[str, Any] = {"status": "ok", "not_shown_mm3": {VISITS[i]: 0.0, VISITS[j]: 3.5 * j}}
        if bad:
            said = {
                "status": "unreadable" if lost else "diverged",
                "message": "it is so",
                "stage": "register",
            }
            tables.write_failed_pair(folder, names, CLASSES, said["status"])
        else:
            moved, turned = MOVED[j] - MOVED[i], TURNED[j] - TURNED[i]
            none = np.zeros((3, 3))
            found = tables.PairChanges(
                VOLUMES[i], VOLUMES[j], moved, turned, none, none, np.full((10, 3), 2.0), NOISE * (i + j)
            )
            tables.write_pair(folder, names, CLASSES, found)
        (folder / "status.json").write_text(json.dumps(said))
        (folder / "convergence.csv").write_text("iteration\n")
        rows.append({**names, "days": DAYS[VISITS[j]] - DAYS[VISITS[i]], "logs": {}})
        folders.append(folder)
    for number, visit in enumerate(VISITS):
        record: dict[str, Any] = {"status": "unreadable"} if visit == lost else {"status": "ok"}
        if visit != lost:
            record["volumes_mm3"] = dict(zip(CLASSES, VOLUMES[number].tolist(), strict=True))
        (out / visit).mkdir(parents=True)
        (out / visit / "qc.json").write_text(json.dumps(record))
    tables.patient_tables(patient, rows, folders, NAMED, out)
    visits: list[dict[str, Any]] = [{"timepoint": visit, "days": DAYS[visit]} for visit in reversed(VISITS)]
    if len(icv):
        visits = [{**visit, "icv_mm3": value} for visit, value in zip(visits, icv, strict=True)]
    tables.write_patient_visits(patient, visits, rows, NAMED, out)
    return columns.read_table(out / "visits.csv")


def row(table: pd.DataFrame, visit: str, name: str) -> dict[str, Any]:
    """The row of a visit and class."""
    (found,) = table[(table["timepoint"] == visit) & (table["class"] == name)].to_dict("records")
    return {str(key): value for key, value in found.items()}


@pytest.mark.parametrize("mode", MODES)
def test_every_choice_of_pairs_gives_the_same_changes_if_they_are_additive(tmp_path: Path, mode: str) -> None:
    table = make(tmp_path, MODES[mode])
    assert table["timepoint"].tolist() == [visit for visit in VISITS for _ in CLASSES]
    assert table["class"].tolist() == CLASSES * 3
    assert np.allclose(table["deformation_since_first_mm3"], MOVED.ravel(), rtol=0, atol=1e-9)
    assert np.allclose(table["reallocation_since_first_mm3"], TURNED.ravel(), rtol=0, atol=1e-9)
    assert np.allclose(table["volume_mm3"], VOLUMES.ravel(), rtol=0, atol=1e-9)
    steps = [0, 1, 2 if mode == "consecutive" else 1]
    assert table["pairs_summed"].tolist() == np.repeat(steps, 3).tolist()
    assert table["deformation_since_first_uncertainty_mm3"].tolist() == np.repeat(steps, 3).dot(2).tolist()


def test_the_decimals_of_a_row_add_up_and_rates_and_percentages_belong_to_them(tmp_path: Path) -> None:
    make(tmp_path, MODES["consecutive"])
    with (tmp_path / "patients" / "001" / "visits.csv").open(newline="") as file:
        for cells in csv.DictReader(file):
            parts = [
                Decimal(cells[f"{kind}_since_first_mm3"])
                for kind in ("deformation", "reallocation", "unexplained")
            ]
            assert Decimal(cells["change_since_first_mm3"]) == sum(parts)
    table = columns.read_table(tmp_path / "patients" / "001" / "visits.csv")
    white = row(table, "V3", "WM")
    assert white["years_since_first"] == 2 and white["days"] == 720.5
    assert white["deformation_since_first_mm3_per_year"] == -450.25
    assert white["deformation_since_first_uncertainty_mm3_per_year"] == 2.0
    assert white["volume_percent"] == pytest.approx(100 * VOLUMES[2][1] / VOLUMES[0][1], abs=1e-3)
    assert white["reallocation_since_first_percent"] == -0.02
    assert white["not_shown_mm3"] == 7.0


def test_the_first_visit_has_zeros_and_no_rate(tmp_path: Path) -> None:
    table = make(tmp_path, MODES["all"])
    first = row(table, "V10", "WM")
    assert (first["status"], first["verdict"], first["years_since_first"]) == ("ok", "", 0)
    assert first["change_since_first_mm3"] == first["deformation_since_first_uncertainty_mm3"] == 0
    assert first["volume_percent"] == 100
    assert np.isnan(first["deformation_since_first_mm3_per_year"])


def test_floors_of_a_sum_follow_from_those_of_its_pairs(tmp_path: Path) -> None:
    two_sided = 1.959964
    for mode, along in (("consecutive", [1, 3]), ("baseline", [2])):
        table = make(tmp_path / mode, MODES[mode])
        last = table[table["timepoint"] == "V3"][FLOORS].to_numpy().T
        parts = two_sided * NOISE[:2] * np.sqrt(np.square(along).sum())
        assert np.allclose(last[:2], parts, rtol=0, atol=2e-3)
        ends = np.sqrt(np.square(along[-2:]).sum())
        assert np.allclose(last[2], two_sided * NOISE[2] * ends, rtol=0, atol=2e-3)
        assert table[table["timepoint"] == "V10"][FLOORS].isna().all(axis=None)


def test_a_class_that_is_absent_at_first_has_no_percentages(tmp_path: Path) -> None:
    table = make(tmp_path, MODES["baseline"])
    percent = [name for name in VISIT_COLUMNS if name.endswith("percent")]
    assert table[table["class"] == "lesion"][percent].isna().all(axis=None)
    assert table[table["class"] != "lesion"][percent].notna().all(axis=None)
    assert row(table, "V3", "lesion")["reallocation_since_first_mm3"] == 100


def test_the_numbers_are_those_of_the_curves_on_the_page(tmp_path: Path) -> None:
    for mode, pairs in MODES.items():
        table = make(tmp_path / mode, pairs)
        folder = tmp_path / mode / "patients" / "001"
        names = [{"patient": "001", "from": VISITS[i], "to": VISITS[j], "days": 1} for i, j in pairs]
        found = [load_pair_results(n, folder / f"{n['from']}__{n['to']}", CLASSES) for n in names]
        for course in courses.courses(DAYS, found, CLASSES):
            for visit, _, amount in course.steps:
                own = row(table, visit, course.name)
                assert amount.moved == pytest.approx(own["deformation_since_first_mm3"] / 1000)
                uncertainty = own["deformation_since_first_uncertainty_mm3"] / 1000
                assert amount.moved_uncertainty == pytest.approx(uncertainty)


SINCE = list(columns.SINCE_FIRST)


def test_after_a_failed_pair_changes_are_empty_and_say_why_and_volumes_stay(tmp_path: Path) -> None:
    table = make(tmp_path, MODES["consecutive"], failed=[(0, 1)])
    assert table["status"].tolist() == ["ok"] * 3 + ["diverged"] * 6
    assert table[table["timepoint"] != "V10"][[*SINCE, "pairs_summed"]].isna().all(axis=None)
    assert table[["volume_mm3", "icv_mm3"]].notna().all(axis=None)


def test_a_later_failure_leaves_what_came_before(tmp_path: Path) -> None:
    table = make(tmp_path, MODES["consecutive"], failed=[(1, 2)])
    assert table["status"].tolist() == ["ok"] * 6 + ["diverged"] * 3
    assert row(table, "V2", "WM")["deformation_since_first_mm3"] == -500.25


def test_with_all_pairs_a_sum_goes_round_a_failed_one(tmp_path: Path) -> None:
    table = make(tmp_path, MODES["all"], failed=[(0, 2)])
    assert set(table["status"]) == {"ok"}
    last = row(table, "V3", "WM")
    assert (last["pairs_summed"], last["deformation_since_first_mm3"]) == (2, -900.5)


def test_a_visit_that_failed_has_no_volume_and_those_behind_it_no_change(tmp_path: Path) -> None:
    table = make(tmp_path, MODES["consecutive"], lost="V2")
    lost, behind = row(table, "V2", "WM"), row(table, "V3", "WM")
    assert (lost["status"], behind["status"]) == ("unreadable", "unreadable")
    assert np.isnan(lost["volume_mm3"]) and np.isnan(lost["icv_mm3"]) and np.isnan(lost["not_shown_mm3"])
    assert behind["volume_mm3"] == VOLUMES[2][1] and np.isnan(behind["change_since_first_mm3"])


def test_without_the_first_visit_no_change_is_known(tmp_path: Path) -> None:
    table = make(tmp_path, MODES["all"], lost="V10")
    assert set(table["status"]) == {"unreadable"}
    assert table[SINCE].isna().all(axis=None)


def test_the_intracranial_volume_is_a_sum_or_what_the_table_gives(tmp_path: Path) -> None:
    table = make(tmp_path / "a", MODES["baseline"])
    assert row(table, "V10", "lesion")["icv_mm3"] == 500_000.25  # without the background
    table = make(tmp_path / "b", MODES["baseline"], icv=[1.4e6, None, 1.5e6])  # the latest visit first
    assert [row(table, visit, "WM")["icv_mm3"] for visit in ("V10", "V3")] == [1.5e6, 1.4e6]
    assert np.isnan(row(table, "V2", "WM")["icv_mm3"])


def test_the_verdict_is_the_worst_of_the_pairs_on_the_way(tmp_path: Path) -> None:
    make(tmp_path, MODES["consecutive"])
    out = tmp_path / "patients" / "001"
    changes = columns.read_table(out / "changes.csv")
    changes["verdict"] = np.where(changes["to"] == "V2", "do not trust", "trust")
    changes.to_csv(out / "changes.csv", index=False)
    pairs = [{"from": VISITS[i], "to": VISITS[j]} for i, j in MODES["consecutive"]]
    tables.write_patient_visits("001", [{"timepoint": v, "days": DAYS[v]} for v in VISITS], pairs, NAMED, out)
    found = columns.read_table(out / "visits.csv").groupby("timepoint")["verdict"].first().to_dict()
    assert found == {"V10": "", "V2": "do not trust", "V3": "do not trust"}


def test_the_cohort_has_the_further_columns_as_they_were_written(tmp_path: Path) -> None:
    folders = []
    for patient in ("001", "NA"):
        make(tmp_path, MODES["baseline"], patient=patient)
        folders.append(tmp_path / "patients" / patient)
    cells = {p: {v: [f"0{n}", 'a, "b"', ""] for n, v in enumerate(VISITS)} for p in ("001", "NA")}
    further = ["age", "sex at birth", "site"]
    tables.write_cohort_visits(folders, further, cells, NAMED, tmp_path / "cohort")
    with (tmp_path / "cohort" / "visits.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert list(rows[0]) == [*VISIT_COLUMNS, *further]
    assert [row["patient"] for row in rows] == ["001"] * 9 + ["NA"] * 9
    assert {(row["timepoint"], row["age"]) for row in rows} == {("V10", "00"), ("V2", "01"), ("V3", "02")}
    assert {row["sex at birth"] for row in rows} == {'a, "b"'} and {row["site"] for row in rows} == {""}
    said = json.loads((tmp_path / "cohort" / "visits.json").read_text())
    assert list(said) == list(rows[0])
    assert said["age"] == {"Description": "column age of cohort.tsv, as written there"}
    assert said["class"]["Levels"]["lesion"] == "region WM, state ill"
    tables.write_cohort_visits([], further, {}, NAMED, tmp_path / "nobody")
    assert (tmp_path / "nobody" / "visits.csv").read_text() == ",".join([*VISIT_COLUMNS, *further]) + "\n"


def test_every_table_has_a_dictionary_of_its_columns(tmp_path: Path) -> None:
    make(tmp_path, MODES["all"])
    tables.cohort_tables([tmp_path / "patients" / "001"], NAMED, tmp_path / "cohort")
    tables.write_pair_list([], [], tmp_path / "cohort" / "pairs.csv")
    files = [*(tmp_path / "cohort").glob("*.csv"), *(tmp_path / "patients" / "001").glob("*.csv")]
    assert len(files) == 10 + 10
    for file in files:
        with file.open(newline="") as opened:
            header = next(csv.reader(opened))
        said = json.loads(file.with_suffix(".json").read_text())
        assert list(said) == header, file
        for name, meaning in said.items():
            assert set(meaning) <= {"Description", "Units", "Levels"} and meaning["Description"]
            assert not set("`[]") & set(meaning["Description"]), name
            unit = meaning.get("Units", "")
            assert (unit == "mm³") == name.endswith("_mm3"), name
            assert (unit == "mm³/year") == name.endswith("_mm3_per_year"), name
            assert (unit == "%") == name.endswith("_percent"), name
    assert json.loads((tmp_path / "cohort" / "changes.json").read_text())["verdict"]["Levels"].keys() == {
        "trust", "look", "do not trust",
    }  # fmt: skip


def test_the_manual_has_the_columns_of_the_dictionary() -> None:
    page = (REPOSITORY / "docs" / "outputs.md").read_text(encoding="utf-8")
    assert reference.updated(page) == page, "run: python -m longimorph.tables.reference"
    marked = {part[1] for part in reference.MARKED.findall(page)}
    assert marked == set(dictionary.tables()) - {"marginals_by_region", "marginals_by_state", "repeats"}


def test_the_dictionary_knows_every_column_in_its_order() -> None:
    order = {name: [n for one in found for n in one.names] for name, found in dictionary.tables().items()}
    assert order["visits"] == list(columns.VISITS) and order["changes"] == list(columns.CHANGES)
    assert order["closure"] == list(columns.CLOSURE) and order["memory"] == list(columns.MEMORY)
    assert order["marginals_by_state"] == [n if n != "class" else "state" for n in columns.CHANGES]
    assert order["repeats"] == list(columns.CHANGES) and order["floors"] == list(columns.FLOOR_TABLE)
    with pytest.raises(KeyError, match="volumes"):
        sidecar("changes", ["patient", "volumes"])

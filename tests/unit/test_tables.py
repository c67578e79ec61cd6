"""The tables: decimals that add up, failed pairs that keep their rows, sums by region and by state."""

from __future__ import annotations

import json
from decimal import Decimal
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from longimorph import tables
from longimorph.tables import columns
from longimorph.tables.pair import PairChanges

CLASSES = ["oedema", "WM", "GM"]
PAIR = {"patient": "001", "from": "NA", "to": "2"}
CONTRACT = (
    "patient,from,to,days,class,volume_from_mm3,volume_to_mm3,"
    "deformation_mm3,reallocation_mm3,unexplained_mm3,status"
)


def found(values: np.ndarray) -> PairChanges:
    """Changes of three classes out of five columns of numbers."""
    flows = np.abs(values[:3, :3])
    return PairChanges(
        values[:, 0],
        values[:, 1],
        values[:, 2],
        values[:, 3],
        flows,
        flows.T,
        np.abs(values[:, [0, 1, 2, 3, 0, 1, 0, 1, 2, 3]].T),
    )


NAMED = [
    {"class": "oedema", "region": "", "state": "ill"},
    {"class": "WM", "region": "brain", "state": "healthy"},
    {"class": "GM", "region": "brain", "state": "healthy"},
]


def make_patient(root: Path, patient: str, days: float = 100, failed: bool = False) -> Path:
    """A patient's folder with one pair, done or failed, and the patient's tables."""
    pair = {"patient": patient, "from": "V1", "to": "V2"}
    folder = root / patient / "V1__V2"
    status: dict[str, str] = {"status": "ok"}
    if failed:
        tables.write_failed_pair(folder, pair, CLASSES, "unreadable")
        status = {"status": "unreadable", "stage": "maps", "timepoint": "V2", "message": "not NIfTI, or cut"}
    else:
        tables.write_pair(folder, pair, CLASSES, found(np.random.default_rng(1).normal(size=(3, 4)) * 1e5))
    (folder / "status.json").write_text(json.dumps(status))
    logs = {"register": "register.log", "maps:V1": "maps_V1.log", "maps:V2": "maps_V2.log"}
    tables.patient_tables(patient, [{**pair, "days": days, "logs": logs}], [folder], NAMED, root / patient)
    return root / patient


@settings(max_examples=30, deadline=None)
@given(st.lists(st.floats(-1e7, 1e7), min_size=12, max_size=12))
def test_the_decimals_in_the_file_add_up(
    tmp_path_factory: pytest.TempPathFactory, numbers: list[float]
) -> None:
    folder = tmp_path_factory.mktemp("pair")
    tables.write_pair(folder, PAIR, CLASSES, found(np.array(numbers).reshape(3, 4)))
    lines = (folder / "changes.csv").read_text().splitlines()[1:]
    for line in lines:
        before, after, moved, changed, unexplained = map(Decimal, line.split(",")[4:9])
        assert after - before == moved + changed + unexplained


def test_columns_are_those_of_the_contract(tmp_path: Path) -> None:
    patient = make_patient(tmp_path, "P1")
    tables.cohort_tables([patient], [{"class": c} for c in CLASSES], tmp_path / "cohort")
    for table in (patient / "changes.csv", tmp_path / "cohort" / "changes.csv"):
        assert table.read_text().splitlines()[0].startswith(CONTRACT)
    flows = (tmp_path / "cohort" / "transitions.csv").read_text().splitlines()[0]
    assert flows == "patient,from,to,from_class,to_class,deformation_mm3,reallocation_mm3"
    failures = (tmp_path / "cohort" / "failures.csv").read_text()
    assert failures == "patient,from,to,stage,code,message,log\n"


def test_names_that_look_like_numbers_or_missing_values_stay_as_they_are(tmp_path: Path) -> None:
    tables.write_pair(tmp_path, PAIR, CLASSES, found(np.zeros((3, 4))))
    read = tables.read_changes(tmp_path / "changes.csv")
    assert read.loc[0, ["patient", "from", "to"]].tolist() == ["001", "NA", "2"]  # type: ignore[operator]


def test_no_change_is_written_as_zero_without_a_sign(tmp_path: Path) -> None:
    values = np.zeros((3, 4))
    values[:, 2] = -1e-9
    tables.write_pair(tmp_path, PAIR, CLASSES, found(values))
    assert "-0.000" not in (tmp_path / "changes.csv").read_text()


def test_transitions_hold_every_ordered_pair_of_classes_once(tmp_path: Path) -> None:
    flows = np.arange(9.0).reshape(3, 3)
    nothing = np.zeros(3)
    tables.write_pair(
        tmp_path,
        PAIR,
        CLASSES,
        PairChanges(*[nothing] * 4, flows, flows * 10, np.zeros((10, 3))),  # type: ignore[call-arg]
    )
    read = tables.read_transitions(tmp_path / "transitions.csv")
    assert len(read) == 6
    row = read[(read["from_class"] == "WM") & (read["to_class"] == "oedema")].iloc[0]
    assert (row["deformation_mm3"], row["reallocation_mm3"]) == (3.0, 30.0)


def test_the_memory_of_all_pairs_is_in_one_table(tmp_path: Path) -> None:
    folders = [make_patient(tmp_path, "P1"), make_patient(tmp_path, "P2", failed=True)]
    said = {"status": "ok", "seconds": 2.5, "memory": {"device": "cpu", "strategy": "store", "map_bytes": 8}}
    (tmp_path / "P1" / "V1__V2" / "status.json").write_text(json.dumps(said))
    logs = {"register": "register.log"}
    pair = {"from": "V1", "to": "V2", "days": 100, "logs": logs}
    tables.patient_tables("P1", [pair], [tmp_path / "P1" / "V1__V2"], NAMED, tmp_path / "P1")
    tables.cohort_tables(folders, NAMED, tmp_path / "cohort")
    lines = (tmp_path / "cohort" / "memory.csv").read_text().splitlines()
    assert lines[0] == ",".join(columns.MEMORY)
    assert lines[1].startswith("P1,V1,V2,ok,cpu,,store,,8,") and lines[1].endswith(",2.5")
    assert lines[2] == "P2,V1,V2,unreadable" + "," * (len(columns.MEMORY) - 4)


def test_a_failed_pair_keeps_its_rows_with_empty_numbers_and_says_why(tmp_path: Path) -> None:
    folders = [make_patient(tmp_path, "P1"), make_patient(tmp_path, "P2", failed=True)]
    tables.cohort_tables(folders, [{"class": c} for c in CLASSES], tmp_path / "cohort")
    changes = tables.read_changes(tmp_path / "cohort" / "changes.csv")
    failed = changes[changes["patient"] == "P2"]
    assert failed["class"].tolist() == CLASSES
    assert failed["status"].unique().tolist() == ["unreadable"]
    assert failed[list(columns.VOLUMES)].isna().all(axis=None)
    assert changes[changes["patient"] == "P1"][list(columns.VOLUMES)].notna().all(axis=None)
    failures = columns.read_table(tmp_path / "cohort" / "failures.csv").to_dict("records")
    assert failures == [
        {
            "patient": "P2",
            "from": "V1",
            "to": "V2",
            "stage": "maps",
            "code": "unreadable",
            "message": "not NIfTI, or cut",
            "log": "maps_V2.log",
        }
    ]


def test_marginals_sum_the_classes_that_share_a_name(tmp_path: Path) -> None:
    folders = [make_patient(tmp_path, "P1"), make_patient(tmp_path, "P2", failed=True)]
    tables.cohort_tables(folders, NAMED, tmp_path / "cohort")
    changes = tables.read_changes(tmp_path / "cohort" / "changes.csv").query("patient == 'P1'")
    by_state = tables.read_changes(tmp_path / "cohort" / "marginals_by_state.csv")
    healthy = by_state.query("patient == 'P1' and state == 'healthy'").iloc[0]
    for name in columns.VOLUMES:
        assert healthy[name] == pytest.approx(changes[changes["class"] != "oedema"][name].sum(), abs=1e-9)
    assert by_state.query("patient == 'P2'")["deformation_mm3"].isna().all()
    by_region = tables.read_changes(tmp_path / "cohort" / "marginals_by_region.csv")
    assert by_region.query("patient == 'P1'")["region"].tolist() == ["(unnamed)", "brain"]
    residual = by_region["volume_to_mm3"] - by_region["volume_from_mm3"] - by_region["deformation_mm3"]
    residual -= by_region["reallocation_mm3"] + by_region["unexplained_mm3"]
    assert residual.abs().max() < 1e-6
    own = tables.read_changes(tmp_path / "P1" / "marginals_by_state.csv")
    assert own["deformation_mm3"].tolist() == by_state.query("patient == 'P1'")["deformation_mm3"].tolist()


def test_rates_are_per_year(tmp_path: Path) -> None:
    changes = tables.read_changes(make_patient(tmp_path, "P1", days=730.5) / "changes.csv")
    halves = changes["deformation_mm3"] / 2
    assert np.allclose(changes["deformation_mm3_per_year"], halves, atol=1e-3)
    assert (changes["days"] == 730.5).all()


def test_the_verdict_is_a_sentence_or_a_file(tmp_path: Path) -> None:
    done = make_patient(tmp_path, "P1")
    tables.require_complete(done, tmp_path / "complete.json")
    assert json.loads((tmp_path / "complete.json").read_text()) == {"status": "ok", "pairs": 1}
    failed = make_patient(tmp_path, "P2", failed=True)
    with pytest.raises(
        tables.SomePairsFailed, match=r"1 of 1 pair (.|\n)*P2 V1 to V2: maps: unread"
    ) as error:
        tables.require_complete(failed, tmp_path / "other.json")
    assert "maps_V2.log" in str(error.value)
    assert not (tmp_path / "other.json").exists()


def test_a_cohort_without_pairs_has_empty_tables(tmp_path: Path) -> None:
    tables.cohort_tables([], [{"class": "WM"}], tmp_path)
    assert len(tables.read_changes(tmp_path / "changes.csv")) == 0
    assert "region" in pd.read_csv(tmp_path / "marginals_by_region.csv").columns


def test_the_list_of_pairs_gives_the_reason_of_every_patient_left_out(tmp_path: Path) -> None:
    path = tmp_path / "pairs.csv"
    tables.write_pair_list([{**PAIR, "days": 61}], [{"patient": "P9", "reason": "one visit"}], path)
    assert path.read_text().splitlines() == [
        "patient,from,to,days,left_out",
        "001,NA,2,61,",
        "P9,,,,one visit",
    ]

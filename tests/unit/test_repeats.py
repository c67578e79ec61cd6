"""Repeated scans: their rows, their pairs, the floors and the intervals."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from study_files import write_study

from longimorph import tables
from longimorph.cli.main import main
from longimorph.errors import InputError
from longimorph.orchestration.parameters import Jobs
from longimorph.study import pairs, table
from longimorph.study.study import load_study
from longimorph.tables import columns, floors
from longimorph.tables import memory as memory_table
from longimorph.tables.floors import Noise
from longimorph.tables.repeats import floor_table, read_floors, with_floors

CLASSES = [{"class": name} for name in ("oedema", "WM", "background")]
VISITS = (("P1", "m0", 0.0), ("P1", "m0r", 0.0), ("P1", "m6", 180.0), ("P2", "m0", 0.0), ("P2", "again", 3.0))


def mark(folder: Path, repeats: dict[str, str]) -> Path:
    """Add the column ``repeat_of`` to a cohort table, by ``patient timepoint``."""
    file = folder / "cohort.tsv"
    head, *rows = file.read_text().splitlines()
    lines = [f"{row}\t{repeats.get(' '.join(row.split()[:2]), '')}" for row in rows]
    file.write_text("\n".join([f"{head}\trepeat_of", *lines]) + "\n")
    return file


def test_a_repeat_is_in_no_pair_but_that_with_its_visit(tmp_path: Path) -> None:
    config = write_study(tmp_path, VISITS)
    mark(tmp_path, {"P1 m0r": "m0", "P2 again": "m0"})
    cohort = table.load_cohort(tmp_path / "cohort.tsv")
    assert [visit.timepoint for visit in cohort.visits_of("P1")] == ["m0", "m6"]
    assert [visit.timepoint for visit in cohort.scans_of("P1")] == ["m0", "m6", "m0r"]
    assert cohort.further == ()
    for mode in ("consecutive", "baseline", "all"):
        plan = pairs.plan_pairs(cohort, mode)
        assert [(pair.patient, pair.name) for pair in plan.pairs] == [("P1", "m0__m6")]
        assert [(p.patient, p.name, p.days) for p in plan.repeats] == [
            ("P1", "m0__m0r", 0), ("P2", "m0__again", 3)]  # fmt: skip
    jobs = Jobs(load_study(config))
    assert jobs.patients == ("P1",) and jobs.aligned == ("P1", "P2")
    assert jobs.pair("P2", "m0__again").target.timepoint == "again"
    assert [row["timepoint"] for row in jobs.visit_rows("P1")] == ["m0", "m6"]
    assert not jobs.floors_measured


def test_a_column_without_repeats_changes_nothing(tmp_path: Path) -> None:
    write_study(tmp_path)
    plain = table.load_cohort(tmp_path / "cohort.tsv")
    marked = table.load_cohort(mark(tmp_path, {}))
    assert marked == plain and pairs.plan_pairs(marked) == pairs.plan_pairs(plain)


@pytest.mark.parametrize("marks, words", [(1, "too few for the noise floors"), (3, "come from them")])
def test_the_check_says_what_the_repeats_are_good_for(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], marks: int, words: str
) -> None:
    visits = tuple(
        ("P1", name, 0.0 if "r" in name else 9.0 * n) for n, name in enumerate(("a", "b", "r1", "r2", "r3"))
    )
    config = write_study(tmp_path, visits[: 2 + marks])
    mark(tmp_path, {f"P1 r{number}": "a" for number in (1, 2, 3)})
    main(["check", str(config)])
    told = capsys.readouterr().out
    assert words in told and "1 pair of 1 patient can run" in told


def test_every_wrong_mark_is_told_at_once(tmp_path: Path) -> None:
    visits = (*VISITS, ("P1", "m0rr", 0.0), ("P1", "m7", 190.0), ("P2", "m9", 200.0))
    write_study(tmp_path, visits)
    named = {"P1 m0r": "m0", "P1 m0rr": "m0r", "P1 m7": "m5", "P2 again": "m6", "P2 m9": "m9"}
    with pytest.raises(InputError) as error:
        table.load_cohort(mark(tmp_path, named))
    told = [str(problem) for problem in error.value.problems]
    assert len(told) == 4
    for text, parts in zip(
        told,
        (
            ("line 6", "is no timepoint of patient 'P2', but of 'P1'"),
            ("line 7", "is itself a repeat, on line 3", "'m0'"),
            ("line 8", "is no timepoint of patient 'P1'", "Did you mean 'm"),
            ("line 9", "is the row itself"),
        ),
        strict=True,
    ):
        assert all(part in text for part in parts), (text, parts)


def test_the_floor_lies_above_95_percent_of_further_noise() -> None:
    rng = np.random.default_rng(4)
    for count in (3, 8):
        drawn = rng.normal(size=(count, 40_000)) * 7
        floor = Noise(floors.spread(drawn), count).reach(floors.FLOOR)
        assert abs(float((np.abs(rng.normal(size=40_000) * 7) < floor).mean()) - 0.95) < 0.005
    known = Noise(np.array([7.0])).reach(floors.FLOOR)
    assert float(known[0]) == pytest.approx(1.96 * 7, rel=1e-3)


def test_an_interval_adds_noise_and_model_in_squares_and_keeps_what_is_open() -> None:
    value, told, noise = np.array([100.0]), np.array([30.0]), Noise(np.array([40.0]))
    low, high = floors.interval((value - told, value + told, told), noise)
    assert (high - value)[0] == pytest.approx(1.645 * np.hypot(40, 10), rel=1e-3)
    assert (low + high)[0] == pytest.approx(200)
    wide = floors.interval((value - told - 500, value + told + 20, told), noise)
    assert (low - wide[0])[0] == pytest.approx(500) and (wide[1] - high)[0] == pytest.approx(20)


def pair_folder(root: Path, names: dict[str, str], scale: float, failed: bool = False) -> Path:
    """A pair whose classes change by ``scale`` times 1, 2 and -3 mm^3; half moved, half reallocated."""
    folder = root / "patients" / names["patient"] / f"{names['from']}__{names['to']}"
    status = {"status": "ok"}
    if failed:
        tables.write_failed_pair(folder, names, ["oedema", "WM", "background"], "diverged")
        status = {"status": "diverged", "stage": "register", "message": "too different"}
    else:
        part, zero = scale * np.array([1.0, 2.0, -3.0]) / 2, np.zeros(3)
        ranges = np.stack([zero, zero, part, part, part, part, part, part, part, part])
        noise = np.array([[1.0, 2, 3], [4, 5, 6], [7, 8, 9]])
        volumes, none = (zero + 50, 50 + 2 * part), np.zeros((3, 3))
        changes = tables.PairChanges(*volumes, part, part, none, none, ranges, noise)
        tables.write_pair(folder, names, ["oedema", "WM", "background"], changes)
    (folder / "status.json").write_text(json.dumps(status))
    return folder


def repeats(root: Path, scales: list[float | None]) -> list[dict[str, object]]:
    """Pairs of a visit and its repeat, one of each patient; None is a failed one."""
    rows = []
    for number, scale in enumerate(scales):
        names = {"patient": f"R{number}", "from": "V1", "to": "V1r"}
        pair_folder(root, names, scale or 0.0, scale is None)
        rows.append({**names, "days": 0.0, "logs": {"register": "a.log"}})
    return rows


def test_three_repeats_set_the_floor_and_failed_ones_do_not_count(tmp_path: Path) -> None:
    rows = repeats(tmp_path, [2.0, -4.0, None, 4.0])
    folders = [tmp_path / "patients" / str(row["patient"]) / "V1__V1r" for row in rows]
    tables.repeat_tables(rows, folders, CLASSES, tmp_path / "cohort")
    known = columns.read_table(tmp_path / "cohort" / "repeats.csv")
    assert list(known.columns) == list(columns.CHANGES) and len(known) == 12
    assert known["deformation_mm3_per_year"].isna().all()
    table_ = columns.read_table(tmp_path / "cohort" / "floors.csv")
    assert table_["repeats"].tolist() == [3, 3, 3] and set(table_["floor_source"]) == {"repeats"}
    spread = np.sqrt(np.mean(np.square([1.0, -2.0, 2.0])))
    np.testing.assert_allclose(table_["deformation_spread_mm3"], spread * np.array([1, 2, 3]), atol=1e-3)
    np.testing.assert_allclose(table_["change_spread_mm3"], 2 * spread * np.array([1, 2, 3]), atol=1e-3)
    np.testing.assert_allclose(table_["change_floor_mm3"], 3.182 * table_["change_spread_mm3"], rtol=1e-3)
    noise = read_floors(tmp_path / "cohort" / "floors.csv")
    assert noise is not None and noise["deformation"].pairs == 3


def test_two_repeats_leave_the_floor_to_the_labels(tmp_path: Path) -> None:
    rows = repeats(tmp_path, [2.0, -4.0, None])
    folders = [tmp_path / "patients" / str(row["patient"]) / "V1__V1r" for row in rows]
    tables.repeat_tables(rows, folders, CLASSES, tmp_path / "cohort")
    found = columns.read_table(tmp_path / "cohort" / "floors.csv")
    assert set(found["floor_source"]) == {"labels"} and found["change_floor_mm3"].isna().all()
    assert found["change_spread_mm3"].notna().all()
    assert read_floors(tmp_path / "cohort" / "floors.csv") is None


def test_no_repeat_at_all_gives_empty_numbers() -> None:
    found = floor_table(pd.DataFrame(columns=list(columns.CHANGES)), ["WM", "GM"])
    assert found["repeats"].tolist() == [0, 0] and found["change_spread_mm3"].isna().all()


def test_tables_carry_the_floor_of_the_labels_or_of_the_repeats(tmp_path: Path) -> None:
    names = {"patient": "P", "from": "V1", "to": "V2"}
    own = columns.read_table(pair_folder(tmp_path, names, 4.0) / "changes.csv")
    labels = with_floors(own)
    np.testing.assert_allclose(labels["reallocation_floor_mm3"], 1.96 * np.array([4, 5, 6]), rtol=1e-3)
    assert set(labels["floor_source"]) == {"labels"}
    measured = dict.fromkeys(("deformation", "reallocation", "change"), Noise(np.array([1.0, 2, 3]), 5))
    repeated = with_floors(own, measured)
    np.testing.assert_allclose(repeated["reallocation_floor_mm3"], 2.5706 * np.array([1, 2, 3]), rtol=1e-3)
    middle = (repeated["deformation_90_low_mm3"] + repeated["deformation_90_high_mm3"]) / 2
    np.testing.assert_allclose(middle, own["deformation_mm3"], atol=2e-3)
    failed = columns.read_table(pair_folder(tmp_path, names, 0.0, failed=True) / "changes.csv")
    nothing = with_floors(failed, measured)
    assert nothing[list(columns.FLOORS)].isna().to_numpy().all() and set(nothing["floor_source"]) == {""}


def test_a_failed_repeat_is_a_failure_of_the_cohort_and_of_no_patient(tmp_path: Path) -> None:
    names = {"patient": "P", "from": "V1", "to": "V2"}
    folder = pair_folder(tmp_path, names, 4.0)
    pair = {**names, "days": 10.0, "logs": {}}
    tables.patient_tables("P", [pair], [folder], CLASSES, folder.parent)
    rows = repeats(tmp_path, [None])
    tables.cohort_tables([folder.parent], CLASSES, tmp_path / "cohort", rows)
    failures = columns.read_table(tmp_path / "cohort" / "failures.csv")
    assert failures[["patient", "to", "code", "log"]].values.tolist() == [["R0", "V1r", "diverged", "a.log"]]
    assert columns.read_table(folder.parent / "failures.csv").empty
    memory = memory_table.read_memory_rows(tmp_path / "cohort" / "memory.csv")
    assert memory[["patient", "to", "status"]].values.tolist()[-1] == ["R0", "V1r", "diverged"]
    known = columns.read_table(tmp_path / "cohort" / "changes.csv")
    assert set(known["patient"]) == {"P"} and known["deformation_floor_mm3"].notna().all()

"""The attribution benchmark: its plan, its table, which survives an interruption, and its report."""

from __future__ import annotations

import sys
from dataclasses import fields
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

REPOSITORY = Path(__file__).parents[2]
sys.path.insert(0, str(REPOSITORY))

from benchmarks import truth, truth_report, truth_runs, truth_uncertainty  # noqa: E402
from benchmarks.phantoms import cases  # noqa: E402
from benchmarks.phantoms.maps import KnownPair  # noqa: E402
from benchmarks.truth_runs import RIGID, SWAPPED, TruthRun  # noqa: E402
from longimorph.demo.course import Truth  # noqa: E402
from longimorph.footprint import PAIRS_KEPT  # noqa: E402
from longimorph.geometry.grid import Grid  # noqa: E402
from longimorph.numerics.shooting import Divergence  # noqa: E402
from longimorph.numerics.solve import Settings  # noqa: E402
from longimorph.study.classes import ClassRow, ClassTable  # noqa: E402
from longimorph.study.config import defaults  # noqa: E402


def row(case: str = "both", spacing: int = 4, error: float | None = 3.0, **other: Any) -> dict[str, Any]:
    """A row of the table; the true change is 10 mL moved and 20 mL of another kind."""
    return {
        "anatomy": "demo", "case": case, "spacing_mm": str(spacing), "noise": "", "visits": "forward",
        "preset": "lesion", "true_mm3": 0.0 if error is None else 3e4, "brain_mm3": 1e6, "error": error,
        "false_deformation": error, "false_reallocation": error, "unexplained": error, "control_alone": 60.0,
        "closed": error, "map_error": 0.1,
        "false_of_brain": 0.0, "drift": 0.1, "folded": 0.0, "inverse_voxels": 0.01, "steps": 5,
        "evaluations": 9, "converged": True, "exact_zero": error is None, "mismatch_before": 9.0,
        "mismatch_after": 1.0, "seconds": 2.0, "voxels": 8,
        "classes": "a b", "deformation_mm3": "10000 -10000",
        "reallocation_mm3": "-20000 20000", "deformation_uncertainty_mm3": "300 300",
        "reallocation_uncertainty_mm3": "300 300", "true_deformation_mm3": "10000 -10000",
        "true_reallocation_mm3": "-20000 20000", "failure": "", "program": "p", **other,
    }  # fmt: skip


KINDS_AND_TRUE = ("deformation", "reallocation", "true_deformation", "true_reallocation")


def table(*rows: dict[str, Any], folder: Path) -> pd.DataFrame:
    """The rows as the benchmark reads them back."""
    file = folder / "table.csv"
    truth._prepare(file, "p")
    for one in rows:
        truth.append(file, one)
    return truth.read_rows(file)


def verdicts(rows: pd.DataFrame) -> dict[str, str]:
    """The verdict on each target."""
    return {target.name: target.verdict for target in truth_report.targets(rows)}


def test_the_plan_holds_every_case_and_swaps_and_noise_at_both_ends() -> None:
    jobs = truth.plan_runs(["demo"], ["null", "both", RIGID], [2, 3, 4], [1])
    assert len({job.key for job in jobs}) == len(jobs)
    assert [job.spacing for job in jobs if job.case == "null" and job.noise is None] == [4, 3, 2]
    assert [job.spacing for job in jobs if job.visits == SWAPPED] == [4, 2]
    assert {job.case for job in jobs if job.visits == SWAPPED} == {"both"}
    assert [job.spacing for job in jobs if job.noise == 1 and job.case == "both"] == [4, 2]
    assert all(job.noise is None for job in jobs if job.case == RIGID)


def test_the_plan_is_whole_on_the_first_anatomy_and_on_all_when_thorough() -> None:
    asked = ["demo", "other"], ["mass", "both", RIGID], [2, 3, 4], [1]
    short, whole = truth.plan_runs(*asked), truth.plan_runs(*asked, thorough=True)
    assert {job.key for job in short} < {job.key for job in whole}
    own = [job for job in short if job.anatomy == "other" and job.preset == cases.named("mass").preset]
    assert [job.spacing for job in own if job.visits == "forward" and job.noise is None] == [4, 2]
    assert all(job.spacing == 4 for job in short if job.anatomy == "other" and job.noise is not None)
    assert {job.preset for job in short if job.case == "mass"} == {"growth", "atrophy"}
    assert {job.spacing for job in whole if job.case == "mass" and job.preset == "atrophy"} == {2, 3, 4}


def test_the_page_names_what_was_left_out(tmp_path: Path) -> None:
    rows = table(row("both", 4), row("mass", 4, preset="growth"), folder=tmp_path)
    missing = [
        TruthRun("demo", "both", 2),
        TruthRun("demo", "mass", 2),
        TruthRun("demo", "oedema2", 4, noise=1),
    ]
    text = truth_report.markdown(rows, missing)
    assert "clean at 2 mm on demo (1); other presets at 2 mm on demo (1); noisy at 4 mm on demo (1)" in text
    assert "Left out" not in truth_report.markdown(rows)


def test_another_preset_counts_for_no_target_of_accuracy(tmp_path: Path) -> None:
    rows = table(
        row("mass", 4, 2.0, preset="growth"),
        row("mass", 4, 90.0, preset="atrophy"),
        folder=tmp_path,
    )
    assert verdicts(rows)["gross error, at 4 mm"] == "met"
    text = truth_report.markdown(rows)
    assert text.index("| mass | growth | 4 | 1 | 2 |") < text.index("## With another preset")
    assert text.index("## With another preset") < text.index("| mass | atrophy | 4 | 1 | 90 |")


def test_numbers_are_counted_that_lie_within_their_uncertainty(tmp_path: Path) -> None:
    """Four numbers: off by 100, 400, 0 and 900 of 30,000 mm³, with 300 allowed for each."""
    wrong = row(deformation_mm3="10100 -10400", reallocation_mm3="-20000 20900")
    still = row("null", error=None, **{f"{key}_mm3": "0 0" for key in KINDS_AND_TRUE})  # type: ignore[arg-type]
    noisy = row("oedema15", noise="1")
    rows = table(wrong, still, noisy, row("pushed"), row("mass"), folder=tmp_path)
    (found,) = truth_uncertainty.coverage({"all": rows.iloc[:1], "none": rows.iloc[:0]})
    assert found["numbers"] == 4
    assert (found["within, %"], found["within twice, %"]) == (50, 75)
    assert found["largest miss, % of change"] == pytest.approx(2)
    assert found["median uncertainty, % of change"] == pytest.approx(1)
    (nothing,) = truth_uncertainty.coverage({"null": rows.iloc[1:2]})
    assert (nothing["within, %"], nothing["largest miss, % of change"]) == (100, 0)
    text = truth_report.markdown(rows)
    for line in (
        "| clean | 4 | 50 | 75 | 2 | 1 |",
        "| noisy | 4 | 100 | 100 | 0 | 1 |",
        "| a lesion that is pushed about | 4 | 100 | 100 | 0 | 1 |",
        "| another preset | 4 | 100 | 100 | 0 | 1 |",
    ):
        assert line in text


def test_rows_outlive_a_change_of_comments_but_not_of_statements(tmp_path: Path) -> None:
    file = tmp_path / "program.py"
    texts = [
        '"""One."""\ndef f(x):\n    """Two."""\n    return x + 1\n',
        '"""Another."""\ndef f(x):\n    """Three."""\n    return x + 1  # a remark\n',
        '"""One."""\ndef f(x):\n    """Two."""\n    return x + 2\n',
        '"""One."""\ndef f(x):\n    """Two."""\n    return x + "1"\n',
    ]
    made = []
    for text in texts:
        file.write_text(text)
        made.append(truth._statements(file))
    assert made[0] == made[1]
    assert len(set(made)) == 3
    made = []
    for text in ("{a: {description: x, default: 1}}", "{a: {default: 1}}  # why", "{a: {default: 2}}"):
        file.write_text(text)
        made.append(truth._values(file))
    assert made[0] == made[1] != made[2]


def test_a_control_matrix_alone_splits_each_flow_by_its_entry() -> None:
    """One voxel in which a loses 0.6, two thirds of it to b and a third to c."""
    change = np.array([-0.6, 0.4, 0.2], dtype=np.float32).reshape(3, 1, 1, 1)
    matrix = np.array([[1, 0.25, 1.0], [0, 1, 0], [0, 0, 1]])
    deformation, reallocation = truth_runs.by_matrix(change, matrix, 10.0)
    np.testing.assert_allclose(deformation, [-3, 1, 2], atol=1e-6)
    np.testing.assert_allclose(reallocation, [-3, 3, 0], atol=1e-6)


def test_the_settings_are_the_defaults_of_the_schema() -> None:
    config, settings = defaults(), truth_runs.numerical(defaults())
    for field in fields(Settings):
        if field.name == "pairs_kept":
            assert settings.pairs_kept == PAIRS_KEPT and not hasattr(config, field.name)
            continue
        expected = getattr(config, field.name)
        assert getattr(settings, field.name) == (None if expected == "auto" else expected)


def test_an_interrupted_run_goes_on_where_it_was(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    made: list[TruthRun] = []

    def measure(job: TruthRun, data: Path) -> dict[str, Any]:
        made.append(job)
        if len(made) == 3:
            raise KeyboardInterrupt
        return {**row(job.case, job.spacing, 2.0), **dict(zip(truth_runs.KEY, job.key, strict=True))}

    monkeypatch.setattr(truth_runs, "measure", measure)
    call = ["--anatomies", "demo", "--cases", "null", "both", "--noise", "--out", str(tmp_path / "t.md")]
    with pytest.raises(KeyboardInterrupt):
        truth.main(call)
    assert truth.main(call) == 0
    finished = truth.read_rows(tmp_path / "t.csv")
    planned = truth.plan_runs(["demo"], ["null", "both"], truth.SPACINGS, [])
    assert [tuple(key) for key in finished[list(truth_runs.KEY)].itertuples(index=False)] == [
        job.key for job in planned
    ]
    assert len(made) == len(planned) + 1
    assert truth.main(call) == 0
    assert len(made) == len(planned) + 1
    monkeypatch.setattr(truth, "fingerprint", lambda: "another")
    assert truth.main(call) == 0
    assert len(made) == 2 * len(planned) + 1


def test_a_run_that_diverges_is_a_row_and_a_missed_target(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def measure(job: TruthRun, data: Path) -> dict[str, Any]:
        if job.spacing == 3:
            raise Divergence("it runs away")
        return {**row(job.case, job.spacing, 2.0), **dict(zip(truth_runs.KEY, job.key, strict=True))}

    monkeypatch.setattr(truth_runs, "measure", measure)
    page = tmp_path / "t.md"
    assert truth.main(["--anatomies", "demo", "--cases", "both", "--noise", "--out", str(page)]) == 0
    rows = truth.read_rows(tmp_path / "t.csv")
    assert rows["failure"].tolist().count("it runs away") == 1
    assert verdicts(rows)["runs that end without a result"] == "**missed**"
    assert verdicts(rows)["gross error, at 4 mm"] == "met"
    assert "No result: demo both lesion 3 forward (it runs away)." in page.read_text()


def test_targets_are_met_or_missed_by_the_worst_figure(tmp_path: Path) -> None:
    good = table(
        row("null", error=None), row("both", 2, 2.4), row("both", 4, 2.4, forbidden=0.4),
        row(RIGID, error=None, false_of_brain=0.4),
        row("both", 4, visits=SWAPPED, deformation_mm3="-10000 10000", reallocation_mm3="20000 -20000"),
        folder=tmp_path,
    )  # fmt: skip
    assert set(verdicts(good).values()) == {"met", "not measured"}
    bad = table(
        row("null", error=None, exact_zero=False), row("oedema2", 2, 1.0),
        row("both", 2, 2.6, control_alone=2.2, forbidden=0.6),
        row("both", 4, 8.1, drift=2.1, control_alone=7.7, forbidden=0.6),
        row("oedema2", 4, 1.0, reallocation_mm3="-15000 15000", folded=0.001, inverse_voxels=0.2),
        row("both", 4, visits=SWAPPED, deformation_mm3="-10000 10000", reallocation_mm3="-16000 16000"),
        row(RIGID, error=None, false_of_brain=0.6), row("oedema30", failure="x"), folder=tmp_path / "bad",
    )  # fmt: skip
    assert set(verdicts(bad).values()) == {"**missed**", "not measured"}
    text = truth_report.markdown(bad)
    assert "Missed: runs that end without a result; gross error, at 2 mm; gross error beyond" in text
    assert "| 2.6 | demo, both, 2 mm | **missed** |" in text
    assert verdicts(bad.iloc[:1])["gross error, at 2 mm"] == "not measured"


def test_noisy_and_swapped_runs_do_not_count_as_clean_ones(tmp_path: Path) -> None:
    rows = table(
        row("both", 4, 2.0),
        row("both", 4, 30.0, noise="1"),
        row("both", 4, 40.0, visits=SWAPPED),
        folder=tmp_path,
    )
    assert verdicts(rows)["gross error, at 4 mm"] == "met"
    assert verdicts(rows)["gross error, noisy labels, at 4 mm"] == "**missed**"
    text = truth_report.markdown(rows)
    assert "| 30 | demo, both, 4 mm; the maps themselves miss by 0.1 % | **missed** |" in text
    assert "| both | lesion | 4 | 1 | 2 |" in text
    assert "| both | lesion | 4 | 1 | 30 |" in text


def test_a_lesion_that_is_pushed_has_a_verdict_of_its_own(tmp_path: Path) -> None:
    rows = table(row("both", 2, 2.0), row("pushed", 2, 11.0), row("resorbing", 4, 4.0), folder=tmp_path)
    found = verdicts(rows)
    assert found["gross error, at 2 mm"] == "met"
    assert found["gross error, lesions that are pushed about, at 2 mm"] == "**missed**"
    assert found["gross error, lesions that are pushed about, at 4 mm"] == "met"
    assert found["gross error, noisy labels, at 2 mm"] == "not measured"


def test_a_swap_is_measured_by_sign_and_by_size(tmp_path: Path) -> None:
    rows = table(
        row(),
        row(visits=SWAPPED, deformation_mm3="-12000 12000", reallocation_mm3="20000 -20000"),
        folder=tmp_path,
    )
    (found,) = truth_report.swaps(rows)
    assert found["magnitude, %"] == pytest.approx(20)
    assert found["same sign"] == 0
    assert found["gross of the sum, %"] == pytest.approx(100 * 2 / 30)


def tiny_pair(shift: float) -> KnownPair:
    """A slab of a class that grows by ``shift`` voxels into the background, all by deformation."""
    maps = np.zeros((2, 2, 12, 10, 10), dtype=np.float32)
    maps[:, 0, 2:6] = 1
    maps[1, 0, 6] = shift
    maps[:, 1] = 1 - maps[:, 0]
    grown = shift * 100 * 64
    change = np.array([grown, -grown])
    volume = maps[0].sum(axis=(1, 2, 3)).astype(float) * 64
    rows = tuple(
        ClassRow(n, ((i, i),), None, n, "healthy", "#000000") for i, n in enumerate(("a", "background"))
    )
    known = Truth(change, np.zeros(2), volume, volume + change)
    return KnownPair(
        maps[0], maps[1], 4.0, known, ("a", "background"), ClassTable("t", rows), "atrophy",
        Grid((12, 10, 10), np.diag([4.0, 4.0, 4.0, 1.0])),
    )  # fmt: skip


@pytest.mark.parametrize("visits", ["forward", SWAPPED])
def test_a_run_is_compared_with_its_truth(visits: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(truth_runs, "make_pair", lambda *arguments: tiny_pair(0.5))
    found = truth_runs.measure(TruthRun("demo", "slab", 4, visits=visits), Path("."))
    sign = 1 if visits == "forward" else -1
    assert truth_runs.numbers(found["true_deformation_mm3"]).tolist() == [sign * 3200, -sign * 3200]
    assert found["error"] == pytest.approx(found["false_deformation"] + found["false_reallocation"])
    assert found["error"] < 30
    assert found["map_error"] < 2
    assert found["control_alone"] < 2
    assert found["closed"] < found["error"]
    assert sign * truth_runs.numbers(found["deformation_mm3"])[0] > 2000
    assert not found["exact_zero"]
    assert set(found) | {"program", "failure"} == set(truth.COLUMNS)


def test_identical_maps_are_an_exact_zero(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(truth_runs, "make_pair", lambda *arguments: tiny_pair(0.0))
    found = truth_runs.measure(TruthRun("demo", "null", 4), Path("."))
    assert found["exact_zero"]
    assert found["error"] is None
    assert found["false_of_brain"] == 0

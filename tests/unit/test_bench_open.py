"""The benchmark of open questions: its plan, its scores and its page."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

REPOSITORY = Path(__file__).parents[2]
sys.path.insert(0, str(REPOSITORY))

from benchmarks import open_question, truth  # noqa: E402
from benchmarks.phantoms import cases  # noqa: E402


def row(case: str, moved: float, preset: str = "open", **other: Any) -> dict[str, Any]:
    """A run on a mass that grew by 8 mL, of which the case's share infiltrated."""
    share = cases.named(case).infiltrated or 0.0
    true, found = 8000 * (1 - share), 8000 * moved
    columns = dict.fromkeys(truth.COLUMNS, "") | {
        "anatomy": "demo", "case": case, "preset": preset, "spacing_mm": "4", "noise": "",
        "visits": "forward", "classes": "mass WM", "error": 5.0, "unexplained": 1.0, "evaluations": 20,
        "seconds": 10.0, "true_deformation_mm3": f"{true} {-true}",
        "true_reallocation_mm3": f"{8000 - true} {true - 8000}", "deformation_mm3": f"{found} {-found}",
        "reallocation_mm3": f"{8000 - found} {found - 8000}", "deformation_low_mm3": f"{found - 800} 0",
        "deformation_high_mm3": f"{found + 800} 0", "program": "p",
    }  # fmt: skip
    return columns | other


def read_back(folder: Path, *rows: dict[str, Any]) -> pd.DataFrame:
    """The rows as the benchmark reads them from its table."""
    file = folder / "open.csv"
    truth._prepare(file, "p")
    for one in rows:
        truth.append(file, one)
    return truth.read_rows(file)


def test_presets_that_decide_run_on_the_first_anatomy_and_noise_on_all() -> None:
    jobs = open_question.plan_runs(["demo", "ixi_012"], [4], [1])
    assert len(jobs) == len({job.key for job in jobs})
    assert {job.case for job in jobs} == {*cases.OPEN_CASES, *open_question.OTHERS}
    assert {job.preset for job in jobs if job.anatomy == "ixi_012"} == {"open"}
    assert {job.preset for job in jobs if job.case == "deep50" and job.anatomy == "demo"} == {
        "open", "growth", "lesion",
    }  # fmt: skip
    assert {job.anatomy for job in jobs if job.noise == 1} == {"demo", "ixi_012"}


def test_a_straight_answer_has_its_slope_and_a_range_that_misses_counts(tmp_path: Path) -> None:
    rows = [row("deep0", 0.9), row("deep50", 0.5), row("deep100", 0.1), row("deep0", 0.0, preset="lesion")]
    table = read_back(tmp_path, *rows, row("cortex0", 0.5))
    scored = pd.DataFrame([open_question._scored(one) for _, one in table.iterrows()])
    assert scored["true"].tolist() == pytest.approx([0, 0.5, 1, 0, 0])
    assert scored["share"].tolist() == pytest.approx([0.1, 0.5, 0.9, 1, 0.5])
    (own, _) = open_question.summary(scored.iloc[:4])
    assert float(own["slope"]) == pytest.approx(0.8)
    assert float(own["R²"]) == pytest.approx(1.0)
    assert own["range holds"] == "100 %"
    assert own["width, % of growth"] == "20"
    assert not scored["held"].iloc[4]
    page = open_question.markdown(table, 179)
    assert "| deep50 | demo | open | 4 | clean | +8.00 | +4.00 | +4.00 | +3.20 to +4.80 | 5.0 |" in page


def test_a_run_without_a_result_is_told(tmp_path: Path) -> None:
    failed = row("deep25", 0.5, failure="tissue moves too far")
    page = open_question.markdown(read_back(tmp_path, row("deep0", 1.0), row("deep100", 0.0), failed), 3)
    assert "No result: demo deep25 open (tissue moves too far)." in page

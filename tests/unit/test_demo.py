"""The demo apart from its workflow, which is replaced: the folder, the report, the verdict."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pandas as pd
import pytest

from longimorph.demo import demo
from longimorph.errors import LongimorphError
from longimorph.io import atomic

PAIR = {"patient": "P1", "from": "V1", "to": "V2"}
TRUE = {
    "oedema": (0.0, 15000.0),
    "WM": (-4000.0, -15000.0),
    "ventricles": (4000.0, 0.0),
    "background": (0.0, 0.0),
}


def write_truth(folder: Path, *_: object) -> None:
    """The truth of one pair, in place of a whole cohort."""
    rows = [
        {**PAIR, "class": name, "deformation_mm3": d, "reallocation_mm3": r,
         "volume_from_mm3": 5e5, "volume_to_mm3": 5e5 + d + r}
        for name, (d, r) in TRUE.items()
    ]  # fmt: skip
    atomic.write_csv(folder / "truth" / "changes.csv", pd.DataFrame(rows))


def workflow(share: float, code: int = 0) -> Callable[[Path, int], int]:
    """A workflow that measures ``share`` of every true change."""

    def run(folder: Path, _: int) -> int:
        rows = [
            {**PAIR, "class": name, "deformation_mm3": share * d, "reallocation_mm3": share * r,
             "unexplained_mm3": 0.0, "status": "ok"}
            for name, (d, r) in TRUE.items()
        ]  # fmt: skip
        atomic.write_csv(folder / "results" / "cohort" / "changes.csv", pd.DataFrame(rows))
        status = {"status": "ok", "drift": 0.01, "seconds": 5.0}
        atomic.write_json(folder / "results" / "patients" / "P1" / "V1__V2" / "status.json", status)
        return code

    return run


@pytest.fixture(autouse=True)
def no_cohort(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(demo, "write_cohort", write_truth)


def test_a_good_measurement_ends_with_status_0(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(demo, "_workflow", workflow(0.95))
    assert demo.run(tmp_path / "demo", 2) == 0
    said = capsys.readouterr().out
    assert "gross error 5.0 % of 19.0 mL (target: at most 15 %)" in said
    assert "Every target is met." in said
    assert "results/cohort/report.html" in said
    rows = pd.read_csv(tmp_path / "demo" / "comparison.csv")
    assert list(rows["class"]) == list(TRUE)
    assert rows["reallocation_mm3"].sum() == pytest.approx(0)
    pairs = pd.read_csv(tmp_path / "demo" / "comparison_pairs.csv")
    assert pairs.loc[0, "gross_error_percent"] == pytest.approx(5)
    assert pairs.loc[0, "drift_percent"] == pytest.approx(1)


def test_a_bad_measurement_is_named_and_ends_with_status_1(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(demo, "_workflow", workflow(0.8))
    assert demo.run(tmp_path / "demo", 2) == 1
    assert "P1, V1 to V2: gross error is 20.00 % of the true change" in capsys.readouterr().out


def test_a_workflow_that_ends_badly_is_not_a_success(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(demo, "_workflow", workflow(1.0, code=1))
    assert demo.run(tmp_path / "demo", 2) == 1


def test_a_workflow_without_a_table_is_an_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(demo, "_workflow", lambda folder, cores: 1)
    with pytest.raises(LongimorphError, match="wrote no cohort table"):
        demo.run(tmp_path / "demo", 2)


def test_somebody_elses_folder_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "config.yaml").write_text("cohort: mine.tsv\n", encoding="utf-8")
    with pytest.raises(LongimorphError, match="not empty and contains no demo"):
        demo.prepare(tmp_path, 1)
    assert (tmp_path / "config.yaml").read_text(encoding="utf-8") == "cohort: mine.tsv\n"


def test_a_finished_cohort_is_kept_and_a_broken_one_made_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = []

    def write(folder: Path, *_: object) -> None:
        made.append(folder)
        if len(made) == 1:
            raise KeyboardInterrupt

    monkeypatch.setattr(demo, "write_cohort", write)
    with pytest.raises(KeyboardInterrupt):
        demo.prepare(tmp_path / "demo", 1)
    for _ in range(3):
        demo.prepare(tmp_path / "demo", 1)
    assert len(made) == 2

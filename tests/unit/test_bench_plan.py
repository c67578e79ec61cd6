"""The planning benchmark on a few patients, and planning for a thousand."""

from __future__ import annotations

import time
from pathlib import Path

import pytest

from benchmarks import plan
from longimorph.cli.plan import closing, described, table
from longimorph.study import study as studies


def test_a_few_patients(tmp_path: Path) -> None:
    out = tmp_path / "plan.md"
    assert plan.main(["--patients", "3", "--visits", "2", "--out", str(out), "--scratch", str(tmp_path)]) == 0
    text = out.read_text(encoding="utf-8")
    assert "3 patients with 2 visits each: 6 scans, 3 pairs." in text
    assert text.count("| reached |") == len(plan.commands(tmp_path)) + 1


def test_a_command_that_fails_is_no_measurement(tmp_path: Path) -> None:
    with pytest.raises(SystemExit, match="no such command"):
        plan.cost(["sh", "-c", "echo no such command; exit 3"], tmp_path)


def test_a_run_that_ends_before_its_first_job_is_no_measurement(tmp_path: Path) -> None:
    with pytest.raises(SystemExit, match="ended before its first job:\nno such rule"):
        plan.first_job(["sh", "-c", "echo no such rule"], tmp_path)


def test_a_run_is_stopped_when_its_first_job_starts(tmp_path: Path) -> None:
    began = time.perf_counter()
    found = plan.first_job(["sh", "-c", "sleep 1; echo localrule pairs:; sleep 60; touch late"], tmp_path)
    assert 1 <= found.seconds <= time.perf_counter() - began < 30
    assert not (tmp_path / "late").exists()


def test_the_memory_of_a_command_is_its_own(tmp_path: Path) -> None:
    large = plan.cost(["python3", "-c", "x = bytearray(300_000_000); x[::4096] = x[::4096]"], tmp_path)
    small = plan.cost(["true"], tmp_path)
    assert small.gigabytes < 0.05 and 0.29 < large.gigabytes < 0.4


def test_a_thousand_patients_are_planned_in_seconds(tmp_path: Path) -> None:
    plan.write_cohort(tmp_path, 1000, 5)
    began = time.process_time()
    study = studies.load_study(tmp_path / "config.yaml")
    rows = table(study)
    lines = described(rows) + closing(study, rows)
    assert time.process_time() - began < 15
    assert len(rows) == 4000 and len({len(row) for row in rows}) == 1
    assert any("4000 registrations of 1000 patients" in line for line in lines)

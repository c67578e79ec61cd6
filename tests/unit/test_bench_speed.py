"""The speed benchmark: its fit, its maps, its problem, and a demeter that cannot run."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import pytest
import torch

sys.path.insert(0, str(Path(__file__).parents[2]))

from benchmarks import speed, speed_threads
from benchmarks.environments import Unavailable


def test_the_exponent_of_a_power_law_is_found() -> None:
    rows = [(n, 0.3 * n**1.25) for n in (100, 1000, 5000)]
    assert speed.exponent(rows) == pytest.approx(1.25)


def test_the_shells_are_two_different_maps_on_the_simplex() -> None:
    source, target = speed.shells(12)
    assert source.shape == target.shape == (speed.CLASSES, 12, 12, 12)
    for maps in (source, target):
        assert np.abs(maps.sum(0) - 1).max() < 1e-6
        assert maps.min() > 0
    assert np.abs(source - target).mean() > 1e-3


def test_the_problem_has_the_steps_asked_for_and_a_tangent_start() -> None:
    matching = speed.cube_matching(*speed.shells(12), 3)
    momentum = speed.start(matching)
    assert matching.steps == 3
    assert float((momentum * matching.source).sum(0).abs().max()) < 1e-6
    assert speed.seconds_of(momentum, matching) > 0


def test_threads_are_compared_with_one_and_with_what_the_machine_allows(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(speed_threads, "usable_cores", lambda: 5)
    assert speed_threads.counts() == [1, 2, 4]
    used = torch.get_num_threads()
    assert speed_threads._gains(lambda n: 6.0 / n) == pytest.approx([1.0, 2.0, 4.0])
    assert torch.get_num_threads() == used
    monkeypatch.setattr(speed_threads, "usable_cores", lambda: 2)
    monkeypatch.setattr(speed_threads, "STREAMED", 1000)
    ran: list[int] = []
    lines = speed_threads.table(lambda: ran.append(torch.get_num_threads()), 1).splitlines()
    assert ran == [1, 1, 2, 2] and torch.get_num_threads() == used
    assert lines[0].count("|") == 5 and lines[2].startswith("| 1 | 1.00 | 1.00 | 1.00 |")
    assert lines[3].startswith("| 2 | ")


def test_a_demeter_that_cannot_run_is_reported_and_the_other_parts_go_on(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    def refuse(name: str) -> Path:
        raise Unavailable(f"{name} cannot be installed: no space")

    monkeypatch.setattr(speed.environments, "python", refuse)  # type: ignore[attr-defined]
    monkeypatch.setattr(speed.environments, "FOLDER", tmp_path)  # type: ignore[attr-defined]
    monkeypatch.setattr(speed, "QUICK", speed.SpeedSizes(8, 1, 1, 4, (8, 10), (1, 2)))
    threads = torch.get_num_threads()
    try:
        speed.main(
            ["--quick", "--parts", "gradient", "growth", "threads", "--out", str(tmp_path / "speed.md")]
        )
    finally:
        torch.set_num_threads(threads)
        torch.set_flush_denormal(False)
    text = (tmp_path / "speed.md").read_text(encoding="utf-8")
    assert "Not measured: demeter cannot be installed: no space." in text
    assert "exponent **" in text and "| 1 | 1.00 | 1.00 | 1.00 |" in text

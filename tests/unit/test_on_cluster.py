"""Helpers of the cluster tests that need no cluster."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import pytest

sys.path[:0] = [str(Path(__file__).parents[1] / part) for part in ("slurm", "workflow")]

import on_cluster  # noqa: E402


def test_sizes_pass_over_what_goes_away_meanwhile(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("a/one", "b/two", "b/c/three"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text("x")
    (tmp_path / "b" / "two").unlink()
    real = os.scandir

    def gone_in_between(place: str) -> object:
        if Path(place).name == "c":
            (tmp_path / "b" / "c" / "three").unlink()
            (tmp_path / "b" / "c").rmdir()
        return real(place)

    monkeypatch.setattr(os, "scandir", gone_in_between)
    names = {Path(name).name for name, _ in on_cluster.sizes(tmp_path)}
    assert {"a", "one", "b"} <= names and "three" not in names

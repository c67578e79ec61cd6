"""Machine code on disk is that of its source and of the types of its arguments, also for many processes."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from longimorph.numerics import compiling
from longimorph.numerics.compiling import _Files

SOURCE = """
from longimorph.numerics.compiling import compiled

@compiled
def scaled(values):
    return values.sum() * {factor}
"""
ASK = """
import json, sys
import numpy as np
from loops import scaled
found = [float(scaled(np.ones(4, kind))) for kind in sys.argv[1:]]
print(json.dumps([found, sum(scaled.stats.cache_hits.values())]))
"""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "loops.py").write_text(SOURCE.format(factor=2))
    return tmp_path


def start(folder: Path, *kinds: str) -> subprocess.Popen[str]:
    places = os.pathsep.join([str(folder), *(place for place in sys.path if place)])
    environment = {**os.environ, "NUMBA_CACHE_DIR": str(folder / "code"), "PYTHONPATH": places}
    command = [sys.executable, "-c", ASK, *kinds]
    return subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, text=True)


def answer(process: subprocess.Popen[str]) -> tuple[list[float], int]:
    """The sums for each type, and how often machine code came from disk."""
    said, _ = process.communicate(timeout=300)
    assert process.returncode == 0
    found, hits = json.loads(said)
    return found, hits


def test_processes_that_compile_at_once_leave_code_for_each_type(folder: Path) -> None:
    kinds = ("float32", "float64", "int64")
    for process in [start(folder, kind) for kind in kinds]:
        assert answer(process)[0] == [8.0]
    assert answer(start(folder, *reversed(kinds))) == ([8.0, 8.0, 8.0], 3)


def test_code_of_an_earlier_source_is_never_run(folder: Path) -> None:
    assert answer(start(folder, "float64", "float32")) == ([8.0, 8.0], 0)
    (folder / "loops.py").write_text(SOURCE.format(factor=7))
    assert answer(start(folder, "float32")) == ([28.0], 0)
    assert answer(start(folder, "float64", "float32")) == ([28.0, 28.0], 1)


def test_the_name_of_a_file_follows_from_its_content(tmp_path: Path) -> None:
    """Whoever saves in between, and however old what lies there is."""
    make: Any = _Files
    one, other, newer = (make(str(tmp_path), "loops", stamp) for stamp in ((1.0, 9), (1.0, 9), (2.0, 9)))
    one.save(("float32", "x86"), "code for float32")
    other.save(("float64", "x86"), "code for float64")
    for files in (one, other):
        assert files.load(("float32", "x86")) == "code for float32"
        assert files.load(("float64", "x86")) == "code for float64"
        assert files.load(("float64", "arm")) is None
    assert newer.load(("float32", "x86")) is None


def test_every_loop_keeps_its_code_so() -> None:
    from longimorph.numerics import convolution, fused, fused_solves

    made = [
        value
        for module in (convolution, fused, fused_solves)
        for value in vars(module).values()
        if type(getattr(getattr(value, "_cache", None), "_cache_file", None)).__name__ != "NoneType"
    ]
    assert len(made) > 20
    assert all(isinstance(one._cache._cache_file, _Files) for one in made)


def test_without_a_folder_for_code_loops_are_compiled_each_time(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> None:
        raise RuntimeError("no locator available")

    monkeypatch.setattr(compiling, "_Files", refuse)
    assert compiling.compiled(lambda x: x + 1)(2) == 3

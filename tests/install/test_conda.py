"""Environments that Snakemake creates for the jobs contain the longimorph that plans the run.

Conda itself is replaced: its channels are not asked for anything. What is tested is what the workflow adds.
"""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
from tiny import TinyCohort

import longimorph

pytestmark = pytest.mark.long
CONDA = Path(__file__).parent / "conda" / "bin"


@pytest.fixture
def study(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> TinyCohort:
    """A study whose steps only write their files, and a Conda for it."""
    cohort = TinyCohort(
        tmp_path, settings={"spacing_mm": 8, "smoothing_mm": 4, "reference": "none"}, stub=True
    )
    cohort.add("P001", "V1", 0, 20)
    cohort.add("P001", "V2", 61, 28)
    cohort.write()
    monkeypatch.setenv("PATH", f"{CONDA}{os.pathsep}{os.environ['PATH']}")
    monkeypatch.setenv("BARE_PYTHON", sys.executable)
    monkeypatch.setenv("CALLS", str(tmp_path / "calls.txt"))
    return cohort


def test_jobs_run_in_an_environment_that_has_longimorph(study: TinyCohort) -> None:
    run = study.snakemake("--sdm", "conda", timeout=500)
    assert run.returncode == 0, run.stdout + run.stderr
    (made,) = [path for path in (study.folder / ".snakemake" / "conda").iterdir() if path.is_dir()]
    jobs = (study.folder / "calls.txt").read_text().splitlines()
    assert set(jobs) == {str(made)} and len(jobs) > 10  # each step, and the script
    bare = {key: value for key, value in os.environ.items() if key != "PYTHONPATH"}
    code = "import longimorph, pathlib; print(pathlib.Path(longimorph.__file__).resolve())"
    found = subprocess.run(
        [made / "bin" / "python", "-I", "-c", code], env=bare, cwd="/", capture_output=True, text=True
    )
    assert found.stdout.strip() == str(Path(longimorph.__file__).resolve()), found.stderr

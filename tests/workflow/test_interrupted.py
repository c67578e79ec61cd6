"""A registration that is stopped or killed continues in the next attempt to the same numbers."""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import subprocess
import time
from pathlib import Path

import pytest
import tiny
from tiny import PYTHON, TinyCohort

from longimorph.orchestration import progress, progress_text

PAIR = Path("results", "patients", "P001", "V1__V2")
LOG = Path("results", "logs", "P001", "register_V1__V2.log")
TARGET = str(PAIR / "status.json")
TABLES = ("changes.csv", "transitions.csv", "convergence.csv")


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> TinyCohort:
    """A study of one pair that takes many iterations, run without interruption."""
    cohort = TinyCohort(tmp_path_factory.mktemp("whole"))
    cohort.add("P001", "V1", 0, 20)
    cohort.add("P001", "V2", 61, 28, lesion=True)
    chosen = {"spacing_mm": 6, "smoothing_mm": 4, "reference": "none", "tolerance": 1e-9}
    cohort.write(**chosen, max_evaluations=40, steps=6)
    run = cohort.snakemake(TARGET)
    assert run.returncode == 0, run.stdout + run.stderr
    return cohort


def begin(cohort: TinyCohort, folder: Path, *arguments: str) -> tuple[TinyCohort, subprocess.Popen[str]]:
    """Start the same study in another folder, up to its registration; return when that has iterated."""
    copy = TinyCohort(folder / "study", cohort.rows, cohort.settings)
    shutil.copytree(cohort.folder, copy.folder)
    shutil.rmtree(copy.folder / PAIR)
    (copy.folder / LOG).unlink()
    places = ["-s", str(tiny.ENTRY_POINTS[0]), "--directory", str(copy.folder)]
    command = [PYTHON, "-m", "snakemake", *places, "--configfile", str(copy.config), "--cores", "1"]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    with (folder / "output").open("w") as output:
        run = subprocess.Popen(
            [*command, TARGET, *arguments],
            cwd="/",
            env=environment,
            stdout=output,
            stderr=output,
            text=True,
            start_new_session=True,
        )
    for _ in range(4800):
        time.sleep(0.05)
        log = copy.folder / LOG
        if log.exists() and "iteration 4," in log.read_text():
            return copy, run
        assert run.poll() is None, (folder / "output").read_text()
    raise AssertionError("no iteration within four minutes")


def process(cohort: TinyCohort) -> int:
    """The process of the registration, from its log."""
    found = re.search(r"^machine: .*, process (\d+)", (cohort.folder / LOG).read_text(), flags=re.MULTILINE)
    assert found is not None
    return int(found[1])


def same(found: TinyCohort, expected: TinyCohort) -> dict[str, object]:
    """Compare the tables of two runs, and see that no state is left; return status.json."""
    for name in TABLES:
        assert (found.folder / PAIR / name).read_bytes() == (expected.folder / PAIR / name).read_bytes()
    assert not (found.folder / PAIR / "resume").exists()
    status: dict[str, object] = json.loads((found.folder / PAIR / "status.json").read_text())
    return status


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGUSR1])
def test_told_to_stop_it_goes_on_in_the_next_attempt(whole: TinyCohort, tmp_path: Path, number: int) -> None:
    cohort, run = begin(whole, tmp_path, "--retries", "1")
    os.kill(process(cohort), number)
    assert run.wait(timeout=300) == 0, (tmp_path / "output").read_text()
    assert f"{signal.Signals(number).name} after " in (tmp_path / "output").read_text()
    log = (cohort.folder / LOG).read_text()
    assert "attempt 2 continues after " in log and "iteration 0," not in log
    assert same(cohort, whole)["attempts"] == 2


def test_snakemake_leaves_the_state_where_it_is(whole: TinyCohort, tmp_path: Path) -> None:
    """Neither the failure of the job, nor a new run, nor a forced one deletes it."""
    cohort, run = begin(whole, tmp_path)
    os.kill(process(cohort), signal.SIGTERM)
    assert run.wait(timeout=300) == 1
    assert (cohort.folder / PAIR / "resume" / "state.json").is_file()
    assert (
        (cohort.folder / LOG).read_text().splitlines()[-1].startswith("outcome: interrupted: SIGTERM after ")
    )
    told = progress_text.table(progress.read_progress(cohort.folder / "results"))
    assert told.endswith("0 of 1 pair done, 1 interrupted.")
    assert "  P001  register V1 to V2  SIGTERM after " in told
    again = cohort.snakemake("--force", TARGET)
    assert again.returncode == 0, again.stdout + again.stderr
    assert same(cohort, whole)["attempts"] == 2


def test_killed_without_a_word_it_goes_on_from_what_was_saved(whole: TinyCohort, tmp_path: Path) -> None:
    cohort, run = begin(whole, tmp_path)
    os.killpg(run.pid, signal.SIGKILL)
    run.wait(timeout=60)
    for arguments in (("--unlock",), ("--rerun-incomplete", TARGET)):
        again = cohort.snakemake(*arguments)
        assert again.returncode == 0, again.stdout + again.stderr
    same(cohort, whole)

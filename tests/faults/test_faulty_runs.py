"""Runs in bad places and at bad times end with a message, and the next run gives the right result."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import tiny
from tiny import TinyCohort

pytestmark = pytest.mark.long

TABLES = ("changes", "transitions", "failures", "marginals_by_region", "marginals_by_state")
ODD = "scan ü 'x' \"y\" $HOME `id` *; &"


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> TinyCohort:
    """A study after a run that nothing disturbed."""
    cohort = tiny.study(tmp_path_factory.mktemp("whole"), stub=True)
    run = cohort.snakemake()
    assert run.returncode == 0, run.stderr
    return cohort


@pytest.fixture
def fresh(tmp_path: Path) -> TinyCohort:
    """The same study before any run."""
    return tiny.study(tmp_path / "study", stub=True)


def tables(cohort: TinyCohort) -> dict[str, bytes]:
    """The cohort's tables."""
    folder = cohort.folder / "results" / "cohort"
    return {name: (folder / f"{name}.csv").read_bytes() for name in TABLES}


def told(run: subprocess.CompletedProcess[str], *words: str) -> None:
    """The run failed, and said these words without a traceback."""
    text = run.stdout + run.stderr
    assert run.returncode != 0
    assert "Traceback" not in text, text
    assert [word for word in words if word not in text] == [], text


def begin(cohort: TinyCohort) -> subprocess.Popen[bytes]:
    """Start a run in a group of its own."""
    places = ["-s", str(tiny.ENTRY_POINTS[0]), "--directory", str(cohort.folder)]
    command = [tiny.PYTHON, "-m", "snakemake", *places, "--configfile", str(cohort.config), "--cores", "2"]
    stub = str(Path(tiny.__file__).parent / "stub")
    return subprocess.Popen(
        command,
        cwd="/",
        env={**os.environ, "PYTHONPATH": stub},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )


def wait_for(there: Callable[[], bool]) -> None:
    """Wait until something is there, for two minutes at most."""
    deadline = time.monotonic() + 120
    while not there():
        assert time.monotonic() < deadline
        time.sleep(0.02)


@pytest.mark.parametrize("pattern", ["*/alignment.json", "*/*/qc.json", "*/*/status.json", "*/changes.csv"])
def test_two_runs_at_once_and_one_killed_at_each_stage(
    whole: TinyCohort, fresh: TinyCohort, pattern: str
) -> None:
    run = begin(fresh)
    try:
        wait_for(lambda: any((fresh.folder / "results" / "patients").glob(pattern)))
        if pattern == "*/alignment.json":
            told(fresh.snakemake("--rerun-incomplete"), "cannot be locked")
    finally:
        os.killpg(run.pid, signal.SIGKILL)
        run.wait()
    told(fresh.snakemake("--rerun-incomplete"), "cannot be locked", "--unlock")
    assert fresh.snakemake("--unlock").returncode == 0
    again = fresh.snakemake("--rerun-incomplete")
    assert again.returncode == 0, again.stderr
    assert tables(fresh) == tables(whole)


def test_any_name_of_a_folder_is_only_a_name(whole: TinyCohort, fresh: TinyCohort) -> None:
    (fresh.folder / "scans").rename(fresh.folder / ODD)
    table = fresh.config.parent / "cohort.tsv"
    table.write_text(table.read_text().replace("../scans/", f"../{ODD}/"))
    run = fresh.snakemake()
    assert run.returncode == 0, run.stderr
    assert tables(fresh) == tables(whole)


@pytest.fixture
def small_disk(fresh: TinyCohort) -> Iterator[Path]:
    """A disk of its own for the results, 128 kB large."""
    if os.geteuid() != 0 or shutil.which("mount") is None:
        pytest.skip("only root can mount a disk")
    folder = fresh.folder / "results"
    folder.mkdir()
    if subprocess.run(["mount", "-t", "tmpfs", "-o", "size=128k", "tmpfs", folder]).returncode:
        pytest.skip("no disk can be mounted here")
    try:
        yield folder
    finally:
        subprocess.run(["umount", "-l", folder], check=True)


def remount(folder: Path, option: str) -> None:
    """Change an option of a mounted disk."""
    subprocess.run(["mount", "-o", f"remount,{option}", folder], check=True)


def test_a_full_disk_ends_the_run_and_room_completes_it(
    whole: TinyCohort, fresh: TinyCohort, small_disk: Path
) -> None:
    (small_disk / "filler").write_bytes(bytes(90_000))
    told(fresh.snakemake(), "No space left on device")
    (small_disk / "filler").unlink()
    remount(small_disk, "size=64m")
    again = fresh.snakemake("--rerun-incomplete")
    assert again.returncode == 0, again.stderr
    assert tables(fresh) == tables(whole)


def test_results_that_cannot_be_written_end_the_run(fresh: TinyCohort, small_disk: Path) -> None:
    remount(small_disk, "ro")
    told(fresh.snakemake(), "Read-only file system")


def test_results_of_another_study_are_not_taken_over(whole: TinyCohort, fresh: TinyCohort) -> None:
    """Copied without Snakemake's records, and without the logs that say what they were made of."""
    fresh.write(kernel_mm=[30])
    shutil.copytree(whole.folder / "results", fresh.folder / "results")
    (fresh.folder / "results" / "logs").rename(fresh.folder / "logs")
    for file in (fresh.folder / "results").rglob("*"):
        file.touch()
    told(fresh.snakemake(), "results of unknown origin")


def test_results_of_before_the_clock_was_set_back_are_not_taken_for_new(
    whole: TinyCohort, tmp_path: Path
) -> None:
    """A scan that is changed under the right clock is older than what a clock that ran ahead has dated."""
    study = TinyCohort(tmp_path / "study", whole.rows, whole.settings, stub=True)
    shutil.copytree(whole.folder, study.folder)
    results = study.folder / "results"
    ahead = time.time() + 86_400
    for file in results.rglob("*"):
        os.utime(file, (ahead, ahead))
    told(study.snakemake(), "has a timestamp in the future", "results/patients/P001/V1/qc.json")
    touch = ["find", "results", "-newermt", "now", "-exec", "touch", "-d", "now", "{}", "+"]
    subprocess.run(touch, cwd=study.folder, check=True)
    again = study.snakemake()
    assert again.returncode == 0, again.stderr
    assert "Nothing to be done" in again.stdout + again.stderr
    assert tables(study) == tables(whole)


def test_a_configuration_runs_no_code(fresh: TinyCohort) -> None:
    code = "__use_yte__: true\n__definitions__:\n  - open('hacked', 'w')\n"
    fresh.config.write_text(code + fresh.config.read_text())
    command = [tiny.PYTHON, "-m", "snakemake", "-s", str(tiny.ENTRY_POINTS[0]), "--dry-run"]
    run = subprocess.run(command, cwd=fresh.folder, capture_output=True, text=True)
    told(run, "config.yaml, line 1", "would run code from the configuration")
    assert not (fresh.folder / "hacked").exists()


def test_names_that_the_workflow_uses_belong_to_it() -> None:
    import re

    from longimorph.study.names import RESERVED

    text = "".join(file.read_text() for file in (tiny.REPOSITORY / "workflow" / "rules").glob("*.smk"))
    used = set(re.findall(r"^rule patient_(\w+):", text, re.MULTILINE))
    used |= set(re.findall(r"\"results/logs/(\w+)/", text))
    assert {"tables", "complete", "cohort", "sweep"} <= used <= RESERVED

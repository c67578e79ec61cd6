"""The log of a job: head, everything the job says, outcome."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from longimorph.errors import PairFailure
from longimorph.io.contents import SETTLED_S, stamp
from longimorph.orchestration import log


@pytest.fixture
def job(tmp_path: Path) -> Any:
    """What Snakemake gives to a script, as far as the log uses it."""
    (tmp_path / "in.nii").write_bytes(b"0" * 1000)
    return SimpleNamespace(
        rule="register",
        wildcards={"patient": "P1", "pair": "A__B"},
        threads=3,
        resources={"mem_mb": 2000, "_cores": 3, "tmpdir": "/tmp"},
        input=[str(tmp_path / "in.nii"), str(tmp_path / "missing.nii")],
        output=[str(tmp_path / "status.json"), str(tmp_path / "changes.csv")],
        params={"settings": {"smoothing_mm": 2}},
        log=[str(tmp_path / "logs" / "P1" / "register.log")],
        config={log.CONTEXT: {"command": ["snakemake", "--directory", "/a b"]}},
    )


@pytest.fixture(autouse=True)
def same_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    """Give the environment variables that the log sets back after each test."""
    for name in (*log._THREAD_VARIABLES, "MPLBACKEND"):
        monkeypatch.setenv(name, os.environ.get(name, "1"))


def run(job: Any, status: dict[str, Any], error: Exception | None = None) -> str:
    try:
        with log.job_log(job):
            os.system("echo said by a child process")
            Path(job.output[0]).write_text(json.dumps(status))
            if error:
                raise error
    finally:
        text = Path(job.log[0]).read_text()
    return text


def test_head_holds_the_command_and_the_tail_the_outcome(job: Any) -> None:
    lines = run(job, {"status": "ok"}).splitlines()
    assert lines[0].endswith("register patient=P1 pair=A__B")
    assert lines[1] == f"again: snakemake --directory '/a b' --cores 3 --force {job.output[0]}"
    assert "said by a child process" in lines
    assert lines[-1].startswith("outcome: ok (")
    assert any("missing.nii (cannot be read" in line for line in lines)


def test_an_expected_failure_in_the_status_is_the_outcome(job: Any) -> None:
    text = run(job, {"visits": {"A": {"status": "ok"}, "B": {"status": "overlap", "message": "Too little."}}})
    assert text.splitlines()[-1].startswith("outcome: failed: B: overlap: Too little. (")


def test_a_crash_leaves_its_traceback_in_the_log_and_a_sentence_outside(
    job: Any, capfd: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit):
        run(job, {}, ValueError("surprise"))
    text = Path(job.log[0]).read_text()
    assert "Traceback" in text
    assert text.splitlines()[-1] == "outcome: crashed: ValueError: surprise"
    terminal = capfd.readouterr().err
    assert "register: surprise" in terminal and "register.log" in terminal and "Traceback" not in terminal


def test_an_expected_error_has_no_traceback(job: Any) -> None:
    with pytest.raises(SystemExit):
        run(job, {}, PairFailure("align", "overlap", "Too little."))
    assert "Traceback" not in Path(job.log[0]).read_text()


def test_the_block_sees_the_threads_of_the_job(job: Any) -> None:
    with log.job_log(job):
        Path(job.output[0]).write_text("{}")
        assert os.environ["OMP_NUM_THREADS"] == "3"


def test_an_output_that_was_not_written_is_a_crash(job: Any) -> None:
    with pytest.raises(SystemExit), log.job_log(job):
        pass
    assert "status.json" in Path(job.log[0]).read_text().splitlines()[-1]


def test_opening_a_log_imports_nothing_heavy() -> None:
    heavy = "{'torch', 'numpy', 'pandas'}"
    code = f"import sys, longimorph.orchestration.log; sys.exit(bool({heavy} & set(sys.modules)))"
    assert subprocess.run([sys.executable, "-c", code], timeout=60).returncode == 0


def test_the_stamps_of_the_inputs_can_be_read_from_the_log(job: Any) -> None:
    """A file that is older than the steps of the disk's clock has one, a missing file none."""
    scan = Path(job.input[0])
    young = run(job, {"status": "ok"})
    assert f"input: {scan} (0.001 MB)\n" in young and log.stamps(Path(job.log[0])) == {}
    time.sleep(SETTLED_S + 0.1)
    run(job, {"status": "ok"})
    assert log.stamps(Path(job.log[0])) == {str(scan): stamp(scan)}
    assert log.stamps(scan) == log.stamps(scan.with_name("none")) == {}

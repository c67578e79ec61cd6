"""The progress of a run, read from its files: states, signs of life, and their description."""

from __future__ import annotations

import json
import os
import time
from datetime import datetime
from pathlib import Path

import pytest

from longimorph.cli import main
from longimorph.orchestration import heartbeat, progress, progress_text
from longimorph.tables import write_pair_list

HEAD = "longimorph: register\nmachine: node07, process 4242, SLURM job 99\n"
SAID = heartbeat.iteration(1.5, 3, 5, 40, 1234.5)


def write(path: Path, content: object) -> None:
    """Write JSON."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(content))


def write_log(results: Path, name: str, text: str, age: float = 0.0) -> Path:
    """Write a log of patient P1 that was touched so many seconds ago."""
    log = results / "logs" / "P1" / f"{name}.log"
    log.parent.mkdir(parents=True, exist_ok=True)
    log.write_text(text)
    os.utime(log, (time.time() - age,) * 2)
    return log


@pytest.fixture
def results(tmp_path: Path) -> Path:
    """A run of three pairs: one done, one failed, one without any file."""
    found = tmp_path / "results"
    pairs = [{"patient": "P1", "from": a, "to": b, "days": 1} for a, b in ("AB", "BC", "CD")]
    write_pair_list(pairs, [{"patient": "P2", "reason": "one visit"}], found / "cohort" / "pairs.csv")
    write(found / "patients" / "P1" / "alignment.json", {"visits": {}})
    failure = {"status": "diverged", "stage": "register", "message": "No step was short enough."}
    write(found / "patients" / "P1" / "A__B" / "status.json", {"status": "ok"})
    write(found / "patients" / "P1" / "B__C" / "status.json", failure)
    return found


def register_states(results: Path) -> dict[str, int]:
    return dict(progress.read_progress(results).count("register"))


def test_done_failed_and_waiting(results: Path) -> None:
    found = progress.read_progress(results)
    assert found.count("register") == {"done": 1, "failed": 1, "waiting": 1}
    assert found.count("align") == {"done": 1}
    assert found.count("figure") == {"waiting": 3}
    assert [seen.words for seen in found.failures()] == ["register: diverged: No step was short enough."]
    assert found.left_out == ("P2",)
    text = progress_text.table(found)
    assert "P1       1/1    0/4   1/3 (1 failed)  0/3" in text
    assert "  P1 B to C: register: diverged: No step was short enough." in text
    assert text.endswith("1 of 3 pairs done, 1 failed, 1 not started.")
    assert "left out (one visit): P2" in text


def test_a_job_that_gives_signs_of_life_runs_and_says_where_it_is(results: Path) -> None:
    now = f"{datetime.now():%Y-%m-%d %H:%M:%S},123 INFO longimorph.stages.register: {SAID}\n"
    write_log(results, "register_C__D", HEAD + now.replace("iteration 3", "iteration 2") + now, age=20)
    assert register_states(results) == {"done": 1, "failed": 1, "running": 1}
    (seen,) = progress.read_progress(results).of_state("running")
    assert seen.words == "1.5 mm: iteration 3, 5 of at most 40 evaluations, cost 1234 mm3"
    assert seen.machine == "node07, process 4242, SLURM job 99"
    assert seen.age == pytest.approx(20, abs=5) and seen.said == pytest.approx(0, abs=5)
    text = progress_text.table(progress.read_progress(results))
    assert f"P1  register C to D  {seen.words} (" in text
    assert "may have been killed" not in text


def test_a_job_that_has_not_iterated_yet_is_alive(results: Path) -> None:
    write_log(results, "register_C__D", HEAD)
    (seen,) = progress.read_progress(results).of_state("running")
    assert (seen.words, seen.said) == ("", None)
    assert "alive 0 s ago" in progress_text.table(progress.read_progress(results))


def test_a_job_without_a_sign_of_life_may_have_been_killed(results: Path) -> None:
    log = write_log(results, "register_C__D", HEAD + SAID + "\n", age=3 * 3600)
    assert register_states(results) == {"done": 1, "failed": 1, "silent": 1}
    for text in (
        progress_text.table(progress.read_progress(results)),
        progress_text.jobs_of(progress.read_progress(results, "P1"), "P1"),
    ):
        assert "last sign of life 3 h ago" in text and "node07, process 4242, SLURM job 99" in text
        assert str(log) in text and "squeue --me" in text
        assert text.endswith("1 of 3 pairs done, 1 failed, 1 without a sign of life.")


def test_a_job_that_broke_off_has_failed(results: Path) -> None:
    log = write_log(results, "register_C__D", HEAD + "outcome: crashed: KeyError: 'x'\n", age=3 * 3600)
    assert register_states(results) == {"done": 1, "failed": 2}
    assert f"  P1 register C to D: crashed: KeyError: 'x' (log: {log})" in progress_text.table(
        progress.read_progress(results)
    )


def test_a_long_log_is_read_at_both_ends(results: Path) -> None:
    write_log(results, "register_C__D", HEAD + "x" * 100 + "\n" + "noise\n" * 100_000 + SAID + "\n")
    (seen,) = progress.read_progress(results).of_state("running")
    assert seen.machine.startswith("node07") and seen.words == SAID


def test_before_the_list_of_pairs_is_there(tmp_path: Path) -> None:
    write(tmp_path / "results" / "patients" / "P1" / "A__B" / "status.json", {"status": "ok"})
    assert register_states(tmp_path / "results") == {"done": 1}
    assert progress.read_progress(tmp_path / "nothing").patients == {}


def test_one_patient_by_name(results: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["status", str(results.parent), "--patient", "P1"]) == 1, "one of its pairs has failed"
    lines = capsys.readouterr().out.splitlines()
    assert len([line for line in lines if line.startswith(("align", "maps", "register", "figure"))]) == 11
    assert main(["status", str(results.parent), "--patient", "P2"]) == 0
    assert capsys.readouterr().out == "P2 is left out: it has only one visit.\n"
    assert main(["status", str(results.parent), "--patient", "p1"]) == 1
    assert "no patient called 'p1'. Did you mean 'P1'?" in capsys.readouterr().err


def test_without_a_list_of_pairs_no_patient_counts_as_left_over(tmp_path: Path) -> None:
    write(tmp_path / "patients" / "P1" / "alignment.json", {"visits": {}})
    write(tmp_path / "cohort" / "memory.json", {})
    assert not progress.read_progress(tmp_path).leftovers.sentences()
    write_pair_list([], [], tmp_path / "cohort" / "pairs.csv")
    assert "P1" in "".join(progress.read_progress(tmp_path).leftovers.sentences())


def test_cohort_tables_that_lag_behind_a_patient_are_named(results: Path) -> None:
    """By content: the same numbers, computed again, are no news."""
    own, cohort = (results / place / "changes.csv" for place in ("patients/P1", "cohort"))
    own.write_text("patient,class\nP1,WM\n")
    assert progress.read_progress(results).behind == ()
    cohort.write_text("patient,class\nP0,WM\nP1,WM\n")
    newer = cohort.stat().st_mtime + 10
    for text, expected in (("patient,class\nP1,WM\n", ()), ("patient,class\nP1,GM\n", ("P1",))):
        own.write_text(text)
        os.utime(own, (newer, newer))
        found = progress.read_progress(results)
        assert found.behind == expected
        said = "The cohort's tables and pages lack the latest results of P1: run without a target."
        pairs = [{"patient": "P1", "from": "A", "to": "B"}]
        for told in (progress_text.table(found), progress_text.closing(pairs, results)):
            assert (said in told) == bool(expected)
    os.utime(cohort, (newer + 10, newer + 10))
    assert progress.read_progress(results).behind == ()


def test_a_thousand_patients_are_told_within_seconds_and_shortly(tmp_path: Path) -> None:
    results = tmp_path / "results"
    visits = [(f"V{i}", f"V{i + 1}") for i in range(1, 5)]
    pairs = [{"patient": f"P{n:04d}", "from": a, "to": b, "days": 90} for n in range(1000) for a, b in visits]
    write_pair_list(pairs, [], results / "cohort" / "pairs.csv")
    for pair in pairs[:2000]:
        status = {"status": "ok" if pair["patient"] != "P0007" else "diverged"}
        folder = results / "patients" / str(pair["patient"]) / f"{pair['from']}__{pair['to']}"
        write(folder / "status.json", status)
    began = time.perf_counter()
    found = progress.read_progress(results)
    text = progress_text.table(found)
    assert time.perf_counter() - began < 5
    assert "1996 of 4000 pairs done, 4 failed, 2000 not started." in text
    assert "P0007" in text and "and 999 more patients: --all" in text
    assert len(text.splitlines()) < 30
    assert len(progress_text.table(found, everything=True).splitlines()) > 1000


@pytest.mark.parametrize(
    ("seconds", "text"), [(3, "3 s ago"), (130, "2 min ago"), (7200, "2 h ago"), (200_000, "2 d ago")]
)
def test_times_are_told_in_their_largest_unit(seconds: float, text: str) -> None:
    assert progress_text.ago(seconds) == text


def test_the_beat_touches_the_log_until_the_job_ends(tmp_path: Path) -> None:
    log = write_log(tmp_path, "register_A__B", "text\n", age=5000)
    with heartbeat.beating(log, every=0.02):
        for _ in range(200):
            if time.time() - log.stat().st_mtime < 1000:
                break
            time.sleep(0.02)
        assert time.time() - log.stat().st_mtime < 1000
    os.utime(log, (0, 0))
    time.sleep(0.1)
    assert log.stat().st_mtime == 0
    assert log.read_text() == "text\n"


def test_a_beat_outlives_a_disk_that_is_away(tmp_path: Path) -> None:
    log = tmp_path / "gone" / "x.log"
    with heartbeat.beating(log, every=0.01):
        time.sleep(0.05)
        log.parent.mkdir()
        log.write_text("")
        os.utime(log, (0, 0))
        for _ in range(200):
            if log.stat().st_mtime > 0:
                break
            time.sleep(0.02)
    assert log.stat().st_mtime > 0


def test_where_a_process_runs_names_the_job_of_a_cluster(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("SLURM_JOB_ID", raising=False)
    assert heartbeat.machine() == f"{os.uname().nodename}, process {os.getpid()}"
    monkeypatch.setenv("SLURM_JOB_ID", "17")
    assert heartbeat.machine().endswith(", SLURM job 17")


def test_folders_of_an_earlier_pairs_setting_are_named_and_kept(
    results: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    old = results / "patients" / "P1" / "A__C" / "status.json"
    write(old, {"status": "ok"})
    write(results / "patients" / "P7" / "A__B" / "status.json", {"status": "ok"})
    write(results / "patients" / "P1" / "V__1" / "qc.json", {"status": "ok"})  # a visit of that name
    assert main(["status", str(results.parent)]) in (0, 1)
    said = capsys.readouterr().out
    assert "Pairs that are no longer planned in this study: P1/A__C." in said
    assert "Patients that are not in this run: P7." in said and "longimorph keeps them" in said
    assert "of 3 pairs" in said and old.exists()
    assert progress.read_progress(results, "P1").leftovers.patients == ()
    main(["status", str(results.parent), "--patient", "P1"])
    assert "P1/A__C" in capsys.readouterr().out


def test_without_leftovers_nothing_is_said_of_them(results: Path, capsys: pytest.CaptureFixture[str]) -> None:
    main(["status", str(results.parent)])
    assert "no longer planned" not in capsys.readouterr().out
    (results / "cohort" / "pairs.csv").unlink()
    assert progress.read_progress(results).leftovers.sentences() == []

"""Jobs for Grid Engine, LSF and PBS: what is asked, what an answer means, and what runs on the node."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from longimorph.orchestration import queue, queued_job
from longimorph.orchestration.schedulers import SCHEDULERS, Request

ASKED = Request(threads=2, mem_mb=3001, minutes=75, gpus=1, queue="long")
COMMANDS = {
    "sge": "qsub -terse -V -cwd -S /bin/sh -N longimorph -j y -o LOGS/ -r n "
    "-l h_rt=1:15:00,h_vmem=1501M,gpu=1 -pe smp 2 -q long",
    "lsf": "bsub -J longimorph -n 2 -R span[hosts=1] -R rusage[mem=3001MB] -M 3001MB -W 75 "
    "-rn -o LOGS/%J.log -gpu num=1 -q long",
    "pbs": "qsub -V -S /bin/sh -N longimorph -j oe -o LOGS/ -r n -l select=1:ncpus=2:mem=3001mb:ngpus=1 "
    "-l walltime=1:15:00 -q long",
}
ANSWERS = {
    # What a scheduler says of a new job, and the number in it.
    "sge": ("Unable to initialize environment\n17\n", "17"),
    "lsf": ("Job <17> is submitted to default queue <normal>.\n", "17"),
    "pbs": ("17.head.example.org\n", "17.head.example.org"),
}
ENDED = [
    ("sge", "Following jobs do not exist or permissions are not sufficient:\n17\n"),
    ("sge", "Following jobs do not exist:\n17\n"),
    ("lsf", "Job <17> is not found\n"),
    ("lsf", "EXIT\n"),
    ("pbs", "qstat: Unknown Job Id 17.head\n"),
    ("pbs", "qstat: 17.head Job has finished, use -x or -H to obtain historical job information\n"),
]
NOT_ENDED = [
    ("sge", "job_number: 17\nenv_list: f() { echo 'module does not exist: Following jobs do not exist'; }\n"),
    ("sge", "error: commlib error: can't connect to service"),
    ("lsf", "PEND\n"),
    ("lsf", "LSF is down. Please wait ..."),
    ("pbs", "17.head longimorph me 0 Q workq\n"),
    ("pbs", "Connection refused\nqstat: cannot connect to server head (errno=15010)\n"),
    ("pbs", ""),
]


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The working folder of a study."""
    monkeypatch.chdir(tmp_path)
    return tmp_path


def answering(monkeypatch: pytest.MonkeyPatch, text: str) -> None:
    known = bool(text) and "not exist" not in text and "cannot connect" not in text
    monkeypatch.setattr(queue, "_answer", lambda command: queue._Answer(text, known))


def script(folder: Path, properties: dict[str, object], body: str = "") -> Path:
    """A job's script, as Snakemake writes it."""
    file = folder / "job.sh"
    file.write_text(f"#!/bin/sh\n# properties = {json.dumps(properties)}\n{body}\n")
    return file


@pytest.mark.parametrize("name", SCHEDULERS)
def test_a_request_in_the_words_of_the_scheduler(name: str) -> None:
    assert " ".join(SCHEDULERS[name].submit(ASKED, Path("LOGS"))) == COMMANDS[name]
    plain = SCHEDULERS[name].submit(Request(1, 500, 10), Path("LOGS"))
    assert not {"-pe", "-q", "-gpu"} & set(plain) and "gpu" not in " ".join(plain)


def test_a_request_is_what_the_job_asks_for() -> None:
    asked = {"mem_mb": 2048, "runtime": 30, "disk_mb": 7, "in_turn": 1}
    assert Request.of({"threads": 3, "resources": asked}) == Request(3, 2048, 30)
    assert Request.of({"threads": 1, "resources": {**asked, "gpu": 2}}).gpus == 2
    card = {**asked, "gres": "gpu:a100:1", "slurm_partition": "gpu"}
    assert Request.of({"threads": 1, "resources": card}) == Request(1, 2048, 30, 1, "gpu")


@pytest.mark.parametrize("name", SCHEDULERS)
def test_the_number_of_a_new_job_is_found(name: str) -> None:
    text, number = ANSWERS[name]
    found = SCHEDULERS[name].number.search(text)
    assert found is not None and found[1] == number


@pytest.mark.parametrize(("name", "answer"), ENDED)
def test_a_job_that_is_gone_without_a_word_has_failed_after_a_while(
    monkeypatch: pytest.MonkeyPatch, name: str, answer: str
) -> None:
    answering(monkeypatch, answer)
    assert queue.status(SCHEDULERS[name], "17") == "running", "its last file may still be on its way"
    (queue.FOLDER / "17.unknown").write_text(f"{time.time() - 100}\n")
    assert queue.status(SCHEDULERS[name], "17") == "failed"
    (queue.FOLDER / "17.end").write_text("0\n")
    assert queue.status(SCHEDULERS[name], "17") == "success"


@pytest.mark.parametrize(("name", "answer"), NOT_ENDED)
def test_a_job_is_running_until_the_scheduler_says_that_it_is_not(
    monkeypatch: pytest.MonkeyPatch, name: str, answer: str
) -> None:
    answering(monkeypatch, answer)
    assert queue.status(SCHEDULERS[name], "17", grace_s=0) == "running"


def test_a_job_that_is_known_again_starts_anew(monkeypatch: pytest.MonkeyPatch) -> None:
    for answer in ("Job <17> is not found", "RUN"):
        answering(monkeypatch, answer)
        queue.status(SCHEDULERS["lsf"], "17")
    assert not (queue.FOLDER / "17.unknown").exists()


def test_the_exit_status_of_the_job_decides(folder: Path) -> None:
    queue.FOLDER.mkdir(parents=True)
    for code, word in ((0, "success"), (1, "failed"), (137, "failed")):
        (queue.FOLDER / "5.end").write_text(f"{code}\n")
        assert queue.status(SCHEDULERS["sge"], "5") == word


def test_a_scheduler_that_is_not_there_or_refuses_is_said_to(
    folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    job = script(folder, {"rule": "align", "threads": 1, "resources": {"mem_mb": 100, "runtime": 5}})
    monkeypatch.setenv("PATH", str(folder))
    assert queue.main(["submit", "sge", str(job)]) == 1
    assert "qsub cannot be run here (No such file or directory)" in capsys.readouterr().err
    assert queue.main(["submit", "sge", "--option='-P", str(job)]) == 1
    assert "cannot be read: No closing quotation" in capsys.readouterr().err
    (folder / "qsub").write_text("#!/bin/sh\necho 'no such queue' >&2\nexit 3\n")
    (folder / "qsub").chmod(0o755)
    assert queue.main(["submit", "sge", str(job)]) == 1
    assert "qsub refused a job (exit status 3): no such queue" in capsys.readouterr().err
    assert queue.main(["submit", "sge", str(folder / "qsub")]) == 1
    assert "it is no job of Snakemake" in capsys.readouterr().err


def test_only_registrations_are_told_that_their_time_ends(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (folder / "qsub").write_text(f"#!/bin/sh\n/bin/cat > {folder}/given\necho 4.head\n")
    (folder / "qsub").chmod(0o755)
    monkeypatch.setenv("PATH", str(folder))
    for rule, seconds in (("register", 420), ("sweep_register", 420), ("align", 0)):
        job = script(folder, {"rule": rule, "threads": 1, "resources": {"mem_mb": 100, "runtime": 10}})
        assert queue.submit(SCHEDULERS["pbs"], "pbs", job) == "4.head"
        assert f" PBS_JOBID {seconds} " in (folder / "given").read_text()


def test_jobs_that_an_earlier_run_left_are_named(monkeypatch: pytest.MonkeyPatch) -> None:
    queue.FOLDER.mkdir(parents=True)
    for number, text in (("7", "sge register P001 V1__V2"), ("8", "sge prepare_P002"), ("9", "lsf maps")):
        (queue.FOLDER / f"{number}.job").write_text(text + "\n")
    (queue.FOLDER / "8.end").write_text("0\n")
    answering(monkeypatch, "job_number: 7")
    assert queue.left_behind() == [
        "  7 register P001 V1__V2", "  9 maps", "To cancel them:", "  qdel 7", "  bkill 9"
    ]  # fmt: skip
    answering(monkeypatch, "Following jobs do not exist: is not found")
    assert queue.left_behind() == []
    answering(monkeypatch, "cannot connect to server")
    assert queue.left_behind() == [], "without the scheduler, they may as well have ended"


def test_what_a_job_does_is_said() -> None:
    single = {"rule": "register", "wildcards": {"patient": "P001", "pair": "V1__V2"}}
    assert queue.subject(single) == "register P001 V1__V2"
    assert queue.subject({"type": "group", "groupid": "prepare_P001"}) == "prepare_P001"


SAVES = f"""{sys.executable} - <<'END'
import signal, sys, time
def save(number, frame):
    time.sleep(1)
    print("saved", number, flush=True)
    sys.exit(7)
signal.signal(signal.SIGTERM, save)
signal.signal(signal.SIGUSR1, save)
print("begun", flush=True)
time.sleep(60)
END
exit $?"""


def start(folder: Path, seconds: str) -> subprocess.Popen[str]:
    """A job on the node, in a process group of its own."""
    command = [
        sys.executable,
        "-m",
        queue.JOB,
        "JOB_ID",
        seconds,
        str(folder),
        str(script(folder, {}, SAVES)),
    ]
    environment = {**os.environ, "JOB_ID": "9"}
    return subprocess.Popen(
        command, env=environment, stdout=subprocess.PIPE, text=True, start_new_session=True
    )


@pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="no /proc, as on Linux")
@pytest.mark.parametrize("sent", [signal.SIGTERM, signal.SIGINT, signal.SIGUSR1, signal.SIGUSR2])
def test_what_runs_on_the_node_gets_the_signal_and_is_waited_for(folder: Path, sent: signal.Signals) -> None:
    job = start(folder, "0")
    assert job.stdout is not None and job.stdout.readline() == "begun\n"
    job.send_signal(sent)
    rest, _ = job.communicate(timeout=30)
    received = sent if sent == signal.SIGUSR1 else signal.SIGTERM
    assert rest == f"saved {int(received)}\n"
    assert job.returncode == 7 and (folder / "9.end").read_text() == "7\n"


@pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="no /proc, as on Linux")
def test_it_is_told_before_the_time_limit(folder: Path) -> None:
    job = start(folder, "2")
    rest, _ = job.communicate(timeout=30)
    assert rest == f"begun\nsaved {int(signal.SIGUSR1)}\n"


@pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="no /proc, as on Linux")
def test_a_signal_to_all_processes_of_the_job_lets_it_save(folder: Path) -> None:
    """The shell dies of it; what it started is waited for."""
    job = start(folder, "0")
    assert job.stdout is not None and job.stdout.readline() == "begun\n"
    os.killpg(job.pid, signal.SIGTERM)
    rest, _ = job.communicate(timeout=30)
    assert rest.startswith(f"saved {int(signal.SIGTERM)}\n")
    assert (folder / "9.end").read_text() != "0\n"


@pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="no /proc, as on Linux")
def test_a_job_that_is_killed_leaves_no_process(folder: Path) -> None:
    job = start(folder, "0")
    assert job.stdout is not None and job.stdout.readline() == "begun\n"
    os.killpg(job.pid, signal.SIGKILL)
    assert job.communicate(timeout=30)[0] == "", "the pipe is closed when its last holder has ended"
    assert not (folder / "9.end").exists()


def test_answers_in_other_encodings_are_read(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (folder / "bjobs").write_bytes(b"#!/bin/sh\nprintf 'Auftrag l\\344uft\\n'\n")
    (folder / "bjobs").chmod(0o755)
    monkeypatch.setenv("PATH", f"{folder}{os.pathsep}{os.environ['PATH']}")
    assert queue.status(SCHEDULERS["lsf"], "3") == "running"


def test_a_job_that_ends_before_its_number_is_known_keeps_its_result(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    end = folder / "results" / "queue" / "4.end"
    (folder / "qsub").write_text(f"#!/bin/sh\n/bin/cat > /dev/null\necho 0 > {end}\necho 4\n")
    (folder / "qsub").chmod(0o755)
    monkeypatch.setenv("PATH", str(folder))
    job = script(folder, {"rule": "align", "threads": 1, "resources": {"mem_mb": 100, "runtime": 5}})
    assert queue.submit(SCHEDULERS["sge"], "sge", job) == "4"
    assert queue.status(SCHEDULERS["sge"], "4") == "success"
    os.utime(end, (time.time() - 100, time.time() - 100))
    (folder / "qsub").write_text("#!/bin/sh\n/bin/cat > /dev/null\necho 4\n")
    queue.submit(SCHEDULERS["sge"], "sge", job)
    assert not end.exists(), "of an old job with the same number"


def test_a_job_without_a_number_says_so(capsys: pytest.CaptureFixture[str], folder: Path) -> None:
    assert queued_job.main(["NOT_SET_ANYWHERE", "0", str(folder), "job.sh"]) == 1
    assert "did not set NOT_SET_ANYWHERE" in capsys.readouterr().err

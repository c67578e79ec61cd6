"""Jobs that the cluster ends early: each runs again, and everything else runs once."""

from __future__ import annotations

import os
import signal
from collections import Counter
from pathlib import Path

from on_cluster import ClusterCohort, slurm, state, three_patients, two_patients

FIRST, SECOND, THIRD = "register-P001-V1__V2", "register-P002-V1__V2", "register-P002-V2__V3"
FOURTH = "register-P003-V1__V2"


def test_cancelled_out_of_memory_and_requeued(tmp_path: Path) -> None:
    """Each by its means: told and tried again, tried with more memory, waited for under its number."""
    study = two_patients(tmp_path / "study")
    cancelled, _, requeued = (
        study.fault(job, how) for job, how in ((FIRST, "wait"), (SECOND, "memory 2000"), (THIRD, "wait"))
    )
    head = study.start("--set-resources", "register:mem_mb=1500*attempt")
    number = study.wait_for(THIRD)[0]
    slurm("scontrol", "requeue", number)
    study.until(lambda: state(number) == "PENDING", "the job to be in the queue again")
    requeued.unlink()
    slurm("scancel", study.wait_for(FIRST)[0])
    study.until(lambda: [FIRST, "SIGTERM"] in study.notes("signal"), "the job to be told")
    cancelled.unlink()
    assert head.end() == 0, head.text[-3000:]
    assert numbers(study, THIRD) == [number, number]
    assert study.notes("asked") == [[SECOND, "1500M"], [SECOND, "3000M"]]
    check_twice(study, FIRST, SECOND, THIRD)


def test_pushed_aside_by_a_job_of_higher_priority(tmp_path: Path) -> None:
    """Preemption: told, put back in the queue, waited for under its number, and run again."""
    study = two_patients(tmp_path / "study")
    table = "name\tmemory_gb\trequest\tpartition\ncard\t80\tgres=gpu:single:1\tspare\n"
    (study.cohort.config.parent / "gpus.tsv").write_text(table)
    study.cohort.write(gpus="gpus.tsv", patients=["P001"])
    fault = study.fault(FIRST, "wait")
    head = study.start()
    number = study.wait_for(FIRST)[0]
    of_others = ("--partition=gpu", "--gres=gpu:single:1", "--mem=100", "--output=/dev/null", "--wrap=true")
    slurm("sbatch", *of_others)
    study.until(lambda: [FIRST, "SIGTERM"] in study.notes("signal"), "the job to be told")
    fault.unlink()
    study.until(lambda: state(number) == "PENDING", "the job to be in the queue again")
    assert head.end() == 0, head.text[-3000:]
    assert numbers(study, FIRST) == [number, number]
    study.check_tables(pairs=1)
    assert {job for job, times in study.begun().items() if times > 1} == {FIRST}


def test_out_of_time_and_killed(tmp_path: Path) -> None:
    """Told before its time is over; heeding nothing; its process killed; SLURM's process for it killed."""
    study = three_patients(tmp_path / "study")
    behaviour = {FIRST: "wait", SECOND: "stubborn", THIRD: "wait", FOURTH: "wait"}
    faults = {job: study.fault(job, how) for job, how in behaviour.items()}
    head = study.start()
    begun = {job: study.wait_for(job) for job in faults}
    told, stubborn, _, forgotten = (number for number, *_ in begun.values())
    os.kill(step_of(forgotten), signal.SIGKILL)
    os.kill(int(begun[THIRD][-1]), signal.SIGKILL)
    for job in (SECOND, THIRD, FOURTH):
        faults[job].unlink()
    limit_to(told, minutes=minutes_so_far(told) + 4)  # the profile's signal comes three minutes before
    limit_to(stubborn, minutes=minutes_so_far(stubborn) + 1)
    limit_to(forgotten, minutes=minutes_so_far(forgotten) + 1)
    study.until(lambda: study.notes("signal"), "the early signal")
    faults[FIRST].unlink()
    assert head.end() == 0, head.text[-3000:]
    assert [FIRST, "SIGUSR1"] in study.notes("signal")
    assert [head.failed[number] for number in (told, stubborn, forgotten)] == ["FAILED", "TIMEOUT", "TIMEOUT"]
    check_twice(study, *faults)


def check_twice(study: ClusterCohort, *jobs: str) -> None:
    """Check that the whole study is there, that ``jobs`` ran twice and all others once."""
    everything = study.everything()
    study.check_tables(pairs=sum(job.startswith("register") for job in everything))
    assert study.begun() == everything + Counter(jobs)


def numbers(study: ClusterCohort, job: str) -> list[str]:
    """Return the SLURM numbers under which a job ran."""
    return [note[1] for note in study.notes("began") if note[0] == job]


def minutes_so_far(number: str) -> int:
    """Return for how many whole minutes a job has run."""
    return int(slurm("squeue", "--noheader", f"--jobs={number}", "--format=%M").strip().split(":")[0])


def limit_to(number: str, minutes: int) -> None:
    """Give a job that runs another time limit."""
    slurm("scontrol", "update", f"JobId={number}", f"TimeLimit={minutes}")


def step_of(number: str) -> int:
    """Return the process of SLURM that looks after the step of a job."""
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            words = (folder / "cmdline").read_bytes().split(b"\0")
        except OSError:
            continue
        if words[0] == f"slurmstepd: [{number}.0]".encode():
            return int(folder.name)
    raise AssertionError(f"job {number} has no step")

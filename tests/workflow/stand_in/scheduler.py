"""Stands in for Grid Engine, LSF or PBS: runs each job at once on this machine.

The commands beside it (``qsub``, ``bjobs``, ...) call it with their names. ``STAND_IN`` says which scheduler
it is, ``STAND_IN_FOLDER`` where it keeps its jobs. It takes only options that the scheduler has. The first
job that holds the text ``STAND_IN_KILLS`` is killed without a word. Jobs wait for ``STAND_IN_HOLDS`` seconds.
"""

from __future__ import annotations

import argparse
import json
import os
import shlex
import signal
import subprocess
import sys
from pathlib import Path

KIND, FOLDER = os.environ["STAND_IN"], Path(os.environ["STAND_IN_FOLDER"])
OPTIONS = {
    "sge": (("-V", "-cwd", "-terse"), ("-S", "-N", "-j", "-o", "-l", "-q", "-P", "-r"), (("-pe", 2),)),
    "lsf": (("-rn",), ("-J", "-n", "-R", "-M", "-W", "-o", "-gpu", "-q", "-P"), ()),
    "pbs": (("-V",), ("-S", "-N", "-j", "-o", "-l", "-q", "-A", "-r"), ()),
}[KIND]
VARIABLE = {"sge": "JOB_ID", "lsf": "LSB_JOBID", "pbs": "PBS_JOBID"}[KIND]
SUBMITTED = {"sge": "{}", "lsf": "Job <{}> is submitted to default queue <normal>.", "pbs": "{}"}[KIND]
UNKNOWN = {
    "sge": "Following jobs do not exist or permissions are not sufficient: \n{}",
    "lsf": "Job <{}> is not found",
    "pbs": "qstat: Unknown Job Id {}",
}[KIND]
KNOWN = {"sge": "job_number: {}", "lsf": "RUN", "pbs": "{} longimorph user 00:00:01 R workq"}[KIND]


def submit(arguments: list[str]) -> int:
    """Start a job in the background and print its number."""
    parser = argparse.ArgumentParser(allow_abbrev=False)
    alone, valued, several = OPTIONS
    for name in alone:
        parser.add_argument(name, action="store_true")
    for name in valued:
        parser.add_argument(name, action="append")
    for name, count in several:
        parser.add_argument(name, nargs=count)
    parser.parse_args(arguments)
    script, place = sys.stdin.read(), len(list(FOLDER.glob("*.json"))) + 1
    number = f"{place}.server" if KIND == "pbs" else str(place)
    (FOLDER / f"{number}.sh").write_text(script)
    environment = {**os.environ, VARIABLE: number}
    with open(FOLDER / f"{number}.log", "w") as log:
        command = ["/bin/sh", str(FOLDER / f"{number}.sh")]
        hold = os.environ.get("STAND_IN_HOLDS")
        command = ["/bin/sh", "-c", f"sleep {hold}; exec {shlex.join(command)}"] if hold else command
        job = subprocess.Popen(command, env=environment, stdout=log, stderr=log, start_new_session=True)
    killed = _to_be_killed(script)
    if killed:
        os.killpg(job.pid, signal.SIGKILL)
    known = {"pid": job.pid, "arguments": arguments, "killed": killed}
    (FOLDER / f"{number}.json").write_text(json.dumps(known))
    print(SUBMITTED.format(number))
    return 0


def _to_be_killed(script: str) -> bool:
    """Whether this is the first job whose Snakemake script has the text for which a job is to be killed."""
    wanted, mark = os.environ.get("STAND_IN_KILLS"), FOLDER / "killed"
    if not wanted or mark.exists() or wanted not in Path(script.split()[-1].strip("'")).read_text():
        return False
    mark.touch()
    return True


def _runs(process: int) -> bool:
    """Whether a process runs; one that has ended and is not waited for does not."""
    try:
        state = Path("/proc", str(process), "stat").read_text().rpartition(")")[2].split()[0]
    except OSError:
        return False
    return state != "Z"


def ask(arguments: list[str]) -> int:
    """Tell whether a job is known."""
    number = arguments[-1]
    known = json.loads((FOLDER / f"{number}.json").read_text())
    if _runs(known["pid"]):
        print(KNOWN.format(number))
        return 0
    print(UNKNOWN.format(number), file=sys.stderr)
    return 1


def cancel(numbers: list[str]) -> int:
    """End jobs."""
    for number in numbers:
        known = json.loads((FOLDER / f"{number}.json").read_text())
        (FOLDER / f"{number}.cancelled").touch()
        os.killpg(known["pid"], signal.SIGTERM)
    return 0


COMMANDS = {"qsub": submit, "bsub": submit, "qstat": ask, "bjobs": ask, "qdel": cancel, "bkill": cancel}

if __name__ == "__main__":
    sys.exit(COMMANDS[sys.argv[1]](sys.argv[2:]))

"""The command ``longimorph-queue``, by which Snakemake's plugin cluster-generic submits and follows jobs.

    longimorph-queue submit sge [--option="WORDS"] SCRIPT    print the number of the submitted job
    longimorph-queue status sge NUMBER                       print running, success or failed

Submitting a job leaves ``results/queue/NUMBER.job``, with the scheduler and what the job does. The job writes
its exit status to ``NUMBER.end`` when it ends. A job that is killed writes none: it has failed if the
scheduler has not known it for some time. This file imports little, because ``status`` is called for every job
again and again.
"""

from __future__ import annotations

import argparse
import json
import os
import shlex
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from longimorph.orchestration.schedulers import SCHEDULERS, Request, Scheduler

FOLDER = Path("results", "queue")
PROPERTIES = "# properties = "
PATIENCE_S = 30.0
"""Longest time to wait for an answer of the scheduler about a job."""
GRACE_S = 60.0
"""How long a job may be unknown before it counts as killed: its last file may take as long to appear."""
_TEXT: dict[str, Any] = {"text": True, "encoding": "utf-8", "errors": "replace"}
JOB = "longimorph.orchestration.queued_job"
WARNED = ("register", "sweep_register")
"""The rules whose jobs save their state when they are told that their time is nearly over."""
WARNING_S = 180
"""Time between that signal and the time limit."""


class Refused(Exception):
    """The scheduler took no job; the message says why."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command; returns the exit status of the process."""
    options = _parser().parse_args(arguments)
    scheduler = SCHEDULERS[options.scheduler]
    try:
        if options.command == "submit":
            answer = submit(scheduler, options.scheduler, options.script, _words(options.option))
        else:
            answer = status(scheduler, options.number, options.grace)
    except Refused as reason:
        sys.stderr.write(f"longimorph-queue: {reason}\n")
        return 1
    sys.stdout.write(f"{answer}\n")
    return 0


def _words(option: str) -> list[str]:
    try:
        return shlex.split(option)
    except ValueError as error:
        raise Refused(f"--option '{option}' cannot be read: {error}") from error


def put_on_path() -> None:
    """Let the commands that this process starts find ``longimorph-queue`` without an active environment."""
    os.environ["PATH"] = os.pathsep.join(
        [str(Path(sys.executable).parent), os.environ.get("PATH", os.defpath)]
    )


def submit(scheduler: Scheduler, name: str, script: Path, further: Sequence[str] = ()) -> str:
    """Submit the script of a job with the resources that it names; returns the job's number.

    Raises ``Refused``.
    """
    folder = FOLDER.absolute()
    folder.mkdir(parents=True, exist_ok=True)
    known = properties(script)
    asked = Request.of(known)
    command = [*scheduler.submit(asked, folder), *further]
    warn_s = max(60 * asked.minutes - WARNING_S, 0) if known.get("rule") in WARNED else 0
    words = [sys.executable, "-m", JOB, scheduler.variable, str(warn_s), str(folder), str(script)]
    text = f"#!/bin/sh\ncd {shlex.quote(str(Path.cwd()))} && exec {shlex.join(words)}\n"
    began = time.time()
    try:
        run = subprocess.run(command, input=text, capture_output=True, **_TEXT)
    except OSError as error:
        raise Refused(
            f"{command[0]} cannot be run here ({error.strerror}): no job can be submitted"
        ) from error
    found = scheduler.number.search(run.stdout)
    if run.returncode or found is None:
        said = (run.stderr + run.stdout).strip() or "no answer"
        raise Refused(f"{command[0]} refused a job (exit status {run.returncode}): {said}")
    for left in (_end(found[1]), _unknown(found[1])):  # of an old job that had the same number
        if left.exists() and left.stat().st_mtime < began - GRACE_S:
            left.unlink()
    (folder / f"{found[1]}.job").write_text(f"{name} {subject(known)}\n", encoding="utf-8")
    return found[1]


def subject(known: Mapping[str, Any]) -> str:
    """What a job does, from its properties: ``register P001 V1__V2``, or the name of a group of jobs."""
    return " ".join([known.get("groupid") or known.get("rule", "?"), *known.get("wildcards", {}).values()])


def left_behind() -> list[str]:
    """Describe the jobs of an earlier run in this folder that are still queued, and how to cancel them."""
    known: dict[str, list[str]] = {}
    for file in sorted(FOLDER.glob("*.job")):
        name, _, what = file.read_text(encoding="utf-8").strip().partition(" ")
        scheduler = SCHEDULERS.get(name)
        if scheduler is None or _end(file.stem).exists():
            continue
        answer = _answer(scheduler.ask(file.stem))
        if answer.known and not scheduler.ended.search(answer.text):
            known.setdefault(scheduler.cancel, []).append(f"{file.stem} {what}")
    lines = [f"  {job}" for jobs in known.values() for job in jobs]
    cancel = [f"  {name} {' '.join(job.split()[0] for job in jobs)}" for name, jobs in known.items()]
    return [*lines, "To cancel them:", *cancel] if known else []


def status(scheduler: Scheduler, number: str, grace_s: float = GRACE_S) -> str:
    """Return ``running``, ``success`` or ``failed``.

    A scheduler that does not answer, or not to the question, changes nothing: the job counts as running.
    """
    end, unknown = _end(number), _unknown(number)
    if end.exists():
        return "success" if end.read_text(encoding="utf-8").strip() == "0" else "failed"
    if not scheduler.ended.search(_answer(scheduler.ask(number)).text):
        unknown.unlink(missing_ok=True)
        return "running"
    if not unknown.exists():
        unknown.parent.mkdir(parents=True, exist_ok=True)
        unknown.write_text(f"{time.time()}\n", encoding="utf-8")
    since = float(unknown.read_text(encoding="utf-8") or "inf")  # the clock of this machine alone
    return "failed" if time.time() - since >= grace_s else "running"


def properties(script: Path) -> dict[str, Any]:
    """The properties of a job, from its script. Raises ``Refused``."""
    for line in script.read_text(encoding="utf-8").splitlines():
        if line.startswith(PROPERTIES):
            found: dict[str, Any] = json.loads(line.removeprefix(PROPERTIES))
            return found
    raise Refused(f"{script} has no line that begins with '{PROPERTIES.strip()}': it is no job of Snakemake")


def _end(number: str) -> Path:
    return FOLDER / f"{number}.end"


def _unknown(number: str) -> Path:
    return FOLDER / f"{number}.unknown"


class _Answer(NamedTuple):
    """What a scheduler says of a job, and whether it knows the job."""

    text: str
    known: bool


def _answer(command: Sequence[str]) -> _Answer:
    try:
        run = subprocess.run(command, capture_output=True, timeout=PATIENCE_S, **_TEXT)
    except (OSError, subprocess.SubprocessError):
        return _Answer("", known=False)
    return _Answer(run.stdout + run.stderr, run.returncode == 0)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="longimorph-queue", description="Submit and follow jobs of Snakemake; called by its profiles."
    )
    commands = parser.add_subparsers(dest="command", metavar="COMMAND", required=True)
    sub = commands.add_parser("submit", help="submit a job and print its number")
    sub.add_argument("scheduler", choices=sorted(SCHEDULERS))
    sub.add_argument("--option", default="", metavar="WORDS", help="further options of the submit command")
    sub.add_argument("script", type=Path, help="the script that Snakemake wrote")
    sub = commands.add_parser("status", help="print running, success or failed")
    sub.add_argument("scheduler", choices=sorted(SCHEDULERS))
    text = f"seconds for which a job may be unknown before it counts as killed (default {GRACE_S:g})"
    sub.add_argument("--grace", type=float, default=GRACE_S, metavar="S", help=text)
    sub.add_argument("number", help="the number that submit printed")
    return parser


if __name__ == "__main__":
    sys.exit(main())

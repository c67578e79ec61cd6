"""Handling of an earlier run in the same folder that was killed while its cluster jobs continued.

Their results are valid, but Snakemake has no record of their inputs: it would neither wait for them nor
notice later that one of their settings has changed. Snakemake's objects are used untyped.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from longimorph.errors import LongimorphError
from longimorph.orchestration import queue, slurm
from longimorph.orchestration.log import MADE_OF, OUTCOME, made_of
from longimorph.text import counted

_SHOWN = 5


class Refused(LongimorphError):
    """The run must not start."""


class StillQueued(Refused):
    """Jobs about to be submitted are already in SLURM, from an earlier run."""

    def __init__(self, jobs: Sequence[slurm.SlurmJob]) -> None:
        numbers = " ".join(job.number for job in jobs)
        super().__init__(
            f"{_count(jobs, 'job')} still in SLURM, from an earlier run in this folder:\n"
            f"{_listed(jobs)}\nNothing was started, to avoid computing anything twice. Wait until they have "
            f"ended, or cancel them: scancel {numbers}\nThen repeat the same command."
        )


class StillRunning(Refused):
    """Jobs of an earlier run are still in the queue of another scheduler than SLURM."""

    def __init__(self, lines: Sequence[str]) -> None:
        text = "\n".join(lines)
        super().__init__(
            f"Jobs of an earlier run in this folder are still in the queue:\n{text}\nNothing was started, to "
            "avoid computing anything twice. Wait until they have ended, or cancel them. Then repeat the "
            "same command."
        )


class MadeOtherwise(Refused):
    """Results in the folder were made from inputs other than this run's, or from unknown inputs."""

    def __init__(self, outputs: Sequence[str], of_unknown: Sequence[str]) -> None:
        parts = []
        if outputs:
            count = _count(outputs, "result")
            parts.append(f"{count} left by a killed run, made with other settings:\n{_listed(outputs)}")
        if of_unknown:
            count = _count(of_unknown, "result")
            parts.append(
                f"{count} of unknown origin, perhaps from another folder: neither Snakemake's records "
            )
            parts[-1] += f"nor a complete log name their inputs:\n{_listed(of_unknown)}"
        super().__init__(
            "\n".join(parts) + "\nNothing was started. They are now marked to be made again: repeat the same "
            "command (without a profile, add --rerun-incomplete)."
        )


def check_earlier_run(workflow: Any) -> None:
    """Refuse to repeat jobs that are still running, and write the records that a killed run did not write."""
    planned = list(workflow.dag.needrun_jobs())
    if again := _queued_again(planned, workflow.dag):
        raise StillQueued(again)
    if planned and (left := queue.left_behind()):
        raise StillRunning(left)
    finished = [job for job in workflow.dag.jobs if workflow.dag.reason(job).no_metadata]
    recorded = {job: _made_of(job) for job in set(finished) - set(planned)}
    unknown = [job for job, made in recorded.items() if made is None]
    other = [job for job, made in recorded.items() if made not in (None, made_of(job.params))]
    for job in (*other, *unknown):
        workflow.persistence.started(job)
    if other or unknown:
        raise MadeOtherwise(*(sorted(str(job.output[0]) for job in jobs) for jobs in (other, unknown)))
    for job in recorded:
        workflow.async_run(workflow.persistence.finished(job))


def _queued_again(planned: Iterable[Any], dag: Any) -> list[slurm.SlurmJob]:
    queue = [job for job in slurm.queued(Path.cwd()) or () if job.state != "PREEMPTED"]
    if not queue:
        return []
    names, groups = set(), []
    for job in planned:
        if dag.get_job_group(job) is None:
            names.add(f"rule_{job.name}_wildcards_{'_'.join(job.wildcards)}")
        else:
            groups.append(f"rule_{job.group}_")
    return [job for job in queue if job.comment in names or job.comment.startswith(tuple(groups))]


def _made_of(job: Any) -> str | None:
    """Return the fingerprint in the log of a job that ended by itself, else None."""
    try:
        lines = Path(str(job.log[0])).read_text(encoding="utf-8", errors="replace").splitlines()
    except (OSError, IndexError):
        return None
    if not any(line.startswith(OUTCOME) for line in lines[-3:]):
        return None
    return next((line.removeprefix(MADE_OF) for line in lines if line.startswith(MADE_OF)), None)


def _count(things: Sequence[Any], noun: str) -> str:
    return f"{counted(len(things), noun)} {'is' if len(things) == 1 else 'are'}"


def _listed(things: Sequence[Any]) -> str:
    more = [f"... and {len(things) - _SHOWN} more"] if len(things) > _SHOWN else []
    return "\n".join(f"  {thing}" for thing in [*things[:_SHOWN], *more])

"""How Grid Engine, LSF and PBS are asked to run, list and cancel jobs.

Jobs are submitted as not to be run again by the scheduler, because Snakemake submits them again itself.

Each scheduler is described by the commands of its manual; :mod:`longimorph.orchestration.queue` calls them.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from math import ceil
from pathlib import Path
from typing import Any

NAME = "longimorph"
"""The name of every job in the queue."""


@dataclass(frozen=True)
class Request:
    """What a job asks for: CPUs, memory in MB, time in minutes, GPUs, and a queue if one is named."""

    threads: int
    mem_mb: int
    minutes: int
    gpus: int = 0
    queue: str | None = None

    @classmethod
    def of(cls, properties: Mapping[str, Any]) -> Request:
        """Read a request from the properties of a job that Snakemake writes into its script."""
        asked = properties.get("resources", {})
        one = 1 if asked.get("gres") or asked.get("gpu_model") else 0
        return cls(
            threads=int(properties.get("threads", 1)),
            mem_mb=ceil(float(asked.get("mem_mb", 1000))),
            minutes=ceil(float(asked.get("runtime", 60))),
            gpus=int(asked.get("gpu") or one),
            queue=asked.get("slurm_partition") or None,
        )

    @property
    def clock(self) -> str:
        """The time limit as hours, minutes and seconds."""
        return f"{self.minutes // 60}:{self.minutes % 60:02d}:00"


@dataclass(frozen=True)
class Scheduler:
    """One kind of scheduler.

    ``submit``: the command that reads a job's script from its standard input, from a request and the folder
    of the job's output. ``number``: finds the job's number in the answer. ``ask``: the command that tells
    whether a job is known, given its number. ``ended``: finds in its answer that the job has ended or is no
    longer known. ``variable``: where a job finds its own number. ``cancel``: the command that ends jobs by
    their numbers.
    """

    submit: Callable[[Request, Path], list[str]]
    number: re.Pattern[str]
    ask: Callable[[str], list[str]]
    ended: re.Pattern[str]
    variable: str
    cancel: str


def _grid_engine(asked: Request, folder: Path) -> list[str]:
    """Memory is requested per CPU."""
    limits = [f"h_rt={asked.clock}", f"h_vmem={ceil(asked.mem_mb / asked.threads)}M"]
    limits += [f"gpu={asked.gpus}"] if asked.gpus else []
    words = ["qsub", "-terse", "-V", "-cwd", "-S", "/bin/sh", "-N", NAME, "-j", "y", "-o", f"{folder}/"]
    words += ["-r", "n", "-l", ",".join(limits)]
    words += ["-pe", "smp", str(asked.threads)] if asked.threads > 1 else []
    return words + (["-q", asked.queue] if asked.queue else [])


def _lsf(asked: Request, folder: Path) -> list[str]:
    words = ["bsub", "-J", NAME, "-n", str(asked.threads), "-R", "span[hosts=1]"]
    words += ["-R", f"rusage[mem={asked.mem_mb}MB]", "-M", f"{asked.mem_mb}MB", "-W", str(asked.minutes)]
    words += ["-rn", "-o", f"{folder}/%J.log", *(["-gpu", f"num={asked.gpus}"] if asked.gpus else [])]
    return words + (["-q", asked.queue] if asked.queue else [])


def _pbs(asked: Request, folder: Path) -> list[str]:
    chunk = f"select=1:ncpus={asked.threads}:mem={asked.mem_mb}mb"
    chunk += f":ngpus={asked.gpus}" if asked.gpus else ""
    words = ["qsub", "-V", "-S", "/bin/sh", "-N", NAME, "-j", "oe", "-o", f"{folder}/"]
    words += ["-r", "n", "-l", chunk, "-l", f"walltime={asked.clock}"]
    return words + (["-q", asked.queue] if asked.queue else [])


SCHEDULERS = {
    "sge": Scheduler(
        _grid_engine,
        re.compile(r"^(\d+)\s*$", re.MULTILINE),
        lambda number: ["qstat", "-j", number],
        re.compile(r"^Following jobs do not exist", re.MULTILINE),
        "JOB_ID",
        "qdel",
    ),
    "lsf": Scheduler(
        _lsf,
        re.compile(r"Job <(\d+)>"),
        lambda number: ["bjobs", "-noheader", "-o", "stat", number],
        re.compile(r"^Job <\d+> is not found|^(DONE|EXIT)\b", re.MULTILINE),
        "LSB_JOBID",
        "bkill",
    ),
    "pbs": Scheduler(
        _pbs,
        re.compile(r"^(\d+[\w.-]*)\s*$", re.MULTILINE),
        lambda number: ["qstat", number],
        re.compile(r"^qstat: .*(Unknown Job Id|has finished)", re.MULTILINE | re.IGNORECASE),
        "PBS_JOBID",
        "qdel",
    ),
}
"""Grid Engine and its successors, IBM Spectrum LSF 10.1, and PBS Pro or OpenPBS."""

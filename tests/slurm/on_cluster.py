"""A tiny cohort that a Snakemake with the SLURM profile works on, and what happens to its jobs."""

from __future__ import annotations

import csv
import os
import re
import signal
import subprocess
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path

import tiny
from tiny import TinyCohort

STUB = Path(__file__).parent / "stub"
PROFILE = tiny.REPOSITORY / "profiles" / "slurm"
QUICK = ("--slurm-init-seconds-before-status-checks", "2", "--latency-wait", "10")
"""What differs from the profile, so that tests take less time: the cluster's file system is a local one."""
LONGEST = 400.0
"""Seconds after which a run is taken to hang."""


@dataclass
class Head:
    """A Snakemake that has been started, and the file that has what it says."""

    process: subprocess.Popen[bytes]
    output: Path

    def end(self, timeout: float = LONGEST) -> int:
        """Wait until it ends; returns its status. One that hangs is killed, and the test fails."""
        try:
            return self.process.wait(timeout)
        except subprocess.TimeoutExpired:
            self.kill()
            raise AssertionError(f"no end after {timeout:g} s:\n{self.text[-3000:]}") from None

    def kill(self) -> None:
        """Kill it, so that it can do nothing any more."""
        self.process.kill()
        self.process.wait()

    def interrupt(self) -> None:
        """Do what Ctrl-C does."""
        self.process.send_signal(signal.SIGINT)

    @property
    def text(self) -> str:
        """What it has said."""
        return self.output.read_text()

    @property
    def run(self) -> str:
        """The name of its jobs in SLURM."""
        match = re.search(r"SLURM run ID: (\S+)", self.text)
        assert match, self.text
        return match[1]


@dataclass
class ClusterCohort:
    """A tiny cohort, worked on by jobs of SLURM; ``fault`` says how a stub job is to behave."""

    cohort: TinyCohort
    heads: list[Head] = field(default_factory=list)

    @property
    def folder(self) -> Path:
        """The working folder."""
        return self.cohort.folder

    def start(
        self, *arguments: str, profile: str | Path = PROFILE, environment: dict[str, str] | None = None
    ) -> Head:
        """Start a Snakemake with a SLURM profile, from the working folder."""
        command = [tiny.PYTHON, "-m", "snakemake", "--snakefile", str(tiny.ENTRY_POINTS[0]), "--nocolor"]
        command += ["--configfile", str(self.cohort.config), "--profile", str(profile), *QUICK, *arguments]
        variables = {**os.environ, "OMP_NUM_THREADS": "1", **(environment or {})}
        if self.cohort.stub:
            paths = [str(STUB), *filter(None, [os.environ.get("PYTHONPATH")])]
            variables["PYTHONPATH"] = os.pathsep.join(paths)
        output = self.folder / f"head{len(self.heads)}.txt"
        with output.open("w") as file:
            process = subprocess.Popen(command, cwd=self.folder, env=variables, stdout=file, stderr=file)
        self.heads.append(Head(process, output))
        return self.heads[-1]

    def run(self, *arguments: str, **options: str | Path) -> Head:
        """Run Snakemake to its end."""
        head = self.start(*arguments, **options)  # type: ignore[arg-type]
        head.end()
        return head

    def fault(self, job: str, behaviour: str) -> Path:
        """Let the job called ``RULE-PATIENT[-NAME]`` behave in one of the ways of the stub."""
        path = self.folder / "faults" / job
        path.parent.mkdir(exist_ok=True)
        path.write_text(behaviour)
        return path

    def notes(self, word: str) -> list[list[str]]:
        """Return the stub's notes that begin with ``word``, without it."""
        path = self.folder / "ran.txt"
        lines = path.read_text().splitlines() if path.exists() else []
        return [line.split("\t")[1:] for line in lines if line.split("\t")[0] == word]

    def begun(self) -> Counter[str]:
        """Return how many times each job began."""
        return Counter(note[0] for note in self.notes("began"))

    def everything(self) -> Counter[str]:
        """Return how many times each stub job runs when nothing happens: once."""
        visits: dict[str, list[str]] = {}
        for patient, timepoint, _ in self.cohort.rows:
            visits.setdefault(patient, []).append(timepoint)
        jobs: list[str] = []
        for patient, names in visits.items():
            pairs = [f"{earlier}__{later}" for earlier, later in pairwise(names)]
            if pairs:
                jobs += [f"align-{patient}", *(f"maps-{patient}-{name}" for name in names)]
                jobs += [f"{rule}-{patient}-{pair}" for rule in ("register", "figure") for pair in pairs]
        return Counter(jobs)

    def wait_for(self, job: str, times: int = 1, timeout: float = 240) -> list[str]:
        """Wait until a job has begun so often; returns its last SLURM number, card and process."""
        until(lambda: self.begun()[job] >= times, f"{job} to begin", timeout)
        return [note for note in self.notes("began") if note[0] == job][-1][1:]

    def rows(self, table: str) -> list[dict[str, str]]:
        """Return the rows of one of the cohort's tables."""
        with (self.folder / "results" / "cohort" / f"{table}.csv").open(newline="") as file:
            return list(csv.DictReader(file))

    def check_tables(self, pairs: int, failed: int = 0) -> None:
        """Check that every pair has its rows, and that so many of them failed."""
        changes = self.rows("changes")
        assert len(changes) == pairs * len(tiny.CLASSES.splitlines()[1:])
        of_failed = {(r["patient"], r["from"], r["to"]) for r in changes if r["status"] != "ok"}
        assert len(of_failed) == failed
        assert len(self.rows("failures")) == failed
        assert (self.folder / "results" / "cohort" / "complete.json").exists() == (failed == 0)


def two_patients(folder: Path) -> ClusterCohort:
    """Two patients with three pairs, and stub steps."""
    return ClusterCohort(tiny.study(folder, stub=True))


def three_patients(folder: Path) -> ClusterCohort:
    """Three patients with four pairs, and stub steps."""
    cohort = tiny.study(folder, stub=True)
    cohort.add("P003", "V2", 120, 26)
    cohort.write()
    return ClusterCohort(cohort)


def until(condition: Callable[[], object], what: str, timeout: float = 240) -> None:
    """Wait until ``condition`` holds."""
    end = time.monotonic() + timeout
    while not condition():
        assert time.monotonic() < end, f"waited {timeout:g} s for {what}"
        time.sleep(0.2)


def slurm(*command: str) -> str:
    """Run a command of SLURM and return what it says."""
    return subprocess.run(command, capture_output=True, text=True, check=True, timeout=30).stdout


def state(number: str) -> str:
    """Return the state of a job that SLURM still knows."""
    return slurm("squeue", "--noheader", "--states=all", f"--jobs={number}", "--format=%T").strip()

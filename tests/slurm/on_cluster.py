"""A tiny cohort run by Snakemake with the SLURM profile, and observations of its jobs."""

from __future__ import annotations

import csv
import os
import re
import signal
import subprocess
import time
from collections import Counter
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path

import tiny
from tiny import TinyCohort

STUB = Path(__file__).parent / "stub"
PROFILE = tiny.REPOSITORY / "profiles" / "slurm"
QUICK: tuple[str, ...] = (
    "--slurm-init-seconds-before-status-checks",
    "2",
    "--max-status-checks-per-second",
    "10",
)
QUICK += ("--latency-wait", "10")
"""What differs from the profile, so that tests take less time: the cluster's file system is a local one.

Questions for the jobs' state must not wait for one another: while one does, Snakemake has no job on its list,
and a Ctrl-C cancels none. The profile's 20 s between them are more than the 5 s that a question may wait for.
"""
QUIET = 400.0
"""Seconds without any change in a study's folder after which its run is taken to hang: longer than the
plugin's longest pause of 180 s, and than the two minutes after which SLURM starts a requeued job. On a busy
machine everything is slow, but something happens."""


@dataclass
class Patience:
    """A wait for what happens in a folder, which ends when nothing happens there any more."""

    folder: Path
    what: str
    seen: frozenset[tuple[str, int]] = frozenset()
    since: float = 0.0

    def pause(self) -> None:
        """Wait a moment; fails when no file has come, gone or changed its size for long."""
        if (now := sizes(self.folder)) != self.seen:
            self.seen, self.since = now, time.monotonic()
        assert time.monotonic() - self.since < QUIET, (
            f"waited for {self.what}, and nothing has happened for {QUIET:g} s:\n{said_last(self.folder)}"
        )
        time.sleep(0.3)


@dataclass
class Head:
    """A Snakemake that has been started, and the file that has what it says.

    ``expected``: it is to go on until the test lets it end.
    """

    process: subprocess.Popen[bytes]
    output: Path
    expected: bool = True

    def end(self) -> int:
        """Wait until it ends; returns its status. One that hangs is killed, and the test fails."""
        self.expected = False
        patience = Patience(self.output.parent, "the end of Snakemake")
        try:
            while (status := self.process.poll()) is None:
                patience.pause()
        except BaseException:
            self.kill()
            raise
        return status

    def kill(self) -> None:
        """Kill it, so that it can do nothing any more."""
        self.expected = False
        self.process.kill()
        self.process.wait()

    def interrupt(self) -> None:
        """Do what Ctrl-C does; again, as one would, should Snakemake not hear it."""
        self.expected = False
        for _ in range(5):
            self.process.send_signal(signal.SIGINT)
            until = time.monotonic() + 20
            while time.monotonic() < until:
                if "on user request" in self.text or self.process.poll() is not None:
                    return
                time.sleep(0.2)
        raise AssertionError("Snakemake heard none of five Ctrl-C")

    @property
    def text(self) -> str:
        """What it has said."""
        return self.output.read_text()

    @property
    def failed(self) -> dict[str, str]:
        """The jobs of SLURM that it says have failed, with the state that SLURM told."""
        return dict(re.findall(r"SLURM-job '(\d+)' failed, SLURM status is: '(\w+)'", self.text))

    @property
    def run(self) -> str:
        """The name of its jobs in SLURM."""
        match = re.search(r"SLURM run ID: (\S+)", self.text)
        assert match, self.text
        return match[1]


STARTED: list[Head] = []
"""Every head of the present test."""


def end_all() -> None:
    """Leave nothing of a test that failed on the cluster: neither a Snakemake nor a job."""
    while STARTED:
        head = STARTED.pop()
        head.kill()
        if "SLURM run ID: " in head.text:
            slurm("scancel", f"--name={head.run}")


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
        STARTED.append(self.heads[-1])
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

    def jobs_of_slurm(self) -> dict[str, list[str]]:
        """Return what each job of SLURM did, in its order: ``began NAME`` and ``ended NAME``."""
        found: dict[str, list[str]] = {}
        for line in (self.folder / "ran.txt").read_text().splitlines():
            word, name, *rest = line.split("\t")
            if word in ("began", "ended"):
                found.setdefault(rest[0], []).append(f"{word} {name}")
        return found

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

    def until(self, condition: Callable[[], object], what: str) -> None:
        """Wait until ``condition`` holds; fails when the last head ends before, or nothing happens."""
        patience = Patience(self.folder, what)
        while not condition():
            if self.heads and self.heads[-1].expected and self.heads[-1].process.poll() is not None:
                assert condition(), f"Snakemake ended before {what}:\n{said_last(self.folder)}"
                return
            patience.pause()

    def wait_for(self, job: str) -> list[str]:
        """Wait until a job has begun; returns its last SLURM number, card and process."""
        self.until(lambda: self.begun()[job], f"{job} to begin")
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


def sizes(folder: Path) -> frozenset[tuple[str, int]]:
    """Return every file below a folder with its size; what goes away meanwhile is left out.

    ``os.walk`` passes over a folder that is gone when it gets there, where ``Path.rglob`` raises.
    """
    found = set()
    for place, folders, files in os.walk(folder):
        for path in (os.path.join(place, name) for name in (*folders, *files)):
            with suppress(OSError):  # gone since it was listed
                found.add((path, os.lstat(path).st_size))
    return frozenset(found)


def said_last(folder: Path) -> str:
    """Return the end of what the last Snakemake in a folder has said, and SLURM's view of its jobs."""
    heads = sorted(folder.glob("head*.txt"), key=lambda path: path.stat().st_mtime)
    text = heads[-1].read_text()[-3000:] if heads else "no Snakemake was started"
    queue = slurm("squeue", "--states=all", "--format=%i %T %r %M %l %k %Z")
    return text + "\n".join(["", *(line for line in queue.splitlines() if str(folder) in line)])


def slurm(*command: str) -> str:
    """Run a command of SLURM and return what it says."""
    return subprocess.run(command, capture_output=True, text=True, check=True, timeout=30).stdout


def state(number: str) -> str:
    """Return the state of a job that SLURM still knows."""
    return slurm("squeue", "--noheader", "--states=all", f"--jobs={number}", "--format=%T").strip()

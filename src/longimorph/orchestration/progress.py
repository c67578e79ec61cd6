"""Progress of a run, read from its files alone; works for a running, stopped or finished run."""

from __future__ import annotations

import csv
import json
import os
import time
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from multiprocessing.pool import ThreadPool
from pathlib import Path
from typing import Any

from longimorph.errors import TEMPLATE, LongimorphError
from longimorph.orchestration.behind import behind
from longimorph.orchestration.heartbeat import SILENT_SECONDS, last_iteration
from longimorph.orchestration.log import MACHINE, OUTCOME, STOPPED
from longimorph.study import leftovers
from longimorph.study.leftovers import Leftovers
from longimorph.study.suggest import did_you_mean

STAGES = ("align", "maps", "register", "figure")
DONE, FAILED, RUNNING, SILENT, INTERRUPTED, WAITING = STATES = (
    "done",
    "failed",
    "running",
    "silent",
    "interrupted",
    "waiting",
)

_HEAD_BYTES, _TAIL_BYTES = 4_000, 60_000
_READERS = 16
"""Number of patients read in parallel, since every file on a network disk has a latency."""

PAIRS = Path("cohort", "pairs.csv")
"""The pairs of a run, below its results; a run of the sweep alone does not write it."""
Pairs = Sequence[Mapping[str, Any]]


@dataclass(frozen=True)
class Job:
    """One job of a run; ``name`` is the name of the visit or pair."""

    patient: str
    stage: str
    name: str
    output: Path
    log: Path

    @property
    def title(self) -> str:
        """Describe the job, as in ``register V1 to V2``."""
        return f"{self.stage} {self.name.replace('__', ' to ', 1)}".rstrip()


@dataclass(frozen=True)
class JobState:
    """State of a job, with the reason if it failed and its progress if it is running.

    ``age`` and ``said``: seconds since its last heartbeat and since its last iteration. ``machine``: where it
    runs. ``broke_off``: it ended without its output, which is written even on an expected failure.
    """

    job: Job
    state: str
    words: str = ""
    age: float | None = None
    said: float | None = None
    machine: str = ""
    broke_off: bool = False


@dataclass(frozen=True)
class Progress:
    """State of every job of a run, by patient; patients without pairs; leftovers of earlier runs; patients
    whose latest numbers the tables of the cohort lack.
    """

    patients: dict[str, tuple[JobState, ...]]
    left_out: tuple[str, ...] = ()
    leftovers: Leftovers = field(default_factory=Leftovers)
    behind: tuple[str, ...] = ()

    def count(self, stage: str) -> Counter[str]:
        """Count the jobs of ``stage`` in each state, over all patients."""
        return Counter(
            seen.state for jobs in self.patients.values() for seen in jobs if seen.job.stage == stage
        )

    def of_state(self, state: str) -> list[JobState]:
        """Return the jobs in a state."""
        return [seen for jobs in self.patients.values() for seen in jobs if seen.state == state]

    def failures(self) -> list[JobState]:
        """Return the failed pairs, the failed registrations to the template, and the jobs that broke off.

        Failed visits are reported by their pairs.
        """
        return [
            s
            for s in self.of_state(FAILED)
            if s.job.stage == "register" or s.broke_off or s.words.startswith(f"{TEMPLATE}: ")
        ]


def read_progress(results: Path, patient: str | None = None) -> Progress:
    """Read the progress of the run whose outputs are in ``results``, for all patients or for one.

    The pairs are those that the run lists in ``cohort/pairs.csv``; before that file exists, those that have a
    folder. Raises LongimorphError if the patient does not exist.
    """
    pairs, left_out = _listed(results)
    beside = Leftovers()
    if (results / PAIRS).exists():  # otherwise it is unknown what belongs to the run
        beside = leftovers.find(results, ((p["patient"], p["from"], p["to"]) for p in pairs), left_out)
    if patient is not None:
        known = sorted({str(pair["patient"]) for pair in pairs} | set(left_out))
        if patient not in known:
            hint = did_you_mean(patient, known)
            raise LongimorphError(
                f"The run has no patient called '{patient}'." + (f" {hint}" if hint else "")
            )
        pairs = [pair for pair in pairs if pair["patient"] == patient]
        left_out = [name for name in left_out if name == patient]
        beside = beside.of(patient)
    return replace(of_pairs(results, pairs, left_out), leftovers=beside)


def _listed(results: Path) -> tuple[list[dict[str, str]], list[str]]:
    """Return the pairs of a run (``patient``, ``from``, ``to``), and the patients without one."""
    try:
        with (results / PAIRS).open(encoding="utf-8", newline="") as file:
            rows = list(csv.DictReader(file))
    except FileNotFoundError:
        folders = sorted((results / "patients").glob("*/*__*"))
        names = [(folder.parent.name, *folder.name.split("__", 1)) for folder in folders if folder.is_dir()]
        return [dict(zip(("patient", "from", "to"), name, strict=True)) for name in names], []
    left_out = [row["patient"] for row in rows if row["left_out"]]
    return [row for row in rows if not row["left_out"]], left_out


def of_pairs(results: Path, pairs: Pairs, left_out: Sequence[str] = ()) -> Progress:
    """Read the progress of these pairs (dicts with ``patient``, ``from``, ``to``)."""
    by_patient: dict[str, list[Mapping[str, Any]]] = {}
    for pair in pairs:
        by_patient.setdefault(str(pair["patient"]), []).append(pair)
    with ThreadPool(_READERS) as readers:
        seen = readers.map(partial(_patient, results, time.time()), by_patient.items())
    states = dict(zip(by_patient, seen, strict=True))
    return Progress(states, tuple(left_out), behind=tuple(behind(results, by_patient)))


def _patient(results: Path, now: float, pairs: tuple[str, Pairs]) -> tuple[JobState, ...]:
    return tuple(_look(job, now) for job in _jobs(results, *pairs))


def _jobs(results: Path, patient: str, pairs: Pairs) -> Iterator[Job]:
    folder, logs = results / "patients" / patient, results / "logs" / patient
    yield Job(patient, "align", "", folder / "alignment.json", logs / "align.log")
    for name in dict.fromkeys(str(pair[end]) for pair in pairs for end in ("from", "to")):
        yield Job(patient, "maps", name, folder / name / "qc.json", logs / f"maps_{name}.log")
    placed = Job(patient, TEMPLATE, "", folder / "template.json", logs / "template.log")
    if placed.output.exists() or placed.log.exists():
        yield placed
    for pair in pairs:
        name = f"{pair['from']}__{pair['to']}"
        for stage, file in (("register", "status.json"), ("figure", "overview.png")):
            yield Job(patient, stage, name, folder / name / file, logs / f"{stage}_{name}.log")


def _look(job: Job, now: float) -> JobState:
    """Determine a job's state: ended if its output exists; running or killed if its log has no outcome."""
    record = _output(job.output)
    if record is not None:
        if record.get("status", "ok") == "ok":
            return JobState(job, DONE)
        return JobState(
            job, FAILED, f"{record.get('stage', job.stage)}: {record['status']}: {record.get('message', '')}"
        )
    text, changed = _log(job.log)
    if changed is None:
        return JobState(job, WAITING)
    outcome = next((line for line in reversed(text.splitlines()) if line.startswith(OUTCOME)), None)
    if outcome is not None:
        words = outcome.removeprefix(OUTCOME)
        if words.startswith(STOPPED):
            return JobState(job, INTERRUPTED, words.removeprefix(STOPPED))
        return JobState(job, FAILED, f"{words} (log: {job.log})", broke_off=True)
    age = max(now - changed, 0.0)
    words, said = last_iteration(text) or ("", None)
    since = None if said is None else max(now - said.timestamp(), 0.0)
    machine = next((line for line in text.splitlines() if line.startswith(MACHINE)), "").removeprefix(MACHINE)
    return JobState(job, SILENT if age > SILENT_SECONDS else RUNNING, words, age, since, machine)


def _output(path: Path) -> dict[str, Any] | None:
    """Return the contents of a job's status file, None if there is none; empty for other kinds of file."""
    if path.suffix != ".json":
        return {} if path.exists() else None
    try:
        content = json.loads(path.read_bytes())
    except OSError:
        return None
    except ValueError:
        return {}
    return content if isinstance(content, dict) else {}


def _log(path: Path) -> tuple[str, float | None]:
    """Return the head and the tail of a log and its modification time; None when it cannot be read."""
    try:
        with path.open("rb") as file:
            state = os.fstat(file.fileno())
            head = b"" if state.st_size <= _TAIL_BYTES else file.read(_HEAD_BYTES)
            file.seek(max(state.st_size - _TAIL_BYTES, 0))
            return (head + b"\n" + file.read()).decode(errors="replace"), state.st_mtime
    except OSError:
        return "", None

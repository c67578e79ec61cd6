"""How far a run got, read from its files alone: the same for a run that goes on, stopped or ended."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from longimorph.jobs.log import VERDICT
from longimorph.tables import columns

STAGES = ("align", "maps", "register", "figure")
DONE, FAILED, RUNNING, WAITING = "done", "failed", "running", "waiting"

Pairs = Sequence[Mapping[str, Any]]


@dataclass(frozen=True)
class Failure:
    """A pair without numbers or a job that broke off: which, and the sentence that says why."""

    patient: str
    what: str
    sentence: str


@dataclass(frozen=True)
class Progress:
    """States of a run's jobs: for each patient and stage, how many are in each state."""

    patients: dict[str, dict[str, Counter[str]]]
    failures: tuple[Failure, ...]
    left_out: tuple[str, ...] = ()

    def count(self, stage: str) -> Counter[str]:
        """Return how many jobs of ``stage`` are in each state, over all patients."""
        return sum((stages[stage] for stages in self.patients.values()), Counter())


def read(results: Path) -> Progress:
    """Read the progress of the run whose outputs are in ``results``.

    The pairs are those that the run lists in ``cohort/pairs.csv``; before that file is there, those that
    have a folder.
    """
    listed = results / "cohort" / "pairs.csv"
    if listed.exists():
        rows = columns.read(listed).to_dict("records")
        left_out = tuple(str(row["patient"]) for row in rows if row["left_out"])
        planned = [{str(k): v for k, v in row.items()} for row in rows if not row["left_out"]]
        return of_pairs(results, planned, left_out)
    folders = sorted((results / "patients").glob("*/*__*"))
    names = [(folder.parent.name, *folder.name.split("__", 1)) for folder in folders if folder.is_dir()]
    return of_pairs(results, [dict(zip(columns.PAIR, name, strict=True)) for name in names])


def of_pairs(results: Path, pairs: Pairs, left_out: Sequence[str] = ()) -> Progress:
    """Read the progress of these pairs (dicts with ``patient``, ``from``, ``to``)."""
    patients: dict[str, dict[str, Counter[str]]] = {}
    failures: list[Failure] = []
    for patient in dict.fromkeys(str(pair["patient"]) for pair in pairs):
        own = [pair for pair in pairs if pair["patient"] == patient]
        jobs = list(_jobs(results, patient, own))
        patients[patient] = {s: Counter(job.state() for job in jobs if job.stage == s) for s in STAGES}
        failures += _failures(jobs, patient)
    return Progress(patients, tuple(failures), tuple(left_out))


def table(progress: Progress) -> str:
    """Return one line per patient, then the failures, then the totals."""
    rows = [["patient", *STAGES]]
    rows += [[name, *map(_cell, stages.values())] for name, stages in progress.patients.items()]
    lines = aligned(rows)
    lines += [f"left out (one visit): {', '.join(progress.left_out)}"] if progress.left_out else []
    if progress.failures:
        lines += ["", "failed:"]
        lines += [f"  {failure.patient} {failure.what}: {failure.sentence}" for failure in progress.failures]
    return "\n".join([*lines, "", totals(progress)])


def totals(progress: Progress) -> str:
    """Return one sentence on the pairs."""
    states = progress.count("register")
    parts = [f"{states[DONE]} of {states.total()} pairs done"]
    for state, words in ((FAILED, "failed"), (RUNNING, "running or interrupted"), (WAITING, "not begun")):
        parts += [f"{states[state]} {words}"] if states[state] else []
    return ", ".join(parts) + "."


def closing(pairs: Pairs, results: Path = Path("results")) -> str:
    """Return the last words of a run: how many pairs are done, where the tables are, where to look."""
    progress = of_pairs(results, pairs)
    lines = [f"longimorph: {totals(progress)}", f"  one folder per patient: {results / 'patients'}"]
    cohort = results / "cohort"
    if (cohort / "changes.csv").exists():
        lines.append(f"  tables of the cohort: {cohort / 'changes.csv'}, transitions.csv, marginals_by_*.csv")
    lines += [f"  {f.patient} {f.what}: {f.sentence}" for f in progress.failures[:5]]
    if progress.failures:
        lines.append(f"  all that failed, and why: {cohort / 'failures.csv'}")
    return "\n".join(lines)


def aligned(rows: Sequence[Sequence[str]]) -> list[str]:
    """Return rows of text as lines with columns of equal width."""
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    return ["  ".join(c.ljust(w) for c, w in zip(row, widths, strict=True)).rstrip() for row in rows]


def _cell(states: Counter[str]) -> str:
    extra = [f"{states[state]} {state}" for state in (FAILED, RUNNING) if states[state]]
    return f"{states[DONE]}/{states.total()}" + (f" ({', '.join(extra)})" if extra else "")


@dataclass(frozen=True)
class _Job:
    stage: str
    name: str
    output: Path
    log: Path

    def state(self) -> str:
        """Return the job's state; a log without a verdict belongs to a job that has not ended."""
        if self.output.exists():
            return FAILED if _status(self.output).get("status", "ok") != "ok" else DONE
        if not self.log.exists():
            return WAITING
        return RUNNING if self.verdict() is None else FAILED

    def verdict(self) -> str | None:
        """Return the verdict in the job's log, None when it has none."""
        lines = self.log.read_text(encoding="utf-8", errors="replace").splitlines()
        return next(
            (line.removeprefix(VERDICT) for line in reversed(lines) if line.startswith(VERDICT)), None
        )


def _jobs(results: Path, patient: str, pairs: Pairs) -> Iterator[_Job]:
    folder, logs = results / "patients" / patient, results / "logs" / patient
    yield _Job("align", "", folder / "alignment.json", logs / "align.log")
    for name in dict.fromkeys(str(pair[end]) for pair in pairs for end in ("from", "to")):
        yield _Job("maps", name, folder / name / "qc.json", logs / f"maps_{name}.log")
    for pair in pairs:
        name = f"{pair['from']}__{pair['to']}"
        for stage, file in (("register", "status.json"), ("figure", "overview.png")):
            yield _Job(stage, name, folder / name / file, logs / f"{stage}_{name}.log")


def _failures(jobs: Sequence[_Job], patient: str) -> Iterator[Failure]:
    """Return the pairs that failed as expected, and the jobs that broke off."""
    for job in jobs:
        if job.state() == FAILED and not job.output.exists():
            yield Failure(patient, f"{job.stage} {job.name}".rstrip(), f"{job.verdict()} (log: {job.log})")
        elif job.state() == FAILED and job.stage == "register":
            status = _status(job.output)
            sentence = f"{status.get('stage', job.stage)}: {status['status']}: {status.get('message', '')}"
            yield Failure(patient, job.name.replace("__", " to ", 1), sentence)


def _status(path: Path) -> dict[str, Any]:
    """Return a status file's content; empty when it is another kind of file, missing or half-written."""
    if path.suffix != ".json":
        return {}
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return content if isinstance(content, dict) else {}

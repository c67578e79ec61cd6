"""The progress of a run as text: totals first, then running, silent and failed jobs."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

from longimorph.errors import TEMPLATE
from longimorph.orchestration import heartbeat
from longimorph.orchestration.progress import (
    DONE,
    FAILED,
    INTERRUPTED,
    RUNNING,
    SILENT,
    STAGES,
    STATES,
    WAITING,
    JobState,
    Pairs,
    Progress,
    of_pairs,
)
from longimorph.text import aligned, counted

_SAID = (RUNNING, SILENT, INTERRUPTED, FAILED)
_MOST_BEHIND = 5
MOST_SHOWN = 20
"""Maximum number of lines of one kind, unless all are requested."""

_ADVICE = f"""\
  A running job writes a sign of life to its log every {heartbeat.BEAT_SECONDS:.0f} s. Check whether these
  still run: ps -p PROCESS on their machine, or squeue --me on a cluster. If they do not, and snakemake
  still waits for them, end snakemake (Ctrl-C, or kill with its process number) and repeat the same
  command. Completed results are kept."""


def table(progress: Progress, everything: bool = False) -> str:
    """Return the totals by stage, and the patients with something to report.

    ``everything``: every patient, with complete lists.
    """
    most = None if everything else MOST_SHOWN
    states = range(1, len(STATES) + 1)
    parts = [aligned([["", *STATES], *(_totals_row(progress, stage) for stage in _stages(progress))], states)]
    parts += [_patients(progress, most)]
    parts += [_list("running", progress.of_state(RUNNING), most, _running)]
    parts += [_list("no sign of life, may have been killed", progress.of_state(SILENT), most, _silent)]
    parts[-1] += [_ADVICE] if parts[-1] else []
    parts += [_list("interrupted", progress.of_state(INTERRUPTED), most, _interrupted)]
    parts += [_failed(progress.failures(), most)]
    parts += [progress.leftovers.sentences(most)]
    parts += [_behind(progress)]
    parts += [[totals(progress)]]
    return "\n\n".join("\n".join(lines) for lines in parts if lines)


def jobs_of(progress: Progress, patient: str) -> str:
    """Return all jobs of one patient, one per line."""
    if patient in progress.left_out:
        return f"{patient} is left out: it has only one visit."
    rows = [[seen.job.title, seen.state, _where(seen)] for seen in progress.patients[patient]]
    advice = [_ADVICE] if progress.of_state(SILENT) else []
    old = progress.leftovers.sentences()
    return "\n".join([*aligned(rows), *advice, *(["", *old] if old else []), "", totals(progress)])


def totals(progress: Progress) -> str:
    """Return one sentence on the pairs."""
    states = progress.count("register")
    parts = [f"{states[DONE]} of {counted(states.total(), 'pair')} done"]
    words = {FAILED: "failed", RUNNING: "running", SILENT: "without a sign of life"}
    words |= {INTERRUPTED: "interrupted", WAITING: "not started"}
    parts += [f"{states[state]} {text}" for state, text in words.items() if states[state]]
    return ", ".join(parts) + "."


def closing(pairs: Pairs, results: Path = Path("results")) -> str:
    """Return the closing lines of a run: how many pairs are done, where the tables are, where to look."""
    progress = of_pairs(results, pairs)
    lines = [f"longimorph: {totals(progress)}", f"  one folder per patient: {results / 'patients'}"]
    cohort, failures = results / "cohort", progress.failures()
    if (cohort / "changes.csv").exists():
        lines.append(f"  tables of the cohort: {cohort / 'changes.csv'}, transitions.csv, marginals_by_*.csv")
    pages = [name for name in ("report.html", "group.html") if (cohort / name).exists()]
    if pages:
        lines.append(f"  to open in a browser: {', '.join(str(cohort / name) for name in pages)}")
    lines += [f"  {line}" for line in _behind(progress)]
    lines += [_sentence(seen) for seen in failures[:5]]
    if failures:
        lines.append(f"  all failures, with reasons: {cohort / 'failures.csv'}")
    return "\n".join(lines)


def _behind(progress: Progress) -> list[str]:
    """Say which patients the tables of the cohort lag behind, unless a run is about to renew them."""
    if progress.of_state(RUNNING):
        return []
    names, more = progress.behind[:_MOST_BEHIND], len(progress.behind) - _MOST_BEHIND
    if not names:
        return []
    whom = ", ".join(names) + (f" and {counted(more, 'more patient')}" if more > 0 else "")
    return [f"The cohort's tables and pages lack the latest results of {whom}: run without a target."]


def ago(seconds: float | None) -> str:
    """Return an elapsed time in its largest unit."""
    if seconds is None:
        return ""
    for size, unit in ((86400, "d"), (3600, "h"), (60, "min")):
        if seconds >= size:
            return f"{seconds / size:.0f} {unit} ago"
    return f"{seconds:.0f} s ago"


def _stages(progress: Progress) -> tuple[str, ...]:
    """The stages of this run: that of the template only if a job of it was begun."""
    return (*STAGES, TEMPLATE) if progress.count(TEMPLATE) else STAGES


def _totals_row(progress: Progress, stage: str) -> list[str]:
    states = progress.count(stage)
    return [stage, *(str(states[state]) for state in STATES)]


def _patients(progress: Progress, most: int | None) -> list[str]:
    """One row per patient: all if they are few or all are requested, else those that need attention."""
    chosen = progress.patients
    if most is not None and len(chosen) > most:
        busy = [seen.job.patient for state in _SAID for seen in progress.of_state(state)]
        chosen = {name: chosen[name] for name in busy}
    stages = _stages(progress)
    rows = [["patient", *stages]]
    rows += [[name, *(_cell(jobs, stage) for stage in stages)] for name, jobs in [*chosen.items()][:most]]
    lines = aligned(rows) if len(rows) > 1 else []
    hidden = len(progress.patients) - len(rows) + 1
    if hidden:
        more = counted(hidden, "more patient")
        lines.append(f"and {more}: --all shows all, --patient NAME shows one of them")
    lines += [f"left out (one visit): {_names(progress.left_out, most)}"] if progress.left_out else []
    return lines


def _names(names: Sequence[str], most: int | None) -> str:
    shown = names[:most]
    return ", ".join(shown) + (f" and {len(names) - len(shown)} more" if len(shown) < len(names) else "")


def _cell(jobs: Sequence[JobState], stage: str) -> str:
    states = Counter(seen.state for seen in jobs if seen.job.stage == stage)
    extra = [f"{states[state]} {state}" for state in _SAID if states[state]]
    return f"{states[DONE]}/{states.total()}" + (f" ({', '.join(extra)})" if extra else "")


def _list(
    title: str, found: Sequence[JobState], most: int | None, row: Callable[[JobState], list[str]]
) -> list[str]:
    if not found:
        return []
    lines = [f"{title}:", *(f"  {line}" for line in aligned([row(seen) for seen in found[:most]]))]
    return [*lines, *_more(len(found), most)]


def _more(count: int, most: int | None) -> Iterator[str]:
    if most is not None and count > most:
        yield f"  and {count - most} more"


def _running(seen: JobState) -> list[str]:
    return [seen.job.patient, seen.job.title, _where(seen), seen.machine]


def _silent(seen: JobState) -> list[str]:
    return [
        seen.job.patient,
        seen.job.title,
        f"last sign of life {ago(seen.age)}",
        seen.machine,
        f"log: {seen.job.log}",
    ]


def _interrupted(seen: JobState) -> list[str]:
    return [seen.job.patient, seen.job.title, seen.words]


def _where(seen: JobState) -> str:
    """The last message of a job, and its time."""
    if seen.state == RUNNING:
        return f"{seen.words} ({ago(seen.said)})" if seen.words else f"alive {ago(seen.age)}"
    if seen.state == SILENT:
        return f"last sign of life {ago(seen.age)}, on {seen.machine}; log: {seen.job.log}"
    return seen.words


def _failed(found: Sequence[JobState], most: int | None) -> list[str]:
    if not found:
        return []
    return ["failed:", *(_sentence(seen) for seen in found[:most]), *_more(len(found), most)]


def _sentence(seen: JobState) -> str:
    """Describe a failure: a pair by its name, a job that broke off with its stage."""
    what = seen.job.title if seen.broke_off else seen.job.title.removeprefix("register ")
    return f"  {seen.job.patient} {what}: {seen.words}"

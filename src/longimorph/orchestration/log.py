"""The log of one job: the command to repeat it at the top, its output, and its outcome on the last line.

Imports nothing heavy, since the log must be open before anything can go wrong.
"""

from __future__ import annotations

import hashlib
import json
import logging
import os
import platform
import resource
import shlex
import sys
import time
import traceback
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager, redirect_stderr, redirect_stdout, suppress
from pathlib import Path
from typing import Any, TextIO

import longimorph
from longimorph.errors import Interrupted, LongimorphError
from longimorph.io.contents import Stamp, as_stamp, settled
from longimorph.orchestration import heartbeat

MACHINE = "machine: "
MADE_OF = "made of: "
INPUT, STAMP = "input: ", " stamp "
OUTCOME, STOPPED = "outcome: ", "interrupted: "
CONTEXT = "longimorph"
"""Key of Snakemake's ``config`` that gives every job the study's files and the command of the run."""
_THREAD_VARIABLES = (
    "OMP_NUM_THREADS",
    "MKL_NUM_THREADS",
    "OPENBLAS_NUM_THREADS",
    "ITK_GLOBAL_DEFAULT_NUMBER_OF_THREADS",
)
_SHOWN_RESOURCES = ("mem_mb", "runtime", "device", "gpu", "gres")


@contextmanager
def job_log(job: Any) -> Iterator[None]:
    """Run the block with all output in the job's log file, between a header and the outcome.

    ``job`` is the object that Snakemake passes to scripts. Numerical libraries imported inside the block use
    the job's number of threads. An error in the block ends the process with status 1, after one sentence on
    the terminal; its traceback is in the log unless the error is an expected one.
    """
    path = Path(str(job.log[0]))
    try:
        with _output_to(path) as terminal, _logging(), heartbeat.beating(path):
            began = time.monotonic()
            _set_threads(int(job.threads))
            try:
                sys.stdout.write(_head(job))
                yield
                sys.stdout.write(_tail(outcome(job.output), began))
            except Exception as error:
                _say_failed(error, f"{job.rule}: {error}\n  log: {path}\n", terminal)
                raise SystemExit(1) from None
    except OSError as error:  # not even the log can be written
        sys.stderr.write(f"longimorph: {job.rule}: {error}\n")
        raise SystemExit(1) from None


@contextmanager
def _output_to(path: Path) -> Iterator[TextIO]:
    """Redirect standard output and error, even of C libraries, to ``path``; yield the original error."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("")
    with (
        path.open("a", encoding="utf-8", buffering=1) as log,
        os.fdopen(os.dup(1), "w", encoding="utf-8") as output,
        os.fdopen(os.dup(2), "w", encoding="utf-8") as error,
        redirect_stdout(log),
        redirect_stderr(log),
    ):
        try:
            os.dup2(log.fileno(), 1)
            os.dup2(log.fileno(), 2)
            yield error
        finally:
            os.dup2(output.fileno(), 1)
            os.dup2(error.fileno(), 2)
            with suppress(OSError):  # on a full disk only the terminal can be informed
                log.close()


@contextmanager
def _logging() -> Iterator[None]:
    """Send the package's log messages to standard output."""
    handler = logging.StreamHandler(sys.stdout)
    handler.setFormatter(logging.Formatter("%(asctime)s %(levelname)s %(name)s: %(message)s"))
    logger = logging.getLogger("longimorph")
    level = logger.level
    logger.setLevel(logging.INFO)
    logger.addHandler(handler)
    try:
        yield
    finally:
        logger.removeHandler(handler)
        logger.setLevel(level)


def _set_threads(threads: int) -> None:
    for name in _THREAD_VARIABLES:
        os.environ[name] = str(threads)
    os.environ["MPLBACKEND"] = "Agg"


def _head(job: Any) -> str:
    wildcards = " ".join(f"{name}={value}" for name, value in job.wildcards.items())
    versions = f"longimorph {longimorph.__version__}, Python {platform.python_version()}"
    lines = [
        f"{versions}: {job.rule} {wildcards}".rstrip(),
        f"again: {repeat_command(job)}",
        f"{MACHINE}{heartbeat.machine()}",
        f"threads: {job.threads}; resources: {_resources(job.resources)}",
        f"{MADE_OF}{made_of(job.params)}",
        *(f"{INPUT}{name} ({_size(name)}){_stamp(name)}" for name in map(str, job.input)),
        *(f"{name}: {_shorten(value)}" for name, value in job.params.items()),
    ]
    return "\n".join(lines) + "\n\n"


def made_of(params: Any) -> str:
    """Return a fingerprint of a job's parameters: two jobs with the same fingerprint do the same."""
    text = json.dumps(dict(params.items()), sort_keys=True, default=str)
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def repeat_command(job: Any) -> str:
    """Return the command that repeats this one job, in any shell and folder."""
    command = [*job.config[CONTEXT]["command"], "--cores", str(job.threads)]
    return shlex.join([*command, "--force", str(job.output[0])])


def _resources(resources: Any) -> str:
    shown = {name: value for name, value in resources.items() if name in _SHOWN_RESOURCES}
    return ", ".join(f"{name}={value}" for name, value in shown.items())


def _size(name: str) -> str:
    try:
        return f"{os.path.getsize(name) / 1e6:.3g} MB"
    except OSError as error:
        return f"cannot be read: {error.strerror}"


def _stamp(name: str) -> str:
    """Return a stamp that later shows whether the file has changed, if the file is old enough for that."""
    found = settled(name)
    return STAMP + " ".join(map(str, found)) if found else ""


def stamps(log: Path) -> dict[str, Stamp]:
    """Return the stamps of a job's inputs when it started, as recorded in its log."""
    try:
        lines = log.read_text(encoding="utf-8", errors="replace").splitlines()
        found = (line.removeprefix(INPUT).rpartition(STAMP) for line in lines if line.startswith(INPUT))
        return {told.rpartition(" (")[0]: as_stamp(numbers.split()) for told, _, numbers in found if told}
    except (OSError, ValueError):
        return {}


def _shorten(value: object, most: int = 500) -> str:
    text = str(value)
    return text if len(text) <= most else f"{text[:most]} ... ({len(text)} characters)"


def _say_failed(error: Exception, sentence: str, terminal: TextIO) -> None:
    terminal.write(f"longimorph: {sentence}")
    with suppress(OSError):
        _log_failed(error)


def _log_failed(error: Exception) -> None:
    if isinstance(error, Interrupted):
        sys.stdout.write(f"{OUTCOME}{STOPPED}{error}\n")
    elif isinstance(error, LongimorphError):
        sys.stdout.write(f"{OUTCOME}failed: {error}\n")
    else:
        sys.stdout.write(traceback.format_exc())
        sys.stdout.write(f"{OUTCOME}crashed: {type(error).__name__}: {error}\n")


def outcome(outputs: Iterable[object]) -> str:
    """Return the outcome recorded in the job's own status files: ``ok``, or the failures."""
    failures = []
    for path in (Path(str(name)) for name in outputs):
        if path.suffix == ".json":
            failures += list(_failures(json.loads(path.read_text(encoding="utf-8"))))
    return "failed: " + "; ".join(failures) if failures else "ok"


def _failures(record: Mapping[str, Any]) -> Iterator[str]:
    status = record.get("status", "ok")
    if isinstance(status, str) and status != "ok":  # in the dictionary of a table, it describes a column
        yield f"{record['status']}: {record.get('message', '')}"
    for name, visit in record.get("visits", {}).items():
        if visit.get("status", "ok") != "ok":
            yield f"{name}: {visit['status']}: {visit.get('message', '')}"


def _tail(said: str, began: float) -> str:
    usage = resource.getrusage(resource.RUSAGE_SELF)
    seconds, megabytes = time.monotonic() - began, usage.ru_maxrss / 1000
    return f"\n{OUTCOME}{said} ({seconds:.1f} s, at most {megabytes:.0f} MB of memory)\n"

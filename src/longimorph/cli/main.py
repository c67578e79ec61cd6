"""Arguments of the command line, and exit statuses of the commands.

Status 0: success; 1: something failed or is missing; 2: the input needs correction. The meaning for each
command is documented in docs/running.md.
"""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path

import longimorph
from longimorph import encoding
from longimorph.cli import check, export, index, init, memory, pack, plan, profiles, run, screen, snakefile
from longimorph.errors import InputError, LongimorphError

INTERRUPTED = 130
"""The exit status after Ctrl-C, as in shells."""

Command = Callable[[argparse.Namespace], int]


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command and return the exit status of the process."""
    encoding.forgive()
    try:
        return _run(run.parsed(_parser(), arguments))
    except BrokenPipeError:  # the reader, such as `head`, has seen enough
        _silence()
        return 0
    except KeyboardInterrupt:
        return INTERRUPTED
    except OSError as error:  # a full disk, a folder that may not be written to
        sys.stderr.write(f"longimorph: {error.filename or 'the output'}: {error.strerror or error}\n")
        _silence()
        return 1


def _run(options: argparse.Namespace) -> int:
    """Run the command and flush its output."""
    command: Command = options.command
    try:
        status = command(options)
    except LongimorphError as error:
        sys.stderr.write(screen.fitted(f"longimorph: {error}", screen.columns(sys.stderr)) + "\n")
        status = 2 if isinstance(error, InputError) else 1
    sys.stdout.flush()
    return status


def _silence() -> None:
    """Prevent errors from unflushed output when Python exits."""
    with suppress(OSError, ValueError):
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="longimorph",
        description="Separates longitudinal change in brain MRI into tissue that moved and tissue that "
        "changed class in place. Snakemake runs the analysis itself; see docs/running.md.",
        epilog="The usual order for a study: longimorph init, check, plan, run, status. "
        "Exit status: 0 success; 1 something failed or is missing; 2 the input needs correction.",
    )
    parser.add_argument("--version", action="version", version=f"longimorph {longimorph.__version__}")
    commands = parser.add_subparsers(title="commands", metavar="COMMAND", required=True)
    init.register(commands)
    check.register(commands, init.CONFIG)
    plan.register(commands, init.CONFIG)
    run.register(commands)
    text = "show the progress of a run that is active, finished or interrupted"
    sub = commands.add_parser("status", help=text, description=f"From its files, {text}.")
    sub.add_argument("directory", nargs="?", type=Path, default=Path(), help="working folder of the run")
    sub.add_argument("--all", action="store_true", help="show every patient and every list in full")
    sub.add_argument("--patient", metavar="NAME", help="show every job of one patient")
    sub.set_defaults(command=status)
    text = "check that this machine, and optionally a study's scans, are ready for a run"
    sub = commands.add_parser("doctor", help=text, description=text)
    sub.add_argument(
        "config", nargs="?", type=init.config_of, help="configuration of a study to examine as well"
    )
    sub.set_defaults(command=doctor)
    text = "write a small cohort with known truth, run it, and compare the result with the truth"
    sub = commands.add_parser("demo", help=text, description=text)
    sub.add_argument("directory", type=Path, help="folder to write to")
    sub.add_argument("--cores", type=int, default=2, help="jobs to run at the same time (default 2)")
    sub.set_defaults(command=demo)
    export.register(commands)
    index.register(commands)
    memory.register(commands)
    pack.register(commands)
    profiles.register(commands)
    snakefile.register(commands)
    return parser


def status(options: argparse.Namespace) -> int:
    """Print the progress of a run; status 1 if a pair has failed or a job has broken off or gone silent."""
    from longimorph.orchestration import progress, progress_text, slurm

    results = options.directory / "results"
    if not results.is_dir():
        raise LongimorphError(f"There is no run in {options.directory}: the folder {results} does not exist.")
    found = progress.read_progress(results, options.patient)
    shown = progress_text.jobs_of(found, options.patient) if options.patient else None
    sys.stdout.write((shown or progress_text.table(found, options.all)) + "\n")
    if queue := slurm.queued(options.directory):
        sys.stdout.write("\n".join(["", *slurm.told(queue)]) + "\n")
    return 1 if found.failures() or found.of_state(progress.SILENT) else 0


def doctor(options: argparse.Namespace) -> int:
    """Print what this machine offers and what is missing; the same for a study if one is given."""
    from longimorph.cli.doctor import examine_machine, report

    return report(examine_machine(), options.config)


def demo(options: argparse.Namespace) -> int:
    """Write the cohort with known ground truth, run it and compare."""
    from longimorph.demo.demo import run

    return run(options.directory, options.cores)

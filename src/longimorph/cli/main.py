"""Arguments of the command line, and how each command ends.

Status 0: all is well; 1: something failed or is missing; 2: the input has to be corrected.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

import longimorph
from longimorph.cli import index, memory, plan, profiles
from longimorph.errors import InputError, LongimorphError

CONFIG = Path("config", "config.yaml")

Command = Callable[[argparse.Namespace], int]


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command; returns the status that the process should end with."""
    options = _parser().parse_args(arguments)
    command: Command = options.command
    try:
        return command(options)
    except InputError as error:
        sys.stderr.write(f"longimorph: {error}\n")
        return 2
    except LongimorphError as error:
        sys.stderr.write(f"longimorph: {error}\n")
        return 1
    except BrokenPipeError:  # the reader, such as `head`, has seen enough
        sys.stderr.close()
        return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="longimorph",
        description="Splits longitudinal change of brain MRI into tissue that moved and tissue that changed "
        "its kind in place. The analysis itself is run by snakemake; see docs/running.md.",
    )
    parser.add_argument("--version", action="version", version=f"longimorph {longimorph.__version__}")
    commands = parser.add_subparsers(metavar="COMMAND", required=True)
    index.register(commands)
    text = "check a study's files: every problem of all of them at once"
    sub = commands.add_parser("check", help=text, description=text)
    sub.add_argument("config", nargs="?", type=Path, default=CONFIG, help=f"by default {CONFIG}")
    sub.set_defaults(command=check)
    plan.register(commands, CONFIG)
    text = "how far a run got, from its files alone: during the run, after it or when it broke off"
    sub = commands.add_parser("status", help=text, description=text)
    sub.add_argument("directory", nargs="?", type=Path, default=Path(), help="working folder of the run")
    sub.add_argument("--all", action="store_true", help="every patient, and no list cut short")
    sub.add_argument("--patient", metavar="NAME", help="every job of one patient")
    sub.set_defaults(command=status)
    text = "whether this machine has what a run needs and, with a configuration, whether a study's scans do"
    sub = commands.add_parser("doctor", help=text, description=text)
    sub.add_argument("config", nargs="?", type=Path, help="configuration of a study to look at too")
    sub.set_defaults(command=doctor)
    sub = commands.add_parser("demo", help="write a small cohort with known truth, run it, compare")
    sub.add_argument("directory", type=Path, help="folder to write to")
    sub.add_argument("--cores", type=int, default=2, help="jobs at a time (default 2)")
    sub.set_defaults(command=demo)
    memory.register(commands)
    profiles.register(commands)
    return parser


def check(options: argparse.Namespace) -> int:
    """Check every file of a study."""
    from longimorph.cohort.validate import validate

    checked = validate(options.config)
    plan = checked.study.plan
    for remark in (*map(str, checked.warnings), *checked.notes, *map(str, checked.remarks)):
        sys.stdout.write(f"note: {remark}\n")
    visits = len(checked.study.cohort.visits)
    sys.stdout.write(
        f"{visits} visits, {len(plan.pairs)} pairs of {len(plan.patients())} patients can run.\n"
    )
    return 0


def status(options: argparse.Namespace) -> int:
    """Print how far a run got."""
    from longimorph.jobs import progress, progress_text, slurm

    results = options.directory / "results"
    if not results.is_dir():
        raise LongimorphError(f"There is no run in {options.directory}: the folder {results} does not exist.")
    found = progress.read(results, options.patient)
    shown = progress_text.jobs_of(found, options.patient) if options.patient else None
    sys.stdout.write((shown or progress_text.table(found, options.all)) + "\n")
    if queue := slurm.queued(options.directory):
        sys.stdout.write("\n".join(["", *slurm.told(queue)]) + "\n")
    return 0


def doctor(options: argparse.Namespace) -> int:
    """Print what this machine offers and what is missing; the same of a study where one is given."""
    from longimorph.cli.doctor import examine, report

    return report(examine(), options.config)


def demo(options: argparse.Namespace) -> int:
    """Write the cohort with known truth, run it and compare."""
    from longimorph.phantom.demo import run

    return run(options.directory, options.cores)

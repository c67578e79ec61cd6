"""Arguments of the command line, and how each command ends.

Status 0: all is well; 1: something failed or is missing; 2: the input has to be corrected.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

import longimorph
from longimorph.cli import index, memory, pack, plan, profiles, screen
from longimorph.errors import InputError, LongimorphError
from longimorph.words import counted

CONFIG = Path("config", "config.yaml")

Command = Callable[[argparse.Namespace], int]


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command; returns the status that the process should end with."""
    options = _parser().parse_args(arguments)
    command: Command = options.command
    try:
        return command(options)
    except LongimorphError as error:
        sys.stderr.write(screen.fitted(f"longimorph: {error}", screen.columns(sys.stderr)) + "\n")
        return 2 if isinstance(error, InputError) else 1
    except BrokenPipeError:  # the reader, such as `head`, has seen enough
        sys.stderr.close()
        return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="longimorph",
        description="Splits longitudinal change of brain MRI into tissue that moved and tissue that changed "
        "its kind in place. The analysis itself is run by snakemake; see docs/running.md.",
        epilog="A study, in this order: longimorph check, longimorph plan, snakemake, longimorph status. "
        "Status: 0 all is well; 1 something failed or is missing; 2 the input has to be corrected.",
    )
    parser.add_argument("--version", action="version", version=f"longimorph {longimorph.__version__}")
    commands = parser.add_subparsers(title="commands", metavar="COMMAND", required=True)
    text = "every problem of a study's files, all of them at once"
    sub = commands.add_parser("check", help=text, description=f"Find {text}.")
    sub.add_argument("config", nargs="?", type=Path, default=CONFIG, help=f"by default {CONFIG}")
    sub.set_defaults(command=check)
    plan.register(commands, CONFIG)
    text = "how far a run got: during it, after it, or when it broke off"
    sub = commands.add_parser("status", help=text, description=f"Tell from its files {text}.")
    sub.add_argument("directory", nargs="?", type=Path, default=Path(), help="working folder of the run")
    sub.add_argument("--all", action="store_true", help="every patient, and no list cut short")
    sub.add_argument("--patient", metavar="NAME", help="every job of one patient")
    sub.set_defaults(command=status)
    text = "whether this machine, and a study's scans, are fit for a run"
    sub = commands.add_parser("doctor", help=text, description=f"Look {text}.")
    sub.add_argument("config", nargs="?", type=Path, help="configuration of a study to look at too")
    sub.set_defaults(command=doctor)
    text = "write a small cohort with known truth, run it, compare"
    sub = commands.add_parser("demo", help=text, description=text)
    sub.add_argument("directory", type=Path, help="folder to write to")
    sub.add_argument("--cores", type=int, default=2, help="jobs at a time (default 2)")
    sub.set_defaults(command=demo)
    index.register(commands)
    memory.register(commands)
    pack.register(commands)
    profiles.register(commands)
    return parser


def check(options: argparse.Namespace) -> int:
    """Check every file of a study."""
    from longimorph.cohort.validate import validate

    checked = validate(options.config)
    plan = checked.study.plan
    for remark in (*map(str, checked.warnings), *checked.notes, *map(str, checked.remarks)):
        screen.say(f"note: {remark}")
    visits = counted(len(checked.study.cohort.visits), "visit")
    pairs = counted(len(plan.pairs), "pair")
    screen.say(f"{visits}, {pairs} of {counted(len(plan.patients()), 'patient')} can run.")
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

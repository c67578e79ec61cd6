"""``longimorph run``: run Snakemake with this installation's workflow in the folder of a study.

Snakemake replaces this process, so that its output, its signals and its exit status are the command's own.
"""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from longimorph import paths
from longimorph.cli import profiles
from longimorph.cli.init import CONFIG, EARLIER
from longimorph.errors import LongimorphError

APART = "--"
"""Separator before the options of Snakemake."""

_ABOUT = f"""\
Run the study in this folder, or in that of --directory, with Snakemake, which
computes only what is missing or out of date. Settings are read from
{CONFIG}, otherwise from {EARLIER}. Everything after {APART} is
passed to Snakemake unchanged."""
_EXAMPLES = f"""\
longimorph run {APART} --dry-run             show the jobs without running them
longimorph run --cores 4 patient_P001  run one patient, four jobs at a time
longimorph run {APART} --profile slurm       run on a cluster, with the profile slurm

The exit status is Snakemake's: 0 if every pair is done. Ctrl-C ends the
jobs and then Snakemake; the same command continues where they stopped."""


def register(commands: Any) -> None:
    """Register the command."""
    sub = commands.add_parser(
        "run",
        help="run a study with Snakemake: longimorph run [TARGETS] [-- Snakemake options]",
        usage=f"longimorph run [-h] [--cores N] [--directory DIR] [TARGET ...] [{APART} SNAKEMAKE OPTIONS]",
        description=_ABOUT,
        epilog=_EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    sub.add_argument(
        "targets", nargs="*", metavar="TARGET", help="patient_P001, sweep, or a file (default: everything)"
    )
    text = "maximum number of jobs at a time (default: the number of CPUs, or as Snakemake's options say)"
    sub.add_argument("--cores", metavar="N", help=text)
    sub.add_argument("--directory", type=Path, default=Path(), metavar="DIR", help="folder of the study")
    sub.set_defaults(command=run, snakemake=[])


def parsed(parser: argparse.ArgumentParser, arguments: Sequence[str] | None) -> argparse.Namespace:
    """Parse a command line; for ``run`` everything after ``--`` is left to Snakemake."""
    words = list(sys.argv[1:] if arguments is None else arguments)
    if words[:1] != ["run"] or APART not in words:
        return _with_hint(parser, words)
    place = words.index(APART)
    options = _with_hint(parser, words[:place])
    options.snakemake = words[place + 1 :]
    return options


def _with_hint(parser: argparse.ArgumentParser, words: list[str]) -> argparse.Namespace:
    """Parse; if ``run`` is given a Snakemake option, the error says where it belongs."""
    if words[:1] != ["run"]:
        return parser.parse_args(words)
    options, unknown = parser.parse_known_args(words)
    if unknown:
        place = words.index(unknown[0])
        right = " ".join(["longimorph", *words[:place], APART, *words[place:]])
        parser.error(f"run has no option {unknown[0]}; Snakemake options go after {APART}: {right}")
    return options


def run(options: argparse.Namespace) -> int:
    """Replace this process by Snakemake; returns only if that is not possible."""
    if find_spec("snakemake") is None:
        raise LongimorphError(f"Snakemake is not installed for {sys.executable}. Install longimorph again.")
    words = command(options.targets, options.snakemake, options.cores, options.directory)
    sys.stdout.flush()
    sys.stderr.flush()
    os.execv(sys.executable, [sys.executable, "-m", "snakemake", *words])


def command(targets: Sequence[str], further: Sequence[str], cores: str | None, folder: Path) -> list[str]:
    """Return the arguments of Snakemake; raises LongimorphError if ``folder`` holds no study."""
    words = ["--snakefile", str(paths.snakefile())]
    if not _given(further, "-d", "--directory", "--configfile", "--configfiles"):
        words += _study(folder)
    if cores is not None:
        words += ["--cores", cores]
    elif not _says_where(further):
        words += ["--cores", "all"]
    return [*words, *targets, *_with_profiles(further)]


def _study(folder: Path) -> list[str]:
    """Return the options that identify the study in ``folder``.

    The Snakefile itself finds and checks ``config/config.yaml``, before Snakemake reads it.
    """
    place = [] if folder == Path() else [f"--directory={folder}"]
    if (folder / CONFIG).is_file():
        return place
    if (folder / EARLIER).is_file():
        from longimorph.orchestration import start

        start.before_reading(str(folder / EARLIER))
        return [*place, f"--configfile={(folder / EARLIER).absolute()}"]
    where = "this folder" if folder == Path() else str(folder)
    raise LongimorphError(
        f"There is no study in {where}: neither {CONFIG} nor {EARLIER} exists. Change to the folder of a "
        "study, name it with --directory, or start one: longimorph init mystudy"
    )


def _given(words: Sequence[str], *options: str) -> bool:
    """Return whether one of the options is given, alone or with its value after ``=``."""
    return any(word.partition("=")[0] in options for word in words)


def _says_where(words: Sequence[str]) -> bool:
    """Return whether Snakemake is told where jobs run, or how many run in parallel."""
    options = ("--cores", "--jobs", "--profile", "--workflow-profile", "--executor")
    short = any(word.startswith(("-c", "-j", "-e")) for word in words)
    by_itself = "SNAKEMAKE_PROFILE" in os.environ
    return short or by_itself or _given(words, *options)


def _with_profiles(words: Sequence[str]) -> list[str]:
    """Return the options of Snakemake, replacing names of profiles that it would not find by paths."""
    found = list(words)
    for place, word in enumerate(words):
        option, equals, value = word.partition("=")
        if option == "--profile" and equals:
            found[place] = f"{option}={profiles.found(value)}"
        elif place and words[place - 1] == "--profile":
            found[place] = profiles.found(word)
    return found

"""``longimorph export``: the results of a run as a BIDS derivatives data set."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from longimorph.bids.suffixes import SUFFIXES
from longimorph.cli.screen import say
from longimorph.errors import LongimorphError
from longimorph.text import counted


def register(commands: Any) -> None:
    """Register the command."""
    text = "write the results of a run as a BIDS derivatives data set"
    sub = commands.add_parser("export", help=text, description=text)
    sub.add_argument("directory", nargs="?", type=Path, default=Path(), help="working folder of the run")
    text = "folder to write to: new, empty, or an earlier export, which is updated"
    sub.add_argument("--bids", type=Path, required=True, metavar="FOLDER", help=text)
    text = "export this patient alone; repeat for others"
    sub.add_argument("--patient", action="append", default=[], metavar="NAME", help=text)
    text = "kind of scan, such as FLAIR, where its file name ends in none (default T1w)"
    sub.add_argument("--scan-suffix", choices=SUFFIXES, default="T1w", metavar="SUFFIX", help=text)
    sub.set_defaults(command=export)


def export(options: argparse.Namespace) -> int:
    """Write the data set and report what it has and lacks; status 1 if something is missing or damaged."""
    from longimorph.bids.export import export as write

    results = options.directory / "results"
    if not results.is_dir():
        raise LongimorphError(f"There is no run in {options.directory}: the folder {results} does not exist.")
    done = write(results, options.bids, options.patient, options.scan_suffix)
    for note in done.notes:
        say(f"note: {note}")
    for problem in done.problems:
        say(f"missing: {problem}")
    removed = f", {done.removed} removed" if done.removed else ""
    say(f"{options.bids}: {done.size}; {counted(done.written, 'file')} written{removed}.")
    return 1 if done.problems else 0

"""``longimorph index``: a cohort table from a BIDS tree."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from longimorph import paths
from longimorph.bids.sources import DAYS_OF, SOURCES
from longimorph.cli.screen import say
from longimorph.errors import LongimorphError
from longimorph.text import counted

if TYPE_CHECKING:
    from longimorph.bids.index import IndexOptions

_FILES = "which file to use if a visit has several: entities, a suffix or both; repeat for further choices"


def register(commands: Any) -> None:
    """Register the command."""
    text = "write the cohort table of a BIDS tree and its derivatives"
    sub = commands.add_parser("index", help=text, description=text)
    sub.add_argument("directory", type=Path, help="root of the BIDS tree")
    sub.add_argument("--out", type=Path, default=Path("cohort.tsv"), help="output file (default cohort.tsv)")
    sub.add_argument("--force", action="store_true", help="replace an existing file")
    sub.add_argument("--derivatives", type=Path, action="append", default=[], metavar="DIR",
                     help="an additional folder of derivatives, outside the tree; repeatable")  # fmt: skip
    for role, usual in (("regions", "dseg"), ("states", "lesion masks"), ("image", "T1w")):
        sub.add_argument(f"--{role}", action="append", default=[], metavar="NAME", help=f"{_FILES} ({usual})")
    sub.add_argument("--no-states", action="store_true", help="leave the column states empty")
    sub.add_argument("--no-image", action="store_true", help="leave the column image empty")
    sub.add_argument("--missing-states", choices=("stop", "healthy", "skip"), default="stop",
                     help="what to do if only some visits have states (default stop)")  # fmt: skip
    sub.add_argument("--days-from", choices=SOURCES, default="auto",
                     help="source of the days of visits: sessions.tsv, scans.tsv, participants.tsv (auto: "
                     "one of these), the names of sessions, or only their order")  # fmt: skip
    sub.add_argument("--days-column", metavar="NAME", help="column of the table (default days or acq_time)")
    sub.add_argument("--days-unit", choices=tuple(DAYS_OF), default="days", help="its unit (default days)")
    sub.set_defaults(command=index)


def index(options: argparse.Namespace) -> int:
    """Write the table, and report what was selected."""
    from longimorph.bids.index import Undecided
    from longimorph.bids.index import index as read
    from longimorph.io.atomic import write_text
    from longimorph.study import table

    if options.out.exists() and not options.force:
        raise LongimorphError(f"{paths.display(options.out)} already exists; --force replaces it.")
    try:
        found = read(options.directory, _wishes(options))
    except Undecided as error:
        _note(error.remarks)
        raise
    write_text(options.out, found.text(options.out.absolute().parent))
    _note(found.remarks)
    cohort = table.load_cohort(options.out)
    size = f"{counted(len(cohort.visits), 'visit')} of {counted(len(cohort.patients()), 'patient')}"
    say(f"{paths.display(options.out)}: {size}. Next: enter it in config.yaml, then run longimorph check.")
    return 0


def _note(remarks: Sequence[str]) -> None:
    for remark in remarks:
        say(f"note: {remark}")


def _wishes(options: argparse.Namespace) -> IndexOptions:
    from longimorph.bids.index import IndexOptions

    return IndexOptions(
        patterns={
            "regions": options.regions,
            "states": None if options.no_states else options.states,
            "image": None if options.no_image else options.image,
        },
        missing_states=options.missing_states,
        derivatives=tuple(options.derivatives),
        days_from=options.days_from,
        days_column=options.days_column,
        days_unit=options.days_unit,
    )

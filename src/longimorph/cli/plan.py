"""Preview of a run: a row per pair and the totals, as text and as CSV."""

from __future__ import annotations

import argparse
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from longimorph.cli import screen
from longimorph.cli.init import config_of
from longimorph.cli.output import refuse_to_overwrite
from longimorph.errors import InputError
from longimorph.text import counted

if TYPE_CHECKING:
    from longimorph.study.study import Study

PROCESSOR, ANY_CARD = "CPU", "any GPU"

COLUMNS = (
    "patient", "from", "to", "days", "voxels", "classes", "map_mb", "runs_on", "strategy",
    "card_memory_mb", "host_memory_mb", "expected_minutes", "limit_minutes", "disk_mb",
)  # fmt: skip
_HEAD = (
    "patient", "from", "to", "days", "voxels", "classes", "runs on", "strategy",
    "GPU GB", "host GB", "expected", "limit", "disk GB",
)  # fmt: skip
_NUMBERS = frozenset(_HEAD) - {"patient", "from", "to", "runs on", "strategy"}
_SPARE = ("classes", "disk GB", "voxels", "strategy")
"""Columns omitted on a narrow terminal, the first ones first."""


def register(commands: Any, config: Path) -> None:
    """Register the command; ``config`` is the default configuration file."""
    text = "predict where each pair will run, and its memory, time and disk space"
    sub = commands.add_parser("plan", help=text, description=f"Before a run, {text}.")
    sub.add_argument("config", nargs="?", type=config_of, default=config, help=f"study (default {config})")
    sub.add_argument("--csv", type=Path, metavar="FILE", help="also write the table to FILE")
    sub.set_defaults(command=plan)


def plan(options: argparse.Namespace) -> int:
    """Print the plan of a study, and write it on request."""
    from longimorph.io.atomic import write_text
    from longimorph.study.study import load_study

    if options.csv is not None:
        refuse_to_overwrite(options.csv, ",".join(COLUMNS).encode())
    study = load_study(options.config)
    rows = table(study)
    if options.csv is not None:
        lines = [COLUMNS, *(row.values() for row in rows)]
        write_text(options.csv, "".join(",".join(map(str, line)) + "\n" for line in lines))
    shown = described(rows, screen.columns())
    if shown != described(rows):
        shown.append("(a wider terminal shows more columns; --csv FILE writes all of them)")
    screen.say("\n".join([*shown, *closing(study, rows)]))
    return 0 if rows else 1


def table(study: Study) -> list[dict[str, Any]]:
    """Return a row per pair and repeat; raises InputError when a registration requires a GPU and fits none.

    Voxels are the maximum of the registration grid, since the brain's box is determined later. Memory and
    disk are in MB (10^6 bytes), time in minutes. ``host_memory_mb`` and ``limit_minutes`` are what the job
    requests.
    """
    from longimorph.orchestration.parameters import pair_row
    from longimorph.orchestration.resources import Needs

    needs = Needs(study)
    if refused := needs.refusals():
        raise InputError(refused)
    rows = []
    for pair in study.plan.all:
        size, placed, asked = needs.size(pair), needs.placed(pair), needs.register(pair)
        card = placed.gpu.name if placed.gpu else ANY_CARD if placed.device == "cuda" else PROCESSOR
        sizes = (size.voxels, size.classes, round(size.map_mb, 1))
        place = (card, placed.strategy, round(placed.device_bytes / 1e6), asked.mem_mb)
        limits = (round(needs.seconds(pair) / 60, 1), asked.minutes, asked.disk_mb)
        cells = (*pair_row(pair).values(), *sizes, *place, *limits)
        rows.append(dict(zip(COLUMNS, cells, strict=True)))
    return rows


def described(rows: Sequence[dict[str, Any]], width: int | None = None) -> list[str]:
    """Return the rows as lines with columns of equal width; some are omitted if ``width`` is too small."""
    unused = () if any(row["card_memory_mb"] for row in rows) else ("GPU GB",)
    return screen.table([_HEAD, *map(_cells, rows)], _NUMBERS, (*unused, *_SPARE), width)


def closing(study: Study, rows: Sequence[dict[str, Any]]) -> list[str]:
    """Return sentences on the excluded patients and the totals."""
    lines = [f"{out.patient} is left out: it {out.reason}" for out in study.plan.left_out] + [""]
    if not rows:
        return [*lines, "There are no pairs to register."]
    patients = counted(len({row["patient"] for row in rows}), "patient")
    minutes = sum(row["expected_minutes"] for row in rows)
    registrations = counted(len(rows), "registration")
    lines.append(f"{registrations} of {patients}; {_hours(minutes)} if run one after the other.")
    for (card, strategy), count in Counter((row["runs_on"], row["strategy"]) for row in rows).most_common():
        own = [row for row in rows if (row["runs_on"], row["strategy"]) == (card, strategy)]
        lines.append(f"  {count} on {card}, strategy {strategy}: {_largest(own)}")
    return [*lines, f"  disk: {_gb(_disk(study, rows))} GB at most", _NOTE]


_NOTE = (
    "Expected times assume one CPU thread, or the speed that gpus.tsv gives for the GPU.\n"
    "Each job requests the limit and the host memory shown.\n"
    "Voxels are an upper bound: the run crops to the brain."
)


def _largest(rows: Sequence[dict[str, Any]]) -> str:
    card, host = (max(row[key] for row in rows) for key in ("card_memory_mb", "host_memory_mb"))
    limit = max(row["limit_minutes"] for row in rows)
    on_card = f"{_gb(card)} GB of GPU memory and " if card else ""
    return f"at most {on_card}{_gb(host)} GB of host memory, {_hours(limit)} each"


def _disk(study: Study, rows: Sequence[dict[str, Any]]) -> int:
    """MB of all results: those of the pairs, and the maps of the visits."""
    from longimorph.orchestration.resources import Needs

    needs = Needs(study)
    names = dict.fromkeys(pair.patient for pair in study.plan.all)
    visits = [visit for name in names for visit in study.cohort.scans_of(name)]
    of_pairs = sum(int(row["disk_mb"]) for row in rows)
    return of_pairs + sum(needs.maps(visit).disk_mb for visit in visits)


def _cells(row: dict[str, Any]) -> list[str]:
    names = [row["patient"], row["from"], row["to"], f"{row['days']:g}"]
    sizes = [str(row["voxels"]), str(row["classes"]), row["runs_on"], row["strategy"]]
    card = _gb(row["card_memory_mb"]) if row["card_memory_mb"] else "-"
    times = [_hours(row["expected_minutes"]), _hours(row["limit_minutes"])]
    return [*names, *sizes, card, _gb(row["host_memory_mb"]), *times, _gb(row["disk_mb"])]


def _gb(megabytes: float) -> str:
    """GB with one decimal; never zero."""
    return f"{megabytes / 1000:.1f}" if megabytes >= 50 else "< 0.1"


def _hours(minutes: float) -> str:
    """Minutes up to two hours, then hours, then days of 24 hours; never zero."""
    if minutes < 1:
        return "< 1 min"
    if minutes < 120:
        return f"{minutes:.0f} min"
    return f"{minutes / 60:.1f} h" if minutes < 48 * 60 else f"{minutes / 1440:.1f} days"

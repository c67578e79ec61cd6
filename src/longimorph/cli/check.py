"""``longimorph check``: all problems of a study's files or, without any, the classes of its labels."""

from __future__ import annotations

import argparse
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from longimorph.cli import screen
from longimorph.cli.init import config_of
from longimorph.cli.output import refuse_to_overwrite
from longimorph.text import counted

if TYPE_CHECKING:
    from longimorph.study.blocked import Blocked
    from longimorph.study.overview import Looked, Overview
    from longimorph.study.table import Cohort, Visit
    from longimorph.study.validate import Validated

_MOST_PATIENTS = 3
_MOST_LINES = 10
_MOST_VISITS = 6
_SMALL_ML = 0.1


def register(commands: Any, config: Path) -> None:
    """Register the command; ``config`` is the default configuration file."""
    text = "find every problem in a study's files at once, and show the class of each label"
    sub = commands.add_parser("check", help=text, description=text)
    sub.add_argument("config", nargs="?", type=config_of, default=config, help=f"study (default {config})")
    sub.add_argument("--all", action="store_true", help="show every patient and every list in full")
    text = "write every label of every visit, with its class, voxels and mL, to FILE"
    sub.add_argument("--csv", type=Path, metavar="FILE", help=text)
    sub.set_defaults(command=check)


def check(options: argparse.Namespace) -> int:
    """Check every file of a study; status 1 if a pair cannot run, or none can."""
    from longimorph.io.atomic import write_text
    from longimorph.study import overview
    from longimorph.study.blocked import blocked
    from longimorph.study.validate import validate

    if options.csv is not None:
        refuse_to_overwrite(options.csv, ",".join(overview.COLUMNS).encode())
    checked = validate(options.config)
    study, plan = checked.study, checked.study.plan
    notes = [note for note in checked.notes if note not in checked.by_wildcards]
    for remark in (*map(str, checked.warnings), *notes, *map(str, checked.remarks)):
        screen.say(f"note: {remark}")
    found = overview.overview(study.cohort, study.classes, checked.reports)
    if options.csv is not None:
        lines = [",".join(map(str, line)) + "\n" for line in (overview.COLUMNS, *found.rows())]
        write_text(options.csv, "".join(lines))
    stopped = blocked(study, checked.reports, checked.warnings)
    most = None if options.all else _MOST_LINES
    patients = None if options.all else _MOST_PATIENTS
    for part in (_table(found, study.cohort, patients), _wildcards(checked, most), _differences(found, most)):
        if part:
            screen.say("\n" + "\n".join(part))
    screen.say("\n" + "\n".join(_closing(checked, stopped, most)))
    return 1 if stopped or not plan.pairs else 0


def _table(found: Overview, cohort: Cohort, most: int | None) -> list[str]:
    """Return the classes with the labels found and their volumes, of all visits and of the first patients."""
    visits = found.visits
    if not visits:
        return []
    names = found.classes.names
    several = len([1 for own in found.patients.values() if own]) > 1
    head = ["class", "labels found", *(["visits", "mL, smallest to largest"] if several else [_PER_VISIT])]
    rows = [head]
    for index, name in enumerate(names):
        sizes = [float(one.volumes[index]) / 1000 for one in visits]
        held = [size for size in sizes if size > 0]
        span = f"{_ml(min(held))} to {_ml(max(held))}" if held else "-"
        columns = (
            [f"{len(held)} of {len(visits)}", span]
            if several
            else [_course(cohort.scans_of(visits[0].visit.patient), visits, index)]
        )
        rows.append([name, found.labels_of(index), *columns])
    lines = screen.table(rows, width=screen.columns())
    lines += _schemes(visits)
    return lines + (_by_patient(found, cohort, most) if several else [])


_PER_VISIT = "mL at each visit, first to last"


def _by_patient(found: Overview, cohort: Cohort, most: int | None) -> list[str]:
    """Return the volumes at each visit, for the first patients."""
    patients = [(name, own) for name, own in found.patients.items() if own]
    rows = [["patient", "class", _PER_VISIT]]
    for name, own in patients[:most]:
        for index, label in enumerate(found.classes.names):
            rows.append([name if index == 0 else "", label, _course(cohort.scans_of(name), own, index)])
    more = len(patients) - len(patients[:most])
    lines = ["", *screen.table(rows, width=screen.columns())]
    if more:
        lines.append(f"and {counted(more, 'more patient')}: --all shows all, --csv FILE has every label")
    return lines


def _course(visits: Sequence[Visit], readable: Sequence[Looked], index: int) -> str:
    """Return the volumes of a class at each visit, "-" for one that cannot be read, omitting the middle of a
    long list.
    """
    known = {one.visit: _ml(float(one.volumes[index]) / 1000) for one in readable}
    sizes = [known.get(visit, "-") for visit in visits]
    if len(sizes) > _MOST_VISITS:
        sizes = [*sizes[: _MOST_VISITS - 2], "...", *sizes[-2:]]
    return "  ".join(sizes)


def _ml(size: float) -> str:
    return f"{size:.1f}" if size >= _SMALL_ML or size == 0 else f"{size:.2g}"


def _schemes(visits: Sequence[Looked]) -> list[str]:
    """Return which tool's label numbers the regions use, if known."""
    names = [one.scheme.name for one in visits if one.scheme is not None]
    counts = {name: names.count(name) for name in dict.fromkeys(names)}
    if not counts:
        return []
    told = ", ".join(f"{name} ({counted(number, 'visit')})" for name, number in counts.items())
    return [f"The region labels follow the numbering of {told}."]


def _wildcards(checked: Validated, most: int | None) -> list[str]:
    """Return the labels matched only by wildcards."""
    lines = [f"  {text}" for text in checked.by_wildcards[:most]]
    return ["Labels that no row names, matched only by a wildcard (*):", *lines] if lines else []


def _differences(found: Overview, most: int | None) -> list[str]:
    """Return the differences between the visits of a patient."""
    told = found.differences()
    lines = [f"  {one}" for one in told[:most]]
    more = [f"  and {len(told) - len(lines)} more: --all shows all of them"] if len(told) > len(lines) else []
    return ["Differences between the visits of a patient:", *lines, *more] if lines else []


def _repeats(number: int) -> str:
    """Return what the repeated scans are good for."""
    from longimorph.study.pairs import LEAST_REPEATS

    told = f"{counted(number, 'repeated scan')}: "
    if number >= LEAST_REPEATS:
        return f"{told}the noise floors of the study come from them."
    return f"{told}too few for the noise floors, which need {LEAST_REPEATS}; each pair's labels give its own."


def _closing(checked: Validated, stopped: Sequence[Blocked], most: int | None) -> Iterator[str]:
    """Yield how many pairs can run, and which cannot."""
    plan = checked.study.plan
    if plan.repeats:
        yield _repeats(len(plan.repeats))
    visits, pairs = counted(len(checked.study.cohort.visits), "visit"), counted(len(plan.pairs), "pair")
    if not plan.pairs:
        yield f"{visits}, no pair: nothing can run. A pair needs two visits of the same patient."
    elif not stopped:
        yield f"{visits}, {pairs} of {counted(len(plan.patients()), 'patient')} can run."
    else:
        can = len(plan.pairs) - len(stopped)
        yield f"{visits}, {can} of {pairs} can run. These will fail unless the input changes:"
        yield from (f"  {one}" for one in stopped[:most])
        if len(stopped) > len(stopped[:most]):
            yield f"  and {len(stopped) - len(stopped[:most])} more: --all shows all of them"

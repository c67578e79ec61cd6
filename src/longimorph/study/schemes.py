"""Recognition of the tool behind a segmentation, among those with a class table in ``config/examples``.

The labels of a tool are those named by its table, so that there is only one list of them.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Literal

from longimorph import paths
from longimorph.errors import LongimorphError
from longimorph.study import classes as class_tables
from longimorph.study.classes import ClassTable
from longimorph.study.scans import ScanReport
from longimorph.text import counted

Column = Literal["regions", "states"]
_FEWEST = 2  # minimum of informative labels: any tool writes a mask of one number
_ALIKE = 0.9
"""Share of a scan's labels that a tool must know for the scan to be attributed to it."""


@dataclass(frozen=True)
class Scheme:
    """The label numbers of a tool: its name, its table in ``config/examples``, and the column of its labels.

    It also holds labels that every segmentation by the tool contains.
    """

    name: str
    table: str
    column: Column
    core: frozenset[int]

    @property
    def shown(self) -> str:
        """The table's name as shown in messages."""
        return f"config/examples/{self.table}"


SCHEMES = (
    Scheme("FreeSurfer or FastSurfer", "freesurfer_classes.tsv", "regions", frozenset({2, 41, 4, 43})),
    Scheme("SynthSeg", "synthseg_classes.tsv", "regions", frozenset({2, 41, 4, 43})),
    Scheme("SAMSEG", "samseg_classes.tsv", "regions", frozenset({2, 41, 4, 43, 258})),
    Scheme("MUSE", "muse_classes.tsv", "regions", frozenset({51, 52, 59, 60, 81, 82})),
    Scheme("FSL FAST or Atropos with three tissues", "fast_classes.tsv", "regions", frozenset({1, 2, 3})),
    Scheme("ANTs with six tissues", "atropos_classes.tsv", "regions", frozenset({1, 2, 3, 4, 5, 6})),
    Scheme("BraTS up to 2021", "brats2020_classes.tsv", "states", frozenset({4})),
    Scheme("BraTS since 2023", "brats2023_classes.tsv", "states", frozenset({3})),
)


def recognise(labels: Collection[int], column: Column) -> Scheme | None:
    """Return the tool that produced these labels of a scan; None if it is not known.

    Of several candidates the one that knows the most labels is chosen, then the one with the fewest others.
    """
    found = frozenset(labels) - {0}
    best: tuple[float, int, Scheme] | None = None
    for scheme in SCHEMES if len(found) >= _FEWEST else ():
        known = _labels(scheme) if scheme.column == column and scheme.core <= found else frozenset()
        share = len(found & known) / len(found)
        if share >= _ALIKE and (best is None or (share, -len(known)) > best[:2]):
            best = (share, -len(known), scheme)
    return best[2] if best is not None else None


def of_scan(report: ScanReport, column: Column) -> Scheme | None:
    """Return the tool that produced a visit's labels."""
    return recognise(_found(report, column), column)


def of_table(classes: ClassTable, column: Column) -> Scheme | None:
    """Return the tool for which a class table was written."""
    return recognise(classes.named(column), column)


def mismatches(classes: ClassTable, reports: Sequence[ScanReport]) -> list[str]:
    """Return a sentence for each tool whose labels occur in scans while the table names another's."""
    told = []
    for column in ("regions", "states"):
        own, named = of_table(classes, column), classes.named(column)
        schemes = [(of_scan(report, column), _found(report, column) - named - {0}) for report in reports]
        lacking = [(scheme, missed) for scheme, missed in schemes if scheme not in (None, own) and missed]
        for scheme, visits in Counter(scheme for scheme, _ in lacking).items():
            missed = sorted({label for one, missed in lacking if one == scheme for label in missed})
            if scheme is not None:
                told.append(_sentence(scheme, own, column, visits, missed))
    return told


def _sentence(scheme: Scheme, own: Scheme | None, column: str, visits: int, missed: Sequence[int]) -> str:
    made = f" was written for {own.name} and" if own is not None else ""
    labels = ", ".join(map(str, missed[:5])) + (f" and {len(missed) - 5} more" if len(missed) > 5 else "")
    return (
        f"the {column} of {counted(visits, 'visit')} follow the numbering of {scheme.name}; the table{made} "
        f"does not name {labels}. The table for {scheme.name} is {scheme.shown}"
    )


def _found(report: ScanReport, column: Column) -> frozenset[int]:
    counts = report.counts
    labels = None if counts is None else counts.regions if column == "regions" else counts.states
    return frozenset() if labels is None else frozenset(labels.tolist())


@cache
def _labels(scheme: Scheme) -> frozenset[int]:
    """The labels named by the tool's table; empty if the table is missing."""
    try:
        table = class_tables.load_classes(paths.repository() / "config" / "examples" / scheme.table)
    except LongimorphError:
        return frozenset()
    return table.named(scheme.column) - {0}

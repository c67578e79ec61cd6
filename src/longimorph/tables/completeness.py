"""Check that every pair is done; the errors say which pairs failed, or which pages are incomplete."""

from __future__ import annotations

from collections.abc import Hashable, Mapping, Sequence
from pathlib import Path

import pandas as pd

from longimorph.errors import TEMPLATE, LongimorphError
from longimorph.io.atomic import write_json
from longimorph.tables import columns
from longimorph.text import counted

_SHOWN = 5


class SomePairsFailed(LongimorphError):
    """All tables are written, but some pairs have no numbers."""

    def __init__(self, failures: pd.DataFrame, pairs: int, folder: Path) -> None:
        lines = [" ".join([*_what_failed(failures, pairs, folder), "failures.csv there gives the reasons:"])]
        lines += [f"  {_sentence(row)}" for row in failures.head(_SHOWN).to_dict("records")]
        if len(failures) > _SHOWN:
            lines.append(f"  and {len(failures) - _SHOWN} more")
        super().__init__("\n".join(lines))


class PagesIncomplete(LongimorphError):
    """All numbers are present, but some pages lack a part that could not be drawn."""

    def __init__(self, pages: Sequence[Path]) -> None:
        shown = ", ".join(str(page) for page in pages[:_SHOWN])
        more = f" and {len(pages) - _SHOWN} more" if len(pages) > _SHOWN else ""
        super().__init__(
            f"The tables are complete, but parts of these pages could not be made: {shown}{more}. Each page "
            "names the parts, its log the reasons. To make the pages again: snakemake --forcerun "
            "patient_report cohort_report"
        )


def require_complete(folder: Path, out: Path, incomplete: Sequence[Path] = ()) -> None:
    """Write ``out`` if every pair of the tables in ``folder`` is done, else raise SomePairsFailed.

    ``incomplete``: pages with missing parts; if there are any, PagesIncomplete is raised.
    """
    failures = columns.read_table(folder / "failures.csv")
    tables = [folder / name for name in ("changes.csv", "repeats.csv") if (folder / name).exists()]
    pairs = sum(len(columns.read_table(t)[list(columns.PAIR)].drop_duplicates()) for t in tables)
    if len(failures):
        raise SomePairsFailed(failures, pairs, folder)
    if incomplete:
        raise PagesIncomplete(incomplete)
    write_json(out, {"status": "ok", "pairs": pairs})


def _what_failed(failures: pd.DataFrame, pairs: int, folder: Path) -> list[str]:
    """Say how many pairs failed, and how many patients are missing from the maps of the cohort."""
    patients = int((failures["stage"] == TEMPLATE).sum())
    failed = len(failures) - patients
    found = []
    if failed:
        these = "this pair" if failed == 1 else "these pairs"
        found.append(f"{failed} of {counted(pairs, 'pair')} failed. The tables in {folder} are complete,")
        found.append(f"with empty numbers for {these};")
    if patients:
        text = f"{counted(patients, 'patient')} could not be registered to the template."
        found.append(f"{text} The maps of the cohort do not include {'it' if patients == 1 else 'them'};")
        found += [] if failed else [f"the tables in {folder} are complete, and"]
    return found


def _sentence(row: Mapping[Hashable, str]) -> str:
    where = f"{row['patient']} {row['from']} to {row['to']}" if row["from"] else row["patient"]
    log = f" (log: {row['log']})" if row["log"] else ""
    return f"{where}: {row['stage']}: {row['code']}: {row['message']}{log}"

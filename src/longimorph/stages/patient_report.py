"""The report page of one patient."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from longimorph.report import patient
from longimorph.study import classes as class_tables
from longimorph.tables import columns


def patient_report(
    name: str,
    days: Mapping[str, float],
    pairs: Sequence[Mapping[str, Any]],
    classes: str,
    command: str,
    out: Path,
) -> None:
    """Write ``out`` from the results beside it: ``days`` of each visit, ``pairs`` as rows of ``pairs.csv``.

    ``command`` reproduces the patient's results. Failed pairs are shown with their log.
    """
    failures = columns.read_table(out.parent / "failures.csv")
    logs = {(row["from"], row["to"]): row["log"] for row in failures.to_dict("records")}
    rows = [{**pair, "log": logs.get((pair["from"], pair["to"]), "")} for pair in pairs]
    patient.patient_report(name, days, rows, class_tables.load_classes(classes), command, out.parent, out)

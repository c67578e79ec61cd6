"""Patients whose latest numbers are missing from the tables of the cohort, which a run of one patient leaves
as they were.
"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

TABLES = ("changes.csv", "failures.csv")


def behind(results: Path, patients: Iterable[str]) -> list[str]:
    """Return the patients with a newer row that the tables in ``results/cohort`` do not have; none before
    these tables exist.
    """
    cohort = results / "cohort"
    written = {name: time for name in TABLES if (time := _time(cohort / name)) is not None}
    known: dict[str, set[bytes]] = {}
    found = []
    for patient in patients:
        for name, time in written.items():
            own = results / "patients" / patient / name
            if (_time(own) or 0) <= time:
                continue
            if name not in known:
                known[name] = _lines(cohort / name)
            if not _lines(own) <= known[name]:
                found.append(patient)
                break
    return found


def _time(file: Path) -> int | None:
    try:
        return file.stat().st_mtime_ns
    except OSError:
        return None


def _lines(file: Path) -> set[bytes]:
    try:
        return set(file.read_bytes().splitlines())
    except OSError:
        return set()

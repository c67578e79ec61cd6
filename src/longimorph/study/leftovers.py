"""Result folders that no longer belong to a study, left by an earlier ``pairs`` setting or patient."""

from __future__ import annotations

import csv
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

SHOWN = 5


@dataclass(frozen=True)
class Leftovers:
    """Unplanned folders below ``results/patients``, as ``<patient>/<from>__<to>`` or ``<patient>``.

    They belong to pairs of the study's patients, or to patients that the study does not have.
    """

    pairs: tuple[str, ...] = ()
    patients: tuple[str, ...] = ()

    def of(self, patient: str) -> Leftovers:
        """Return the leftovers of one patient."""
        own = tuple(name for name in self.pairs if name.startswith(f"{patient}/"))
        return Leftovers(own, tuple(name for name in self.patients if name == patient))

    def sentences(self, most: int | None = SHOWN) -> list[str]:
        """Describe the leftovers, and what can be done about them."""
        found = []
        if self.pairs:
            found.append(f"Pairs that are no longer planned in this study: {_listed(self.pairs, most)}.")
        if self.patients:
            found.append(f"Patients that are not in this run: {_listed(self.patients, most)}.")
        if found:
            found.append(
                "Their folders in results/patients come from an earlier run, and no table includes them. "
                "longimorph keeps them; delete them if you do not need them."
            )
        return found


def find(results: Path, pairs: Iterable[tuple[str, str, str]], others: Iterable[str] = ()) -> Leftovers:
    """Return what lies in ``results`` besides the planned ``pairs`` (patient, from, to).

    ``others``: patients of the study that have no pair. Pairs of a visit and its repeat are planned too.
    """
    planned: dict[str, set[str]] = {name: set() for name in others}
    for patient, source, target in (*pairs, *_repeats(results)):
        planned.setdefault(patient, set()).add(f"{source}__{target}")
    folders = _folders(results / "patients")
    strangers = tuple(folder.name for folder in folders if folder.name not in planned)
    old = (
        f"{folder.name}/{inner.name}"
        for folder in folders
        if folder.name in planned
        for inner in _folders(folder)
        if inner.name not in planned[folder.name] and (inner / "status.json").exists()
    )
    return Leftovers(tuple(old), strangers)


def _repeats(results: Path) -> list[tuple[str, str, str]]:
    """The pairs of a visit and its repeat, as ``repeats.csv`` lists them."""
    try:
        with (results / "cohort" / "repeats.csv").open(encoding="utf-8", newline="") as lines:
            return [(row["patient"], row["from"], row["to"]) for row in csv.DictReader(lines)]
    except FileNotFoundError:
        return []


def _folders(folder: Path) -> list[Path]:
    return sorted(path for path in folder.glob("*") if path.is_dir())


def _listed(names: tuple[str, ...], most: int | None) -> str:
    more = len(names) - len(names[:most])
    return ", ".join(names[:most]) + (f" and {more} more" if more else "")

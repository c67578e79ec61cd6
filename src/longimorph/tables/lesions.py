"""The table of single lesions: a row per lesion, and one for what belongs to none.

In the decimals of the file, the rows of a pair and class add up to its row of ``changes.csv``.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from longimorph.tables import columns
from longimorph.tables.dictionary import Classes, write_table

REST = "rest"
"""Event of the row with what belongs to no lesion."""

_SEPARATOR = "; "


@dataclass(frozen=True)
class LesionRow:
    """One lesion in one pair; sums over its region in mm³.

    ``own``: the tracks at the first and at the second visit, the lesion's own first; ``place_mm`` in RAS mm
    and ``voxel`` on the common grid; ``share`` of the class's gross change; ``page``: the address, from the
    patient's folder, that shows it.
    """

    event: str
    own: tuple[tuple[int, ...], tuple[int, ...]]
    volumes: tuple[float, float]
    deformation: float
    reallocation: float
    change_uncertainty: float
    share: float
    place_mm: tuple[float, float, float]
    voxel: tuple[int, int, int]
    page: str

    @property
    def track(self) -> int:
        """The track that names the lesion: the one that goes on, else the largest at the last visit."""
        first, last = self.own
        return next((track for track in last if track in first), (last or first)[0])


def class_rows(changes: Mapping[Any, Any], lesions: Sequence[LesionRow], rest_share: float) -> pd.DataFrame:
    """The rows of one class of a pair, largest lesion first, then the rest; tracks in place of names.

    ``changes``: the class's row of the pair's ``changes.csv``; ``rest_share``: the share of its gross change
    that belongs to no lesion.
    """
    kept = sorted(lesions, key=lambda row: -max(row.volumes))
    sums = columns.to_decimals(
        np.array([[*r.volumes, r.deformation, r.reallocation] for r in kept]).reshape(-1, 4)
    )
    whole = np.array([columns.number(changes[name]) for name in columns.VOLUMES[:4]])
    sums = np.vstack([sums, columns.to_decimals(whole - sums.sum(axis=0))])
    table = pd.DataFrame({name: [changes[name]] * len(sums) for name in (*columns.PAIR, "class")})
    table["lesion"] = [str(row.track) for row in kept] + [""]
    table["event"] = [row.event for row in kept] + [REST]
    table["status"] = "ok"
    for side, name in enumerate(("lesions_from", "lesions_to")):
        table[name] = [_SEPARATOR.join(map(str, row.own[side])) for row in kept] + [""]
    change = columns.to_decimals(sums[:, 1] - sums[:, 0])
    unexplained = columns.to_decimals(change - sums[:, 2] - sums[:, 3])
    for name, values in zip(
        columns.LESION_VOLUMES, (*sums.T[:2], change, *sums.T[2:], unexplained), strict=True
    ):
        table[name] = values
    edges = np.array([*(row.change_uncertainty for row in kept), np.nan])
    table["change_uncertainty_mm3"] = columns.to_decimals(edges)
    shares = np.array([*(row.share for row in kept), rest_share])
    for kind in ("deformation", "reallocation"):
        split = shares * _most(changes, kind) + np.abs(unexplained)
        table[f"{kind}_uncertainty_mm3"] = columns.to_decimals(np.hypot(split, np.nan_to_num(edges)))
    places = [row.place_mm for row in kept] + [(np.nan,) * 3]
    for axis, name in enumerate(columns.PLACE):
        table[name] = [float(place[axis]) for place in places]
    for axis, name in enumerate(columns.VOXEL):
        table[name] = [str(row.voxel[axis]) for row in kept] + [""]
    table["page"] = [row.page for row in kept] + [""]
    return table[list(columns.LESIONS)]


def failed_row(names: Mapping[str, str], name: str, code: str) -> pd.DataFrame:
    """The row of a class in a pair that failed: empty but for its names and the failure."""
    row: dict[str, object] = dict.fromkeys(columns.LESIONS, "")
    row |= {**names, "class": name, "status": code}
    row |= dict.fromkeys((*columns.LESION_NUMBERS, *columns.PLACE), np.nan)
    return pd.DataFrame([row])


def named(rows: pd.DataFrame, order: Sequence[int]) -> pd.DataFrame:
    """Replace the tracks by numbers from 1, in the order in which the rows at ``order`` mention them.

    Tracks are counted separately for each class, numbers are not.
    """
    names: dict[tuple[str, str], str] = {}
    texts = {name: rows[name].tolist() for name in ("lesion", "lesions_from", "lesions_to")}
    kinds = rows["class"].tolist()
    for index in order:
        for name in texts:
            for track in filter(None, texts[name][index].split(_SEPARATOR)):
                names.setdefault((kinds[index], track), str(len(names) + 1))

    def renamed(kind: str, text: str) -> str:
        return _SEPARATOR.join(names[kind, track] for track in filter(None, text.split(_SEPARATOR)))

    new = {
        name: [renamed(kind, text) for kind, text in zip(kinds, values, strict=True)]
        for name, values in texts.items()
    }
    return rows.assign(**new)


def write_lesions(table: pd.DataFrame, classes: Classes, out: Path) -> None:
    """Write a patient's table and its dictionary; ``classes`` as for :func:`dictionary.sidecar`."""
    write_table(out, columns.as_text(table), classes)


def cohort_lesions(patients: Sequence[Path], classes: Classes, out: Path) -> None:
    """Write the cohort's table from the patients' folders; the addresses start at the folder of ``out``."""
    tables = []
    for folder in patients:
        table = columns.read_table(folder / "lesions.csv")
        there = f"../patients/{folder.name}/"
        table["page"] = [f"{there}{page}" if page else "" for page in table["page"]]
        tables.append(table)
    write_table(out, columns.as_text(columns.stack(tables, columns.LESIONS)), classes)


def _most(changes: Mapping[Any, Any], kind: str) -> float:
    """The largest distance of a class's number from the ends of its range, mm³."""
    value, low, high = (columns.number(changes[f"{kind}{end}_mm3"]) for end in ("", "_low", "_high"))
    return max(value - low, high - value, 0.0)

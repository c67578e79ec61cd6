"""The tables of repeated scans: ``repeats.csv``, as ``changes.csv``, and the floors that follow from it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from longimorph.study.pairs import LEAST_REPEATS
from longimorph.tables import columns, floors
from longimorph.tables.dictionary import write_table
from longimorph.tables.floors import LABELS, REPEATS, Noise
from longimorph.verdict.status import OK

KINDS = ("deformation", "reallocation", "change")
Floors = Mapping[str, Noise]
"""The noise by kind; each of them (C,) in the order of the classes."""


def write_repeats(changes: pd.DataFrame, classes: Sequence[Mapping[str, str]], out: Path) -> None:
    """Write ``repeats.csv`` and ``floors.csv`` to the folder ``out``.

    ``changes``: the rows of the pairs of a visit and its repeat, with the columns of ``changes.csv``.
    """
    write_table(out / "repeats.csv", columns.as_text(changes), classes)
    names = [row["class"] for row in classes]
    write_table(out / "floors.csv", columns.as_text(floor_table(changes, names)), classes)


def floor_table(changes: pd.DataFrame, classes: Sequence[str]) -> pd.DataFrame:
    """A row per class: how many repeats are done, their spread, and the floor if there are enough."""
    done = changes[changes["status"] == OK]
    done = done.assign(change_mm3=done["volume_to_mm3"] - done["volume_from_mm3"])
    pairs = len(done[list(columns.PAIR)].drop_duplicates())
    table = pd.DataFrame({"class": list(classes), "repeats": float(pairs)})
    table[columns.SOURCE] = REPEATS if pairs >= LEAST_REPEATS else LABELS
    for kind, spread, floor in zip(KINDS, columns.SPREADS, columns.FLOORS, strict=True):
        values = done[f"{kind}_mm3"].to_numpy(dtype=float).reshape(pairs, len(classes))
        found = floors.spread(values) if pairs else np.full(len(classes), np.nan)
        table[spread] = columns.to_decimals(found)
        reach = Noise(found, pairs).reach(floors.FLOOR) if pairs >= LEAST_REPEATS else np.nan
        table[floor] = columns.to_decimals(np.broadcast_to(reach, len(classes)))
    return table[list(columns.FLOOR_TABLE)]


def read_floors(path: Path | None) -> Floors | None:
    """The noise that ``floors.csv`` measures; None without it, or if there were too few repeats."""
    table = columns.read_table(path) if path is not None else None
    if table is None or table.empty or table[columns.SOURCE].iloc[0] != REPEATS:
        return None
    pairs = int(table["repeats"].iloc[0])
    return {
        kind: Noise(table[name].to_numpy(), pairs) for kind, name in zip(KINDS, columns.SPREADS, strict=True)
    }


def with_floors(changes: pd.DataFrame, measured: Floors | None = None) -> pd.DataFrame:
    """Add floors, intervals and their source to the rows of one pair's ``changes.csv``.

    ``measured``: the noise by repeats; without it, the pair's own estimate from its labels is used.
    """
    noise = measured or {
        kind: Noise(changes[name].to_numpy()) for kind, name in zip(KINDS, columns.NOISE, strict=True)
    }
    done = (changes["status"] == OK).to_numpy()
    added: dict[str, Any] = {columns.SOURCE: np.where(done, REPEATS if measured else LABELS, "")}
    for kind, name in zip(KINDS, columns.FLOORS, strict=True):
        added[name] = np.where(done, noise[kind].reach(floors.FLOOR), np.nan)
    for place, kind in enumerate(KINDS[:2]):
        told = (changes[f"{kind}_{what}_mm3"].to_numpy() for what in ("low", "high", "uncertainty"))
        added |= zip(columns.INTERVALS[2 * place :][:2], floors.interval(told, noise[kind]), strict=True)
    numbers = (*columns.FLOORS, *columns.INTERVALS)
    return changes.assign(**added | {name: columns.to_decimals(added[name]) for name in numbers})

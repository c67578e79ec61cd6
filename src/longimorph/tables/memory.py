"""The cohort's memory: the predicted and the observed memory of each registration."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd

from longimorph.tables.columns import MEMORY, PAIR
from longimorph.verdict.status import PairStatus, status_or

NAMES = (*PAIR, "status", "device", "strategy_begun", "strategy")


def memory_row(status: PairStatus) -> dict[str, str]:
    """Return a pair's row of ``memory.csv`` from its ``status.json``; missing values are empty."""
    said = {**status.to_dict(), **(status.memory or {})}
    if status.memory is None:  # not begun: there is no device and no strategy
        said["device"] = None
    return {name: "" if said.get(name) is None else _text(said[name]) for name in MEMORY}


def read_memory_rows(path: Path | str) -> pd.DataFrame:
    """Read a ``memory.csv``: names are text, all other columns are numbers, NaN where empty."""
    return _numbers(pd.read_csv(path, dtype=str, keep_default_na=False, encoding="utf-8"))


def of_results(results: Path) -> pd.DataFrame:
    """Return the same table from the ``status.json`` of every pair below ``results`` that has one."""
    rows = []
    for file in sorted((results / "patients").glob("*/*__*/status.json")):
        source, _, target = file.parent.name.partition("__")
        names = dict(zip(PAIR, (file.parent.parent.name, source, target), strict=True))
        rows.append(memory_row(status_or(file.parent, PairStatus())) | names)
    return _numbers(pd.DataFrame(rows, columns=list(MEMORY)))


def _numbers(table: pd.DataFrame) -> pd.DataFrame:
    for name in table.columns.difference(list(NAMES)):
        table[name] = pd.to_numeric(table[name].replace("", np.nan)).astype(float)
    return table


def _text(value: object) -> str:
    return f"{value:.6g}" if isinstance(value, float) else str(value)

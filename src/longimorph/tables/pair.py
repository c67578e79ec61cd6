"""The two tables of one pair of visits: gain or loss of each class, and flows between classes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd

from longimorph.io.atomic import write_csv
from longimorph.tables import columns


@dataclass(frozen=True)
class PairChanges:
    """The result of a registration, per class, in mm³; C classes in the order of classes.tsv.

    ``volume_from``, ``volume_to``: (C,) volumes of the two visits' maps, sums of probabilities.
    ``deformation``, ``reallocation``: (C,) signed; + means that the class grew. ``deformation_flows``,
    ``reallocation_flows``: (C, C), from row to column, never negative; the diagonals are ignored.
    ``uncertainties``: (10, C), those of deformation and reallocation, both closed numbers, both numbers of
    the control matrix alone, and the ranges of deformation and reallocation. ``noise``: (3, C), standard
    errors of deformation, reallocation and change by the noise of the labels; NaN where it is not known.
    """

    volume_from: np.ndarray
    volume_to: np.ndarray
    deformation: np.ndarray
    reallocation: np.ndarray
    deformation_flows: np.ndarray
    reallocation_flows: np.ndarray
    uncertainties: np.ndarray
    noise: np.ndarray | float = np.nan


def write_pair(folder: Path, pair: Mapping[str, object], classes: Sequence[str], found: PairChanges) -> None:
    """Write ``changes.csv`` and ``transitions.csv`` of a pair that is done.

    ``pair`` names ``patient``, ``from`` and ``to``. Days and rates are added by the patient's table, so that
    a corrected date does not require a new registration.
    """
    write_csv(folder / "changes.csv", columns.as_text(_changes(pair, classes, found)))
    flows = (found.deformation_flows, found.reallocation_flows)
    write_csv(folder / "transitions.csv", columns.as_text(_transitions(pair, classes, flows)))


def write_failed_pair(folder: Path, pair: Mapping[str, object], classes: Sequence[str], code: str) -> None:
    """Write the same two tables for a failed pair: every row is present, with empty numbers."""
    nothing, no_flow = np.full(len(classes), np.nan), np.full((len(classes), len(classes)), np.nan)
    uncertainties = np.full((len(columns.UNCERTAINTIES), len(classes)), np.nan)
    empty = PairChanges(nothing, nothing, nothing, nothing, no_flow, no_flow, uncertainties)
    write_csv(folder / "changes.csv", columns.as_text(_changes(pair, classes, empty, status=code)))
    write_csv(folder / "transitions.csv", columns.as_text(_transitions(pair, classes, (no_flow, no_flow))))


def read_changes(path: Path | str) -> pd.DataFrame:
    """Read a table of changes of any level; numbers are float64, missing ones NaN."""
    return columns.read_table(path)


def read_transitions(path: Path | str) -> pd.DataFrame:
    """Read a table of transitions of any level; numbers are float64, missing ones NaN."""
    return columns.read_table(path)


def _changes(
    pair: Mapping[str, object], classes: Sequence[str], found: PairChanges, status: str = "ok"
) -> pd.DataFrame:
    before, after = columns.to_decimals(found.volume_from), columns.to_decimals(found.volume_to)
    moved, changed = columns.to_decimals(found.deformation), columns.to_decimals(found.reallocation)
    table = pd.DataFrame({name: [str(pair[name])] * len(classes) for name in columns.PAIR})
    table["class"] = list(classes)
    unexplained = columns.to_decimals(after - before - moved - changed)
    for name, values in zip(columns.VOLUMES, (before, after, moved, changed, unexplained), strict=True):
        table[name] = values
    table["status"] = status
    for name, values in zip(columns.UNCERTAINTIES, found.uncertainties, strict=True):
        table[name] = columns.to_decimals(values)
    for name, values in zip(columns.NOISE, np.broadcast_to(found.noise, (3, len(classes))), strict=True):
        table[name] = columns.to_decimals(values)
    return table[list(columns.PAIR_CHANGES)]


def _transitions(
    pair: Mapping[str, object], classes: Sequence[str], flows: tuple[np.ndarray, np.ndarray]
) -> pd.DataFrame:
    source, target = np.nonzero(~np.eye(len(classes), dtype=bool))
    names = np.asarray(classes, dtype=object)
    table = pd.DataFrame({name: [str(pair[name])] * len(source) for name in columns.PAIR})
    table["from_class"], table["to_class"] = names[source], names[target]
    for name, flow in zip(columns.FLOWS, flows, strict=True):
        table[name] = columns.to_decimals(np.asarray(flow)[source, target])
    return table[list(columns.TRANSITIONS)]

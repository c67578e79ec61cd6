"""A memory model corrected by the observed memory of a cohort's registrations.

Each finished pair gives one number, its highest peak, at about the same size, steps and kept pairs as the
others. This cannot separate the model's terms, so their proportions stay fixed. Least squares on the relative
error fit

- by type of device and strategy one factor on all bytes of tensors, from the peak on a GPU, or from the peak
  of the whole process on a CPU;
- by type of device the bytes of the process itself: on a CPU jointly with the factors (the process grows
  during the run, so its size beforehand is not informative), with a GPU as the maximum seen beside the maps.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from longimorph.errors import LongimorphError
from longimorph.memory.model import PLACES, Bytes, Form, Model, Size
from longimorph.text import counted

FEWEST_PAIRS = 5
LEAST_SPREAD = 1.2
"""Minimum ratio of predicted tensor bytes between the largest and the smallest registration."""
WORST_FACTOR_ERROR = 0.05

Array = NDArray[np.float64]
Key = tuple[str, str]
"""Type of device and strategy."""


@dataclass(frozen=True)
class Correction:
    """Result for a device and strategy: the factor, the number of pairs, and relative errors (P,).

    ``before`` and ``after`` are predicted over observed peak - 1, with the original and the corrected model.
    """

    key: Key
    factor: float
    before: Array
    after: Array


@dataclass(frozen=True)
class Refit:
    """The corrected model, its corrections, and sentences on what could not be corrected."""

    model: Model
    corrections: tuple[Correction, ...]
    left: tuple[str, ...]


def refit(table: pd.DataFrame, known: Model) -> Refit:
    """Correct ``known`` by the rows of a ``memory.csv``; raises LongimorphError when they say too little."""
    rows = usable(table)
    factors: dict[Key, float] = {}
    process, left = dict(known.process), []
    for device in sorted(rows["device"].unique()):
        group, refused = _enough(rows[rows["device"] == device], known)
        left += refused
        if len(group):
            found, uncertain, bytes_of_process = _fit(group, known, device)
            left += uncertain
            factors |= found
            process |= {device: bytes_of_process} if found else {}
    if not factors:
        good = f"{counted(len(table), 'pair')}, {len(rows)} of them done with the same strategy throughout"
        reasons = "".join(f"\n  {reason}" for reason in left)
        raise LongimorphError(
            f"These results are too few or too similar to refit the model: {good}.{reasons}"
        )
    devices = {
        device: {s: _scaled(form, device, factors.get((device, s), 1.0)) for s, form in forms.items()}
        for device, forms in known.devices.items()
    }
    corrected = Model(devices, process)
    corrections = [
        Correction(key, factor, errors(rows, known, key), errors(rows, corrected, key))
        for key, factor in factors.items()
    ]
    return Refit(corrected, tuple(corrections), tuple(left))


def usable(table: pd.DataFrame) -> pd.DataFrame:
    """Rows of a ``memory.csv`` with the peak of one strategy: the pair finished with its first strategy."""
    numbers = ["classes", "map_bytes", "slab_share", "steps", "pairs_kept"]
    good = (table["status"] == "ok") & (table["strategy"] == table["strategy_begun"])
    good &= table[[*numbers, "observed_host_bytes"]].notna().all(axis=1)
    return table[good & ((table["device"] == "cpu") | table["observed_device_bytes"].notna())]


def errors(rows: pd.DataFrame, known: Model, key: Key) -> Array:
    """Predicted over observed peak - 1 for the pairs of one device and strategy."""
    device, strategy = key
    group = rows[(rows["device"] == device) & (rows["strategy"] == strategy)]
    if device == "cpu":
        predicted = [known.host_peak(strategy, size) for size in _sizes(group)]
        observed = group["observed_host_bytes"].to_numpy(dtype=np.float64)
    else:
        predicted = [known.peak(strategy, size, device).device for size in _sizes(group)]
        observed = group["observed_device_bytes"].to_numpy(dtype=np.float64)
    found: Array = np.array(predicted, dtype=np.float64) / observed - 1
    return found


def _enough(rows: pd.DataFrame, known: Model) -> tuple[pd.DataFrame, list[str]]:
    """The rows of the strategies that can be fitted, and why the others cannot be."""
    kept, refused = [], []
    for (device, strategy), group in rows.groupby(["device", "strategy"]):
        reason = None
        if strategy not in known.devices.get(str(device), {}):
            reason = "the model has no such strategy"
        elif len(group) < FEWEST_PAIRS:
            reason = f"{counted(len(group), 'pair')}, but at least {FEWEST_PAIRS} are needed"
        elif (spread := _spread(group, known)) < LEAST_SPREAD:
            reason = (
                f"the largest pair needs only {spread:.2f} times as much as the smallest, less than "
                f"{LEAST_SPREAD} times: add results of another size, for instance of another spacing_mm"
            )
        if reason is None:
            kept.append(group)
        else:
            refused.append(f"{device}, {strategy}: {reason}")
    return (pd.concat(kept) if kept else rows[:0]), refused


def _spread(rows: pd.DataFrame, known: Model) -> float:
    """Ratio of largest to smallest predicted tensor bytes, for the pairs of one device and strategy."""
    device, strategy = str(rows["device"].iloc[0]), str(rows["strategy"].iloc[0])
    needed = _tensors([known.peak(strategy, size, device) for size in _sizes(rows)], device)
    return float(needed.max() / needed.min())


def _fit(rows: pd.DataFrame, known: Model, device: str) -> tuple[dict[Key, float], list[str], int]:
    """Factors by strategy, sentences on those that remain uncertain, and the bytes of the process."""
    strategies, host = rows["strategy"].to_numpy(), rows["observed_host_bytes"].to_numpy()
    names = sorted(set(strategies))
    further, sizes = (
        _further(rows) * rows["map_bytes"].to_numpy(),
        [replace(s, further_maps=0) for s in _sizes(rows)],
    )
    peaks = [known.peak(s, size, device) for s, size in zip(strategies, sizes, strict=True)]
    columns = np.stack([(strategies == name) * _tensors(peaks, device) for name in names], axis=1)
    if device == "cpu":
        found, spread = _least_squares(np.column_stack([columns, np.ones(len(host))]), host - further)
        process = max(round(found[-1]), 0)
    else:
        found, spread = _least_squares(columns, rows["observed_device_bytes"].to_numpy() - further)
        model = Model(known.devices, {device: 0})
        maps = [model.host_peak(s, size, device) for s, size in zip(strategies, sizes, strict=True)]
        process = max(round(float((host - np.array(maps)).max())), 0)
    good: dict[Key, float] = {}
    uncertain = []
    for name, factor, error in zip(names, found.tolist(), spread.tolist(), strict=False):
        if factor > 0 and error <= WORST_FACTOR_ERROR * factor:
            good[device, name] = factor
            continue
        text = f"{device}, {name}: its factor, {factor:.2f} ± {error:.2f}, is too uncertain"
        uncertain.append(f"{text}: the peaks scatter, or the tensors are small compared with the process")
    return good, uncertain, process


def _tensors(peaks: list[Bytes], device: str) -> Array:
    return np.array([peak.needed(device) for peak in peaks], dtype=np.float64)


def _sizes(rows: pd.DataFrame) -> list[Size]:
    names = ["map_bytes", "classes", "steps", "pairs_kept", "slab_share"]
    return [
        Size(int(d), int(classes), int(steps), int(pairs), float(slab), int(further))
        for (d, classes, steps, pairs, slab), further in zip(
            rows[names].itertuples(index=False), _further(rows), strict=True
        )
    ]


def _further(rows: pd.DataFrame) -> Array:
    """Maps beyond those of the model, which no factor scales; results of older versions have none."""
    given = rows["further_maps"] if "further_maps" in rows else pd.Series(0, rows.index)
    return np.asarray(given.fillna(0), dtype=np.float64)


def _least_squares(matrix: Array, observed: Array) -> tuple[Array, Array]:
    """The solution with the smallest relative error, and the standard error of each of its numbers."""
    weighed = matrix / observed[:, None]
    scales = np.linalg.norm(weighed, axis=0)
    inverse = np.linalg.pinv((weighed / scales).T @ (weighed / scales))
    found = inverse @ (weighed / scales).T @ np.ones(len(observed))
    left = weighed / scales @ found - 1
    variance = float(left @ left) / max(len(observed) - len(found), 1)
    return found / scales, np.sqrt(variance * np.diag(inverse)) / scales


def _scaled(form: Form, device: str, factor: float) -> Form:
    """Multiply the coefficients by a factor; for a GPU only those of its own memory."""
    scaled = PLACES if device == "cpu" else ("device",)
    return {
        phase: {
            place: {
                term: round(value * (factor if place in scaled else 1.0), 5) for term, value in terms.items()
            }
            for place, terms in places.items()
        }
        for phase, places in form.items()
    }

"""Voxel counts of each label in a label volume, or of each pair of region and state."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

_LARGEST_HISTOGRAM = 1 << 22
_PIECE = 1 << 21
_MOST_NAMED = 10


@dataclass(frozen=True)
class LabelCounts:
    """The labels that occur, in ascending order, with their voxel counts; arrays of the same length.

    ``states`` is None without a volume of states. ``voxels`` are int64; those of posteriors are sums of
    probabilities, float64.
    """

    regions: NDArray[np.int64]
    states: NDArray[np.int64] | None
    voxels: NDArray[Any]

    def __len__(self) -> int:
        return len(self.regions)

    def where(self, mask: NDArray[np.bool_]) -> LabelCounts:
        """Return the counts of the entries selected by ``mask``."""
        states = self.states[mask] if self.states is not None else None
        return LabelCounts(self.regions[mask], states, self.voxels[mask])

    def by_state(self) -> LabelCounts:
        """Return the counts of the states alone, as if these were the regions; empty without states."""
        states = self.states if self.states is not None else self.regions[:0]
        labels, where = np.unique(states, return_inverse=True)
        totals = np.zeros(len(labels), self.voxels.dtype)
        np.add.at(totals, where.ravel(), self.voxels[: len(states)])
        return LabelCounts(labels, None, totals)

    def describe(self, voxel_mm3: float | None = None, noun: str = "label") -> str:
        """Describe the labels and their voxel counts, the most frequent first.

        Volumes are included if the volume of a voxel is given.
        """
        order = np.argsort(-self.voxels, kind="stable")
        named = [self._describe_one(int(i), voxel_mm3) for i in order[:_MOST_NAMED]]
        rest = order[_MOST_NAMED:]
        if len(rest):
            named.append(f"{len(rest)} more ({amount(self.voxels[rest].sum(), voxel_mm3)})")
        return f"{noun}{'s' if len(self) > 1 else ''} {', '.join(named)}"

    def _describe_one(self, i: int, voxel_mm3: float | None) -> str:
        state = f" with state {self.states[i]}" if self.states is not None else ""
        return f"{self.regions[i]}{state} ({amount(self.voxels[i], voxel_mm3)})"


def amount(voxels: float, voxel_mm3: float | None = None) -> str:
    """Describe a number of voxels, with its volume if the volume of a voxel is given."""
    text = f"{round(voxels):,} voxel{'' if round(voxels) == 1 else 's'}"
    return text if voxel_mm3 is None else f"{text}, {millilitres(voxels * voxel_mm3)}"


def millilitres(mm3: float) -> str:
    """Format a volume in mL, with enough decimals for a small one."""
    ml = mm3 / 1000
    return f"{ml:.1f} mL" if ml >= 1 else f"{ml:.2g} mL"


def count(regions: NDArray[Any], states: NDArray[Any] | None = None) -> LabelCounts:
    """Count the voxels of each label, or of each (region, state) if there are states of the same shape.

    Processes the volume in pieces to limit memory.
    """
    if states is not None and states.shape != regions.shape:
        raise ValueError(f"regions have shape {regions.shape}, states {states.shape}")
    alike = states is None or states.strides == regions.strides
    order: Literal["K", "C"] = "K" if alike else "C"  # in memory order, without a copy
    flat_regions = regions.ravel(order)
    flat_states = states.ravel(order) if states is not None else None
    parts = []
    for start in range(0, flat_regions.size, _PIECE):
        piece = slice(start, start + _PIECE)
        parts.append(_count_piece(flat_regions[piece], None if flat_states is None else flat_states[piece]))
    pairs = np.concatenate([part[0] for part in parts] or [np.zeros((0, 2), np.int64)])
    voxels = np.concatenate([part[1] for part in parts] or [np.zeros(0, np.int64)])
    labels, where = np.unique(pairs, axis=0, return_inverse=True)
    totals = np.zeros(len(labels), np.int64)
    np.add.at(totals, where.ravel(), voxels)
    return LabelCounts(labels[:, 0], labels[:, 1] if states is not None else None, totals)


def _count_piece(
    regions: NDArray[Any], states: NDArray[Any] | None
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Return the distinct (region, state), one per row, and their counts; the state is 0 without states."""
    if states is None:
        labels, voxels = _unique(regions)
        return np.stack([labels, np.zeros_like(labels)], axis=1), voxels
    region_labels, region_index = _compact(regions)
    state_labels, state_index = _compact(states)
    codes, voxels = _unique(region_index * len(state_labels) + state_index)
    first, second = np.divmod(codes, len(state_labels))
    return np.stack([region_labels[first], state_labels[second]], axis=1), voxels


def _unique(values: NDArray[Any]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Return the distinct values, in ascending order, and their counts; small values use a histogram."""
    if int(values.min()) >= 0 and int(values.max()) < _LARGEST_HISTOGRAM:
        histogram = np.bincount(values)
        present = np.flatnonzero(histogram)
        return present.astype(np.int64), histogram[present].astype(np.int64)
    labels, voxels = np.unique(values, return_counts=True)
    return labels.astype(np.int64), voxels.astype(np.int64)


def _compact(values: NDArray[Any]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Return the distinct values and, for each entry, the index of its value among them."""
    wide = values.astype(np.int64)
    labels, _ = _unique(wide)
    if labels[0] >= 0 and labels[-1] < _LARGEST_HISTOGRAM:
        position = np.zeros(int(labels[-1]) + 1, np.int64)
        position[labels] = np.arange(len(labels))
        return labels, np.take(position, wide)
    return labels, np.searchsorted(labels, wide).astype(np.int64)

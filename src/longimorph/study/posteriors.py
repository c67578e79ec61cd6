"""Soft segmentations of one visit: regions or states, or both, given as posteriors.

Labels count as posteriors of 0 and 1. The probability of a region and a state together is the product of
both: given the scan, the two are taken as independent. Channels are read one by one.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from longimorph.errors import Unusable
from longimorph.geometry.grid import Grid, canonical, in_order_of
from longimorph.io.posteriors import Posteriors, Share, is_soft, open_posteriors
from longimorph.io.volumes import read_labels
from longimorph.study.channels import Column, Rest, labels_of
from longimorph.study.classes import ClassTable
from longimorph.study.labels import LabelCounts
from longimorph.study.table import Visit
from longimorph.text import counted

NEGLIGIBLE = 1e-3
"""A region and a state that share less than this part of the volume of either are not reported together."""

GRID_TOLERANCE_MM = 0.01
"""Maximum distance of voxel centres for regions and states to count as on one grid, in any storage order."""

_LIKELY, _MOST = 0.5, 5

Labels = NDArray[np.int32]


class Layer:
    """Regions or states of a visit on a grid: labels, each with its probability in every voxel."""

    def __init__(self, grid: Grid) -> None:
        self.grid = grid

    def parts(self) -> Iterator[tuple[int, Share]]:
        """Yield each label with its probability, (i, j, k) float32; together they are 1 in every voxel."""
        raise NotImplementedError


class HardLayer(Layer):
    """A label volume."""

    def __init__(self, labels: Labels, grid: Grid) -> None:
        super().__init__(grid)
        self.labels = labels
        self._occurring: list[int] = np.unique(labels).tolist()

    def parts(self) -> Iterator[tuple[int, Share]]:
        """Yield each label with 1 where it is."""
        for label in self._occurring:
            yield label, (self.labels == label).astype(np.float32)


class SoftLayer(Layer):
    """Posteriors, read again with each walk through the parts."""

    def __init__(self, source: Posteriors, labels: Sequence[int], rest: Rest) -> None:
        super().__init__(source.grid)
        self.source, self.labels, self.rest = source, labels, rest

    def parts(self) -> Iterator[tuple[int, Share]]:
        """Yield each channel; last, with the label of the rest, what the channels leave out.

        Raises Unusable at the end, with all that is wrong with the channels.
        """
        total = np.zeros(self.grid.shape, np.float32)
        channels = self.source.channels(complete=self.rest.given, empty=self.rest.label is not None)
        for label, (_, share) in zip(self.labels, channels, strict=False):
            total += share
            yield label, share
        next(channels, None)  # runs the checks that follow the last channel
        if self.rest.label is None:
            return
        left = (total == 0).astype(np.float32) if self.rest.given else np.maximum(1 - total, np.float32(0))
        if left.any():
            yield self.rest.label, left


class HeldLayer(Layer):
    """Parts that are kept in memory, in the storage order of another grid."""

    def __init__(self, held: Sequence[tuple[int, Share]], grid: Grid) -> None:
        super().__init__(grid)
        self.held = held

    def parts(self) -> Iterator[tuple[int, Share]]:
        """Yield the parts."""
        yield from self.held


def is_soft_visit(visit: Visit) -> bool:
    """Return whether regions or states of the visit are posteriors."""
    return any(is_soft(path) for path in (visit.regions, visit.states) if path is not None)


def layer(path: Path, column: Column, classes: ClassTable) -> Layer:
    """Open one column of a visit. Raises Unusable when it cannot be read, or its channels have no labels."""
    if not is_soft(path):
        return HardLayer(*read_labels(path))
    source = open_posteriors(path)
    try:
        labels, rest = labels_of(classes, column, source.names, numbered=source.files == (path,))
    except Unusable as found:
        raise Unusable(found.code, f"{path}: {found.message}") from found
    return SoftLayer(source, labels, rest)


def in_order(states: Layer, grid: Grid) -> Layer | None:
    """Return the states in the storage order of ``grid``, None if their voxels differ; reads posteriors."""
    if isinstance(states, HardLayer):
        ordered = in_order_of(grid, states.grid, states.labels, GRID_TOLERANCE_MM)
        return None if ordered is None else HardLayer(ordered, grid)
    if in_order_of(grid, states.grid, np.empty(states.grid.shape, np.bool_), GRID_TOLERANCE_MM) is None:
        return None
    held = []
    for label, share in states.parts():
        ordered = in_order_of(grid, states.grid, share, GRID_TOLERANCE_MM)
        held += [(label, ordered)] if ordered is not None else []
    return HeldLayer(held, grid)


def joint(regions: Layer, states: Layer | None) -> Iterator[tuple[int, int | None, Share]]:
    """Yield each region and state (None without) with the probability of both together, (i, j, k)."""
    for region, share in regions.parts():
        if states is None:
            yield region, None, share
            continue
        for state, own in states.parts():
            yield region, state, share * own


def class_shares(regions: Layer, states: Layer | None, classes: ClassTable) -> tuple[Share, LabelCounts]:
    """Probability of each class, (C, i, j, k) float32, summing to 1 in every voxel; and what occurs.

    Raises Unusable naming regions and states that occur and match no row. What of them is negligible is
    spread over the other classes of its voxels.
    """
    shares = np.zeros((len(classes.names), *regions.grid.shape), np.float32)
    found = Tally()
    for region, state, share in joint(regions, states):
        index = _class(classes, region, state)
        found.add(region, state, share)
        if index >= 0:
            shares[index] += share
    counts = found.counts(found.occurring())
    unknown = classes.unknown(counts)
    if len(unknown):
        told = "; ".join(text for _, text in classes.complaints(unknown, regions.grid.voxel_volume))
        raise Unusable("unknown_label", f"no row of {classes.name} matches {told}")
    total = shares.sum(axis=0)
    _check_matched(total, found, classes)
    shares /= total
    return shares, counts


def _check_matched(total: Share, found: Tally, classes: ClassTable) -> None:
    """Raise Unusable where rows match less than half of a voxel's probability, ``total`` (i, j, k)."""
    voxels = int((total < _LIKELY).sum())
    if not voxels:
        return
    sizes = {pair: size for pair, size in found.sums.items() if size > 0 and _class(classes, *pair) < 0}
    largest = sorted(sizes, key=lambda pair: -sizes[pair])[:_MOST]
    told = ", ".join(
        f"region {region}" + ("" if state is None else f" with state {state}") for region, state in largest
    )
    text = f"no row of {classes.name} matches most of the probability in {counted(voxels, 'voxel')}: {told}"
    raise Unusable("unknown_label", text)


def _class(classes: ClassTable, region: int, state: int | None) -> int:
    states = None if state is None else np.array([state])
    return int(classes.classify(np.array([region]), states)[0])


Pair = tuple[int, int | None]


@dataclass
class Tally:
    """Sums of the probabilities of each region and state (state None without), and the largest of them."""

    sums: dict[Pair, float] = field(default_factory=dict)
    peaks: dict[Pair, float] = field(default_factory=dict)

    def add(self, region: int, state: int | None, share: Share) -> None:
        """Add one part."""
        key = region, state
        self.sums[key] = self.sums.get(key, 0.0) + float(share.sum(dtype=np.float64))
        self.peaks[key] = max(self.peaks.get(key, 0.0), float(share.max(initial=0)))

    def occurring(self) -> list[Pair]:
        """Return the pairs that are not negligible, or are the most probable one of some voxel."""
        regions, states = dict[int, float](), dict[int | None, float]()
        for (region, state), size in self.sums.items():
            regions[region] = regions.get(region, 0.0) + size
            states[state] = states.get(state, 0.0) + size
        kept = [
            (region, state)
            for (region, state), size in self.sums.items()
            if size > NEGLIGIBLE * min(regions[region], states[state]) or self.peaks[region, state] > _LIKELY
        ]
        return sorted(kept, key=lambda pair: (pair[0], -1 if pair[1] is None else pair[1]))

    def counts(self, pairs: Sequence[Pair]) -> LabelCounts:
        """Return the sums of these pairs, as numbers of voxels; those that are 0 are left out."""
        kept = [pair for pair in pairs if self.sums.get(pair, 0.0) > 0]
        without = any(state is None for _, state in self.sums)
        states = None if without else np.array([state for _, state in kept], np.int64)
        sizes = np.array([self.sums[pair] for pair in kept], np.float64)
        return LabelCounts(np.array([region for region, _ in kept], np.int64), states, sizes)


@dataclass(frozen=True)
class Look:
    """Volumes, those on the six faces (as in ``Extent``), and the most probable region (i, j, k)."""

    counts: LabelCounts
    faces: tuple[LabelCounts, ...]
    regions: Labels


def examine(regions: Layer, states: Layer | None, classes: ClassTable) -> Look:
    """Read all channels once. Raises Unusable with all that is wrong with them."""
    whole, faces = Tally(), [Tally() for _ in range(6)]
    best = np.zeros(regions.grid.shape, np.float32)
    likely = np.zeros(regions.grid.shape, np.int32)
    matched = np.zeros(regions.grid.shape, np.float32)
    for region, share in regions.parts():
        better = share > best
        best[better], likely[better] = share[better], region
        for state, own in states.parts() if states is not None else [(None, None)]:
            both = share if own is None else share * own
            whole.add(region, state, both)
            if _class(classes, region, state) >= 0:
                matched += both
            ordered, _ = canonical(regions.grid, both)
            for place, face in enumerate(faces):
                axis, end = divmod(place, 2)
                face.add(region, state, np.take(ordered, -end, axis=axis))
    pairs = whole.occurring()
    if not len(classes.unknown(whole.counts(pairs))):  # which is told with the other scans'
        _check_matched(matched, whole, classes)
    return Look(whole.counts(pairs), tuple(face.counts(pairs) for face in faces), likely)

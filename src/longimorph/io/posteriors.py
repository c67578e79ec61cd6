"""Posteriors on disk: the probability of each class, one channel at a time.

They are a 4-D file (NIfTI or MGH) with a volume per class, or a file per class. No more than one channel is
in memory. Every fault of the files is collected before `Unusable` is raised.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from nibabel.openers import ImageOpener
from nibabel.volumeutils import apply_read_scaling

from longimorph.errors import Unusable
from longimorph.geometry.grid import Grid, in_order_of
from longimorph.io import volumes
from longimorph.io.patterns import is_pattern, matched
from longimorph.text import counted

Share = npt.NDArray[np.float32]

SUM_TOLERANCE = 0.02
"""How far the probabilities of a voxel may add up to something other than 1."""

NEGATIVE_TOLERANCE = 1e-3
"""The largest negative value that counts as rounding of 0."""

_GRID_TOLERANCE_MM = 0.01
_ALIKE = 0.02  # relative spread of sums that are all 100, or all 255
_MOST = 5


@dataclass(frozen=True)
class Posteriors:
    """The posteriors of one column of a visit: the path as given, the files, and the channels' names.

    A 4-D file is the only one, and its channels are called 0, 1, …
    """

    path: Path
    files: tuple[Path, ...]
    names: tuple[str, ...]
    grid: Grid

    def channels(self, complete: bool, empty: bool = False) -> Iterator[tuple[str, Share]]:
        """Yield the name and the probability (i, j, k) of each channel, in their order, on the first grid.

        Raises Unusable after the last one, with everything that is wrong. ``complete``: the channels must add
        up to 1 everywhere, and otherwise to no more than 1. ``empty``: all of them may be 0 in some voxels.
        """
        seen = _Seen(self.path)
        for name, values in self._raw():
            yield name, seen.channel(name, values)
        seen.check(complete, empty)

    def _raw(self) -> Iterator[tuple[str, npt.NDArray[Any]]]:
        if not is_pattern(self.path):
            yield from zip(self.names, _stream(self.path), strict=True)
            return
        for name, file in zip(self.names, self.files, strict=True):
            values, grid = volumes.read_volume(file)
            ordered = in_order_of(self.grid, grid, values, _GRID_TOLERANCE_MM)
            if ordered is None:  # replaced since it was opened
                raise Unusable("grid_mismatch", f"{file} changed while it was read")
            yield name, ordered


def is_soft(path: Path) -> bool:
    """Return whether a path gives posteriors: a pattern, or a file with several volumes.

    False for a file that cannot be read, which is left to whoever reads it.
    """
    if is_pattern(path):
        return True
    try:
        return volumes.volume_count(path) > 1
    except Unusable:
        return False


def open_posteriors(path: Path) -> Posteriors:
    """Read the headers of posteriors. Raises Unusable with everything that is wrong with them."""
    if not is_pattern(path):
        count = volumes.volume_count(path)
        names = tuple(str(n) for n in range(count))
        return Posteriors(path, (path,), names, volumes.read_grid(path, several=True))
    files = matched(path)
    if not files:
        raise Unusable("missing", f"no file matches {path}")
    faults, grids = list[Unusable](), dict[str, Grid]()
    for name, file in files.items():
        try:
            grids[name] = _grid_of_one(file)
        except Unusable as found:
            faults.append(found)
    faults += _unlike(path, files, grids)
    if faults:
        raise Unusable(faults[0].code, "; ".join(fault.message for fault in faults))
    return Posteriors(path, tuple(files.values()), tuple(files), grids[next(iter(files))])


def _grid_of_one(file: Path) -> Grid:
    if volumes.volume_count(file) > 1:
        raise Unusable("dimension", f"{file} has several volumes; a file of one class has one")
    return volumes.read_grid(file)


def _unlike(path: Path, files: dict[str, Path], grids: dict[str, Grid]) -> list[Unusable]:
    """Return the fault that files of a pattern lie on other grids than the first."""
    if not grids:
        return []
    first, like = next(iter(grids.items()))
    probe = {name: np.empty(grid.shape, np.bool_) for name, grid in grids.items()}
    other = [
        f"{files[name].name} ({_described(grid)})"
        for name, grid in grids.items()
        if in_order_of(like, grid, probe[name], _GRID_TOLERANCE_MM) is None
    ]
    if not other:
        return []
    text = f"the files of {path} are on different grids: {files[first].name} ({_described(like)}), unlike "
    return [Unusable("grid_mismatch", text + f"{_listed(other)}; they must have the same voxels")]


def _described(grid: Grid) -> str:
    sizes = " × ".join(f"{size:.4g}" for size in grid.spacing)
    start = ", ".join(f"{value:.4g}" for value in grid.affine[:3, 3])
    return f"{'×'.join(map(str, grid.shape))} voxels of {sizes} mm from ({start})"


def _stream(file: Path) -> Iterator[npt.NDArray[Any]]:
    """Yield the volumes of a 4-D file one after the other, reading it once and to its end."""
    image: Any = volumes.header_of(file, several=True)
    proxy = image.dataobj
    shape, dtype = tuple(int(n) for n in image.shape[:3]), np.dtype(proxy.dtype)
    size, count = math.prod(shape) * dtype.itemsize, math.prod(image.shape[3:])
    with volumes.reading(file), ImageOpener(str(file)) as stream:
        stream.seek(proxy.offset)
        for index in range(count):
            content = stream.read(size)
            if len(content) < size:
                raise Unusable("unreadable", f"{file} is truncated: channel {index} of {count} is incomplete")
            block = np.frombuffer(content, dtype).reshape(shape, order="F")
            yield apply_read_scaling(block, proxy.slope, proxy.inter)
        surplus = stream.read(volumes.SURPLUS_BYTES + 1)  # to the end, where the checksum is
        if len(surplus) > volumes.SURPLUS_BYTES:
            message = (
                f"{file} has more than {volumes.SURPLUS_BYTES >> 20} MB beyond the voxels that its header"
            )
            raise Unusable("header", f"{message} states; the header is broken, or this is the wrong file")


@dataclass
class _Seen:
    """What was seen of the channels so far."""

    path: Path
    faults: list[Unusable] = field(default_factory=list)
    total: Share | None = None
    highest: float = 0.0
    whole: bool = True

    def channel(self, name: str, values: npt.NDArray[Any]) -> Share:
        """Look at a channel; return it as float32 without negative or missing values."""
        share = np.asarray(values, dtype=np.float32)
        bad = ~np.isfinite(share)
        if bad.any():
            text = f"{counted(int(bad.sum()), 'voxel')} without a finite number"
            self.faults.append(Unusable("not_finite", f"channel {name}: {text}"))
            share = np.where(bad, np.float32(0), share)
        lowest = float(share.min())
        if lowest < -NEGATIVE_TOLERANCE:
            count = int((share < -NEGATIVE_TOLERANCE).sum())
            text = f"{counted(count, 'voxel')} below 0 (down to {lowest:.4g}); a probability is not negative"
            text = f"channel {name}: {text}. Logits must pass through a softmax first"
            self.faults.append(Unusable("negative", text))
        if lowest < 0:
            share = np.maximum(share, np.float32(0))
        self.highest = max(self.highest, float(share.max()))
        self.whole = self.whole and bool((share == np.rint(share)).all())
        self.total = share.copy() if self.total is None else np.add(self.total, share, out=self.total)
        return share

    def check(self, complete: bool, empty: bool) -> None:
        """Raise Unusable with all that is wrong, if anything is."""
        faults = list(self.faults)
        if self.total is not None and (text := self._scale() or self._sums(complete, empty)):
            faults.append(Unusable("not_probabilities", text))
        if faults:
            shown = [fault.message for fault in faults[:_MOST]]
            more = [f"and {len(faults) - _MOST} more"] if len(faults) > _MOST else []
            raise Unusable(faults[0].code, f"{self.path}: {'; '.join(shown + more)}")

    def _scale(self) -> str | None:
        """Describe values that are no probabilities, with the most likely reason."""
        if self.highest <= 1 + SUM_TOLERANCE:
            return None
        found = f"values up to {self.highest:.6g}, although a probability is at most 1"
        for scale, words in ((100, "percent"), (255, "scaled to bytes (0 to 255)")):
            if self.total is not None and float(np.mean(abs(self.total - scale) <= _ALIKE * scale)) > 0.99:
                return f"{found}; the channels add up to {scale}: they are {words}. Divide them by {scale}"
        if self.whole:
            text = (
                "they are whole numbers, as in label volumes: give one label volume with three axes instead"
            )
            return f"{found}; {text}. If they are percent, divide by 100; if bytes, by 255"
        return f"{found}. If they are percent, divide by 100; if logits, apply a softmax"

    def _sums(self, complete: bool, empty: bool) -> str | None:
        """Describe voxels whose probabilities add up to something other than 1."""
        total = self.total if self.total is not None else np.ones(1, np.float32)
        wrong = total > 1 + SUM_TOLERANCE
        if complete:
            wrong |= (total < 1 - SUM_TOLERANCE) & ~(empty & (total == 0))
        if not wrong.any():
            return None
        own = total[wrong]
        span = " to ".join(dict.fromkeys(f"{value:.3g}" for value in (own.min(), own.max())))
        share = f"{counted(own.size, 'voxel')} ({100 * own.size / total.size:.3g} %)"
        expected = "1" if complete else "at most 1"
        text = f"the channels add up to {span} instead of {expected} in {share}"
        return f"{text}. Check that all classes are given, once each, and were not interpolated separately"


def _listed(names: list[str]) -> str:
    more = f" and {len(names) - _MOST} more" if len(names) > _MOST else ""
    return ", ".join(names[:_MOST]) + more

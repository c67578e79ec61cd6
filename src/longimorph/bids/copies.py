"""Ways to write an exported file: as the results have it, or one class of a file of maps."""

from __future__ import annotations

import shutil
from functools import cached_property
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from longimorph.bids.record import Write
from longimorph.errors import Unusable
from longimorph.geometry.grid import Grid
from longimorph.io.atomic import atomic_path
from longimorph.io.volumes import read_maps, write_scalar


def copy_of(source: Path) -> Write:
    """Return what writes the same bytes."""

    def write(path: Path) -> None:
        with source.open("rb") as content, atomic_path(path) as temporary, temporary.open("wb") as opened:
            shutil.copyfileobj(content, opened)

    return write


class Maps:
    """A file of maps, read when its first class is written."""

    def __init__(self, file: Path, count: int) -> None:
        self.file, self.count = file, count

    @cached_property
    def _read(self) -> tuple[NDArray[np.float32], Grid]:
        maps, grid = read_maps(self.file)
        if len(maps) != self.count:
            text = f"{self.file} has {len(maps)} classes, and the tables of the patient have {self.count}"
            raise Unusable("grid_mismatch", f"{text}. Run the patient again")
        return maps, grid

    @property
    def values(self) -> NDArray[np.float32]:
        """The maps (C, i, j, k)."""
        return self._read[0]

    def one(self, place: int) -> Write:
        """Return what writes one class."""

        def write(path: Path) -> None:
            maps, grid = self._read
            write_scalar(path, maps[place], grid)

        return write

    def most_probable(self, values: list[int]) -> Write:
        """Return what writes, in each voxel, the value in ``values`` of the most probable class."""

        def write(path: Path) -> None:
            maps, grid = self._read
            write_scalar(path, np.array(values, dtype=np.int32)[maps.argmax(axis=0)], grid)

        return write

"""How much memory and time a job asks for, from the headers of its images alone.

Estimates are on the safe side: they decide where a cluster puts a job and when it stops it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from math import ceil, prod
from pathlib import Path

from longimorph.cohort.pairs import Pair
from longimorph.cohort.study import Study
from longimorph.cohort.table import Visit
from longimorph.errors import PairFailure
from longimorph.memory import MARGIN, PROCESS_BYTES, USUAL_STEPS, predicted_peak

HEAD_MM = 220.0
"""The longest side of a head, with room: background beyond it is cut away."""

_BASE_MB = ceil(PROCESS_BYTES / 1e6)
_NATIVE_BYTES = 60
_SECONDS_PER_MB = 1.5
_UNREADABLE = ((256, 256, 256), (1.0, 1.0, 1.0))


@dataclass(frozen=True)
class PairSize:
    """The registration of one pair: voxels of its grid and number of classes."""

    voxels: int
    classes: int

    @property
    def map_mb(self) -> float:
        """Size of one probability map: classes × voxels × 4 bytes."""
        return self.voxels * self.classes * 4 / 1e6


@dataclass(frozen=True)
class Needs:
    """Memory in MB and time limits in minutes of a study's jobs, on one processor thread."""

    study: Study

    def visits_mb(self, visits: Sequence[Visit]) -> int:
        """Return the memory of a job that opens the files of ``visits``."""
        voxels = _voxels(visits)
        maps = len(self.study.classes.rows) * max(voxels) * 4
        return _BASE_MB + ceil((sum(voxels) * _NATIVE_BYTES + 2 * maps) / 1e6)

    def visits_minutes(self, visits: Sequence[Visit]) -> int:
        """Return the time limit of a job that aligns or resamples ``visits``."""
        return 15 + ceil(sum(_voxels(visits)) / 1e6)

    def pair_mb(self, pair: Pair) -> int:
        """Return the memory of the registration of ``pair``, such that the job then finds room for it."""
        size, steps = self.size(pair), self.study.config.steps
        chosen = USUAL_STEPS if steps == "auto" else steps
        tensors = predicted_peak(round(size.map_mb * 1e6), size.classes, chosen)
        return _BASE_MB + ceil(tensors / (1 - MARGIN) / 1e6)

    def pair_minutes(self, pair: Pair) -> int:
        """Return the time limit of the registration of ``pair``."""
        seconds = _SECONDS_PER_MB * self.study.config.max_evaluations * self.size(pair).map_mb
        return 20 + ceil(seconds / 60)

    def size(self, pair: Pair) -> PairSize:
        """Return the size of a pair on the registration grid, at most: the brain's box is not known yet."""
        shape, spacing = _header(pair.source.regions)
        chosen = self.study.config.spacing_mm
        steps = spacing if chosen == "native" else (chosen,) * 3
        most = HEAD_MM + 2 * self.study.config.margin_mm
        sides = [min(n * size, most) for n, size in zip(shape, spacing, strict=True)]
        voxels = prod(ceil(side / step) for side, step in zip(sides, steps, strict=True))
        return PairSize(voxels, len(self.study.classes.rows))


@cache
def _header(path: Path) -> tuple[tuple[int, ...], tuple[float, ...]]:
    """Return shape and voxel size in mm; those of a common scan when the file cannot be read."""
    from longimorph.io.volumes import read_grid  # slow to import, and only needed where jobs are planned

    try:
        grid = read_grid(path)
    except PairFailure:
        return _UNREADABLE
    return grid.shape, tuple(float(size) for size in grid.spacing)


def _voxels(visits: Sequence[Visit]) -> list[int]:
    return [prod(_header(path)[0]) for visit in visits for path in visit.files().values()]

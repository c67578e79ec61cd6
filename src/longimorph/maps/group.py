"""Statistics over patients, voxel by voxel: running means, Student's t against 0, false-discovery control.

The patients are visited one after the other (Welford), so that memory does not grow with their number. A
patient counts in a voxel only where its brain was compared.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage, stats

Floats = NDArray[np.float64]
Mask = NDArray[np.bool_]

FEWEST = 3
"""Number of patients in a voxel below which there is no t."""

DISCOVERY = 0.05
"""Expected share of false discoveries among the voxels with a smaller q."""

LEAST_CHANGE = 1e-3
"""Root mean square over patients below which a voxel is not tested: 0.1 % of a voxel, or of its volume."""


class Running:
    """Means and sums of squares of several maps over the patients, at (maps, voxels)."""

    def __init__(self, maps: int, voxels: int) -> None:
        self.count = np.zeros(voxels, dtype=np.int32)
        self._mean = np.zeros((maps, voxels))
        self._squares = np.zeros((maps, voxels))

    def begin(self, seen: Mask) -> None:
        """Begin a patient, who counts in the voxels ``seen``; `add` then takes each of its maps once."""
        self.count += seen
        self._seen = seen

    def add(self, index: int, values: Floats) -> None:
        """Take the values (voxels) of map ``index`` of this patient; those not seen do not matter."""
        seen = self._seen
        mean, squares = self._mean[index], self._squares[index]
        step = values[seen] - mean[seen]
        mean[seen] += step / self.count[seen]
        squares[seen] += step * (values[seen] - mean[seen])

    def mean(self, index: int) -> Floats:
        """The mean over patients; NaN where there is none."""
        return np.where(self.count > 0, self._mean[index], np.nan)

    def t(self, index: int) -> Floats:
        """Student's t of the mean against 0, with count − 1 degrees of freedom; NaN where not tested."""
        n, mean = self.count.astype(np.float64), self._mean[index]
        variance = self._squares[index] / np.maximum(n - 1, 1)
        tested = (n >= FEWEST) & (variance > 0) & (self.size(index) >= LEAST_CHANGE)
        with np.errstate(divide="ignore", invalid="ignore"):
            found = mean / np.sqrt(variance / n)
        return np.where(tested, found, np.nan)

    def size(self, index: int) -> Floats:
        """Root mean square over patients; 0 where there is none.

        Of values that are symmetric about 0 it says nothing about their t, so leaving out small ones does not
        bias what is left (Bourgon et al. 2010, PNAS 107:9546).
        """
        n = np.maximum(self.count, 1)
        return np.asarray(np.sqrt(self._squares[index] / n + self._mean[index] ** 2))


def p_of_t(t: Floats, count: NDArray[np.int32]) -> Floats:
    """Two-sided p of Student's t for ``count`` patients; NaN where t is."""
    return np.asarray(2 * stats.t.sf(np.abs(t), np.maximum(count - 1, 1)))


def q_of_p(p: Floats) -> Floats:
    """Benjamini and Hochberg's adjusted p over all numbers that are not NaN, which stay NaN."""
    q, tested = np.full(p.shape, np.nan), np.isfinite(p)
    if tested.any():
        q[tested] = stats.false_discovery_control(p[tested], method="bh")
    return q


def least_patients(patients: int) -> int:
    """Number of patients in a voxel from which the maps have a value: half of all, and at least one."""
    return max(1, (patients + 1) // 2)


class Smoother:
    """A Gaussian within the voxels ``seen`` (i, j, k); what lies outside has no weight. ``sigma``: voxels."""

    def __init__(self, seen: Mask, sigma: Sequence[float]) -> None:
        self._seen, self._sigma = seen, [float(width) for width in sigma]
        weight = self._filtered(seen.astype(np.float64))
        self._weight = np.maximum(weight, 1e-6)

    def __call__(self, values: Floats) -> Floats:
        """Smooth values (i, j, k); 0 where nothing is seen."""
        inside = np.where(self._seen, values, 0.0)
        return np.where(self._seen, self._filtered(inside) / self._weight, 0.0)

    def _filtered(self, values: Floats) -> Floats:
        if max(self._sigma) == 0:
            return values
        return np.asarray(ndimage.gaussian_filter(values, self._sigma, mode="constant"))


def sampled(values: NDArray[np.floating], points: Floats) -> Floats:
    """Trilinear values (n,) of a volume (i, j, k) at voxel indices (3, n); 0 outside."""
    found = ndimage.map_coordinates(values, points, np.float64, order=1, mode="constant", cval=0.0)
    return np.asarray(found)

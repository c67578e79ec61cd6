"""The noise floor of a change, and its 90 % interval, from repeated scans or from the noise of the labels."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.special import ndtri, stdtrit

Array = NDArray[np.float64]

FLOOR, INTERVAL = 0.95, 0.90
"""The share of unchanged pairs below the floor, and of truths within the interval."""
MODEL_SIGMAS = 3.0
"""The model's uncertainty held 845 of 846 truths of clean phantoms, as three standard deviations would."""
REPEATS, LABELS = "repeats", "labels"
"""Values of ``floor_source``."""


@dataclass(frozen=True)
class Noise:
    """Standard deviation per class, (C,) mm^3, of a change where there is none, from ``pairs`` repeats.

    ``pairs`` is None for noise that is estimated from labels.
    """

    deviation: Array
    pairs: int | None = None

    def reach(self, share: float) -> Array:
        """What a change by noise alone stays within at this probability, (C,) mm^3, E14."""
        one_sided = (1 + share) / 2
        quantile = ndtri(one_sided) if self.pairs is None else stdtrit(self.pairs, one_sided)
        return np.asarray(float(quantile) * self.deviation)


def spread(changes: Array) -> Array:
    """Root mean square (C,) of the changes (pairs, C) between visits and their repeats, whose truth is 0."""
    return np.asarray(np.sqrt(np.square(changes).mean(axis=0)))


def interval(told: Iterable[Array], noise: Noise) -> tuple[Array, Array]:
    """The 90 % interval of a change, (C,) mm^3 each, E15.

    ``told``: the low and high end of the model's range, and the uncertainty that makes it up together with
    open questions.
    """
    low, high, uncertainty = told
    model = ndtri((1 + INTERVAL) / 2) / MODEL_SIGMAS * uncertainty
    half = np.hypot(noise.reach(INTERVAL), model)
    return low + uncertainty - half, high - uncertainty + half


def below(value: float, floor: float) -> bool:
    """Whether a change could be noise alone; never where no floor is known, or where nothing changed."""
    return math.isfinite(floor) and 0 < abs(value) < floor

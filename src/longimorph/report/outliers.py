"""Outlying pairs of the cohort: robust scores per class and number."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from longimorph.report.svg import signed
from longimorph.tables import columns
from longimorph.verdict.trust import DAYS_PER_YEAR

Name = tuple[str, str, str]
"""A pair: patient, from, to."""

FEWEST = 5
"""Minimum number of pairs for a meaningful reference."""

_SIGMA = 1.4826  # of a normal distribution, in median absolute deviations
_MEASURES = {
    "deformation_mm3": ("deformation", "deformation_uncertainty_mm3"),
    "reallocation_mm3": ("reallocation", "reallocation_uncertainty_mm3"),
    "unexplained_mm3": ("unexplained", "deformation_uncertainty_mm3"),
}
_LEAST_MM3_PER_YEAR = 1.0


@dataclass(frozen=True)
class Score:
    """Distance of a pair from the cohort's median in robust standard deviations, and the number concerned."""

    value: float
    why: str


def scores(changes: pd.DataFrame, background: str | None = None) -> dict[Name, Score]:
    """The largest score of each pair that has numbers, over all classes but the ``background``.

    A score is the distance of a yearly change from the cohort's median in 1.4826 median absolute deviations,
    or in median uncertainties if these are larger: a change within the uncertainty is not an outlier.
    """
    best: dict[Name, Score] = {}
    done = changes[(changes["status"] == "ok") & (changes["days"] > 0) & (changes["class"] != background)]
    for name, group in done.groupby("class", sort=False):
        if len(group) < FEWEST:
            continue
        years = group["days"].to_numpy(dtype=float) / DAYS_PER_YEAR
        pairs = list(zip(*(group[column] for column in columns.PAIR), strict=True))
        for column, (words, uncertainty) in _MEASURES.items():
            rates = group[column].to_numpy(dtype=float) / years
            middle, scale = usual(rates, group[uncertainty].to_numpy(dtype=float) / years)
            for pair, rate in zip(pairs, rates, strict=True):
                found = abs(rate - middle) / scale
                if math.isfinite(found) and (pair not in best or found > best[pair].value):
                    said = f"{signed(rate / 1000)} mL per year, median {signed(middle / 1000)}"
                    best[pair] = Score(float(found), f"{name}, {words}: {said}")
    return best


def usual(rates: NDArray[np.float64], uncertainties: NDArray[np.float64]) -> tuple[float, float]:
    """Median of ``rates`` and the unit of distance from it."""
    middle = float(np.nanmedian(rates))
    spread = _SIGMA * float(np.nanmedian(np.abs(rates - middle)))
    uncertainty = float(np.nanmedian(uncertainties)) if np.isfinite(uncertainties).any() else 0.0
    return middle, max(spread, uncertainty, _LEAST_MM3_PER_YEAR)


def first(found: Mapping[Name, Score], most: int, least: float) -> Sequence[Name]:
    """The pairs with the largest scores of at least ``least``, largest first."""
    order = sorted((pair for pair in found if found[pair].value >= least), key=lambda p: -found[p].value)
    return order[:most]

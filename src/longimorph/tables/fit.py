"""``fit.csv``: one course per class through all visits of a patient, fitted to all of its pairs.

With ``pairs: all`` the change between two visits is measured directly and in steps, and the measurements do
not agree exactly. The course x is the best compromise (E16): with d the measured change of a pair from visit
a to visit b and u its uncertainty,

    minimise sum over pairs of ((x_b - x_a - d) / u)^2,   x = 0 at the first visit.

The standard error follows from how far the pairs disagree. It does not contain what all pairs of a visit
share, such as an error of its segmentation.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from longimorph.tables import columns, cumulative
from longimorph.tables.closure import KINDS
from longimorph.tables.cumulative import Pair

Array = NDArray[np.float64]

LEAST_UNCERTAINTY_MM3 = 1.0
"""Smallest uncertainty, in mm3, that weighs a pair: one of identical visits is exactly zero."""


def fit(changes: pd.DataFrame, order: Sequence[str]) -> pd.DataFrame:
    """One row per visit and class, for the visits of ``order`` that done pairs link to the first one.

    ``changes``: the patient's table. Visits without a number are left out, and so are patients without any.
    """
    done = changes[changes["status"] == "ok"]
    rows = {
        (str(start), str(end)): group.set_index("class")
        for (start, end), group in done.groupby(["from", "to"], sort=False)
    }
    visits = list(cumulative.ways(order, rows))
    pairs = [pair for pair in rows if set(pair) <= set(visits)]
    if not pairs:
        return pd.DataFrame(columns=list(columns.FIT))
    classes = list(dict.fromkeys(done["class"]))
    steps = [rows[pair].reindex(classes) for pair in pairs]
    design = _design(pairs, visits)
    table: dict[str, Any] = {"patient": done["patient"].iloc[0], "pairs_fitted": float(len(pairs))}
    table["timepoint"] = np.repeat(visits, len(classes))
    table["class"] = np.tile(classes, len(visits))
    for kind in KINDS:
        measured, weights = _observed(steps, kind)
        course, error = weighted(design, measured, weights)
        for name, values in (("fitted", course), ("fitted_error", error)):
            first = np.zeros((1, len(classes)))
            table[f"{kind}_{name}_mm3"] = columns.to_decimals(np.vstack([first, values]).ravel())
    return pd.DataFrame(table)[list(columns.FIT)]


def weighted(design: Array, measured: Array, weights: Array) -> tuple[Array, Array]:
    """Weighted least squares, column by column (E16): solution and standard error, (n, k) each.

    ``design`` (m, n) of full rank; ``measured`` and ``weights`` (m, k). The standard error is NaN where the
    measurements are as many as the unknowns, and so cannot disagree.
    """
    course = np.empty((design.shape[1], measured.shape[1]))
    error = np.full_like(course, np.nan)
    free = design.shape[0] - design.shape[1]
    for k, (d, w) in enumerate(zip(measured.T, weights.T, strict=True)):
        normal = np.linalg.inv(design.T @ (w[:, None] * design))
        course[:, k] = normal @ (design.T @ (w * d))
        if free > 0:
            left = float(w @ (d - design @ course[:, k]) ** 2)
            error[:, k] = np.sqrt(np.diag(normal) * left / free)
    return course, error


def _design(pairs: Sequence[Pair], visits: Sequence[str]) -> Array:
    """A row per pair: 1 at the second visit and -1 at the first; the first of all visits has no column."""
    design = np.zeros((len(pairs), len(visits)))
    for row, (start, end) in zip(design, pairs, strict=True):
        row[visits.index(start)], row[visits.index(end)] = -1, 1
    return design[:, 1:]


def _observed(steps: Sequence[pd.DataFrame], kind: str) -> tuple[Array, Array]:
    """Measured change and its weight, (pairs, classes) each."""
    measured = np.array([step[f"{kind}_mm3"] for step in steps], dtype=np.float64)
    uncertain = np.array([step[f"{kind}_uncertainty_mm3"] for step in steps], dtype=np.float64)
    return measured, 1 / np.maximum(uncertain, LEAST_UNCERTAINTY_MM3) ** 2

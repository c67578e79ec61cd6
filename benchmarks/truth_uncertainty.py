"""How often the stated uncertainty covers the truth, over finished runs."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import pandas as pd

from benchmarks.truth_runs import numbers
from longimorph.tables.closure import KINDS


def coverage(groups: dict[str, pd.DataFrame]) -> Iterator[dict[str, Any]]:
    """One row per group of runs that has any: how many numbers lie within their uncertainty of the truth.

    Largest miss: by how much of the gross true change a number lies beyond its uncertainty (nothing where
    nothing truly changes).
    """
    for name, runs in groups.items():
        if not len(runs):
            continue
        errors, uncertainties, gross = _numbers(runs)
        changed = gross > 0
        beyond, shares = ((v[changed] / gross[changed]) for v in (errors - uncertainties, uncertainties))
        yield {
            "runs": name,
            "numbers": len(errors),
            "within, %": 100 * float((errors <= uncertainties).mean()),
            "within twice, %": 100 * float((errors <= 2 * uncertainties).mean()),
            "largest miss, % of change": 100 * max(beyond.max(initial=0.0), 0.0),
            "median uncertainty, % of change": 100 * float(np.median(shares)) if len(shares) else None,
        }


def _numbers(runs: pd.DataFrame) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """|measured - true|, uncertainty and the run's gross true change, all in mm³, of every class and kind."""
    errors, uncertainties, gross = [], [], []
    for run in runs.to_dict("records"):
        for kind in KINDS:
            measured, true, uncertainty = (
                numbers(run[column])
                for column in (f"{kind}_mm3", f"true_{kind}_mm3", f"{kind}_uncertainty_mm3")
            )
            errors.append(np.abs(measured - true))
            uncertainties.append(uncertainty)
            gross.append(np.full(len(measured), run["true_mm3"]))
    return np.concatenate(errors), np.concatenate(uncertainties), np.concatenate(gross)

"""Comparison of measured and true change, per pair and class, and with the demo's targets."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from longimorph.demo.course import Truth
from longimorph.tables.closure import KINDS
from longimorph.tables.columns import PAIR
from longimorph.verdict.status import PairStatus

LARGEST_ERROR = 15.0
LARGEST_MOTION = 1.0
LARGEST_DRIFT = 5.0

PairName = tuple[str, str, str]


@dataclass(frozen=True)
class PairScore:
    """Accuracy of one pair.

    ``true_mm3`` is the gross true change. ``error`` is the gross error in % of it, None when there is no true
    change; ``deformation`` and ``reallocation`` (gross, in % of brain volume) are then the spurious measured
    changes. ``drift`` of H is in %, None when the run did not record it. ``failure`` is why there is no
    measurement, empty when there is one.
    """

    pair: PairName
    true_mm3: float
    error: float | None
    deformation: float
    reallocation: float
    drift: float | None
    seconds: float | None
    failure: str = ""

    def missed(self) -> list[str]:
        """Each target that the pair misses, as a sentence."""
        name = f"{self.pair[0]}, {self.pair[1]} to {self.pair[2]}"
        if self.failure:
            return [f"{name}: no result ({self.failure})"]
        checks: list[tuple[str, float | None, float, str]] = [("drift of H", self.drift, LARGEST_DRIFT, "%")]
        if self.true_mm3 > 0:
            checks += [("gross error", self.error, LARGEST_ERROR, "% of the true change")]
        else:
            checks += [
                ("false deformation", self.deformation, LARGEST_MOTION, "% of brain volume"),
                ("false reallocation", self.reallocation, LARGEST_MOTION, "% of brain volume"),
            ]
        return [
            f"{name}: {what} is {_shown(value, unit)}, the target is at most {limit:g} %"
            for what, value, limit, unit in checks
            if value is None or not value <= limit
        ]


@dataclass(frozen=True)
class AttributionError:
    """Error of a split, all but the first in % of the gross true change (None when there is none).

    ``total`` is the gross attribution error, the sum of its parts: change wrongly assigned to ``deformation``
    or missing from it, and the same for ``reallocation``. ``unexplained`` is change assigned to neither.
    """

    true_mm3: float
    total: float | None
    deformation: float | None
    reallocation: float | None
    unexplained: float | None


def attribution_error(
    deformation: NDArray[np.float64], reallocation: NDArray[np.float64], truth: Truth
) -> AttributionError:
    """Compare measured deformation and reallocation, (C,) mm³ each, with the truth."""
    true = gross(truth.deformation) + gross(truth.reallocation)
    if true == 0:
        return AttributionError(true, None, None, None, None)
    missing = truth.volume_to - truth.volume_from - deformation - reallocation
    wrong = deformation - truth.deformation, reallocation - truth.reallocation
    first, second, third = (100 * gross(values) / true for values in (*wrong, missing))
    return AttributionError(true, first + second, first, second, third)


def gross(values: NDArray[np.float64] | pd.Series[float]) -> float:
    """Half the sum over classes of absolute values: what one class gains another loses."""
    return float(np.abs(np.asarray(values)).sum()) / 2


def join(measured: pd.DataFrame, true: pd.DataFrame) -> pd.DataFrame:
    """One row per pair and class: measured and true deformation and reallocation, in mm³.

    ``measured`` is the cohort's table of changes, ``true`` the phantom's. Pairs and classes of the ground
    truth that were not measured have empty numbers.
    """
    known = true.rename(columns={f"{kind}_mm3": f"{kind}_true_mm3" for kind in KINDS})
    known = known.rename(columns={"volume_from_mm3": "volume_true_mm3"}).drop(columns="volume_to_mm3")
    found = measured[[*PAIR, "class", *(f"{kind}_mm3" for kind in KINDS), "unexplained_mm3", "status"]]
    joined = known.merge(found, on=[*PAIR, "class"], how="left", validate="one_to_one")
    kinds = [column for kind in KINDS for column in (f"{kind}_mm3", f"{kind}_true_mm3")]
    return joined[[*PAIR, "class", *kinds, "unexplained_mm3", "volume_true_mm3", "status"]]


def score(rows: pd.DataFrame, status: PairStatus) -> PairScore:
    """Score one pair from its rows of ``join`` and its ``status.json``.

    Gross means half the sum over classes of absolute values: what one class gains another loses.
    """
    pair: PairName = tuple(str(rows.iloc[0][column]) for column in PAIR)  # type: ignore[assignment]
    true = sum(gross(rows[f"{kind}_true_mm3"]) for kind in KINDS)
    brain = float(rows.loc[rows["class"] != "background", "volume_true_mm3"].sum())
    drift, seconds = _number(status.drift), _number(status.seconds)
    found = [rows[f"{kind}_mm3"] for kind in KINDS]
    if any(column.isna().any() for column in found):
        reason = status.message or status.status or "not measured"
        return PairScore(pair, true, None, 0.0, 0.0, None, seconds, reason)
    wrong = sum(gross(rows[f"{kind}_mm3"] - rows[f"{kind}_true_mm3"]) for kind in KINDS)
    deformation, reallocation = (100 * gross(column) / brain for column in found)
    error = 100 * wrong / true if true > 0 else None
    drift = None if drift is None else 100 * drift
    return PairScore(pair, true, error, deformation, reallocation, drift, seconds)


def describe(rows: pd.DataFrame, result: PairScore) -> str:
    """Describe one pair by a small table in mL with the score below it."""
    patient, source, target = result.pair
    head = f"{patient}: {source} to {target}"
    lines = [f"{head:<24}{'deformation, mL':>22}{'reallocation, mL':>26}"]
    lines.append(f"{'  class':<20}{'measured':>13}{'true':>9}{'measured':>17}{'true':>9}")
    for _, row in rows.iterrows():
        values = [float(row[f"{kind}_{which}"]) / 1000 for kind in KINDS for which in ("mm3", "true_mm3")]
        a, b, c, d = (f"{value:+.2f}" if value == value else "none" for value in values)
        lines.append(f"{'  ' + str(row['class']):<20}{a:>13}{b:>9}{c:>17}{d:>9}")
    return "\n".join([*lines, "  " + _verdict(result)])


def _verdict(result: PairScore) -> str:
    if result.failure:
        return f"no result: {result.failure}"
    if result.error is None:
        words = (
            f"no true change; measured {result.deformation:.3f} % (deformation) and "
            f"{result.reallocation:.3f} % (reallocation) of brain volume "
            f"(target: at most {LARGEST_MOTION:g} %)"
        )
    else:
        size = result.true_mm3 / 1000
        words = f"gross error {result.error:.1f} % of {size:.1f} mL (target: at most {LARGEST_ERROR:g} %)"
    drift = _shown(result.drift, "%")
    seconds = "" if result.seconds is None else f"; {result.seconds:.0f} s"
    return f"{words}; drift of H {drift} (target: at most {LARGEST_DRIFT:g} %){seconds}"


def _shown(value: float | None, unit: str) -> str:
    return "unknown" if value is None else f"{value:.2f} {unit}"


def _number(value: object) -> float | None:
    return abs(float(value)) if isinstance(value, int | float) else None

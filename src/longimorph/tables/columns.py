"""Names, order and number format of the columns.

Volumes are in mm³ with three decimals. A value is rounded once, when the pair's table is written, and
``unexplained_mm3`` is the difference of the rounded values. In every file, in decimals, ``volume_to_mm3 -
volume_from_mm3 = deformation_mm3 + reallocation_mm3 + unexplained_mm3`` therefore holds exactly, and sums
over classes (the marginals) preserve it.
"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

import numpy as np
import pandas as pd

from longimorph.study.further import VISIT_COLUMNS

DECIMALS = 3

PAIR = ("patient", "from", "to")
VOLUMES = ("volume_from_mm3", "volume_to_mm3", "deformation_mm3", "reallocation_mm3", "unexplained_mm3")
RATES = ("deformation_mm3_per_year", "reallocation_mm3_per_year")
UNCERTAINTIES = (
    "deformation_uncertainty_mm3",
    "reallocation_uncertainty_mm3",
    "deformation_closed_mm3",
    "reallocation_closed_mm3",
    "deformation_matrix_mm3",
    "reallocation_matrix_mm3",
    "deformation_low_mm3",
    "deformation_high_mm3",
    "reallocation_low_mm3",
    "reallocation_high_mm3",
)
VERDICT = ("verdict", "verdict_codes")
NOISE = ("deformation_noise_mm3", "reallocation_noise_mm3", "change_noise_mm3")
FLOORS = ("deformation_floor_mm3", "reallocation_floor_mm3", "change_floor_mm3")
INTERVALS = (
    "deformation_90_low_mm3",
    "deformation_90_high_mm3",
    "reallocation_90_low_mm3",
    "reallocation_90_high_mm3",
)
SPREADS = ("deformation_spread_mm3", "reallocation_spread_mm3", "change_spread_mm3")
SOURCE = "floor_source"
FLOWS = ("deformation_mm3", "reallocation_mm3")
GAPS = (
    "deformation_direct_mm3",
    "deformation_summed_mm3",
    "deformation_gap_mm3",
    "deformation_gap_uncertainty_mm3",
    "reallocation_direct_mm3",
    "reallocation_summed_mm3",
    "reallocation_gap_mm3",
    "reallocation_gap_uncertainty_mm3",
)

PAIR_CHANGES = (*PAIR, "class", *VOLUMES, "status", *UNCERTAINTIES, *NOISE)
CHANGES = (*PAIR, "days", "class", *VOLUMES, "status", *RATES, *UNCERTAINTIES, *VERDICT,
           *FLOORS, *INTERVALS, SOURCE)  # fmt: skip
FLOOR_TABLE = ("class", "repeats", *SPREADS, *FLOORS, SOURCE)
FIT = (
    "patient",
    "timepoint",
    "class",
    "pairs_fitted",
    "deformation_fitted_mm3",
    "deformation_fitted_error_mm3",
    "reallocation_fitted_mm3",
    "reallocation_fitted_error_mm3",
)
CLOSURE = ("patient", "from", "via", "to", "class", *GAPS)
VERDICTS = (*PAIR, "status", "verdict", "codes", "sentences")
TRANSITIONS = (*PAIR, "from_class", "to_class", *FLOWS)
FAILURES = (*PAIR, "stage", "code", "message", "log")
MEMORY = (
    *PAIR,
    "status",
    "device",
    "strategy_begun",
    "strategy",
    "classes",
    "map_bytes",
    "slab_share",
    "steps",
    "pairs_kept",
    "further_maps",
    "process_bytes",
    "predicted_device_bytes",
    "observed_device_bytes",
    "reserved_device_bytes",
    "predicted_host_bytes",
    "observed_host_bytes",
    "evaluations",
    "seconds",
)
PAIR_LIST = (*PAIR, "days", "left_out")
LESION_VOLUMES = (
    "volume_from_mm3",
    "volume_to_mm3",
    "change_mm3",
    "deformation_mm3",
    "reallocation_mm3",
    "unexplained_mm3",
)
LESION_NUMBERS = (
    *LESION_VOLUMES,
    "change_uncertainty_mm3",
    "deformation_uncertainty_mm3",
    "reallocation_uncertainty_mm3",
)
PLACE = ("x_mm", "y_mm", "z_mm")
VOXEL = ("i", "j", "k")
LESIONS = (
    *PAIR,
    "class",
    "lesion",
    "event",
    "status",
    "lesions_from",
    "lesions_to",
    *LESION_NUMBERS,
    *PLACE,
    *VOXEL,
    "page",
)
VISITS = VISIT_COLUMNS
SINCE_FIRST = VISITS[VISITS.index("change_since_first_mm3") :]

_PLAIN = frozenset({"days", "years_since_first", "pairs_summed", "pairs_fitted", "repeats"})
"""Numbers that are written with as many digits as they have."""
_VISIT_NUMBERS = frozenset({"volume_mm3", "icv_mm3", "not_shown_mm3", *SINCE_FIRST})
_NUMBERS = frozenset(
    {*_PLAIN, *VOLUMES, *RATES, *UNCERTAINTIES, *GAPS, *FIT[4:], *_VISIT_NUMBERS, *LESION_NUMBERS, *PLACE}
    | {*NOISE, *FLOORS, *INTERVALS, *SPREADS}
)


def to_decimals(values: np.ndarray | pd.Series) -> np.ndarray:
    """Round mm³ to the decimals used in the files; minus zero becomes zero."""
    rounded: np.ndarray = np.round(np.asarray(values, dtype=np.float64), DECIMALS) + 0.0
    return rounded


def number(value: object) -> float:
    """Convert a cell of a numeric table to a float."""
    return float(str(value))


def as_text(table: pd.DataFrame) -> pd.DataFrame:
    """Return ``table`` with its numbers formatted for the file; missing numbers are empty."""
    text = table.copy()
    for column in _NUMBERS.intersection(table.columns):
        form = "{:.10g}" if column in _PLAIN else f"{{:.{DECIMALS}f}}"
        values = table[column].astype(float)
        text[column] = ["" if np.isnan(value) else form.format(value) for value in values]
    return text


def read_table(path: Path | str) -> pd.DataFrame:
    """Read one of the tables: names stay text (a patient may be called 001 or NA), numbers are float64."""
    table = pd.read_csv(path, dtype=str, keep_default_na=False, encoding="utf-8")
    for column in _NUMBERS.intersection(table.columns):
        table[column] = pd.to_numeric(table[column].replace("", np.nan))
    return table


def stack(tables: Iterable[pd.DataFrame], columns: tuple[str, ...]) -> pd.DataFrame:
    """Concatenate ``tables`` vertically, with exactly ``columns``; no tables give an empty one."""
    present = [table for table in tables if len(table)]
    if not present:
        return pd.DataFrame(columns=list(columns))
    return pd.concat(present, ignore_index=True)[list(columns)]

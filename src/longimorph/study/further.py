"""Further columns of the cohort table, which ``visits.csv`` repeats, and the names that they may not have."""

from __future__ import annotations

from longimorph.errors import Problem

ICV = "icv_mm3"
"""A column for the intracranial volume, which takes the place of the sum over the classes."""

VISIT_COLUMNS = (
    "patient",
    "timepoint",
    "days",
    "years_since_first",
    "class",
    "status",
    "verdict",
    "pairs_summed",
    "volume_mm3",
    ICV,
    "not_shown_mm3",
    "change_since_first_mm3",
    "deformation_since_first_mm3",
    "reallocation_since_first_mm3",
    "unexplained_since_first_mm3",
    "deformation_since_first_uncertainty_mm3",
    "reallocation_since_first_uncertainty_mm3",
    "volume_percent",
    "deformation_since_first_percent",
    "reallocation_since_first_percent",
    "deformation_since_first_uncertainty_percent",
    "reallocation_since_first_uncertainty_percent",
    "deformation_since_first_mm3_per_year",
    "reallocation_since_first_mm3_per_year",
    "deformation_since_first_uncertainty_mm3_per_year",
    "reallocation_since_first_uncertainty_mm3_per_year",
    "deformation_since_first_floor_mm3",
    "reallocation_since_first_floor_mm3",
    "change_since_first_floor_mm3",
)
"""The columns of ``visits.csv``, after which the further columns of the cohort table follow."""

MISSING = ("", "n/a", "N/A", "NA", "NaN", "nan")
"""Cells of the column ``icv_mm3`` that mean that the volume is not known."""


def collisions(name: str, line: int, columns: tuple[str, ...]) -> list[Problem]:
    """Return a problem for each further column of the table ``name`` that is called like one of visits.csv.

    ``line`` is that of the header; ``columns`` are the further ones.
    """
    text = "visits.csv of the results has a column of this name"
    return [
        Problem(name, text, line, column, hint=f"Rename it, for instance '{column}_own'")
        for column in columns
        if column in VISIT_COLUMNS and column != ICV
    ]

"""The tables of the maps of the cohort: each registration to the template, and each map in short."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol

import pandas as pd

from longimorph.tables.dictionary import write_table

QUALITY = (
    "mutual_information_rigid",
    "mutual_information_affine",
    "mutual_information_deformable",
    "overlap_rigid",
    "overlap_affine",
    "overlap_deformable",
    "scale",
    "deformable_mm",
    "folded_share",
    "affine_inconsistency_mm",
)
REGISTRATIONS = ("patient", "status", "verdict", "remarks", "pairs", "years", "driver", *QUALITY)
MAPS = (
    "map",
    "class",
    "patients",
    "voxels",
    "tested_voxels",
    "growth_voxels",
    "loss_voxels",
    "mean_per_year",
    "sum_mm3_per_year",
    "t_extreme",
    "q_least",
    "x_mm",
    "y_mm",
    "z_mm",
)
_REMARKS = "; "


class _Member(Protocol):
    @property
    def pairs(self) -> tuple[Any, ...]: ...

    @property
    def years(self) -> float: ...


def write_registrations(
    records: Mapping[str, Mapping[str, Any]], members: Mapping[str, _Member], out: Path
) -> None:
    """Write ``registrations.csv`` into ``out``, a row per patient.

    ``records``: what ``template.json`` of each patient holds; ``members``: the patients in the maps.
    """
    rows = []
    for name, record in records.items():
        member = members.get(name)
        row = {"patient": name, "status": record["status"], "verdict": record.get("verdict", "")}
        row |= {"remarks": _REMARKS.join(record.get("remarks", ())), "driver": record.get("driver", "")}
        row |= {"pairs": len(member.pairs) if member else 0, "years": _shown(member.years if member else 0.0)}
        quality = record.get("quality", {})
        rows.append(row | {key: _shown(quality.get(key)) for key in QUALITY})
    write_table(out / "registrations.csv", pd.DataFrame(rows, columns=list(REGISTRATIONS)))


def write_maps(
    rows: Sequence[Mapping[str, Any]], out: Path, classes: Sequence[Mapping[str, str]] = ()
) -> None:
    """Write ``maps.csv`` into ``out``, a row per map of the cohort; numbers that are not known are empty."""
    shown = [{key: _shown(row.get(key)) for key in MAPS} for row in rows]
    write_table(out / "maps.csv", pd.DataFrame(shown, columns=list(MAPS)), classes)


def _shown(value: object) -> object:
    """A cell: nothing for None, six digits of a number, all else as it is."""
    if value is None:
        return ""
    return f"{value:.6g}" if isinstance(value, float) else value

"""The two visits of a pair in memory: their maps, and the part of the brain that both show."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from longimorph.errors import PairFailure, Unusable
from longimorph.geometry.grid import Grid, same_grid
from longimorph.io.volumes import read_maps
from longimorph.maps.field_of_view import Shared, View, share
from longimorph.stages.visits import record_of
from longimorph.verdict import trust


@dataclass(frozen=True)
class Loaded:
    """A pair in memory: maps (C, i, j, k) on one grid, the compared part of the brain, and the device to use.

    The maps are equal where one visit does not show the brain.
    """

    source: Tensor
    target: Tensor
    grid: Grid
    shared: Shared
    device: torch.device


def load_visit_maps(
    source: Path, target: Path, count: int, background: int | None, device: torch.device
) -> Loaded:
    """Read the maps, of ``count`` classes, beside the ``qc.json`` of two visits.

    Raises the failure of a visit without maps, or Unusable when the maps are incompatible.
    """
    records = record_of(source), record_of(target)
    for record in records:
        _require(record)
    maps, grid = read_maps(source.parent / "simplex.nii.gz")
    after, other = read_maps(target.parent / "simplex.nii.gz")
    if {len(maps), len(after)} != {count} or not same_grid(grid, other, 0.0):
        shapes = " and ".join("×".join(map(str, found.shape)) for found in (maps, after))
        message = f"the maps in {source.parent} and {target.parent} ({shapes}) do not match, or do not have"
        message += f" {count} classes: a simplex.nii.gz is from another run. Delete both folders"
        raise Unusable("grid_mismatch", message)
    views = View.from_dict(records[0]["view"]), View.from_dict(records[1]["view"])
    before, after, shared = share((maps, after), grid, views, background)
    return Loaded(torch.from_numpy(before), torch.from_numpy(after), grid, shared, device)


def compared(shared: Shared, pair: Mapping[str, Any]) -> dict[str, Any]:
    """The share of the brain that is compared, for status.json."""
    lost = {"compared_share": shared.compared, "not_compared_mm3": shared.lost_mm3}
    return {**lost, "not_shown_mm3": _lacking(shared, pair)}


def require_brain(shared: Shared, pair: Mapping[str, Any], least: float) -> None:
    """Raise Unusable when less than the share ``least`` of the brain is compared."""
    if shared.compared < least:
        (sentence,) = not_compared(shared, pair)
        message = f"{sentence} At least {least:.0%} of it must be comparable (compared_min)"
        raise Unusable("fov", message)


def not_compared(shared: Shared, pair: Mapping[str, Any]) -> list[str]:
    """A sentence on the brain that one of the visits does not show, if there is any."""
    lacking = {name: mm3 for name, mm3 in _lacking(shared, pair).items() if mm3 > 0}
    return [trust.not_compared(shared.compared, shared.lost_mm3, lacking)] if lacking else []


def _lacking(shared: Shared, pair: Mapping[str, Any]) -> dict[str, float]:
    """Volume of the brain outside the view of each visit, mm³."""
    return {str(pair[key]): mm3 for key, mm3 in zip(("from", "to"), shared.lacking_mm3, strict=True)}


def _require(qc: Mapping[str, Any]) -> None:
    if qc["status"] != "ok":
        visit = str(qc["timepoint"])
        raise PairFailure(qc["stage"], qc["status"], f"visit {visit}: {qc['message']}", visit)

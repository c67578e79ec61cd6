"""The evidence for a pair's verdict: similarity of its visits, changes of classes, and how the fit ended."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np

from longimorph.geometry.grid import Array, Grid, same_grid
from longimorph.io.volumes import read_image
from longimorph.numerics.register import Registration
from longimorph.stages.visit_maps import Loaded
from longimorph.study.classes import ClassTable
from longimorph.tables import PairChanges
from longimorph.verdict import trust
from longimorph.verdict.likeness import likeness, warp_check


def evidence(
    found: Registration,
    loaded: Loaded,
    changes: PairChanges,
    table: ClassTable,
    folders: tuple[Path, Path],
    rows: Sequence[Mapping[str, float]],
) -> dict[str, Any]:
    """Return the numbers that :mod:`longimorph.verdict.trust` assesses, for status.json.

    ``folders`` are those of the two visits, which may hold scans; ``rows`` are those of ``convergence.csv``.
    """
    maps = loaded.source.numpy(), loaded.target.numpy()
    images, kinds = _images(folders, loaded.grid), kinds_of(table)
    ill = [index for index, kind in enumerate(kinds) if kind == trust.PATHOLOGY]
    alike = likeness(maps, images, loaded.grid, table.background, ill, loaded.shared.weight)
    warped = None
    if images is not None:
        forward = found.warps.forward.cpu().numpy()
        warped = warp_check(maps, images, forward, loaded.grid, table.background, loaded.shared.weight)
    volumes = (changes.volume_from, changes.volume_to, changes.deformation, changes.reallocation)
    flows = changes.deformation_flows + changes.reallocation_flows
    return {
        "likeness": alike.to_dict(),
        "warp_check": warped.to_dict() if warped else None,
        "class_changes": trust.class_changes(table.names, kinds, volumes, _between_classes(flows)),
        "left_to_gain": 0.0 if found.converged else _left_to_gain(rows, found.mismatch_before),
    }


def kinds_of(table: ClassTable) -> list[str]:
    """How each class may change, by the class's definition only: display names need no new registration."""
    return [
        trust.kind_of(row.name, row.pathological, place == table.background)
        for place, row in enumerate(table.rows)
    ]


def _images(folders: tuple[Path, Path], grid: Grid) -> tuple[Array, Array] | None:
    """The scans of both visits on the common grid; None where one of them has no scan."""
    files = [folder / "image.nii.gz" for folder in folders]
    if not all(file.exists() for file in files):
        return None
    (first, one), (second, other) = (read_image(file) for file in files)
    return (first, second) if same_grid(one, grid, 1e-3) and same_grid(other, grid, 1e-3) else None


def _left_to_gain(rows: Sequence[Mapping[str, float]], before: float) -> float:
    """The cost reduction still expected from the finest level; ``before`` is the cost of no change.

    A descent that restarts with more time steps gains nothing by the restart.
    """
    finest = [row for row in rows if row["spacing_mm"] == rows[-1]["spacing_mm"]]
    gains = [a["cost_mm3"] - b["cost_mm3"] for a, b in pairwise(finest) if b["iteration"] > a["iteration"]]
    return trust.left_to_gain(gains, before, finest[-1]["cost_mm3"] if finest else before)


def _between_classes(flows: np.ndarray) -> np.ndarray:
    result = flows.copy()
    np.fill_diagonal(result, 0.0)
    return result

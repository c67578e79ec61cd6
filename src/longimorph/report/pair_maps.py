"""The maps of a pair as its figure shows them: axes along right, front, up, and shares in %."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
from numpy.typing import NDArray

from longimorph.geometry.grid import Grid, canonical
from longimorph.io import volumes
from longimorph.maps.field_of_view import COMPARED
from longimorph.report import focus
from longimorph.report.focus import Index
from longimorph.study.classes import ClassTable

Array = NDArray[np.float32]


@dataclass(frozen=True)
class PairMaps:
    """Maps of a pair, axes along right, front, up.

    ``before``, ``after``, ``target`` (C, i, j, k): probability of each class. ``moved``, ``changed`` (i, j,
    k): share of the voxel, in %, that deformation or reallocation transferred from one class to another,
    excluding the background. ``growth`` (i, j, k): local change of tissue volume, in %. ``grid``: RAS mm of
    the reference. ``focus``: the voxel through which the slices pass. ``unseen`` (i, j, k): whether a field
    of view ends there, so that the visits were not compared; None if everything was compared.
    """

    before: Array
    after: Array
    target: Array
    moved: Array
    changed: Array
    growth: Array
    grid: Grid
    focus: Index
    unseen: NDArray[np.bool_] | None = None


def load_maps(folder: Path, source: Path, target: Path, classes: ClassTable) -> PairMaps:
    """Read the maps of a pair from its folder and from the folders of its two visits."""
    before, grid = volumes.read_maps(source / "simplex.nii.gz")
    after, _ = volumes.read_maps(folder / "final_simplex.nii.gz")
    goal, _ = volumes.read_maps(target / "simplex.nii.gz")
    (moved, ill_moved), (changed, ill_changed) = (
        _shares(folder / f"{kind}.nii.gz", grid, classes) for kind in ("deformation", "reallocation")
    )
    jacobian: Any = nib.load(folder / "log_jacobian.nii.gz")
    growth = np.asarray(100 * np.expm1(jacobian.get_fdata(dtype=np.float32)), dtype=np.float32)
    first, modelled, last = (_ordered(grid, maps) for maps in (before, after, goal))
    _, upright = canonical(grid, np.empty(grid.shape, dtype=bool))
    unseen = _unseen(folder / "compared.nii.gz")
    hidden = None if unseen is None else _ordered(grid, unseen)
    brain = _tissue(first, classes.background) & _tissue(last, classes.background)
    brain = brain if hidden is None else brain & ~hidden
    spot = focus.place(ill_moved + ill_changed, moved + changed, brain, upright.spacing.tolist())
    local = _ordered(grid, growth)
    return PairMaps(first, modelled, last, moved, changed, local, upright, spot, hidden)


def _tissue(maps: Array, background: int | None) -> NDArray[np.bool_]:
    """Mask of the voxels that are not background."""
    return np.asarray(maps[background] < 0.5 if background is not None else maps.sum(axis=0) > 0)


def _shares(file: Path, grid: Grid, classes: ClassTable) -> tuple[Array, Array]:
    """Changed share of each voxel, in %, excluding the background: in total, and of pathological classes."""
    change = _ordered(grid, volumes.read_maps(file)[0])
    return focus.exchanged(change, classes.background), focus.pathological(change, classes)


def _unseen(file: Path) -> NDArray[np.bool_] | None:
    """Mask of voxels compared with a weight below one half, from a file that exists only for some pairs."""
    if not file.exists():
        return None
    image: Any = nib.load(file)
    return np.asarray(image.dataobj) < COMPARED


def _ordered(grid: Grid, array: NDArray[Any]) -> NDArray[Any]:
    """Reorder an array (i, j, k) or (C, i, j, k) to voxel axes along right, front, up."""
    if array.ndim == 3:
        return np.asarray(canonical(grid, array)[0])
    return np.moveaxis(np.asarray(canonical(grid, np.moveaxis(array, 0, -1))[0]), -1, 0)

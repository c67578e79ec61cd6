"""The template of a study, and the mask of its brain: whether they can be used, and how they are read."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np

from longimorph.errors import Problem, Unusable
from longimorph.geometry.grid import Array, Grid, same_grid, to_itk
from longimorph.io.volumes import read_image, read_volume
from longimorph.study import inputs
from longimorph.study.schema import Source


def examine_template(image: Path | None, mask: Path | None, source: Source) -> list[Problem]:
    """Return every problem of the template and of its mask; ``source`` is where their settings stand."""
    if image is None:
        if mask is None:
            return []
        return [source.problem("template_mask", "is set, but template is not; set both, or remove it")]
    problems, grid = _tried("template", lambda: read_template(image)[1], source)
    more, own = (
        _tried("template_mask", lambda: read_mask(mask)[1], source) if mask is not None else ([], None)
    )
    if grid is not None and own is not None and not same_grid(grid, own):
        text = f"{mask} is not on the grid of the template: it has {_said(own)}, the template {_said(grid)}"
        more.append(source.problem("template_mask", text, hint="Resample the mask onto the template"))
    return problems + more


def read_template(path: Path) -> tuple[Array, Grid]:
    """Read the image of a template, (i, j, k) float32, and its grid. Raises Unusable when it is no image."""
    image, grid = read_image(_file(path))
    _require_right_angles(path, grid)
    return image, grid


def read_mask(path: Path) -> tuple[Array, Grid]:
    """Read a mask, (i, j, k) bool: above 0, or above a half for shares; and its grid.

    Raises Unusable when it cannot be read, or when it is the same everywhere.
    """
    values, grid = read_volume(_file(path))
    top = float(np.nanmax(values)) if values.size else 0.0
    inside = np.asarray(np.nan_to_num(np.asarray(values, dtype=np.float32)) > (0.5 if top == 1 else 0))
    if inside.all() or not inside.any():
        where = "everywhere" if inside.all() else "nowhere"
        raise Unusable("empty", f"{path} is above 0 {where}; a mask must be above 0 in the brain alone")
    return inside, grid


def _file(path: Path) -> Path:
    """The path, if there is a file that can be opened."""
    if (found := inputs.state(path)) != inputs.FILE:
        raise Unusable("missing", f"{path}: {found}")
    return path


def _require_right_angles(path: Path, grid: Grid) -> None:
    try:
        to_itk(grid)
    except ValueError as error:
        raise Unusable("affine", f"{path}: {error}; resample it onto a grid without shear") from error


def _tried(key: str, read: Callable[[], Grid], source: Source) -> tuple[list[Problem], Grid | None]:
    try:
        return [], read()
    except Unusable as found:
        return [source.problem(key, f"cannot be used: {found.message}")], None


def _said(grid: Grid) -> str:
    sides = " × ".join(f"{side:.3g}" for side in grid.spacing)
    shape, centre = " × ".join(map(str, grid.shape)), np.round(grid.centre(), 1).tolist()
    return f"{shape} voxels of {sides} mm around {centre}"

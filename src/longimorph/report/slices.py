"""The slices of a pair's figure: two planes through its maps, with outlines and what was not compared."""

from __future__ import annotations

import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import Normalize, PowerNorm, to_rgb
from matplotlib.figure import Figure
from matplotlib.image import AxesImage
from numpy.typing import NDArray

from longimorph.geometry.grid import Grid
from longimorph.report.pair_maps import Array, PairMaps
from longimorph.study.classes import ClassTable

VEIL = "#9a9a9a"
"""Colour of the area beyond or at the edge of a visit's field of view."""

_COLUMNS = ("Before", "After, as modelled", "Target", "Tissue moved", "Tissue changed class",
            "Local volume")  # fmt: skip
_PLANES = {"axial": 2, "coronal": 1}


def draw_slices(figure: Figure, maps: PairMaps, classes: ClassTable, top: float, bottom: float) -> None:
    """Draw two rows of six slices, with one colour bar under each of the last three columns.

    ``top`` and ``bottom`` of the slices are shares of the figure's height.
    """
    height = figure.get_figheight()
    grid = figure.add_gridspec(2, 6, left=0.035, right=0.99, top=top, bottom=bottom, wspace=0.04, hspace=0.05)
    shown: list[AxesImage] = []
    for row, (plane, axis) in enumerate(_PLANES.items()):
        index = maps.focus[axis]
        axes = [figure.add_subplot(grid[row, column]) for column in range(6)]
        for panel, probabilities in zip(axes, (maps.before, maps.after, maps.target), strict=False):
            _show(panel, np.clip(_colours(probabilities, classes), 0, 1), axis, index, maps.grid)
        values = (maps.moved, maps.changed, maps.growth)
        shown = [
            _show(panel, value, axis, index, maps.grid, colormap, norm)
            for panel, value, (colormap, norm) in zip(axes[3:], values, _scales(maps), strict=True)
        ]
        for panel in axes[3:]:
            _outline(panel, maps, axis, index)
        if maps.unseen is not None:
            for panel in axes:
                _veil(panel, maps.unseen, axis, index)
        _label_row(axes, row, plane, axis, index, maps.grid)
    units = ("% of the voxel", "% of the voxel", "% (blue shrank, red grew)")
    for column, (image, unit) in enumerate(zip(shown, units, strict=True)):
        place = (0.535 + column * 0.1605, bottom - 0.21 / height, 0.12, 0.125 / height)
        figure.colorbar(image, cax=figure.add_axes(place), orientation="horizontal", label=unit)


def _scales(maps: PairMaps) -> tuple[tuple[str, Normalize], ...]:
    """Colours of the three maps; moved and changed share one scale, never finer than 10 % of a voxel.

    The lower end of the scale is stretched, since movement by a fraction of a voxel is pale beside a lesion.
    """
    change = np.concatenate([maps.moved.ravel(), maps.changed.ravel()])
    limit = max(float(np.percentile(change[change > 0.5], 99)) if (change > 0.5).any() else 0.0, 10.0)
    growth = max(float(np.percentile(np.abs(maps.growth), 99.8)), 5.0)
    change_norm = PowerNorm(0.6, 0, limit)
    return ("Purples", change_norm), ("Greens", change_norm), ("RdBu_r", Normalize(-growth, growth))


def _label_row(axes: list[Axes], row: int, plane: str, axis: int, index: int, grid: Grid) -> None:
    """Draw column titles above the first row, the slice's position beside it, and the patient's sides."""
    middle = (np.array(grid.shape) - 1) / 2
    middle[axis] = index
    position = grid.index_to_world(middle)[axis]
    axes[0].set_ylabel(f"{plane}, {'xyz'[axis]} = {position:.0f} mm", fontsize=10)
    for panel, title in zip(axes, _COLUMNS, strict=True):
        if row == 0:
            panel.set_title(title, fontsize=12)
        ink = "white" if title in _COLUMNS[:3] else "black"
        for side, x in (("R", 0.02), ("L", 0.98)):
            panel.text(x, 0.97, side, transform=panel.transAxes, color=ink, fontsize=9, va="top",
                       ha="left" if side == "R" else "right")  # fmt: skip


def _colours(probabilities: Array, classes: ClassTable) -> Array:
    """Class colours mixed by probability, (3, i, j, k)."""
    table = np.array([to_rgb(color) for color in classes.colors], dtype=np.float32)
    return np.asarray(np.tensordot(table.T, probabilities, axes=1))


def cut(volume: Array, axis: int, index: int) -> Array:
    """A slice as an image with up upwards and the patient's right on the left, (row, column[, 3])."""
    picture = np.take(volume, index, axis=axis + volume.ndim - 3)
    rows = np.moveaxis(picture, 0, -1).swapaxes(0, 1) if volume.ndim == 4 else picture.T
    return np.asarray(rows[:, ::-1])


def _show(panel: Axes, volume: Array, axis: int, index: int, grid: Grid, colormap: str | None = None,
          norm: Normalize | None = None) -> AxesImage:  # fmt: skip
    """Draw one slice with equal scales in mm."""
    across, up = (spacing for a, spacing in enumerate(grid.spacing) if a != axis)
    panel.set_xticks([])
    panel.set_yticks([])
    for spine in panel.spines.values():
        spine.set_visible(False)
    picture = cut(volume, axis, index)
    return panel.imshow(picture, origin="lower", aspect=up / across, cmap=colormap, norm=norm,
                        interpolation="nearest")  # fmt: skip


def _outline(panel: Axes, maps: PairMaps, axis: int, index: int) -> None:
    """Draw thin outlines of the most probable class before the change."""
    best = maps.before.argmax(axis=0)
    for label in range(len(maps.before)):
        inside = cut((best == label).astype(np.float32), axis, index)
        if inside.any() and not inside.all():
            panel.contour(inside, levels=[0.5], colors="#707070", linewidths=0.35)


def _veil(panel: Axes, unseen: NDArray[np.bool_], axis: int, index: int) -> None:
    """Hatch in grey the area that was not compared because a field of view ends there."""
    inside = cut(unseen.astype(np.float32), axis, index)
    if inside.any():
        veil = np.zeros((*inside.shape, 4), dtype=np.float32)
        veil[inside > 0] = (*to_rgb(VEIL), 0.75)
        panel.imshow(veil, origin="lower", aspect=panel.get_aspect(), interpolation="nearest")
        # Pad by one row and column on each side, so that hatching reaches the edges of the image.
        hatched = np.pad(inside, 1, mode="edge")
        rows, columns_ = (np.arange(-1, size + 1) for size in inside.shape)
        limits = panel.get_xlim(), panel.get_ylim()
        panel.contourf(columns_, rows, hatched, levels=[0.5, 1.5], colors="none", hatches=["////"])
        panel.set(xlim=limits[0], ylim=limits[1])

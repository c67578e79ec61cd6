"""Source, target and estimated change of the enhancing class, in the slices with most change."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from numpy.typing import NDArray

from benchmarks.growth_data import CLASSES, ENHANCING, NECROSIS
from longimorph.geometry.grid import Grid
from longimorph.numerics.attribution import Attribution

Maps = NDArray[np.float32]
_TITLES = ("before", "after", "enhancing: deformation", "enhancing: reallocation", "enhancing: unexplained")


def draw(
    file: Path, images: Sequence[Maps], maps: Sequence[Maps], found: Attribution, grid: Grid, rows: int = 2
) -> None:
    """Write the picture: ``rows`` slices, the images with contours, then the maps of change (-1 to 1)."""
    source, target = maps
    moved, turned = found.deformation.numpy()[ENHANCING], found.reallocation.numpy()[ENHANCING]
    left = target[ENHANCING] - source[ENHANCING] - moved - turned
    figure = Figure(figsize=(9.5, 2.5 * rows), dpi=90)
    FigureCanvasAgg(figure)
    axes = figure.subplots(rows, 5, squeeze=False)
    for row, k in zip(axes, slices(np.abs(target - source)[: NECROSIS + 1].sum(axis=0), rows), strict=True):
        for axis, image, visit in zip(row, images, maps, strict=False):
            axis.imshow(image[:, :, k].T, cmap="gray", origin="lower", vmax=np.percentile(image, 99.5))
            for index in (ENHANCING, NECROSIS):
                _contour(axis, visit[index, :, :, k], CLASSES.rows[index].color)
        for axis, change in zip(row[2:], (moved, turned, left), strict=True):
            axis.imshow(images[0][:, :, k].T, cmap="gray", origin="lower", alpha=0.35)
            shown = np.ma.masked_inside(change[:, :, k].T, -0.05, 0.05)
            axis.imshow(shown, cmap="RdBu_r", vmin=-1, vmax=1, origin="lower", interpolation="nearest")
            _contour(axis, source[ENHANCING, :, :, k], "black")
        row[0].set_ylabel(f"z = {grid.index_to_world([0, 0, k])[2]:.0f} mm", fontsize=8)
    for axis, title in zip(axes[0], _TITLES, strict=True):
        axis.set_title(title, fontsize=8)
    for axis in axes.ravel():
        axis.set(xticks=[], yticks=[], aspect="equal")
    figure.tight_layout(pad=0.4)
    file.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(file)


def slices(change: Maps, count: int) -> list[int]:
    """The slices with most change, at least 9 mm (3 slices) apart, from below upwards."""
    chosen: list[int] = []
    for k in np.argsort(-change.sum(axis=(0, 1))):
        if len(chosen) < count and all(abs(int(k) - other) >= 3 for other in chosen):
            chosen.append(int(k))
    return sorted(chosen)


def _contour(axis: object, plane: Maps, color: str) -> None:
    if plane.max() > 0.5 > plane.min():
        axis.contour(plane.T, [0.5], colors=[color], linewidths=0.8)  # type: ignore[attr-defined]

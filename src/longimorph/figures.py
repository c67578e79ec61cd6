"""One picture per pair that a person can judge: before, after, target, what moved, what changed its kind."""

from __future__ import annotations

import json
import textwrap
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.colors import Normalize, PowerNorm, to_rgb
from matplotlib.figure import Figure
from matplotlib.image import AxesImage
from matplotlib.patches import Patch
from numpy.typing import NDArray

from longimorph.cohort.classes import ClassTable
from longimorph.grid import Grid, canonical
from longimorph.io import volumes
from longimorph.io.atomic import atomic_path
from longimorph.tables import columns
from longimorph.words import counted

Array = NDArray[np.float32]

MOVED, CHANGED, UNEXPLAINED = "#762a83", "#1b7837", "#b0b0b0"
VEIL, NOT_COMPARED, COMPARED = "#9a9a9a", "not compared", 0.5
"""Colour and name of what lies beyond or at the edge of a visit's field of view, and the weight from which on
a voxel counts as compared."""

_DPI = 120
_COLUMNS = ("Before", "After, as modelled", "Target", "Tissue moved", "Tissue changed its kind",
            "Local volume")  # fmt: skip
_PLANES = {"axial": 2, "coronal": 1}
_CONVENTION = "Radiological convention: the patient's right (R) is on the left of each picture."


@dataclass(frozen=True)
class PairMaps:
    """Maps of a pair, axes along right, front, up.

    ``before``, ``after``, ``target`` (C, i, j, k): probability of each class. ``moved``, ``changed``
    (i, j, k): share of the voxel, in %, that deformation or reallocation gave to another class.
    ``growth`` (i, j, k): change of the volume of the tissue there, in %. ``grid``: RAS mm of the reference.
    ``unseen`` (i, j, k): whether a field of view ends there, so that the visits were not compared; None
    where all was.
    """

    before: Array
    after: Array
    target: Array
    moved: Array
    changed: Array
    growth: Array
    grid: Grid
    unseen: NDArray[np.bool_] | None = None


def pair_figure(folder: Path, source: Path, target: Path, classes: ClassTable, out: Path) -> None:
    """Draw the pair of ``folder`` as PNG ``out``; a failed pair gives a plain picture that says why.

    ``source`` and ``target`` are the folders of the two visits; ``out`` appears only when it is complete.
    """
    status = json.loads((folder / "status.json").read_text(encoding="utf-8"))
    if status["status"] != "ok":
        failure_figure(_name(folder), str(status["status"]), str(status.get("message", "")), out)
        return
    maps = load_maps(folder, source, target)
    changes = columns.read(folder / "changes.csv")
    figure = Figure(figsize=(17, 10.4), dpi=_DPI, facecolor="white")
    _panels(figure, maps, classes)
    _legend(figure, classes, maps.unseen is not None)
    _bars(figure.add_axes((0.085, 0.055, 0.36, 0.265)), changes, classes)
    figure.text(0.5, 0.32, "How well it went", fontsize=12, weight="bold", va="top")
    figure.text(0.5, 0.29, health(status, classes), fontsize=10, va="top", linespacing=1.5)
    figure.text(0.012, 0.972, _title(folder, changes), fontsize=15, weight="bold", va="center")
    figure.text(0.012, 0.942, _CONVENTION, fontsize=9.5, va="center", color="#404040")
    save(figure, out)


def failure_figure(name: str, code: str, message: str, out: Path) -> None:
    """Write a plain picture that names a pair, what failed (``code``) and why (``message``)."""
    figure = Figure(figsize=(10, 3.4), dpi=_DPI, facecolor="white")
    figure.text(0.06, 0.80, name, fontsize=16, weight="bold", va="center")
    figure.text(0.06, 0.62, f"No result: {code}", fontsize=13, color="#b2182b", va="center")
    figure.text(0.06, 0.50, "\n".join(textwrap.wrap(message, 88)[:8]), fontsize=11, va="top", linespacing=1.5)
    save(figure, out)


def load_maps(folder: Path, source: Path, target: Path) -> PairMaps:
    """Read the maps of a pair from its folder and from the folders of its two visits."""
    before, grid = volumes.read_maps(source / "simplex.nii.gz")
    after, _ = volumes.read_maps(folder / "final_simplex.nii.gz")
    goal, _ = volumes.read_maps(target / "simplex.nii.gz")
    moved, changed = (_share(folder / f"{kind}.nii.gz") for kind in ("deformation", "reallocation"))
    jacobian: Any = nib.load(folder / "log_jacobian.nii.gz")
    growth = np.asarray(100 * np.expm1(jacobian.get_fdata(dtype=np.float32)), dtype=np.float32)
    first, modelled, last = (_ordered(grid, maps) for maps in (before, after, goal))
    where_moved, where_changed, local = (_ordered(grid, array) for array in (moved, changed, growth))
    _, upright = canonical(grid, np.empty(grid.shape, dtype=bool))
    unseen = _unseen(folder / "compared.nii.gz")
    hidden = None if unseen is None else _ordered(grid, unseen)
    return PairMaps(first, modelled, last, where_moved, where_changed, local, upright, hidden)


def _unseen(file: Path) -> NDArray[np.bool_] | None:
    """Where visits were compared by less than a half, from a file that is there only for some pairs."""
    if not file.exists():
        return None
    image: Any = nib.load(file)
    return np.asarray(image.dataobj) < COMPARED


def _share(file: Path) -> Array:
    """Half the sum over classes of absolute changes of probability, in % of the voxel."""
    change, _ = volumes.read_maps(file)
    return np.asarray(50 * np.abs(change).sum(axis=0), dtype=np.float32)


def _ordered(grid: Grid, array: NDArray[Any]) -> NDArray[Any]:
    """An array (i, j, k) or (C, i, j, k) with its voxel axes along right, front, up."""
    if array.ndim == 3:
        return np.asarray(canonical(grid, array)[0])
    return np.moveaxis(np.asarray(canonical(grid, np.moveaxis(array, 0, -1))[0]), -1, 0)


def strongest_slice(maps: PairMaps, axis: int, background: int | None) -> int:
    """The slice across ``axis`` with most change; without any change, the one that halves the tissue."""
    others = tuple(a for a in range(3) if a != axis)
    change = (maps.moved + maps.changed).sum(axis=others)
    if change.max() > 0:
        return int(change.argmax())
    tissue = 1 - maps.before[background] if background is not None else maps.before.sum(axis=0)
    below = tissue.sum(axis=others).cumsum()
    return int(np.searchsorted(below, below[-1] / 2))


def _panels(figure: Figure, maps: PairMaps, classes: ClassTable) -> None:
    """Two rows of six slices and one colour bar under each of the last three columns."""
    grid = figure.add_gridspec(2, 6, left=0.035, right=0.99, top=0.9, bottom=0.42, wspace=0.04, hspace=0.05)
    shown: list[AxesImage] = []
    for row, (plane, axis) in enumerate(_PLANES.items()):
        index = strongest_slice(maps, axis, classes.background)
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
        bar = figure.add_axes((0.535 + column * 0.1605, 0.4, 0.12, 0.012))
        figure.colorbar(image, cax=bar, orientation="horizontal", label=unit)


def _scales(maps: PairMaps) -> tuple[tuple[str, Normalize], ...]:
    """Colours of the three maps; moved and changed share one scale, never finer than 10 % of a voxel.

    It is stretched at its lower end, since movement of a fraction of a voxel is pale beside a lesion.
    """
    change = np.concatenate([maps.moved.ravel(), maps.changed.ravel()])
    limit = max(float(np.percentile(change[change > 0.5], 99)) if (change > 0.5).any() else 0.0, 10.0)
    growth = max(float(np.percentile(np.abs(maps.growth), 99.8)), 5.0)
    change_norm = PowerNorm(0.6, 0, limit)
    return ("Purples", change_norm), ("Greens", change_norm), ("RdBu_r", Normalize(-growth, growth))


def _label_row(axes: list[Axes], row: int, plane: str, axis: int, index: int, grid: Grid) -> None:
    """Column titles above the first row, the slice's position beside it, and the patient's sides."""
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
    """A slice as a picture with up upwards and the patient's right on the left, (row, column[, 3])."""
    picture = np.take(volume, index, axis=axis + volume.ndim - 3)
    rows = np.moveaxis(picture, 0, -1).swapaxes(0, 1) if volume.ndim == 4 else picture.T
    return np.asarray(rows[:, ::-1])


def _show(panel: Axes, volume: Array, axis: int, index: int, grid: Grid, colormap: str | None = None,
          norm: Normalize | None = None) -> AxesImage:  # fmt: skip
    """Draw one slice with square millimetres."""
    across, up = (spacing for a, spacing in enumerate(grid.spacing) if a != axis)
    panel.set_xticks([])
    panel.set_yticks([])
    for spine in panel.spines.values():
        spine.set_visible(False)
    picture = cut(volume, axis, index)
    return panel.imshow(picture, origin="lower", aspect=up / across, cmap=colormap, norm=norm,
                        interpolation="nearest")  # fmt: skip


def _outline(panel: Axes, maps: PairMaps, axis: int, index: int) -> None:
    """Thin lines where the most probable class changes before the change."""
    best = maps.before.argmax(axis=0)
    for label in range(len(maps.before)):
        inside = cut((best == label).astype(np.float32), axis, index)
        if inside.any() and not inside.all():
            panel.contour(inside, levels=[0.5], colors="#707070", linewidths=0.35)


def _veil(panel: Axes, unseen: NDArray[np.bool_], axis: int, index: int) -> None:
    """Grey hatching over what was not compared, since a field of view ends there."""
    inside = cut(unseen.astype(np.float32), axis, index)
    if inside.any():
        veil = np.zeros((*inside.shape, 4), dtype=np.float32)
        veil[inside > 0] = (*to_rgb(VEIL), 0.75)
        panel.imshow(veil, origin="lower", aspect=panel.get_aspect(), interpolation="nearest")
        # One row and column more on each side, so that hatching reaches the edges of the picture.
        hatched = np.pad(inside, 1, mode="edge")
        rows, columns_ = (np.arange(-1, size + 1) for size in inside.shape)
        limits = panel.get_xlim(), panel.get_ylim()
        panel.contourf(columns_, rows, hatched, levels=[0.5, 1.5], colors="none", hatches=["////"])
        panel.set(xlim=limits[0], ylim=limits[1])


def _legend(figure: Figure, classes: ClassTable, hidden: bool) -> None:
    """Colours of the classes, and the hatching where something is ``hidden`` by it, under the pictures."""
    patches = [
        Patch(facecolor=color, edgecolor="#404040", linewidth=0.5, label=name)
        for name, color in zip(classes.names, classes.colors, strict=True)
    ]
    if hidden:
        patches.append(
            Patch(facecolor=VEIL, edgecolor="black", hatch="////", linewidth=0.5, label=NOT_COMPARED)
        )
    figure.legend(handles=patches, loc="center", bbox_to_anchor=(0.27, 0.395), ncol=min(len(patches), 8),
                  frameon=False, fontsize=10, handlelength=1.2, columnspacing=1.4)  # fmt: skip


def _bars(panel: Axes, changes: pd.DataFrame, classes: ClassTable) -> None:
    """Deformation, reallocation and what is left unexplained, per class, in mL."""
    table = changes.set_index("class").loc[list(classes.names)]
    places = np.arange(len(table), dtype=np.float64)
    kinds = (("deformation", MOVED, "moved"), ("reallocation", CHANGED, "changed its kind"),
             ("unexplained", UNEXPLAINED, "unexplained"))  # fmt: skip
    for number, (kind, color, label) in enumerate(kinds):
        values = table[f"{kind}_mm3"].to_numpy(dtype=float) / 1000
        bars = panel.barh(places + (number - 1) * 0.27, values, 0.25, color=color, label=label)
        numbers = [f"{value:+.2f}" if abs(value) >= 0.005 else "" for value in values]
        panel.bar_label(bars, numbers, fontsize=8, padding=3, color="#404040")
    panel.set_yticks(places, labels=list(table.index))
    panel.invert_yaxis()
    panel.margins(x=0.14)
    panel.axvline(0, color="black", linewidth=0.8)
    panel.set_xlabel("mL (+ the class grew)")
    panel.legend(loc="lower left", bbox_to_anchor=(0, 1.0), ncol=3, frameon=False, fontsize=10)
    for side in ("top", "right", "left"):
        panel.spines[side].set_visible(False)


def _name(folder: Path) -> str:
    source, _, target = folder.name.partition("__")
    return f"{folder.parent.name}: {source} to {target}"


def _title(folder: Path, changes: pd.DataFrame) -> str:
    """The pair in plain words, gross volumes in mL."""
    moved, changed, rest = (
        changes[f"{kind}_mm3"].abs().sum() / 2000 for kind in ("deformation", "reallocation", "unexplained")
    )
    words = f"{moved:.1f} mL moved, {changed:.1f} mL changed its kind in place"
    return f"{_name(folder)}   {words}, {rest:.1f} mL left unexplained"


def health(status: dict[str, Any], classes: ClassTable) -> str:
    """The run's own figures as a few lines; what the status does not hold is left out."""
    before, after = status.get("dice_before") or {}, status.get("dice_after") or {}
    pairs = [
        f"{name} {_ratio(before.get(name))} to {_ratio(after.get(name))}"
        for name in classes.names
        if before.get(name) is not None or after.get(name) is not None
    ]
    dice = "Overlap with the target (Dice), before to after: " + "; ".join(pairs)
    lines = textwrap.wrap(dice, 105) if pairs else []
    drift = status.get("drift")
    lines += [f"Drift of H (0 is perfect): {100 * abs(float(drift)):.2f} %"] if drift is not None else []
    lines += textwrap.wrap(f"Stopped: {status['stop_reason']}", 105) if status.get("stop_reason") else []
    facts = [counted(status["evaluations"], "evaluation")] if status.get("evaluations") is not None else []
    facts += [f"{float(status['seconds']):.0f} s"] if status.get("seconds") is not None else []
    facts += [f"on {status['device']}"] if status.get("device") else []
    return "\n".join([*lines, ", ".join(facts)])


def _ratio(value: float | None) -> str:
    return "none" if value is None else f"{float(value):.2f}"


def save(figure: Figure, out: Path) -> None:
    """Write the PNG whole or not at all; equal content gives equal bytes."""
    out.parent.mkdir(parents=True, exist_ok=True)
    with atomic_path(out) as temporary:
        figure.savefig(temporary, format="png", metadata={"Software": None})

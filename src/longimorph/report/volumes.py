"""Volumes for the viewer of a patient's page: only the head, one byte per voxel, coarsened to fit the page.

Every volume is a compressed NIfTI in base64. Compared with the result files, values are rounded (shares to
0.5 %, local volume to 1/126 of its range) and classes are reduced to the most probable one. A patient with
many or fine maps is shown with larger voxels, which are first enlarged along their short sides.
"""

from __future__ import annotations

import base64
import gzip
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
from numpy.typing import NDArray

from longimorph.geometry.grid import Grid, bounding_box, crop
from longimorph.maps.field_of_view import COMPARED
from longimorph.report import focus
from longimorph.report.maps import Bytes, Floats, class_maps, picture, scalar, tissue
from longimorph.report.pairs import PairResults
from longimorph.study.classes import ClassTable
from longimorph.tables.closure import KINDS

Slices = tuple[slice, slice, slice]
Factors = tuple[int, int, int]

_MARGIN_MM = 6.0
_COARSEST = 16**3
"""Maximum number of voxels in a block."""
_ALIKE = 1.25
"""Sides that differ by less than this factor are enlarged together."""
_SHARE_STEP = 0.5
"""Quantisation of the shares of a voxel that moved or changed class, %."""


@dataclass(frozen=True)
class Packed:
    """The input of the viewer: ``data`` for its script, and the voxel sizes here and in the files, mm."""

    data: dict[str, Any]
    spacing: tuple[float, ...]
    own_spacing: tuple[float, ...]
    real: bool

    @property
    def shown(self) -> str:
        """Voxel size of the viewer, as text."""
        return sides(self.spacing)

    @property
    def own(self) -> str:
        """Voxel size of the results, as text."""
        return sides(self.own_spacing)

    @property
    def coarser(self) -> bool:
        """Whether the viewer's voxels are larger than those of the results."""
        return self.spacing != self.own_spacing

    @property
    def opens(self) -> str:
        """The initial map of the viewer: the predominant kind of change at the first pair's crosshair."""
        return str(self.data["pairs"][0]["mainly"])

    @property
    def hidden(self) -> bool:
        """Whether a part of some pair was not compared."""
        return any(pair["unseen"] for pair in self.data["pairs"])


def sides(spacing: tuple[float, ...]) -> str:
    """2 for cubes, else 1 × 1 × 5."""
    known = [f"{size:.3g}" for size in spacing]
    return known[0] if len(set(known)) == 1 else " × ".join(known)


@dataclass(frozen=True)
class _Spot:
    """Initial crosshair of a pair, mm to the right, front and up, and the map that shows more there."""

    place: list[float]
    mainly: str


@dataclass(frozen=True)
class Box:
    """The displayed part of the common grid, in blocks of ``factors`` voxels along each axis."""

    grid: Grid
    slices: Slices
    factors: Factors

    @property
    def shown(self) -> Grid:
        """The grid of the blocks."""
        inner = crop(self.grid, self.slices)
        i, j, k = (math.ceil(n / f) for n, f in zip(inner.shape, self.factors, strict=True))
        affine = inner.affine.copy()
        affine[:3, 3] = inner.index_to_world([(f - 1) / 2 for f in self.factors])
        affine[:3, :3] *= self.factors
        return Grid((i, j, k), affine)

    def means(self, array: Floats | Bytes) -> Floats:
        """Means over blocks of (…, i, j, k); incomplete blocks at the far ends are padded with their edge."""
        part = np.asarray(array[(..., *self.slices)], dtype=np.float32)
        if max(self.factors) == 1:
            return part
        lead = part.ndim - 3
        ends = [(0, -n % f) for n, f in zip(part.shape[lead:], self.factors, strict=True)]
        part = np.pad(part, [(0, 0)] * lead + ends, mode="edge")
        sides = [size for n, f in zip(part.shape[lead:], self.factors, strict=True) for size in (n // f, f)]
        blocks = part.reshape(*part.shape[:lead], *sides)
        return np.asarray(blocks.mean(axis=(lead + 1, lead + 3, lead + 5)))


def pack(
    pairs: Sequence[PairResults],
    days: Mapping[str, float],
    folder: Path,
    classes: ClassTable,
    most_bytes: int,
) -> Packed | None:
    """The volumes of all pairs that have maps, in at most ``most_bytes`` of base64; None without maps."""
    done = [pair for pair in pairs if pair.ok and (pair.folder / "final_simplex.nii.gz").exists()]
    visits = [name for name in days if any(name in (pair.source, pair.target) for pair in done)]
    if not done:
        return None
    if len(classes.names) > 256:
        raise ValueError(f"{len(classes.names)} classes are more than the 256 that the viewer can show")
    grid, slices, brains = _head(visits, folder, classes)
    spots = [_spot(pair, brains, grid, classes) for pair in done]
    least = _reduction(done[0], len(done), len(visits), classes, Box(grid, slices, (1, 1, 1)), most_bytes)
    for factors in coarsenings(tuple(float(side) for side in grid.spacing)):
        block = math.prod(factors)
        if block < least and block < _COARSEST:
            continue
        box = Box(grid, slices, factors)
        data = _data(done, spots, visits, folder, classes, box)
        taken = size(data)
        if taken <= most_bytes or block >= _COARSEST:
            break
        least = block * taken / most_bytes
    shown = tuple(float(s) for s in box.shown.spacing)
    real = all(visit["real"] for visit in data["visits"].values())
    return Packed(data, shown, tuple(float(s) for s in grid.spacing), real)


def coarsenings(spacing: tuple[float, ...]) -> Iterator[Factors]:
    """Yield increasingly large blocks of voxels with sides of ``spacing``; short sides grow first.

    Thick slices keep their thickness until the in-plane size of the blocks is similar.
    """
    i, j, k = 1, 1, 1
    while True:
        yield i, j, k
        longer = [(n + 1) * side for n, side in zip((i, j, k), spacing, strict=True)]
        i, j, k = (n + (side < _ALIKE * min(longer)) for n, side in zip((i, j, k), longer, strict=True))


def _reduction(pair: PairResults, pairs: int, visits: int, classes: ClassTable, box: Box, most: int) -> float:
    """Expected size of all volumes over the limit, if they compress like one pair and its first visit."""
    visit = _visit(pair.folder.parent / pair.source, classes, box)
    return (pairs * size(_pair(pair, _Spot([], ""), classes, box)) + visits * size(visit)) / most


def _head(
    visits: Sequence[str], folder: Path, classes: ClassTable
) -> tuple[Grid, Slices, dict[str, NDArray[np.bool_]]]:
    """The common grid, the box around everything that is not background at any visit, and each brain."""
    brains, grid = {}, None
    for name in visits:
        maps, grid = class_maps(folder / name / "simplex.nii.gz")
        brains[name] = tissue(maps, classes)
    assert grid is not None
    i, j, k = (slice(0, n) for n in grid.shape)
    every = np.logical_or.reduce(list(brains.values()))
    return grid, bounding_box(every, grid, _MARGIN_MM) or (i, j, k), brains


def _data(
    pairs: Sequence[PairResults],
    spots: Sequence[_Spot],
    visits: Sequence[str],
    folder: Path,
    classes: ClassTable,
    box: Box,
) -> dict[str, Any]:
    known = {name: _visit(folder / name, classes, box) for name in visits}
    return {
        "classes": [
            {"name": name, "color": color, "hidden": i == classes.background}
            for i, (name, color) in enumerate(zip(classes.names, classes.colors, strict=True))
        ],
        "visits": known,
        "pairs": [_pair(pair, spot, classes, box) for pair, spot in zip(pairs, spots, strict=True)],
    }


def _visit(folder: Path, classes: ClassTable, box: Box) -> dict[str, Any]:
    maps, _ = class_maps(folder / "simplex.nii.gz")
    scan = picture(folder, classes)
    assert scan is not None
    grey = np.rint(box.means(scan.grey)).astype(np.uint8)
    return {"classes": _labels(maps, box), "picture": nifti_text(grey, box.shown), "real": scan.real}


def _pair(pair: PairResults, spot: _Spot, classes: ClassTable, box: Box) -> dict[str, Any]:
    modelled = _labels(class_maps(pair.folder / "final_simplex.nii.gz")[0], box)
    moved, changed = (_share(pair.folder / f"{kind}.nii.gz", classes, box) for kind in KINDS)
    growth = 100 * np.expm1(box.means(scalar(pair.folder / "log_jacobian.nii.gz")[0]))
    limit = float(max(np.percentile(np.abs(growth), 99.8), 5.0))
    step = limit / 126
    codes = np.clip(np.rint(growth / step), -127, 127) + 128
    both = moved + changed
    share = float(max(np.percentile(both[both > 0.5], 95) if (both > 0.5).any() else 0.0, 10.0))
    return {
        "name": pair.name,
        "from": pair.source,
        "to": pair.target,
        "modelled": modelled,
        "moved": nifti_text(_coded(moved), box.shown, _SHARE_STEP),
        "changed": nifti_text(_coded(changed), box.shown, _SHARE_STEP),
        "growth": nifti_text(codes.astype(np.uint8), box.shown, step, -128 * step),
        "unseen": _unseen(pair.folder / "compared.nii.gz", box),
        "share_limit": round(share, 1),
        "growth_limit": round(limit, 1),
        "focus": spot.place,
        "mainly": spot.mainly,
    }


def _unseen(file: Path, box: Box) -> str | None:
    """1 where a field of view ends and the visits were not compared; None if everything was compared."""
    if not file.exists():
        return None
    return nifti_text((box.means(scalar(file)[0]) < COMPARED).astype(np.uint8), box.shown)


def _share(file: Path, classes: ClassTable, box: Box) -> Floats:
    """The share transferred between tissue classes, in % of the voxel."""
    return box.means(focus.exchanged(class_maps(file)[0], classes.background))


def _coded(share: Floats) -> Bytes:
    return np.asarray(np.clip(np.rint(share / _SHARE_STEP), 0, 255), dtype=np.uint8)


def _labels(maps: Floats, box: Box) -> str:
    return nifti_text(box.means(maps).argmax(axis=0).astype(np.uint8), box.shown)


def _spot(
    pair: PairResults, brains: Mapping[str, NDArray[np.bool_]], grid: Grid, classes: ClassTable
) -> _Spot:
    """Locate the most important change."""
    brain = brains[pair.source] & brains[pair.target]
    if (pair.folder / "compared.nii.gz").exists():
        brain = brain & (scalar(pair.folder / "compared.nii.gz")[0] >= COMPARED)
    ill, changes = np.zeros(grid.shape, np.float32), []
    for kind in KINDS:
        maps, _ = class_maps(pair.folder / f"{kind}.nii.gz")
        ill += focus.pathological(maps, classes)
        changes.append(focus.exchanged(maps, classes.background))
    index = focus.place(ill, changes[0] + changes[1], brain, grid.spacing.tolist())
    mainly = "moved" if changes[0][index] >= changes[1][index] else "changed"
    return _Spot([round(float(x), 2) for x in grid.index_to_world(index)], mainly)


def nifti_text(data: Bytes, grid: Grid, slope: float = 1.0, offset: float = 0.0) -> str:
    """A compressed NIfTI in base64; a voxel's value is its byte times ``slope`` plus ``offset``."""
    image = nib.Nifti1Image(data, grid.affine)
    image.header.set_xyzt_units("mm")
    image.set_sform(grid.affine, code=1)
    image.set_qform(grid.affine, code=1)
    header = image.header
    header.set_data_dtype(np.uint8)
    header["scl_slope"], header["scl_inter"], header["vox_offset"] = slope, offset, 352
    content = header.binaryblock + b"\0" * 4 + data.tobytes(order="F")
    return base64.b64encode(gzip.compress(content, 6, mtime=0)).decode("ascii")


def size(data: Any) -> int:
    """Number of characters of all strings in ``data``."""
    if isinstance(data, str):
        return len(data)
    if isinstance(data, dict):
        return sum(size(value) for value in data.values())
    return sum(size(value) for value in data) if isinstance(data, list) else 0

"""Still images: the overview of a pair, and its two aligned visits, to be shown alternately."""

from __future__ import annotations

import io
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from longimorph.geometry.grid import Grid
from longimorph.report import maps
from longimorph.report.page import image_source
from longimorph.report.pairs import PairResults
from longimorph.report.slices import cut
from longimorph.study.classes import ClassTable

_SMALLEST = 500
_PANEL_HEIGHT = 260


@dataclass(frozen=True)
class Aligned:
    """Three slices of each visit of a pair, as data URLs; ``words`` begin a sentence about them."""

    source: str
    target: str
    words: str


def overview(folder: Path, most_bytes: int) -> str | None:
    """``overview.png``, with fewer colours and reduced size if it exceeds ``most_bytes``."""
    file = folder / "overview.png"
    if not file.exists() or not file.stat().st_size:
        return None
    data = file.read_bytes()
    if len(data) * 4 / 3 <= most_bytes:
        return image_source(data)
    with Image.open(file) as opened:
        return _fitted(opened.convert("RGB"), most_bytes)


def aligned(
    pair: PairResults, classes: ClassTable, most_bytes: int, spot: Sequence[float] | None = None
) -> Aligned | None:
    """Both visits on the common grid in the same three planes; None if one visit has no maps.

    The planes intersect at ``spot`` (RAS, mm), else in the middle.
    """
    scans = [maps.picture(pair.folder.parent / name, classes) for name in (pair.source, pair.target)]
    if scans[0] is None or scans[1] is None:
        return None
    same_kind = scans[0].real == scans[1].real
    pages = []
    for scan in scans:
        assert scan is not None
        pages.append(_fitted(_montage(scan.grey, scan.grid, spot), most_bytes // 2))
    words = "The scans" if same_kind and scans[0].real else "The class maps, in grey,"
    return Aligned(pages[0], pages[1], words)


def _montage(volume: NDArray[np.uint8], grid: Grid, spot: Sequence[float] | None) -> Image.Image:
    """Axial, coronal and sagittal slices through one point, side by side, of equal height."""
    pages, indices = [], _slices(grid, spot)
    for axis in (2, 1, 0):
        slice_ = cut(volume.astype(np.float32), axis, indices[axis])[::-1].astype(np.uint8)
        across, up = (size for a, size in enumerate(grid.spacing) if a != axis)
        width = round(_PANEL_HEIGHT * slice_.shape[1] * across / (slice_.shape[0] * up))
        pages.append(Image.fromarray(slice_).resize((max(width, 1), _PANEL_HEIGHT), Image.Resampling.BICUBIC))
    montage = Image.new("L", (sum(page.width for page in pages), _PANEL_HEIGHT))
    left = 0
    for page in pages:
        montage.paste(page, (left, 0))
        left += page.width
    return montage


def _slices(grid: Grid, spot: Sequence[float] | None) -> list[int]:
    """The voxel at a point of the common space, or the middle one."""
    if spot is None:
        return [size // 2 for size in grid.shape]
    index = np.rint(np.linalg.solve(grid.affine, [*spot, 1.0])[:3]).astype(int)
    return [int(np.clip(i, 0, size - 1)) for i, size in zip(index, grid.shape, strict=True)]


def _fitted(picture: Image.Image, most_bytes: int) -> str:
    """A PNG of at most ``most_bytes`` as a data URL, reduced repeatedly until it fits."""
    while True:
        few = picture.quantize(256, kmeans=1, dither=Image.Dither.NONE) if picture.mode == "RGB" else picture
        buffer = io.BytesIO()
        few.save(buffer, "PNG", optimize=True)
        if buffer.tell() * 4 / 3 <= most_bytes or picture.width <= _SMALLEST:
            return image_source(buffer.getvalue())
        size = (round(picture.width * 0.8), round(picture.height * 0.8))
        picture = picture.resize(size, Image.Resampling.LANCZOS)

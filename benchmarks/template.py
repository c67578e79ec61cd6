"""How closely the registration to a template brings regions of healthy adults onto those of another.

python -m benchmarks.template    some minutes on two cores
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import SimpleITK as sitk
from numpy.typing import NDArray
from scipy import ndimage

from benchmarks import report
from benchmarks.phantoms.maps import default_data
from longimorph.alignment import to_template
from longimorph.alignment.to_template import Head
from longimorph.cores import usable_cores
from longimorph.geometry.grid import Grid, flip_ras_lps, same_grid
from longimorph.io import atomic
from longimorph.io.transforms import transformed_centres
from longimorph.io.volumes import read_image, read_labels

OUT = Path("docs/benchmarks/template.md")
FOLDER, SCAN, LABELS = "ixi_dlmuse_2mm", "{}_ds.nii.gz", "{}_ds_DLMUSE.nii.gz"
LEAST_VOXELS = 8
"""A region with fewer voxels in one of the brains is left out."""

TEXT = """\
T1 scans at 2 mm of adults of the [IXI collection](https://brain-development.org/ixi-dataset/), each
registered to that of {template} as for [group maps](../group-maps.md), with the mask of its brain. Regions
were segmented automatically (DLMUSE) in each scan by itself, so the figures contain the errors of these
segmentations; regions of fewer than {least} voxels are left out. *Centres*: distance between the centre of a
region of the template, mapped to the other brain, and the centre of the same region there, in mm. *Dice*:
overlap of the regions on the template, on average, after the whole transform and after its affine step.
"""


@dataclass(frozen=True, eq=False)
class Brain:
    """A scan and its regions (i, j, k), labels of 0 outside, on the same grid."""

    image: NDArray[np.float64]
    labels: NDArray[np.int64]
    grid: Grid

    def head(self) -> Head:
        """What the registration takes."""
        return Head(self.image, self.labels > 0, self.grid)

    def centres(self, regions: NDArray[np.int64]) -> NDArray[np.float64]:
        """The centres of regions, (n, 3), RAS mm."""
        index = np.array(ndimage.center_of_mass(np.ones_like(self.labels), self.labels, regions))
        return self.grid.index_to_world(index)


@dataclass(frozen=True)
class Fit:
    """Distances of centres (n,) in mm, and the Dice of regions (n,) after the whole transform and the affine
    step.
    """

    distances: NDArray[np.float64]
    dice: NDArray[np.float64]
    affine_dice: NDArray[np.float64]


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure and write the page."""
    options = _parser().parse_args(arguments)
    head = report.heading("Registration to a template", "make bench-template", options.threads)
    names = sorted(file.name[: -len(SCAN.format(""))] for file in options.data.glob(SCAN.format("*")))
    if len(names) < 2:
        report.say(f"{options.data} has fewer than two scans {SCAN.format('*')}: --data names their folder")
        return 1
    template, rows = read(options.data, names[0]), {}
    for name in names[1:]:
        rows[name] = measured(template, read(options.data, name), options.threads)
        report.say(f"{name}: median {np.median(rows[name].distances):.1f} mm")
    text = TEXT.format(template=_short(names[0]), least=LEAST_VOXELS)
    atomic.write_text(options.out, "\n".join([head, text, table(rows)]))
    report.say(f"Report: {options.out}")
    return 0


def read(folder: Path, name: str) -> Brain:
    """Read a scan and its regions."""
    image, grid = read_image(folder / SCAN.format(name))
    labels, own = read_labels(folder / LABELS.format(name))
    if not same_grid(grid, own):
        raise ValueError(f"{name}: scan and labels lie on different grids")
    return Brain(np.asarray(image, dtype=np.float64), np.asarray(labels, dtype=np.int64), grid)


def measured(template: Brain, other: Brain, threads: int) -> Fit:
    """Register a brain to the template, and compare their regions."""
    found = to_template.fit(template.head(), other.head(), threads).transform
    counts = [np.bincount(one.labels.ravel(), minlength=1000) for one in (template, other)]
    regions = 1 + np.flatnonzero((np.minimum(*counts) >= LEAST_VOXELS)[1:])
    there = flip_ras_lps([found.TransformPoint(p) for p in flip_ras_lps(template.centres(regions)).tolist()])
    distances = np.linalg.norm(there - other.centres(regions), axis=1)
    ends = found.GetNthTransform(0), found.GetNthTransform(found.GetNumberOfTransforms() - 1)
    affine = sitk.CompositeTransform(list(ends))  # without the B-spline between them
    return Fit(distances, *(overlaps(template, other, one, regions) for one in (found, affine)))


def overlaps(
    template: Brain, other: Brain, transform: sitk.Transform, regions: NDArray[np.int64]
) -> NDArray[np.float64]:
    """The Dice of each region on the template, with the other's labels of the nearest voxel."""
    points = np.moveaxis(transformed_centres(transform, template.grid), 0, -1)
    index = np.rint(other.grid.world_to_index(points)).astype(int)
    outside = ((index < 0) | (index >= other.labels.shape)).any(axis=-1)
    index[outside] = 0
    moved = other.labels[index[..., 0], index[..., 1], index[..., 2]]
    moved[outside] = 0
    both = np.bincount(template.labels[template.labels == moved], minlength=1000)
    sizes = np.bincount(template.labels.ravel(), minlength=1000) + np.bincount(moved.ravel(), minlength=1000)
    return np.asarray(2 * both[regions] / sizes[regions])


def table(rows: dict[str, Fit]) -> str:
    """A row per brain."""
    lines = [
        "| brain | regions | centres, median | 90 % | worst | Dice | affine alone |",
        "| --- | --- | --- | --- | --- | --- | --- |",
    ]
    for name, fit in rows.items():
        middle, most, worst = np.quantile(fit.distances, [0.5, 0.9, 1.0])
        lines.append(
            f"| {_short(name)} | {len(fit.distances)} | {middle:.1f} | {most:.1f} | {worst:.1f} | "
            f"{fit.dice.mean():.2f} | {fit.affine_dice.mean():.2f} |"
        )
    return "\n".join(lines) + "\n"


def _short(name: str) -> str:
    return name.split("-")[0]


def _parser() -> argparse.ArgumentParser:
    summary = (__doc__ or "").splitlines()[0]
    parser = argparse.ArgumentParser(prog="python -m benchmarks.template", description=summary)
    parser.add_argument("--data", type=Path, default=default_data() / FOLDER, metavar="FOLDER")
    parser.add_argument("--threads", type=int, default=usable_cores(), metavar="N")
    parser.add_argument("--out", type=Path, default=OUT, metavar="FILE", help="the page")
    return parser


if __name__ == "__main__":
    sys.exit(main())

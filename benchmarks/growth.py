"""Real growth: longimorph's results for two glioblastomas, beside the images.

python -m benchmarks.growth    two patients, some minutes; needs the public data beside the repository
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from benchmarks import growth_data, growth_figure, growth_texts, report, truth_runs
from benchmarks.phantoms.maps import default_data
from longimorph.alignment.align import align_patient
from longimorph.geometry.grid import Grid, crop
from longimorph.io import atomic
from longimorph.maps import simplex
from longimorph.numerics.register import Registration, register
from longimorph.numerics.shooting import Divergence
from longimorph.stages.align import align_settings
from longimorph.study import presets
from longimorph.study.config import defaults
from longimorph.study.control import free_pairs

OUT = Path("docs/benchmarks/growth.md")
PATIENTS = ("01", "05")
PRESETS = ("open", "growth", "lesion", "atrophy")
VISITS = ("Pre", "Post")
SPACING_MM = 3.0
_AROUND_MM = 20.0
_CLASSES = growth_data.CLASSES


@dataclass(frozen=True, eq=False)
class Tumour:
    """Both visits on one grid: maps (C, i, j, k) that sum to 1 and images (i, j, k)."""

    name: str
    grid: Grid
    maps: tuple[NDArray[np.float32], NDArray[np.float32]]
    images: tuple[NDArray[np.float32], NDArray[np.float32]]
    rotation_deg: float
    translation_mm: float


def main(arguments: Sequence[str] | None = None) -> int:
    """Register both patients with each preset, then write the page and its pictures."""
    options = _parser().parse_args(arguments)
    torch.set_num_threads(1)
    parts = [report.heading("Growth of two glioblastomas", "make bench-growth", 1), growth_texts.HEAD]
    folders = {name: options.data / "gbm_progression" / name for name in options.patients}
    missing = [str(folder) for folder in folders.values() if not folder.is_dir()]
    if missing:
        where = "docs/benchmarks/README.md says where the scans come from"
        sys.stderr.write(f"Nothing was written: there is no {' and no '.join(missing)}; {where}\n")
        return 1
    for name, folder in folders.items():
        patient = prepare(name, folder)
        parts.append(section(patient, options.out))
    atomic.write_text(options.out, "\n".join(parts))
    sys.stdout.write(f"Report: {options.out}\n")
    return 0


def prepare(name: str, folder: Path) -> Tumour:
    """Align the visits half-way between them; maps and images on a grid around the tumour."""
    scans = {visit: growth_data.read_tumour(folder, visit) for visit in VISITS}
    usual = align_settings({**asdict(defaults()), "threads": 1})
    found = align_patient(
        scans, replace(usual, spacing_mm=SPACING_MM), len(_CLASSES.names), _CLASSES.background
    )
    failed = [visit.failure.message for visit in found.visits.values() if visit.failure is not None]
    if failed or found.grid is None:
        raise RuntimeError(f"patient {name} cannot be aligned: {'; '.join(failed)}")
    matrices = [matrix for visit in VISITS if (matrix := found.visits[visit].matrix) is not None]
    settings, grid = defaults(), found.grid
    seen = [
        simplex.field_of_view(scans[v].label_grid, m, grid) for v, m in zip(VISITS, matrices, strict=True)
    ]

    def maps_on(where: Grid) -> list[NDArray[np.float32]]:
        return [
            simplex.simplex_maps(scans[v].labels, scans[v].label_grid, m, where, len(_CLASSES.names),
                                 _CLASSES.background, settings.smoothing_mm, settings.floor)
            for v, m in zip(VISITS, matrices, strict=True)
        ]  # fmt: skip

    grid = around(maps_on(grid), np.minimum(*seen), grid)
    images = [
        simplex.image_means(scan.image, scan.image_grid, m, grid)
        for scan, m in zip(scans.values(), matrices, strict=True)
        if scan.image is not None and scan.image_grid is not None
    ]
    source, target = maps_on(grid)
    motion = np.linalg.inv(matrices[0]) @ matrices[1]
    turn = float(np.degrees(np.arccos(np.clip((np.trace(motion[:3, :3]) - 1) / 2, -1, 1))))
    middle = np.append(grid.centre(), 1.0)
    shift = float(np.linalg.norm((motion @ middle - middle)[:3]))
    return Tumour(name, grid, (source, target), (images[0], images[1]), turn, shift)


def around(maps: Sequence[NDArray[np.float32]], seen: NDArray[np.float32], grid: Grid) -> Grid:
    """The slices of a grid with tumour and adjacent ones, if both visits show the whole brain there."""
    tumour = max_over(maps, growth_data.ENHANCING) > 0.5
    held = np.flatnonzero(tumour.any(axis=(0, 1)))
    margin = round(_AROUND_MM / float(grid.spacing[2]))
    inside = np.maximum(*(1 - m[growth_data.OUTSIDE] for m in maps)) > 0.5
    whole = [_holds(inside[:, :, k], seen[:, :, k] > 0.99) for k in range(grid.shape[2])]
    low, high = held[0], held[-1] + 1
    while low > max(held[0] - margin, 0) and whole[low - 1]:
        low -= 1
    while high < min(held[-1] + 1 + margin, grid.shape[2]) and whole[high]:
        high += 1
    return crop(grid, (slice(None), slice(None), slice(int(low), int(high))))


def _holds(brain: NDArray[np.bool_], seen: NDArray[np.bool_]) -> bool:
    """Return whether a slice contains brain and all of it is in view."""
    return bool(brain.any() and seen[brain].all())


def max_over(maps: Sequence[NDArray[np.float32]], index: int) -> NDArray[np.float32]:
    """The larger of both visits' probabilities of a class."""
    return np.asarray(np.maximum(maps[0][index], maps[1][index]))


def section(patient: Tumour, out: Path) -> str:
    """A patient's tables and picture as Markdown; the picture is written beside ``out``."""
    sides = " × ".join(str(n) for n in patient.grid.shape)
    lines = [
        f"## Patient {patient.name}\n",
        f"Grid of {sides} voxels. Motion of the head between the visits: {patient.rotation_deg:.1f}° and "
        f"{patient.translation_mm:.1f} mm at the tumour's height.\n",
    ]
    others = []
    for preset in PRESETS:
        try:
            found, seconds = run(patient, preset)
        except Divergence as failure:
            others.append(f"| {preset} | no result: {failure} | | | |")
            continue
        rows = change(patient, found)
        sys.stdout.write(f"{patient.name} {preset}: {seconds:.0f} s\n{table(rows)}")
        sys.stdout.flush()
        if preset == PRESETS[0]:
            picture = out.with_name(f"growth-{patient.name}.png")
            growth_figure.draw(picture, patient.images, patient.maps, found.attribution, patient.grid)
            lines += [table(rows), health(found, seconds), f"![Patient {patient.name}]({picture.name})\n"]
        deformation, reallocation, left = rows["enhancing"][2:]
        told = found.uncertainty
        low, high = (
            float(bound[growth_data.ENHANCING]) / 1000
            for bound in (told.deformation_low, told.deformation_high)
        )
        others.append(
            f"| {preset} | {deformation:+.2f} | {low:+.2f} to {high:+.2f} "
            f"| {reallocation:+.2f} | {left:+.2f} |"
        )
    head = [
        "| preset | deformation | range | reallocation | unexplained |",
        "| --- | --- | --- | --- | --- |",
    ]
    return "\n".join(
        [
            *lines,
            "The enhancing class by preset, mL:\n",
            *head,
            *others,
            "",
            growth_texts.READING.get(patient.name, ""),
        ]
    )


def run(patient: Tumour, preset: str) -> tuple[Registration, float]:
    """Register the visits with a preset and the default settings; also the seconds that it took."""
    matrix, problems = presets.examine_presets(preset, _CLASSES)
    if matrix is None:
        raise RuntimeError("; ".join(str(problem) for problem in problems))
    source, target = (torch.from_numpy(maps) for maps in patient.maps)
    began = time.perf_counter()
    settings = truth_runs.numerical(defaults())
    shares, spacing = torch.from_numpy(matrix).float(), patient.grid.spacing.tolist()
    free = free_pairs(matrix, _CLASSES, settings.reallocation == "projected")
    found = register(source, target, shares, spacing, settings, free=free)
    return found, time.perf_counter() - began


def change(patient: Tumour, found: Registration) -> dict[str, tuple[float, ...]]:
    """Per class in mL: volume from and to, deformation, reallocation, unexplained."""
    parts = found.attribution
    source, target = patient.maps
    maps = (source, target, parts.deformation.numpy(), parts.reallocation.numpy())
    sums = [m.sum(axis=(1, 2, 3), dtype=np.float64) * patient.grid.voxel_volume / 1000 for m in maps]
    sums.append(sums[1] - sums[0] - sums[2] - sums[3])
    return {name: tuple(float(s[i]) for s in sums) for i, name in enumerate(_CLASSES.names)}


def table(rows: dict[str, tuple[float, ...]]) -> str:
    """The changes as a Markdown table."""
    head = (
        "| class, mL | before | after | deformation | reallocation | unexplained |\n" + "| --- " * 6 + "|\n"
    )
    return head + "".join(
        f"| {name} | {a:.2f} | {b:.2f} | {c:+.2f} | {d:+.2f} | {e:+.2f} |\n"
        for name, (a, b, c, d, e) in rows.items()
    )


def health(found: Registration, seconds: float) -> str:
    """Quality measures of the run, in a line."""
    return (
        f"{found.steps} steps, {found.evaluations} evaluations, {seconds:.0f} s; drift of H "
        f"{100 * found.drift:.2f} %, folded {100 * found.warps.folded:.3f} %.\n"
    )


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.growth", description=__doc__.split("\n")[0])
    parser.add_argument("--patients", nargs="+", default=list(PATIENTS), metavar="NN")
    parser.add_argument("--data", type=Path, default=default_data(), metavar="FOLDER", help="public data")
    parser.add_argument(
        "--out", type=Path, default=OUT, metavar="FILE", help="the page; pictures lie beside it"
    )
    return parser


if __name__ == "__main__":
    sys.exit(main())

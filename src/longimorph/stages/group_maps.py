"""Maps of the cohort on its template: each patient is resampled once, then averaged and tested.

A patient's pairs are averaged first, as change divided by years, so that a patient counts once.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import SimpleITK as sitk
from numpy.typing import NDArray

from longimorph.geometry.grid import FloatArray, Grid, bounding_box, crop
from longimorph.io.atomic import write_json
from longimorph.io.transforms import read_transform, transformed_centres
from longimorph.io.volumes import read_maps, read_scalar, write_maps, write_scalar
from longimorph.maps import group
from longimorph.maps.field_of_view import COMPARED
from longimorph.maps.group import Running, Smoother
from longimorph.stages.template import BRAIN, RECORD, TRANSFORM
from longimorph.stages.visits import read_json, remove
from longimorph.study import classes as class_tables
from longimorph.study.template import read_template
from longimorph.tables import group as tables
from longimorph.tables.closure import KINDS
from longimorph.verdict.status import read_status
from longimorph.verdict.trust import DAYS_PER_YEAR

STATISTICS = ("mean", "t", "p", "q")
FILES = tuple(f"{kind}_{what}.nii.gz" for kind in ("log_jacobian", *KINDS) for what in STATISTICS)
PATIENTS, GROUP = "patients.nii.gz", "group.json"
_SEEN = 0.99  # of the neighbours of a point
Slices = tuple[slice, slice, slice]


@dataclass(frozen=True)
class Member:
    """A patient on the template: the folder and the pairs that are done, each with its days."""

    folder: Path
    pairs: tuple[tuple[str, float], ...]

    @property
    def years(self) -> float:
        """Years that the pairs span, added up."""
        return sum(days for _, days in self.pairs) / DAYS_PER_YEAR


@dataclass(frozen=True, eq=False)
class _Place:
    """The part of the template in which there are maps: its grid, its slices, and its voxels (i, j, k)."""

    template: Grid
    slices: Slices
    support: NDArray[np.bool_]

    @property
    def grid(self) -> Grid:
        return crop(self.template, self.slices)

    def whole(self, values: NDArray[Any], outside: float) -> NDArray[np.float32]:
        """Values of the support (n,) as a volume on the template; NaN becomes ``outside`` too."""
        part = np.full(self.support.shape, outside, dtype=np.float32)
        part[self.support] = np.where(np.isfinite(values), values, outside)
        volume = np.full(self.template.shape, outside, dtype=np.float32)
        volume[self.slices] = part
        return volume


def group_maps(
    pairs: Mapping[str, Sequence[Mapping[str, Any]]],
    classes: str,
    labels: Sequence[Mapping[str, str]],
    files: Sequence[str],
    results: Path,
    out: Path,
    settings: Mapping[str, Any],
) -> None:
    """Write the maps of the cohort, their tables and ``group.json`` into ``out``.

    ``pairs``: the planned pairs of each patient (``from``, ``to``, ``days``); ``labels``: the classes with
    the names of their regions and states; ``files``: the template, and perhaps its mask; ``results``: the
    folder that holds the patients.
    """
    sitk.ProcessObject.SetGlobalDefaultNumberOfThreads(settings["threads"])
    remove(out / name for name in (*FILES, PATIENTS))
    names = class_tables.load_classes(classes).names
    records = {name: read_json(results / "patients" / name / RECORD) for name in pairs}
    members = {
        name: _member(results / "patients" / name, own)
        for name, own in pairs.items()
        if records[name]["status"] == "ok"
    }
    members = {name: member for name, member in members.items() if member.pairs}
    grid = read_template(Path(files[0]))[1]
    place = _place(grid, members)
    rows: list[dict[str, Any]] = []
    if place is not None:
        running = _running(members, place, len(names), settings["template_smoothing_mm"])
        rows = _write(running, place, names, len(members), out)
    tables.write_registrations(records, members, out)
    tables.write_maps(rows, out, labels)
    known = {"patients": list(members), "planned": len(pairs), "grid": grid.to_dict()}
    least = group.least_patients(len(members))
    write_json(out / GROUP, {**known, "least_patients": least, "tested": len(members) >= group.FEWEST})


def _member(folder: Path, pairs: Sequence[Mapping[str, Any]]) -> Member:
    """The patient with the pairs that are done."""
    named = [(f"{pair['from']}__{pair['to']}", float(pair["days"])) for pair in pairs]
    return Member(
        folder, tuple((name, days) for name, days in named if read_status(folder / name).ok and days > 0)
    )


def _place(template: Grid, members: Mapping[str, Member]) -> _Place | None:
    """The voxels of the template that lie in the brains of half of the patients; None if there are none."""
    count = np.zeros(template.shape, dtype=np.int32)
    for member in members.values():
        count += read_scalar(member.folder / BRAIN) >= 0.5
    support = count >= group.least_patients(len(members))
    slices = bounding_box(support, template)
    return _Place(template, slices, support[slices]) if members and slices is not None else None


def _running(members: Mapping[str, Member], place: _Place, classes: int, smoothing_mm: float) -> Running:
    """Means and spreads over the patients of log-Jacobian, deformation and reallocation, in this order."""
    running = Running(1 + len(KINDS) * classes, int(place.support.sum()))
    sigma = (smoothing_mm / place.grid.spacing).tolist()
    for member in members.values():
        points, seen, maps = _on_template(member, place)
        running.begin(seen[place.support])
        smooth = Smoother(seen, sigma)
        for index, volume in enumerate(maps):
            values = np.zeros(seen.shape)
            values[seen] = group.sampled(volume, points[:, seen])
            running.add(index, smooth(values)[place.support])
    return running


def _on_template(
    member: Member, place: _Place
) -> tuple[FloatArray, NDArray[np.bool_], Iterator[NDArray[np.float64]]]:
    """Where each voxel of the place lies in the patient's grid, whether it is seen, and the maps."""
    maps, compared = _rates(member)
    grid = Grid.from_dict(read_json(member.folder / "alignment.json")["grid"])
    world = transformed_centres(read_transform(member.folder / TRANSFORM), place.grid)
    points = np.moveaxis(grid.world_to_index(np.moveaxis(world, 0, -1)), -1, 0)
    seen = read_scalar(member.folder / BRAIN)[place.slices] >= 0.5
    seen[seen] = group.sampled(compared.astype(np.float32), points[:, seen]) > _SEEN
    return points, seen, iter(maps)


def _rates(member: Member) -> tuple[NDArray[np.float64], NDArray[np.bool_]]:
    """The patient's maps (1 + 2 C, i, j, k) per year, and the voxels in which any pair was compared.

    They are log-Jacobian, deformation of each class and reallocation of each class: what the pairs that were
    compared in a voxel add up to, divided by the years that they span.
    """
    total: NDArray[np.float64] | None = None
    years: NDArray[np.float64] | None = None
    for name, days in member.pairs:
        folder = member.folder / name
        own = _maps_of(folder)
        weight = folder / "compared.nii.gz"
        seen = read_scalar(weight) >= COMPARED if weight.exists() else np.ones(own.shape[1:], dtype=bool)
        total = own * seen if total is None else total + own * seen
        span = seen.astype(np.float64) * (days / DAYS_PER_YEAR)
        years = span if years is None else years + span
    assert total is not None and years is not None
    return total / np.maximum(years, 1e-9), years > 0


def _maps_of(folder: Path) -> NDArray[np.float64]:
    kinds = [read_maps(folder / f"{kind}.nii.gz")[0] for kind in KINDS]
    growth = read_scalar(folder / "log_jacobian.nii.gz")[None]
    return np.concatenate([growth, *kinds]).astype(np.float64)


def _write(
    running: Running, place: _Place, names: Sequence[str], patients: int, out: Path
) -> list[dict[str, Any]]:
    """Write the number of patients and every map; return the rows of the table of maps."""
    enough = running.count >= group.least_patients(patients)
    write_scalar(out / PATIENTS, place.whole(running.count, 0).astype(np.int32), place.template)
    rows = []
    for kind, indices in _layout(len(names)).items():
        own = [_statistics(running, index, enough) for index in indices]
        for what in STATISTICS if patients >= group.FEWEST else STATISTICS[:1]:
            outside = 1.0 if what in ("p", "q") else 0.0
            volumes = np.stack([place.whole(found[what], outside) for found in own])
            file = out / f"{kind}_{what}.nii.gz"
            if kind == "log_jacobian":
                write_scalar(file, volumes[0], place.template)
            else:
                write_maps(file, volumes, place.template)
        labels = [""] if kind == "log_jacobian" else names
        rows += [_row(kind, name, found, running, place) for name, found in zip(labels, own, strict=True)]
    return rows


def _layout(classes: int) -> dict[str, range]:
    """Which of the running maps belong to each kind."""
    kinds = {kind: range(1 + at * classes, 1 + (at + 1) * classes) for at, kind in enumerate(KINDS)}
    return {"log_jacobian": range(1), **kinds}


def _statistics(running: Running, index: int, enough: NDArray[np.bool_]) -> dict[str, NDArray[np.float64]]:
    """Mean, t, p and q (n,) of one map, NaN where there is none."""
    t = np.where(enough, running.t(index), np.nan)
    p = group.p_of_t(t, running.count)
    return {"mean": np.where(enough, running.mean(index), np.nan), "t": t, "p": p, "q": group.q_of_p(p)}


def _row(
    kind: str, name: str, found: Mapping[str, NDArray[np.float64]], running: Running, place: _Place
) -> dict[str, Any]:
    """A row of the table of maps: extent, amount, discoveries, and where t is farthest from 0."""
    mean, t, sure = found["mean"], found["t"], found["q"] < group.DISCOVERY
    known, tested = np.isfinite(mean), np.isfinite(t)
    row: dict[str, Any] = {
        "map": kind,
        "class": name,
        "patients": int(running.count.max(initial=0)),
        "voxels": int(known.sum()),
        "tested_voxels": int(tested.sum()),
        "growth_voxels": int((sure & (t > 0)).sum()),
        "loss_voxels": int((sure & (t < 0)).sum()),
        "mean_per_year": float(mean[known].mean()) if known.any() else None,
    }
    if kind in KINDS:
        row["sum_mm3_per_year"] = float(mean[known].sum() * place.grid.voxel_volume)
    if tested.any():
        at = int(np.nanargmax(np.abs(t)))
        index = np.argwhere(place.support)[at]
        row |= {"t_extreme": float(t[at]), "q_least": float(np.nanmin(found["q"]))}
        row |= dict(zip(("x_mm", "y_mm", "z_mm"), place.grid.index_to_world(index).tolist(), strict=True))
    return row

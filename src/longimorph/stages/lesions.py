"""The table of a patient's single lesions, from the labels of the visits and the maps of the pairs.

It registers nothing, so that a change of what counts as a lesion repeats no registration.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from longimorph.geometry.grid import FloatArray, Grid
from longimorph.io.transforms import read_displacement
from longimorph.io.volumes import read_maps, read_scalar
from longimorph.maps import lesion_matching, lesion_regions
from longimorph.maps import lesions as single
from longimorph.maps.field_of_view import COMPARED, NOT_COMPARED, View, share
from longimorph.maps.lattice import Lattice
from longimorph.maps.lesion_matching import Flow, Group
from longimorph.maps.lesion_tracks import tracks
from longimorph.maps.lesions import Lesions
from longimorph.report import paging
from longimorph.stages.visits import classes_of, read_json, visit_of
from longimorph.study import classes as class_tables
from longimorph.study.classes import ClassTable
from longimorph.tables import columns
from longimorph.tables import lesions as table
from longimorph.tables.lesions import LesionRow
from longimorph.verdict.status import read_status

Names = tuple[str, str]


@dataclass(frozen=True, eq=False)
class _Scan:
    """A visit's own classes (i, j, k), their grid, and the motion from the common space to it."""

    index: NDArray[np.int16]
    grid: Grid
    matrix: FloatArray


def lesions(
    visits: Sequence[Mapping[str, Any]],
    pairs: Sequence[Mapping[str, Any]],
    classes: str,
    names: Sequence[Mapping[str, str]],
    out: Path,
) -> None:
    """Write ``out``, a row per lesion and pair, from the results in its folder.

    ``visits``: records of the patient's visits in order of time; ``pairs``: rows of ``pairs.csv``; ``names``:
    dicts with ``class``, ``region`` and ``state``, for the dictionary. A failed pair has a row for each
    pathological class, with its failure.
    """
    known, folder = class_tables.load_classes(classes), out.parent
    order = [str(visit["timepoint"]) for visit in visits]
    failed = {_names(pair): read_status(_folder(folder, pair)).status for pair in pairs}
    failed = {names: status for names, status in failed.items() if status != "ok"}
    done = [pair for pair in pairs if _names(pair) not in failed]
    ill = [index for index, pathological in enumerate(known.pathological) if pathological]
    needed = {name for pair in done for name in _names(pair)} if ill else set()
    scans = {v["timepoint"]: _scan(v, known, folder) for v in visits if v["timepoint"] in needed}
    found: dict[tuple[Names, int], pd.DataFrame] = {}
    for index in ill:
        rows = _class(index, known, scans, order, done, pairs, folder)
        found |= {(names, index): own for names, own in rows.items()}
    frames = []
    for pair in pairs:
        for index in ill:
            if _names(pair) in failed:
                own = {name: str(pair[name]) for name in columns.PAIR}
                frames.append(table.failed_row(own, known.names[index], failed[_names(pair)]))
            else:
                frames.append(found[_names(pair), index])
    whole = columns.stack(frames, columns.LESIONS)
    table.write_lesions(table.named(whole, _in_time(whole, order)), names, out)


def _names(pair: Mapping[str, Any]) -> Names:
    return str(pair["from"]), str(pair["to"])


def _folder(patient: Path, pair: Mapping[str, Any]) -> Path:
    return patient / "__".join(_names(pair))


def _in_time(rows: pd.DataFrame, order: Sequence[str]) -> list[int]:
    """The rows in order of their later visit, so that a further visit renames no lesion."""
    at = {name: place for place, name in enumerate(order)}
    ends = [(at[end], at[start]) for start, end in zip(rows["from"], rows["to"], strict=True)]
    return sorted(range(len(rows)), key=lambda row: ends[row])


def _scan(visit: Mapping[str, Any], known: ClassTable, folder: Path) -> _Scan:
    own = read_json(folder / "alignment.json")["visits"][visit["timepoint"]]
    index, grid = classes_of(visit_of(visit), known)
    return _Scan(index, grid, np.array(own["matrix"]))


@dataclass(frozen=True, eq=False)
class _Pair:
    """One class in one pair: the lesions of both visits with their tracks, the folder and the page."""

    source: Lesions
    target: Lesions
    tracks: tuple[Sequence[int], Sequence[int]]
    groups: Sequence[Group]
    folder: Path
    page: str


@dataclass(frozen=True, eq=False)
class _Maps:
    """One class in one pair, (i, j, k) each: probability at both visits as compared, and both changes.

    ``weight``: what was compared, None for all; ``reach_mm``: how far smoothing spreads a lesion.
    """

    before: NDArray[np.float32]
    after: NDArray[np.float32]
    moved: NDArray[np.float32]
    changed: NDArray[np.float32]
    weight: NDArray[np.float32] | None
    reach_mm: float

    @property
    def gross(self) -> NDArray[np.float32]:
        """All that changed in a voxel, whatever its sign and kind."""
        rest = self.after - self.before - self.moved - self.changed
        return np.asarray(np.abs(self.moved) + np.abs(self.changed) + np.abs(rest))


def _class(
    index: int,
    known: ClassTable,
    scans: Mapping[str, _Scan],
    order: Sequence[str],
    done: Sequence[Mapping[str, Any]],
    pairs: Sequence[Mapping[str, Any]],
    folder: Path,
) -> dict[Names, pd.DataFrame]:
    """The rows of one class for each pair that is done."""
    if not done:
        return {}
    lattice = Lattice.of(Grid.from_dict(read_json(folder / "alignment.json")["grid"]))
    found = {name: _found(scan, index, lattice) for name, scan in scans.items()}
    groups: dict[Names, list[Group]] = {}
    for pair in done:
        first, last = _names(pair)
        flow = _flow(_folder(folder, pair), lattice)
        groups[first, last] = lesion_matching.match(found[first], found[last], flow)
    own = tracks(order, found, groups)
    rows = {}
    for place, names in enumerate(map(_names, pairs)):
        if names not in groups:
            continue
        first, last = names
        at, page = folder / "__".join(names), paging.page_of(place, len(pairs))
        pair_of = _Pair(found[first], found[last], (own[first], own[last]), groups[names], at, page)
        maps = _maps(at, (folder / first, folder / last), index, known.background)
        changes = columns.read_table(at / "changes.csv")
        whole = changes[changes["class"] == known.names[index]].iloc[0].to_dict()
        rows[names] = _rows(pair_of, maps, lattice, whole)
    return rows


def _found(scan: _Scan, index: int, lattice: Lattice) -> Lesions:
    mask = lattice.mask(scan.index, scan.grid, scan.matrix, index)
    return single.find(mask, lattice.fine, scan.grid.voxel_volume ** (1 / 3))


def _flow(folder: Path, lattice: Lattice) -> Flow:
    back, ahead = (read_displacement(folder / f"{name}.nii.gz")[0] for name in ("warp", "inverse_warp"))
    return Flow(lattice, back, ahead)


def _maps(folder: Path, visits: tuple[Path, Path], index: int, background: int | None) -> _Maps:
    """Read the maps of one class, and the background's as far as it decides what was compared."""
    wanted = [index] if background is None else [index, background]
    (before, grid), (after, _) = (read_maps(visit / "simplex.nii.gz", wanted) for visit in visits)
    records = [read_json(visit / "qc.json")["view"] for visit in visits]
    views = View.from_dict(records[0]), View.from_dict(records[1])
    before, after, _ = share((before, after), grid, views, None if background is None else 1)
    moved, changed = (
        read_maps(folder / f"{kind}.nii.gz", [index])[0][0] for kind in ("deformation", "reallocation")
    )
    weight = folder / "compared.nii.gz"
    seen = read_scalar(weight) if weight.exists() else None
    reach_mm = max(view.reach_mm for view in views) + float(grid.spacing.max())
    return _Maps(before[0], after[0], moved, changed, seen, reach_mm)


def _rows(pair: _Pair, maps: _Maps, lattice: Lattice, whole: Mapping[Any, Any]) -> pd.DataFrame:
    """The rows of a class in a pair; ``whole`` is the class's row of ``changes.csv``."""
    places = lesion_regions.regions(pair.groups, pair.source, pair.target, lattice, maps.reach_mm)
    sums = [places.sums(one).tolist() for one in (maps.before, maps.after, maps.moved, maps.changed)]
    gross = places.sums(maps.gross)
    shares = gross / max(gross.sum(), np.finfo(np.float64).tiny)
    seen = np.ones(len(pair.groups)) if maps.weight is None else places.means(maps.weight)
    rows = []
    for number, group in enumerate(pair.groups):
        before, after, moved, changed = (one[number] for one in sums)
        own = _Sums(before, after, moved, changed, float(shares[number]), float(seen[number]))
        rows.append(_row(pair, group, own, lattice))
    return table.class_rows(whole, rows, float(shares[-1]))


@dataclass(frozen=True)
class _Sums:
    """Sums over the region of a lesion, mm³; its share of all change, and how much of it was compared."""

    before: float
    after: float
    moved: float
    changed: float
    share: float
    seen: float


def _row(pair: _Pair, group: Group, own: _Sums, lattice: Lattice) -> LesionRow:
    source, target = pair.source, pair.target
    known_to = lesion_matching.uncertainty(group, source, target)
    event = lesion_matching.event(group, source, target, own.after - own.before, known_to)
    at = lesion_matching.place(group, source, target)
    x, y, z = lattice.fine.index_to_world(at).tolist()
    i, j, k = np.rint(lattice.to_grid(at[:, None])[:, 0]).astype(int).tolist()
    first = _tracks(group.source, source, pair.tracks[0])
    last = _tracks(group.target, target, pair.tracks[1])
    return LesionRow(
        event=event if own.seen >= COMPARED else NOT_COMPARED,
        own=(first, last),
        volumes=(own.before, own.after),
        deformation=own.moved,
        reallocation=own.changed,
        change_uncertainty=known_to,
        share=own.share,
        place_mm=(x, y, z),
        voxel=(i, j, k),
        page=pair.page + paging.place(pair.folder.name, (x, y, z)),
    )


def _tracks(numbers: Sequence[int], found: Lesions, own: Sequence[int]) -> tuple[int, ...]:
    """The tracks of a group's lesions at one visit, the largest first.

    Lesions too small to count are left out unless there is no other.
    """
    order = sorted(numbers, key=lambda number: -found.volumes[number - 1])
    large = [number for number in order if found.large[number - 1]]
    return tuple(own[number - 1] for number in large or order[:1])

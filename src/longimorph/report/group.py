"""The page of the maps of the cohort on its template."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import quote

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from longimorph.geometry.grid import Grid, bounding_box
from longimorph.maps.group import DISCOVERY
from longimorph.report.maps import Bytes, Floats, class_maps, scalar, windowed
from longimorph.report.page import Builder, viewer_library, viewer_licence, write_page
from longimorph.report.volumes import Box, coarsenings, nifti_text, sides, size
from longimorph.study.classes import BACKGROUND, ClassTable
from longimorph.tables import columns
from longimorph.verdict.trust import DISTRUST

_VOLUMES_BYTES = 9_000_000
_COARSEST = 16**3
_MARGIN_MM = 6.0
_LEAST_PERCENT, _LEAST_T = 0.1, 2.0
"""The smallest ends of the colour scales: percent per year, and t."""
TITLES = {"log_jacobian": "local volume", "deformation": "deformation", "reallocation": "reallocation"}


@dataclass(frozen=True)
class Shown:
    """The input of the viewer, and the voxel sizes here and in the files, as text."""

    data: dict[str, Any]
    shown: str
    own: str


@dataclass(frozen=True)
class GroupResults:
    """What the folder of the maps holds: its record, the tables, and the names of classes to show."""

    record: Mapping[str, Any]
    registrations: pd.DataFrame
    maps: pd.DataFrame
    folder: Path

    @property
    def patients(self) -> int:
        """Number of patients in the maps."""
        return len(self.record["patients"])


def group_report(
    classes: ClassTable, template: tuple[Floats, Grid], verdicts: Path, folder: Path, out: Path
) -> None:
    """Write the page ``out`` from the maps and tables in ``folder`` and the table of the pairs' ``verdicts``;
    ``template`` along right, front, up.
    """
    known = load_group_results(folder)
    build = Builder()
    packed = build.part("The volume viewer", pack, known, classes, template, _VOLUMES_BYTES)
    viewer = packed if isinstance(packed, Shown) else None
    write_page(
        out,
        "group.html",
        ["volumes.js", "group.js"] if viewer else [],
        known=known,
        patients=known.record["patients"],
        missing=_missing(known),
        distrusted=_distrusted(known, columns.read_table(verdicts)),
        odd=int((known.registrations["verdict"] == "look").sum()),
        registrations=[_registration(row) for row in known.registrations.to_dict("records")],
        maps=[_map(row, known) for row in known.maps.to_dict("records") if row["class"] != BACKGROUND],
        packed=viewer,
        no_viewer=None if viewer else packed,
        library=viewer_library() if viewer else "",
        licence=viewer_licence(),
        problems=build.problems,
    )


def load_group_results(folder: Path) -> GroupResults:
    """Read the record and the tables."""
    record = json.loads((folder / "group.json").read_text(encoding="utf-8"))
    registrations, maps = (columns.read_table(folder / f"{name}.csv") for name in ("registrations", "maps"))
    return GroupResults(record, registrations, maps, folder)


def _missing(known: GroupResults) -> list[dict[str, str]]:
    """The patients that are not in the maps, with the reason."""
    rows = known.registrations[~known.registrations["patient"].isin(known.record["patients"])]
    return [
        {
            "patient": row["patient"],
            "why": "none of its pairs is done" if row["status"] == "ok" else row["status"],
        }
        for row in rows.to_dict("records")
    ]


def _distrusted(known: GroupResults, verdicts: pd.DataFrame) -> list[dict[str, str]]:
    """The pairs in the maps that are not to be trusted: patient, and both visits."""
    chosen = verdicts[verdicts["patient"].isin(known.record["patients"]) & (verdicts["verdict"] == DISTRUST)]
    return [
        {"patient": row["patient"], "visits": f"{row['from']} to {row['to']}"}
        for row in chosen.to_dict("records")
    ]


def _registration(row: Mapping[Any, Any]) -> dict[str, Any]:
    """The row of a patient, with numbers as text."""
    known = {**row, "folded_percent": _percent(row["folded_share"])}
    shown = {key: _text(known[key], form) for key, form in _FORMS.items()}
    return {"patient": row["patient"], "status": row["status"], "verdict": row["verdict"]} | {
        "remarks": row["remarks"], "driver": row["driver"], "pairs": row["pairs"], **shown,
    }  # fmt: skip


_FORMS = {
    "years": "{:.1f}",
    "mutual_information_rigid": "{:.2f}",
    "mutual_information_affine": "{:.2f}",
    "mutual_information_deformable": "{:.2f}",
    "overlap_rigid": "{:.2f}",
    "overlap_affine": "{:.2f}",
    "overlap_deformable": "{:.2f}",
    "scale": "{:.2f}",
    "deformable_mm": "{:.1f}",
    "folded_percent": "{:.2f}",
}


_COUNTS = ("tested", "growth", "loss")


def _map(row: Mapping[Any, Any], known: GroupResults) -> dict[str, Any]:
    """The row of a map, with numbers as text and the address that shows its extreme in the viewer."""
    counts = {key: int(row[f"{key}_voxels"]) if known.record["tested"] else "" for key in _COUNTS}
    place = ",".join(filter(None, (_text(row[key], "{:.1f}") for key in ("x_mm", "y_mm", "z_mm"))))
    return {
        "name": TITLES[row["map"]] + (f", {row['class']}" if row["class"] else ""),
        **counts,
        "mean": _text(_percent(row["mean_per_year"]), "{:+z.3f}").replace("-", "−"),
        "sum": _text(row["sum_mm3_per_year"], "{:+z.0f}").replace("-", "−"),
        "t": _text(row["t_extreme"], "{:+z.1f}").replace("-", "−"),
        "q": _text(row["q_least"], "{:.2g}"),
        "place": place.replace(",", ", ").replace("-", "−"),
        "link": f"#map={quote(row['map'] + ':' + row['class'])}&at={place}" if place else "",
    }


def _percent(cell: str) -> str:
    return "" if cell == "" else str(100 * float(cell))


def _text(cell: object, form: str) -> str:
    number = math.nan if cell == "" else float(str(cell))
    return form.format(number) if math.isfinite(number) else ""


def pack(
    known: GroupResults, classes: ClassTable, template: tuple[Floats, Grid], most_bytes: int
) -> Shown | None:
    """The template and all maps for the viewer, in at most ``most_bytes`` of base64; None without maps."""
    counted = known.folder / "patients.nii.gz"
    if not counted.exists():
        return None
    count, grid = scalar(counted)
    slices = bounding_box(count > 0, grid, _MARGIN_MM)
    if slices is None:
        return None
    least = 1.0
    for factors in coarsenings(tuple(float(side) for side in grid.spacing)):
        block = math.prod(factors)
        if block < least and block < _COARSEST:
            continue
        box = Box(grid, slices, factors)
        data = _data(known, classes, template[0], box)
        taken = size(data)
        if taken <= most_bytes or block >= _COARSEST:
            break
        least = block * taken / most_bytes
    return Shown(data, sides(tuple(map(float, box.shown.spacing))), sides(tuple(map(float, grid.spacing))))


def _data(known: GroupResults, classes: ClassTable, image: Floats, box: Box) -> dict[str, Any]:
    grey = np.rint(box.means(windowed(image, None))).astype(np.uint8)
    maps = []
    for kind in TITLES:
        means, tests = (_read(known.folder / f"{kind}_{what}.nii.gz") for what in ("mean", "t"))
        discovered = _read(known.folder / f"{kind}_q.nii.gz")
        for index, name in enumerate([""] if kind == "log_jacobian" else classes.names):
            if name != BACKGROUND and means is not None:
                own = None if tests is None or discovered is None else (tests[index], discovered[index])
                maps.append(_volumes(kind, name, means[index], own, box))
    return {"template": nifti_text(grey, box.shown), "maps": maps, "focus": _focus(known, box)}


def _read(file: Path) -> Floats | None:
    """Maps (C, i, j, k) along right, front, up; one for a file of one volume, None without the file."""
    if not file.exists():
        return None
    return scalar(file)[0][None] if file.name.startswith("log_jacobian") else class_maps(file)[0]


def _volumes(
    kind: str, name: str, mean: Floats, tests: tuple[Floats, Floats] | None, box: Box
) -> dict[str, Any]:
    """One map: mean in percent per year, t, and t where q is below the limit."""
    percent = box.means(100 * (np.expm1(mean) if kind == "log_jacobian" else mean))
    found: dict[str, Any] = {
        "id": f"{kind}:{name}",
        "label": TITLES[kind] + (f", {name}" if name else ""),
        "unit": "% of the tissue's volume per year" if kind == "log_jacobian" else "% of the voxel per year",
        "mean": _diverging(percent, _limit(percent, _LEAST_PERCENT), box.shown),
        "mean_limit": _limit(percent, _LEAST_PERCENT),
        "t": None,
        "sure": None,
        "t_limit": 0.0,
    }
    if tests is not None:
        t, sure = box.means(tests[0]), box.means((tests[1] < DISCOVERY).astype(np.float32)) >= 0.5
        limit = _limit(t, _LEAST_T)
        found |= {"t": _diverging(t, limit, box.shown), "t_limit": limit}
        if sure.any():
            found["sure"] = _diverging(np.where(sure, t, np.float32(0)), limit, box.shown)
    return found


def _limit(values: NDArray[np.floating[Any]], least: float) -> float:
    """The end of a colour scale: what nearly all values that are not 0 stay below."""
    some = np.abs(values[values != 0])
    return float(f"{max(float(np.percentile(some, 99)) if some.size else 0.0, least):.2g}")


def _diverging(values: NDArray[np.floating[Any]], limit: float, grid: Grid) -> str:
    step = limit / 126
    codes: Bytes = (np.clip(np.rint(values / step), -127, 127) + 128).astype(np.uint8)
    return nifti_text(codes, grid, step, -128 * step)


def _focus(known: GroupResults, box: Box) -> list[float]:
    """Where the t of the map with the smallest q is farthest from 0, else the middle of what is shown."""
    rows = known.maps[(known.maps["q_least"] != "") & (known.maps["class"] != BACKGROUND)]
    if len(rows):
        first = rows.iloc[int(rows["q_least"].astype(float).to_numpy().argmin())]
        return [float(first[key]) for key in ("x_mm", "y_mm", "z_mm")]
    return [round(float(x), 1) for x in box.shown.centre()]

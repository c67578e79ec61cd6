"""One person or two: similarity of aligned visits of one person and of different people.

python -m benchmarks.identity    some fifty pairs of real scans; finished alignments are kept
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import asdict
from itertools import combinations, repeat
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks import identity_data, identity_texts, report
from benchmarks.identity_data import PARCELS, TISSUES, TUMOUR, PublicVisit
from benchmarks.phantoms.maps import default_data
from longimorph.alignment.align import VisitVolumes, align_patient
from longimorph.geometry.grid import Grid
from longimorph.io import atomic
from longimorph.maps import simplex
from longimorph.stages.align import align_settings
from longimorph.study.config import defaults
from longimorph.verdict.likeness import likeness

OUT = Path("docs/benchmarks/identity.md")
KEPT = Path(".bench/identity")
ONE, TWO, OTHER_KIND = "one person", "two people", "one person, other kind of scan"
_DARK, _VENTRICLES = 1, PARCELS.index("ventricles")

Row = dict[str, Any]


def main(arguments: Sequence[str] | None = None) -> int:
    """Align and compare every pair, then write the page."""
    options = _parser().parse_args(arguments)
    known = identity_data.visits(options.data)
    if not known:
        where = "docs/benchmarks/README.md says where they come from"
        sys.stderr.write(f"Nothing was written: there are no scans in {options.data}; {where}\n")
        return 1
    rows = []
    with ProcessPoolExecutor(options.jobs) as pool:
        wanted = pairs(list(pool.map(identity_data.read_visits, known)))
        for row in pool.map(compare, *zip(*wanted, strict=True), repeat(options.kept)):
            report.say(json.dumps(row))
            rows.append(row)
    atomic.write_text(options.out, page(rows))
    report.say(f"Report: {options.out}")
    return 0


def pairs(visits: Sequence[PublicVisit]) -> list[tuple[PublicVisit, PublicVisit]]:
    """Both visits of each person; the first visits of different people whose scans are of one kind: every two
    of the healthy, each with a glioblastoma and the next, and the one with sclerosis and each healthy one;
    and, of one person, two kinds of scan.
    """
    alone = list(reversed({(v.person, v.kind): v for v in reversed(visits)}.values()))
    tumours = [v for v in alone if v.kind == TUMOUR]
    alike = [(a, b) for a, b in combinations(visits, 2) if a.person == b.person and a.kind == b.kind]
    others = [v for v in alone if v.kind != TUMOUR]
    strangers = [(a, b) for a, b in combinations(others, 2) if a.person != b.person and a.kind == b.kind]
    ring = list(zip(tumours, tumours[1:] + tumours[:1], strict=True)) if len(tumours) > 2 else []
    kinds = [(a, b) for a, b in combinations(alone, 2) if a.person == b.person]
    return [*alike, *strangers, *ring, *kinds]


def compare(first: PublicVisit, second: PublicVisit, kept: Path) -> Row:
    """Compare two visits after alignment at the default resolution."""
    same, kind = first.person == second.person, first.kind == second.kind
    row: Row = {"first": first.name, "second": second.name}
    row["group"] = TWO if not same else ONE if kind else OTHER_KIND
    found = aligned(first, second, kept)
    failed = [v["message"] for v in found["visits"].values() if v["status"] != "ok"]
    if failed or found["grid"] is None:
        return row | {"refused": failed[0]}
    grid = Grid.from_dict(found["grid"])
    matrices = [np.array(found["visits"][key]["matrix"]) for key in "ab"]
    pair = (first, second)
    images = [simplex.image_means(v.image, v.grid, m, grid) for v, m in zip(pair, matrices, strict=True)]
    seen = np.minimum(*(simplex.field_of_view(v.grid, m, grid) for v, m in zip(pair, matrices, strict=True)))
    whole = (seen > 0.99).astype(np.float32)

    def maps(labels: Sequence[np.ndarray], classes: int) -> tuple[np.ndarray, np.ndarray]:
        one, two = (simplex.simplex_maps(label, v.grid, m, grid, classes, 0)
                    for label, v, m in zip(labels, pair, matrices, strict=True))  # fmt: skip
        return one, two

    tissue = maps([v.tissue for v in pair], len(TISSUES))
    alike = likeness(tissue, (images[0], images[1]), grid, 0, (), whole)
    row |= alike.to_dict()
    row["dark_dice"] = dice(tissue, _DARK, whole)
    volumes = [float((m.argmax(axis=0) != 0)[whole > 0.5].sum()) for m in tissue]
    row["brain_change"] = 2 * (volumes[1] - volumes[0]) / sum(volumes)
    if first.parcels is not None and second.parcels is not None:
        parcels = maps([first.parcels, second.parcels], len(PARCELS))
        row["parcel_kappa"] = likeness(parcels, None, grid, 0, (), whole).kappa
        row["ventricle_dice"] = dice(parcels, _VENTRICLES, whole)
    return row


def aligned(first: PublicVisit, second: PublicVisit, kept: Path) -> dict[str, Any]:
    """The alignment of two visits, ``a`` and ``b``, as in alignment.json; kept from an earlier run."""
    file = kept / f"{first.name}--{second.name}.json".replace(" ", "_").replace(",", "")
    if file.exists():
        known: dict[str, Any] = json.loads(file.read_text(encoding="utf-8"))
        return known
    scans = {
        key: VisitVolumes(v.tissue, v.grid, v.image, v.grid)
        for key, v in zip("ab", (first, second), strict=True)
    }
    found = align_patient(
        scans, align_settings({**asdict(defaults()), "threads": 1}), len(TISSUES), 0
    ).to_dict()
    file.parent.mkdir(parents=True, exist_ok=True)
    atomic.write_json(file, found)
    return found


def dice(maps: tuple[np.ndarray, np.ndarray], index: int, seen: np.ndarray) -> float:
    """Dice of one class, of the most probable class per voxel."""
    one, two = ((m.argmax(axis=0) == index) & (seen > 0.5) for m in maps)
    return float(2 * (one & two).sum() / max(one.sum() + two.sum(), 1))


def page(rows: Sequence[Row]) -> str:
    """The page: ranges of each group, then every pair."""
    return "\n".join(
        [report.heading("One person or two", "make bench-identity", 1), identity_texts.page(rows)]
    )


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.identity", description=__doc__.split("\n")[0])
    parser.add_argument("--data", type=Path, default=default_data(), metavar="FOLDER", help="public data")
    parser.add_argument("--jobs", type=int, default=1, metavar="N", help="alignments at a time")
    parser.add_argument("--kept", type=Path, default=KEPT, metavar="FOLDER", help="finished alignments")
    parser.add_argument("--out", type=Path, default=OUT, metavar="FILE", help="the page")
    return parser


if __name__ == "__main__":
    sys.exit(main())

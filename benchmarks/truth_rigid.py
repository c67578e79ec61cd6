"""Pure head motion: two posed scans of one brain through alignment, maps and registration."""

from __future__ import annotations

import json
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch

from benchmarks.phantoms.subjects import subject
from benchmarks.truth_runs import KEY, TruthRun, pipeline_settings, text
from longimorph.demo import compare, scan
from longimorph.demo.anatomy import CLASSES
from longimorph.demo.cohort import class_table
from longimorph.demo.course import PhantomState
from longimorph.demo.scan import Scanner
from longimorph.io import atomic, volumes
from longimorph.stages.align import align
from longimorph.stages.maps import maps
from longimorph.stages.register import register
from longimorph.tables.closure import KINDS

ROTATION_DEG, SHIFT_MM = 6.0, 8.0
_SCANNERS = {
    "V1": Scanner((1.0, 1.0, 1.0), "RAS"),
    "V2": Scanner((1.3, 1.2, 1.2), "ASL", (-10.0, 4.0, 7.0), 12.0),
}
_SEED = 1


def measure(job: TruthRun, data: Path) -> dict[str, Any]:
    """Scan a brain in two random poses and run the pipeline on it; returns the job's row of the table."""
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        atomic.write_text(folder / "classes.tsv", class_table())
        visits = _scans(folder, job, data)
        _pipeline(folder, visits, job)
        status = json.loads((folder / "pair" / "status.json").read_text(encoding="utf-8"))
        if status["status"] != "ok":
            raise RuntimeError(f"head motion on {job.anatomy}: {status['status']}: {status['message']}")
        changes = pd.read_csv(folder / "pair" / "changes.csv")
    return dict(zip(KEY, job.key, strict=True)) | _row(changes, status, job.spacing)


def _scans(folder: Path, job: TruthRun, data: Path) -> list[dict[str, Any]]:
    """Write both visits; return their records in the form that the stages expect."""
    anatomy, rng, records = subject(job.anatomy, data), np.random.default_rng(_SEED), []
    middle = anatomy.origin + np.asarray(anatomy.classes.shape) / 2
    for timepoint, scanner in _SCANNERS.items():
        turn, shift = rng.uniform(-ROTATION_DEG, ROTATION_DEG, 3), rng.uniform(-SHIFT_MM, SHIFT_MM, 3)
        pose = scan.pose(turn, shift, middle)
        grid = scan.scan_grid(anatomy, scanner, pose)
        made = scan.render(anatomy, PhantomState(), grid, pose, seed=_SEED)
        record: dict[str, Any] = {"patient": "P", "timepoint": timepoint, "image": None, "states": None}
        for kind, volume in (("regions", made.regions), ("image", made.image)):
            if volume.any():
                record[kind] = str(folder / f"{timepoint}_{kind}.nii.gz")
                volumes.write_nifti(record[kind], volume, grid)
        records.append(record)
    return records


def _pipeline(folder: Path, visits: list[dict[str, Any]], job: TruthRun) -> None:
    classes, settings = str(folder / "classes.tsv"), pipeline_settings(job)
    align("P", visits, classes, folder, settings)
    for visit in visits:
        out = folder / visit["timepoint"]
        maps(visit, classes, folder / "alignment.json", out, settings)
    source, target = (folder / visit["timepoint"] / "qc.json" for visit in visits)
    pair = {"patient": "P", "from": "V1", "to": "V2", "days": 0.0, "years": 0.0}
    register(pair, classes, f"preset:{job.preset}", source, target, folder / "pair", settings)


def _row(changes: pd.DataFrame, status: dict[str, Any], spacing: int) -> dict[str, Any]:
    """The change measured although there is none, in % of the brain's volume."""
    parts = [changes[f"{kind}_mm3"].to_numpy() for kind in KINDS]
    brain = float(changes.loc[changes["class"] != CLASSES[-1], "volume_from_mm3"].sum())
    columns = [f"{kind}{what}_mm3" for kind in KINDS for what in ("", "_uncertainty")]
    return {
        "classes": " ".join(changes["class"]),
        **{column: text(changes[column].to_numpy()) for column in columns},
        **{f"true_{kind}_mm3": text(0.0 * part) for kind, part in zip(KINDS, parts, strict=True)},
        "true_mm3": 0.0,
        "brain_mm3": brain,
        "false_of_brain": 100 * sum(compare.gross(part) for part in parts) / brain,
        "drift": 100 * status["drift"],
        "folded": 100 * status["folded_share"],
        "inverse_voxels": status["inverse_consistency_mm"] / spacing,
        "steps": status["steps"],
        "evaluations": status["evaluations"],
        "converged": status["converged"],
        "mismatch_before": status["mismatch_before_mm3"],
        "mismatch_after": status["mismatch_after_mm3"],
        "seconds": status["seconds"],
    }

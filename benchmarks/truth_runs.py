"""One known pair, registered with the pipeline's defaults and compared with its truth."""

from __future__ import annotations

import time
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from benchmarks.phantoms.maps import KnownPair, make_pair
from longimorph.demo import compare
from longimorph.demo.course import Truth
from longimorph.numerics.attribution import flows_between
from longimorph.numerics.memory_strategies import STORE, Ladder
from longimorph.numerics.register import Registration, register
from longimorph.numerics.run import Run
from longimorph.numerics.solve import Settings
from longimorph.stages.register_settings import numerical_settings
from longimorph.study import presets
from longimorph.study.config import Config, defaults
from longimorph.study.control import free_pairs

FORWARD, SWAPPED = "forward", "swapped"
RIGID = "rigid"
KEY = ("anatomy", "case", "preset", "spacing_mm", "noise", "visits")


@dataclass(frozen=True)
class TruthRun:
    """One registration: a case on an anatomy at a spacing in mm, perhaps with noise, perhaps swapped.

    ``preset`` names the control matrix.
    """

    anatomy: str
    case: str
    spacing: int
    noise: int | None = None
    visits: str = FORWARD
    preset: str = "lesion"

    @property
    def key(self) -> tuple[str, ...]:
        """The texts that identify the job's row of the table."""
        noise = "" if self.noise is None else str(self.noise)
        return self.anatomy, self.case, self.preset, str(self.spacing), noise, self.visits


def numerical(settings: Config) -> Settings:
    """The settings of the numerics in a configuration."""
    return numerical_settings(asdict(settings))


def measure(job: TruthRun, data: Path) -> dict[str, Any]:
    """Run one job on one thread; returns its row of the table."""
    torch.set_num_threads(1)
    settings = defaults()
    pair = make_pair(job.case, job.spacing, job.anatomy, job.noise, data)
    source, target = pair.simplex(settings.smoothing_mm, settings.floor)
    truth = pair.truth
    if job.visits == SWAPPED:
        source, target, truth = target, source, backwards(truth)
    matrix, problems = presets.examine_presets(job.preset, pair.classes)
    if matrix is None:
        raise RuntimeError("; ".join(str(problem) for problem in problems))
    numerics = numerical(settings)
    free = free_pairs(matrix, pair.classes, numerics.reallocation == "projected")
    began = time.perf_counter()
    found = register(
        torch.from_numpy(source),
        torch.from_numpy(target),
        torch.from_numpy(matrix).float(),
        pair.grid.spacing.tolist(),
        numerics,
        Run(ladder=Ladder([STORE])),
        free=free,
    )
    seconds = time.perf_counter() - began
    row: dict[str, Any] = dict(zip(KEY, job.key, strict=True)) | {"classes": " ".join(pair.names)}
    row |= _against_truth(found, pair, truth, target - source)
    row |= _without_flow(found, pair, truth, (source, target), matrix)
    row |= {"forbidden": forbidden(found, matrix, row["true_mm3"])}
    row |= _health(found, min(pair.grid.spacing))
    return row | {"seconds": seconds, "voxels": source[0].size}


def backwards(truth: Truth) -> Truth:
    """The truth of the same course in reverse."""
    return Truth(-truth.deformation, -truth.reallocation, truth.volume_to, truth.volume_from)


def _against_truth(
    found: Registration, pair: KnownPair, truth: Truth, change: NDArray[np.float32]
) -> dict[str, Any]:
    """Measured and true volumes, and the errors in % of the gross true change and of the brain's volume.

    ``map_error``: by how much the change of the maps themselves misses the truth (sampling, noise).
    """
    parts = found.attribution
    deformation, reallocation, observed = (
        _volumes(torch.as_tensor(maps), pair) for maps in (parts.deformation, parts.reallocation, change)
    )
    error = compare.attribution_error(deformation, reallocation, truth)
    off = compare.gross(observed - (truth.volume_to - truth.volume_from))
    brain = float(truth.volume_from[:-1].sum())
    false = compare.gross(deformation - truth.deformation) + compare.gross(reallocation - truth.reallocation)
    return {
        "deformation_mm3": text(deformation),
        "reallocation_mm3": text(reallocation),
        "deformation_uncertainty_mm3": text(found.uncertainty.deformation.numpy()),
        "reallocation_uncertainty_mm3": text(found.uncertainty.reallocation.numpy()),
        "deformation_low_mm3": text(found.uncertainty.deformation_low.numpy()),
        "deformation_high_mm3": text(found.uncertainty.deformation_high.numpy()),
        "true_deformation_mm3": text(truth.deformation),
        "true_reallocation_mm3": text(truth.reallocation),
        "true_mm3": error.true_mm3,
        "brain_mm3": brain,
        "error": error.total,
        "false_deformation": error.deformation,
        "false_reallocation": error.reallocation,
        "unexplained": error.unexplained,
        "map_error": 100 * off / error.true_mm3 if error.true_mm3 else None,
        "false_of_brain": 100 * false / brain,
    }


def _without_flow(
    found: Registration,
    pair: KnownPair,
    truth: Truth,
    maps: tuple[NDArray[np.float32], NDArray[np.float32]],
    matrix: NDArray[np.float64],
) -> dict[str, Any]:
    """Errors when the control matrix alone splits a change, in % of the gross true change.

    ``control_alone``: all of the change, as if nothing had been registered. ``closed``: what the registration
    leaves unexplained, added to what it found. A matrix with open entries says nothing by itself.
    """
    if np.isnan(matrix).any():
        return {"control_alone": None, "closed": None}
    source, target = maps
    rest = target - found.attribution.modelled().numpy()
    alone, added = (by_matrix(change, matrix, pair.grid.voxel_volume) for change in (target - source, rest))
    parts = found.attribution.deformation, found.attribution.reallocation
    closed = [_volumes(part, pair) + more for part, more in zip(parts, added, strict=True)]
    return {
        "control_alone": compare.attribution_error(*alone, truth).total,
        "closed": compare.attribution_error(closed[0], closed[1], truth).total,
    }


def forbidden(found: Registration, matrix: NDArray[np.float64], true_mm3: float) -> float | None:
    """Reallocation between classes whose entry is 0.999 or more, in % of the gross true change."""
    flows = found.attribution.reallocation_flows.numpy()
    return 100 * float(flows[matrix >= 0.999].sum()) / true_mm3 if true_mm3 else None


def by_matrix(
    change: NDArray[np.float32], matrix: NDArray[np.float64], voxel_volume: float
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Deformation and reallocation, (C,) mm³ each, if a control matrix (C, C) alone split a change of maps.

    ``change`` (C, i, j, k) sums to zero over classes. In each voxel it is taken as flows from losing to
    gaining classes, and each flow is deformation to the share that its entry of the matrix says.
    """
    flows = flows_between(torch.as_tensor(change)).numpy() * voxel_volume
    deformation, reallocation = (part.sum(0) - part.sum(1) for part in (flows * matrix, flows * (1 - matrix)))
    return deformation, reallocation


def _health(found: Registration, spacing: float) -> dict[str, Any]:
    """Quality of the run; drift and folded share in %, inverse error in voxels."""
    moved = [
        found.momentum,
        found.warps.forward,
        found.attribution.deformation,
        found.attribution.reallocation,
    ]
    return {
        "drift": 100 * found.drift,
        "folded": 100 * found.warps.folded,
        "inverse_voxels": found.warps.inverse_error / spacing,
        "steps": found.steps,
        "evaluations": found.evaluations,
        "converged": found.converged,
        "exact_zero": not any(bool(values.any()) for values in moved),
        "mismatch_before": found.mismatch_before,
        "mismatch_after": found.mismatch_after,
    }


def _volumes(maps: torch.Tensor, pair: KnownPair) -> NDArray[np.float64]:
    """Sum over voxels per class, (C,) mm³."""
    sums: NDArray[np.float64] = maps.flatten(1).sum(1, dtype=torch.float64).numpy()
    return sums * pair.grid.voxel_volume


def text(values: NDArray[np.float64]) -> str:
    """Volumes in mm³ as a cell of the table."""
    return " ".join(f"{value:.1f}" for value in values)


def numbers(text: str) -> NDArray[np.float64]:
    """The volumes of a cell of the table, (C,) mm³."""
    return np.array([float(value) for value in text.split()])


def pipeline_settings(job: TruthRun) -> dict[str, Any]:
    """Every setting by its default, as the steps of the pipeline take them, on a CPU with one thread."""
    return asdict(defaults()) | {"spacing_mm": float(job.spacing), "device": "cpu", "threads": 1}

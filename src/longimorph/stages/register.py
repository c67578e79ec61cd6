"""Registration of one pair: from two probability maps to deformation and reallocation."""

from __future__ import annotations

import logging
import platform
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from torch import Tensor

import longimorph
from longimorph.errors import PairFailure, Unusable
from longimorph.footprint import FREE_MAPS, PAIR_PRICES_MAPS
from longimorph.free_pairs import FreePairs
from longimorph.geometry.grid import Grid
from longimorph.io.atomic import write_csv, write_json
from longimorph.io.contents import hashes
from longimorph.io.transforms import write_displacement
from longimorph.io.volumes import write_maps, write_scalar
from longimorph.memory import budget
from longimorph.memory.model import model
from longimorph.numerics.dice import dice
from longimorph.numerics.memory_strategies import out_of_memory
from longimorph.numerics.noise import Scale, label_noise
from longimorph.numerics.optimise import Iteration
from longimorph.numerics.register import Registration
from longimorph.numerics.register import register as match
from longimorph.numerics.run import Run
from longimorph.numerics.shooting import Divergence
from longimorph.numerics.solve import USUAL_KERNEL_MM, Settings
from longimorph.orchestration import heartbeat
from longimorph.resuming.resumable_run import FOLDER, ResumableRun
from longimorph.resuming.state import fingerprint
from longimorph.stages.evidence import evidence
from longimorph.stages.failing import failing
from longimorph.stages.register_settings import RegisterSettings
from longimorph.stages.visit_maps import Loaded, compared, load_visit_maps, not_compared, require_brain
from longimorph.stages.visits import remove
from longimorph.study import classes as class_tables
from longimorph.study import control as control_tables
from longimorph.tables import PairChanges, write_failed_pair, write_pair
from longimorph.verdict import trust
from longimorph.verdict.status import FILE, OK, PairStatus

LOGGER = logging.getLogger(__name__)

MAPS = (
    "momentum.nii.gz",
    "warp.nii.gz",
    "inverse_warp.nii.gz",
    "log_jacobian.nii.gz",
    "final_simplex.nii.gz",
    "deformation.nii.gz",
    "reallocation.nii.gz",
    "compared.nii.gz",
)
TABLES = ("changes.csv", "transitions.csv", "convergence.csv", FILE)
TRACE = (
    "spacing_mm",
    "iteration",
    "evaluations",
    "cost_mm3",
    "mismatch_mm3",
    "energy_mm3",
    "step_length",
)
MEMORY_CODES = ("gpu_memory", "memory")
"""Failures after which another attempt, with more memory, resumes from the saved state."""


@dataclass
class ConvergenceTrace:
    """Records every iteration of a registration and logs it immediately; ``most``: the cap on evaluations."""

    most: int
    rows: list[dict[str, float]] = field(default_factory=list)

    def __call__(self, spacing: float, iteration: Iteration) -> None:
        """Record an iteration on the level with this spacing in mm."""
        found = iteration.evaluation
        counts = (spacing, iteration.number, iteration.evaluations)
        values = (*counts, found.cost, found.mismatch, found.energy, iteration.step_length)
        self.rows.append(dict(zip(TRACE, values, strict=True)))
        LOGGER.info(heartbeat.iteration(*counts, self.most, found.cost))

    @property
    def longest(self) -> int:
        """Maximum number of iterations of one descent on the finest level."""
        finest = [row for row in self.rows if row["spacing_mm"] == self.rows[-1]["spacing_mm"]]
        return int(max((row["iteration"] for row in finest), default=0))

    def table(self) -> pd.DataFrame:
        """One row per iteration; empty when there is none."""
        return pd.DataFrame(self.rows, columns=list(TRACE))


def register(
    pair: Mapping[str, Any],
    classes: str,
    control: str,
    source: Path,
    target: Path,
    out: Path,
    settings: Mapping[str, Any],
) -> None:
    """Write all results of a pair into ``out``; on failure still the tables and ``status.json``.

    ``source`` and ``target`` are the ``qc.json`` of the two visits, beside their probability maps.
    """
    remove(out / name for name in (*MAPS, *TABLES))
    table = class_tables.load_classes(classes)
    given = RegisterSettings.of(settings)
    trace = ConvergenceTrace(given.numerical.max_evaluations)
    matrix = control_tables.load_control(control, table)
    free = control_tables.free_pairs(matrix, table, given.numerical.reallocation == "projected")
    status = PairStatus(pair["patient"], pair["from"], pair["to"])
    memory = None
    inputs = _present(qc.parent / n for qc in (source, target) for n in ("simplex.nii.gz", "image.nii.gz"))
    key = fingerprint(given.numerical, matrix.tolist(), free, list(inputs.values()))
    journal = ResumableRun(out / FOLDER, key, trace.rows)
    torch.set_num_threads(given.threads)
    try:
        with failing("register"):
            device = _device(given.device)
        with failing("register"), _failures(given.numerical.steps, device, lambda: memory):
            loaded = load_visit_maps(source, target, len(table.names), table.background, device)
            status = replace(status, **compared(loaded.shared, pair))
            require_brain(loaded.shared, pair, given.compared_min)
            memory = _memory(loaded, given, free)
            with journal:
                found = _match(loaded, (matrix, free), given.numerical, trace, memory, journal)
            noise = _noise(found, loaded, (matrix, free), given)
            changes, visits = _changes(found, loaded, noise), (source.parent, target.parent)
            done = replace(
                status,
                status=OK,
                **_health(found, loaded, table.names, len(trace.rows)),
                **evidence(found, loaded, changes, table, visits, trace.rows),
            )
            done = _with_verdict(done, not_compared(loaded.shared, pair))
            _write_maps(found, loaded, out)
            write_pair(out, pair, table.names, changes)
            status = replace(done, **memory.report(found.steps, trace.longest))
    except PairFailure as failure:
        used = memory.report(given.numerical.steps, trace.longest) if memory else {}
        status = _failed(replace(status, **used), failure)
        remove(out / name for name in MAPS)
        write_failed_pair(out, pair, table.names, failure.code)
    write_csv(out / "convergence.csv", trace.table())
    made = _provenance(inputs, control, given.recorded)
    status = replace(status, seconds=journal.seconds, attempts=journal.attempts, **made)
    write_json(out / FILE, status.to_dict())
    if status.status not in MEMORY_CODES:  # with more memory, another attempt resumes from here
        journal.delete()


def _present(files: Iterable[Path]) -> dict[str, str]:
    """The SHA-256 of the files that exist, by path."""
    return {name: sha256 for name, sha256 in hashes(files).items() if sha256}


def _memory(loaded: Loaded, given: RegisterSettings, free: tuple[FreePairs, ...]) -> budget.MemoryUse:
    steps, known = given.numerical.steps, model(given.memory_model)
    further = PAIR_PRICES_MAPS if given.numerical.reallocation == "pairs" else 0
    further += FREE_MAPS * len(free)
    return budget.begin(loaded.source, loaded.device, steps, given.memory_mb, known, further)


def _device(name: str) -> torch.device:
    if name == "cuda" and not torch.cuda.is_available():
        message = "the configuration requires device 'cuda', but PyTorch finds no GPU; set device: auto"
        raise Unusable("no_gpu", message)
    return torch.device("cuda" if name != "cpu" and torch.cuda.is_available() else "cpu")


def _match(
    loaded: Loaded,
    control: tuple[np.ndarray, tuple[FreePairs, ...]],
    chosen: Settings,
    trace: ConvergenceTrace,
    memory: budget.MemoryUse,
    journal: ResumableRun,
) -> Registration:
    shares, spacing = torch.from_numpy(control[0]).to(loaded.source), loaded.grid.spacing.tolist()
    maps, run = (loaded.source, loaded.target), Run(trace, memory.ladder, journal, loaded.device)
    return match(*maps, shares, spacing, chosen, run, control[1])


@contextmanager
def _failures(
    steps: int | None, device: torch.device, memory: Callable[[], budget.MemoryUse | None]
) -> Iterator[None]:
    """Turn expected errors during matching and writing into what makes the pair unusable."""
    try:
        yield
    except Divergence as error:
        message = f"{error}; the visits may differ too much: check their alignment, or raise kernel_mm"
        raise Unusable("diverged", message) from error
    except (RuntimeError, MemoryError, OSError) as error:
        if not out_of_memory(error):
            raise
        raise _no_memory(steps, device, memory()) from error


def _no_memory(steps: int | None, device: torch.device, memory: budget.MemoryUse | None) -> Unusable:
    predicted = f" ({memory.predicted(steps) / 1e9:.1f} GB predicted)" if memory else ""
    kept = "delete this pair's status.json, and the next run continues from the last saved iteration"
    coarser = "A larger spacing_mm needs less memory, but starts from the beginning"
    if device.type == "cuda":
        message = f"the GPU ran out of memory{predicted}. With a larger GPU or the CPU, {kept}. {coarser}"
        return Unusable("gpu_memory", message)
    message = f"memory ran out{predicted}. With more memory for the job, {kept}. {coarser}"
    return Unusable("memory", message)


def _noise(
    found: Registration,
    loaded: Loaded,
    control: tuple[np.ndarray, tuple[FreePairs, ...]],
    given: RegisterSettings,
) -> np.ndarray:
    """Standard errors (3, C) in mm³ by the noise of the labels: deformation, reallocation, change."""
    kernel_mm = min(given.numerical.kernel_mm or USUAL_KERNEL_MM)
    scale = Scale(tuple(loaded.grid.spacing.tolist()), given.smoothing_mm, kernel_mm)
    maps, shares = (loaded.source, loaded.target), torch.from_numpy(control[0])
    told = label_noise(*maps, found.attribution, shares, scale, control[1])
    return torch.stack((told.deformation, told.reallocation, told.change)).cpu().numpy()


def _changes(found: Registration, loaded: Loaded, noise: np.ndarray) -> PairChanges:
    parts = found.attribution
    before, after, moved, changed = (
        _volumes(maps, loaded.grid)
        for maps in (loaded.source, loaded.target, parts.deformation, parts.reallocation)
    )
    flows = parts.deformation_flows.cpu().numpy(), parts.reallocation_flows.cpu().numpy()
    uncertainty = found.uncertainty
    uncertainties = (
        uncertainty.deformation,
        uncertainty.reallocation,
        uncertainty.closed_deformation,
        uncertainty.closed_reallocation,
        uncertainty.matrix_deformation,
        uncertainty.matrix_reallocation,
        uncertainty.deformation_low,
        uncertainty.deformation_high,
        uncertainty.reallocation_low,
        uncertainty.reallocation_high,
    )
    return PairChanges(before, after, moved, changed, *flows, torch.stack(uncertainties).cpu().numpy(), noise)


def _volumes(maps: Tensor, grid: Grid) -> np.ndarray:
    """Sum over voxels per class, in mm³, accumulated in float64."""
    sums: np.ndarray = maps.flatten(1).sum(1, dtype=torch.float64).cpu().numpy()
    return sums * grid.voxel_volume


def _health(found: Registration, loaded: Loaded, names: tuple[str, ...], iterations: int) -> dict[str, Any]:
    """Quality measures of the run for status.json; distances in mm, mismatch and H in mm³, drift relative."""
    final = found.attribution.modelled().cpu()
    dices = {
        f"dice_{when}": dict(zip(names, dice(maps, loaded.target).tolist(), strict=True))
        for when, maps in (("before", loaded.source), ("after", final))
    }
    return {
        "stop_reason": found.reason,
        "converged": found.converged,
        "drift": found.drift,
        **dices,
        "mismatch_before_mm3": found.mismatch_before,
        "mismatch_after_mm3": found.mismatch_after,
        "energy_mm3": found.energy,
        "folded_share": found.warps.folded,
        "inverse_consistency_mm": found.warps.inverse_error,
        "steps": found.steps,
        "iterations": iterations,
        "evaluations": found.evaluations,
        "device": _device_name(loaded.device),
    }


def _failed(status: PairStatus, failure: PairFailure) -> PairStatus:
    code, stage, timepoint = failure.code, failure.stage, failure.timepoint
    return replace(status, status=code, stage=stage, message=failure.message, timepoint=timepoint)


def _with_verdict(status: PairStatus, remarks: Sequence[str]) -> PairStatus:
    """The verdict without the parts that need dates; ``warnings`` holds its sentences and ``remarks``."""
    found = trust.judged(status)
    sentences = [reason["sentence"] for reason in found.verdict_reasons or ()]
    return replace(found, warnings=[*sentences, *(r for r in remarks if r not in sentences)])


def _device_name(device: torch.device) -> str:
    if device.type == "cuda":
        return str(torch.cuda.get_device_name(device))
    threads = torch.get_num_threads()
    return f"CPU, {threads} thread{'' if threads == 1 else 's'}"


def _write_maps(found: Registration, loaded: Loaded, out: Path) -> None:
    parts, grid = found.attribution, loaded.grid
    if loaded.shared.weight is not None:
        write_scalar(out / "compared.nii.gz", loaded.shared.weight, grid)
    named = {
        "momentum": found.momentum,
        "final_simplex": parts.modelled().cpu(),
        "deformation": parts.deformation,
        "reallocation": parts.reallocation,
    }
    for name, maps in named.items():
        write_maps(out / f"{name}.nii.gz", maps.cpu().numpy(), grid)
    for name, field_mm in (("warp", found.warps.forward), ("inverse_warp", found.warps.inverse)):
        write_displacement(out / f"{name}.nii.gz", field_mm.cpu().numpy(), grid)
    write_scalar(out / "log_jacobian.nii.gz", found.warps.log_jacobian.cpu().numpy(), grid)


def _provenance(inputs: Mapping[str, str], control: str, settings: Mapping[str, Any]) -> dict[str, Any]:
    versions = {"longimorph": longimorph.__version__, "torch": torch.__version__, "numpy": np.__version__}
    versions["python"] = platform.python_version()
    return {
        "settings": dict(settings),
        "control": control,
        "inputs_sha256": dict(inputs),
        "versions": versions,
    }

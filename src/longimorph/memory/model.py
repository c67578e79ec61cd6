"""The memory model: predicts peak bytes of a registration from its size, and selects a strategy that fits.

D is the size of one probability map, classes x voxels x 4 bytes. F is the size of a field with one number per
voxel, D / classes. N is the number of steps and M the number of pairs that L-BFGS keeps. In each phase of a
registration a strategy holds

    (a M + b N + w + s x) D + (g N + f + s y) F + c    bytes,

on the device and, separately, on the host; the peak is that of the most demanding phase. Where a volume is
traversed in slabs, s is the share of the volume in one slab. The coefficients are in ``model.json``, fitted
to measured peaks by ``longimorph memory fit``. Arithmetic only, no torch.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any

from longimorph.errors import LongimorphError
from longimorph.footprint import CARD_SLAB_BYTES, FEWEST_PLANES, PAIRS_KEPT, THINNEST_SHARE

MODEL_FILE = Path(__file__).with_name("model.json")

USUAL_STEPS = 20
"""Number of steps to assume where the run chooses it (it starts with 5)."""

PROCESS_BYTES = 1_200_000_000
"""Memory of a registration's process besides its tensors: Python, its libraries, and images as read. A model
fitted to a cohort has its own number.
"""
CUDA_HOST_BYTES = 2_000_000_000
"""Additional host memory of the CUDA libraries. A typical figure, not measured here."""
HOST_MAPS, RESULT_MAPS = 2, 6
"""Maps on the host when a GPU is used: the pair during registration; the pair and a result when writing."""

DEFAULT_STRATEGY = "checkpoint"
MARGIN = 0.1
"""Share of the free memory that is left unused."""

PHASES = ("rest", "evaluation", "direction", "solve", "attribution", "warps")
OPTIMISATION = PHASES[:4]
PLACES = ("device", "host", "both")
TERMS = (
    "maps_per_pair",
    "maps_per_step",
    "maps",
    "slab_maps",
    "fields_per_step",
    "fields",
    "slab_fields",
    "bytes",
)

MODEL_HINT = "fit it again with: longimorph memory fit"


@dataclass(frozen=True)
class Bytes:
    """Bytes on the device, bytes parked on the host, and the maximum of both together at one time."""

    device: int
    host: int
    both: int

    def most(self, other: Bytes) -> Bytes:
        """Return the element-wise maximum."""
        return Bytes(max(self.device, other.device), max(self.host, other.host), max(self.both, other.both))

    def less(self, device: int) -> Bytes:
        """Subtract ``device`` bytes from those on the device."""
        return Bytes(max(self.device - device, 0), self.host, max(self.both - device, 0))

    def needed(self, device: str) -> int:
        """Free memory required on a type of device: on a CPU, host and device share one memory."""
        return self.both if device == "cpu" else self.device


@dataclass(frozen=True)
class Size:
    """What determines a registration's memory; ``map_bytes`` is D, ``slab`` is s (see slab_share).

    ``further_maps`` are held on the device in every phase, beyond what the coefficients describe.
    """

    map_bytes: int
    classes: int
    steps: int
    pairs: int = PAIRS_KEPT
    slab: float = 0.075
    further_maps: int = 0

    def terms(self) -> tuple[float, ...]:
        """The factors of the coefficients, in the order of TERMS."""
        one_field = self.map_bytes / self.classes
        return (
            self.pairs * self.map_bytes,
            self.steps * self.map_bytes,
            self.map_bytes,
            self.slab * self.map_bytes,
            self.steps * one_field,
            one_field,
            self.slab * one_field,
            1.0,
        )


def slab_share(planes: int, map_bytes: int) -> float:
    """The share of a volume covered by a slab and its neighbouring planes on a GPU.

    The map has ``planes`` planes along its first axis and ``map_bytes`` bytes.
    """
    by_size = CARD_SLAB_BYTES * planes // map_bytes
    slab = max(FEWEST_PLANES, -(-planes // THINNEST_SHARE), by_size)
    return min(1.0, (slab + 2) / planes)


Coefficients = Mapping[str, float]
"""Coefficients by name (TERMS); missing ones are zero."""
Form = Mapping[str, Mapping[str, Coefficients]]
"""Coefficients of one strategy, by phase and place."""


@dataclass(frozen=True)
class Model:
    """Coefficients by type of device, strategy, phase and place; ``process`` bytes by type of device."""

    devices: Mapping[str, Mapping[str, Form]]
    process: Mapping[str, int] = field(default_factory=dict)

    def phases(self, strategy: str, size: Size, device: str = "cpu") -> dict[str, Bytes]:
        """Predict the peak of each phase."""
        forms = self.devices.get(device, self.devices["cpu"])
        if strategy not in forms:
            raise LongimorphError(f"The memory model does not know the strategy '{strategy}'; {MODEL_HINT}")
        terms = dict(zip(TERMS, size.terms(), strict=True))
        further = size.further_maps * size.map_bytes
        added = {"device": further, "host": 0, "both": further}
        return {
            phase: Bytes(*(round(sum(c * terms[t] for t, c in places[p].items())) + added[p] for p in PLACES))
            for phase, places in forms[strategy].items()
        }

    def peak(self, strategy: str, size: Size, device: str = "cpu", phases: Iterable[str] = PHASES) -> Bytes:
        """Predict the peak of the named phases, by default of the whole registration."""
        found, most = self.phases(strategy, size, device), Bytes(0, 0, 0)
        for phase in phases:
            most = most.most(found[phase])
        return most

    def process_bytes(self, device: str = "cpu") -> int:
        """Memory of the process besides its tensors."""
        usual = PROCESS_BYTES if device == "cpu" else PROCESS_BYTES + CUDA_HOST_BYTES
        return self.process.get(device, usual)

    def host_peak(self, strategy: str, size: Size, device: str = "cpu") -> int:
        """Predict the peak host memory of the whole process."""
        peak = self.peak(strategy, size, device)
        if device == "cpu":
            return self.process_bytes(device) + peak.both
        return self.process_bytes(device) + max(
            peak.host + HOST_MAPS * size.map_bytes, RESULT_MAPS * size.map_bytes
        )


@dataclass(frozen=True)
class Choice:
    """The strategy to start with, its memory, whether that is free, and all of this as a sentence."""

    strategy: str
    needed: int
    fits: bool
    reason: str


@cache
def model(path: Path | None = None) -> Model:
    """Read a model file, by default the package's; raises LongimorphError describing any fault."""
    path = path or MODEL_FILE
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise LongimorphError(f"{path}: the memory model cannot be read: {error.strerror}") from error
    except ValueError as error:
        raise LongimorphError(f"{path}: the memory model is not valid JSON: {error}; {MODEL_HINT}") from error
    devices = found.get("devices") if isinstance(found, dict) else None
    if not isinstance(devices, dict) or "cpu" not in devices:
        raise LongimorphError(f"{path}: 'devices' has no entry 'cpu'; {MODEL_HINT}")
    for device, forms in devices.items():
        _check(path, device, forms)
    process = found.get("process_bytes", {})
    if not isinstance(process, dict) or not all(isinstance(n, int) and n >= 0 for n in process.values()):
        text = "'process_bytes' must give a whole number of bytes for each type of device"
        raise LongimorphError(f"{path}: {text}; found {process!r}; {MODEL_HINT}")
    return Model(devices, process)


def _check(path: Path, device: str, forms: Any) -> None:
    """Raise unless every strategy has every phase and place, with finite numbers for known terms."""
    if not isinstance(forms, dict) or not forms:
        raise LongimorphError(f"{path}: 'devices.{device}' contains no strategies; {MODEL_HINT}")
    for strategy, phases in forms.items():
        for phase in PHASES:
            for place in PLACES:
                where = f"devices.{device}.{strategy}.{phase}.{place}"
                try:
                    terms = phases[phase][place].items()
                except (KeyError, TypeError, AttributeError):
                    raise LongimorphError(f"{path}: '{where}' is missing; {MODEL_HINT}") from None
                for term, value in terms:
                    good = isinstance(value, int | float) and math.isfinite(value)
                    if term not in TERMS or not good:
                        text = f"'{where}.{term}' must be a number, and its name one of {', '.join(TERMS)}"
                        raise LongimorphError(f"{path}: {text}; found {value!r}; {MODEL_HINT}")


def fitted(sizes: Sequence[Size], peaks: Sequence[int]) -> dict[str, float]:
    """Fit coefficients, by name, by least squares on the relative error; those that are zero are omitted.

    Coefficients are non-negative: memory never shrinks with size. The peak of a phase may stem from different
    operations at different sizes, and is then not linear; the constraint keeps predictions for other sizes
    plausible.
    """
    import numpy as np
    from scipy.optimize import nnls

    if not any(peaks):
        return {}
    weights = 1.0 / np.maximum(np.array(peaks, dtype=float), 1.0)
    rows = np.array([size.terms() for size in sizes]) * weights[:, None]
    scales = np.linalg.norm(rows, axis=0)
    scales[scales == 0] = 1.0
    solution, _ = nnls(rows / scales, np.ones(len(rows)))
    found = dict(zip(TERMS, (solution / scales).tolist(), strict=True))
    return {name: round(value, 5) for name, value in found.items() if abs(value) > 5e-6}


def choose(
    size: Size, free_bytes: int, ladder: Sequence[str], device: str = "cpu", known: Model | None = None
) -> Choice:
    """Select the fastest strategy of the ladder that leaves MARGIN of the free memory; else the last one."""
    known = known or model()
    for strategy in ladder:
        needed = known.peak(strategy, size, device).needed(device)
        fits = needed <= (1 - MARGIN) * free_bytes
        if fits:
            break
    reason = f"{strategy}: needs {needed / 1e9:.1f} GB of {free_bytes / 1e9:.1f} GB free"
    if not fits:
        reason += "; that may not be enough, but no strategy needs less"
    return Choice(strategy, needed, fits, reason)

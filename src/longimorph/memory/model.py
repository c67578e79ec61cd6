"""The memory model: peak bytes of a registration from its size alone, and the strategy that fits.

D is the size of one probability map, classes x voxels x 4 bytes, F that of a field of one number per voxel,
D / classes; N is the number of steps and M the pairs that L-BFGS keeps. In each phase of a registration a
strategy holds

    (a M + b N + w + s x) D + (g N + f + s y) F + c    bytes,

on the device and, apart, on the host; the peak is that of the phase that needs most. Where a volume is walked
in slabs, s is the share of it that one slab is. The coefficients are in ``model.json``, fitted to
measured peaks by ``longimorph memory fit``. Arithmetic only, no torch.
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

MODEL_FILE = Path(__file__).with_name("model.json")

USUAL_STEPS = 20
"""Steps to reckon with where the run chooses them itself (it begins with 5)."""

PAIRS_KEPT = 8
PROCESS_BYTES = 1_200_000_000
"""What the process of a registration takes besides its tensors: Python, its libraries, images as read. A
model that was fitted to a cohort has its own number."""
CUDA_HOST_BYTES = 2_000_000_000
"""What CUDA's libraries take of the host's memory besides. A usual figure, not measured here."""
HOST_MAPS, RESULT_MAPS = 2, 6
"""Maps on the host with a graphics card: the pair while it works; the pair and a result as it is written."""

DEFAULT_STRATEGY = "checkpoint"
MARGIN = 0.1
"""Share of the free memory that is left alone."""

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
THINNEST_SHARE, FEWEST_PLANES, CARD_SLAB_BYTES = 16, 2, 32 << 20
"""Planes of the slabs in which a card walks volumes, as in ``numerics.passes``: a share of the volume, the
fewest, and at least so many bytes of a map."""

MODEL_HINT = "make it anew with: longimorph memory fit"


@dataclass(frozen=True)
class Bytes:
    """Bytes on the device, parked on the host, and at most in both at one time."""

    device: int
    host: int
    both: int

    def most(self, other: Bytes) -> Bytes:
        """The larger of each."""
        return Bytes(max(self.device, other.device), max(self.host, other.host), max(self.both, other.both))

    def less(self, device: int) -> Bytes:
        """Without so many bytes on the device."""
        return Bytes(max(self.device - device, 0), self.host, max(self.both - device, 0))

    def needed(self, device: str) -> int:
        """What has to be free on a type of device: on a processor, host and device are one memory."""
        return self.both if device == "cpu" else self.device


@dataclass(frozen=True)
class Size:
    """What the memory of a registration depends on; ``map_bytes`` is D, ``slab`` is s (see slab_share)."""

    map_bytes: int
    classes: int
    steps: int
    pairs: int = PAIRS_KEPT
    slab: float = 0.075

    def terms(self) -> tuple[float, ...]:
        """What the coefficients, in the order of TERMS, are multiplied with."""
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
    """The share of a volume that a slab and its neighbours are on a card.

    The map has so many planes along its first axis, and so many bytes.
    """
    by_size = CARD_SLAB_BYTES * planes // map_bytes
    slab = max(FEWEST_PLANES, -(-planes // THINNEST_SHARE), by_size)
    return min(1.0, (slab + 2) / planes)


Coefficients = Mapping[str, float]
"""By name (TERMS); those that are missing are zero."""
Form = Mapping[str, Mapping[str, Coefficients]]
"""Of one strategy: by phase and place."""


@dataclass(frozen=True)
class Model:
    """The coefficients by type of device, strategy, phase and place; ``process`` bytes by type of device."""

    devices: Mapping[str, Mapping[str, Form]]
    process: Mapping[str, int] = field(default_factory=dict)

    def phases(self, strategy: str, size: Size, device: str = "cpu") -> dict[str, Bytes]:
        """Peak of each phase."""
        forms = self.devices.get(device, self.devices["cpu"])
        if strategy not in forms:
            raise LongimorphError(f"The memory model does not know the strategy '{strategy}'; {MODEL_HINT}")
        terms = dict(zip(TERMS, size.terms(), strict=True))
        return {
            phase: Bytes(*(round(sum(c * terms[t] for t, c in places[p].items())) for p in PLACES))
            for phase, places in forms[strategy].items()
        }

    def peak(self, strategy: str, size: Size, device: str = "cpu", phases: Iterable[str] = PHASES) -> Bytes:
        """Peak of the phases named, by default of the whole registration."""
        found, most = self.phases(strategy, size, device), Bytes(0, 0, 0)
        for phase in phases:
            most = most.most(found[phase])
        return most

    def process_bytes(self, device: str = "cpu") -> int:
        """What the process takes besides its tensors."""
        usual = PROCESS_BYTES if device == "cpu" else PROCESS_BYTES + CUDA_HOST_BYTES
        return self.process.get(device, usual)

    def host_peak(self, strategy: str, size: Size, device: str = "cpu") -> int:
        """Peak of the whole process in the host's memory."""
        peak = self.peak(strategy, size, device)
        if device == "cpu":
            return self.process_bytes(device) + peak.both
        return self.process_bytes(device) + max(
            peak.host + HOST_MAPS * size.map_bytes, RESULT_MAPS * size.map_bytes
        )


@dataclass(frozen=True)
class Choice:
    """The strategy to begin with, what it needs, whether that is free, and all of this as a sentence."""

    strategy: str
    needed: int
    fits: bool
    reason: str


@cache
def model(path: Path | None = None) -> Model:
    """Read a model file, by default the package's; raises LongimorphError that says what is wrong with it."""
    path = path or MODEL_FILE
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise LongimorphError(f"{path}: the memory model cannot be read: {error.strerror}") from error
    except ValueError as error:
        raise LongimorphError(f"{path}: the memory model is no JSON: {error}; {MODEL_HINT}") from error
    devices = found.get("devices") if isinstance(found, dict) else None
    if not isinstance(devices, dict) or "cpu" not in devices:
        raise LongimorphError(f"{path}: 'devices' with an entry 'cpu' is missing; {MODEL_HINT}")
    for device, forms in devices.items():
        _check(path, device, forms)
    process = found.get("process_bytes", {})
    if not isinstance(process, dict) or not all(isinstance(n, int) and n >= 0 for n in process.values()):
        text = "'process_bytes' should be whole numbers of bytes by type of device"
        raise LongimorphError(f"{path}: {text}; found {process!r}; {MODEL_HINT}")
    return Model(devices, process)


def _check(path: Path, device: str, forms: Any) -> None:
    """Raise unless every strategy has every phase and place, with finite numbers for known terms."""
    if not isinstance(forms, dict) or not forms:
        raise LongimorphError(f"{path}: 'devices.{device}' holds no strategies; {MODEL_HINT}")
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
                        text = f"'{where}.{term}' should be a number called one of {', '.join(TERMS)}"
                        raise LongimorphError(f"{path}: {text}; found {value!r}; {MODEL_HINT}")


def fitted(sizes: Sequence[Size], peaks: Sequence[int]) -> dict[str, float]:
    """Coefficients, by name, by least squares on the relative error; those that are zero are left out.

    None is negative: nothing is held the less for more of anything. Where a phase's peak is now one piece of
    work's and now another's, so no linear form, that keeps what is predicted for other sizes within reason.
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
    """The first strategy of the ladder, fastest first, that leaves MARGIN of what is free; else the last."""
    known = known or model()
    for strategy in ladder:
        needed = known.peak(strategy, size, device).needed(device)
        fits = needed <= (1 - MARGIN) * free_bytes
        if fits:
            break
    reason = f"{strategy}: needs {needed / 1e9:.1f} GB of {free_bytes / 1e9:.1f} GB free"
    if not fits:
        reason += "; that may not be enough, and nothing leaner is left"
    return Choice(strategy, needed, fits, reason)

"""Memory, time and disk requests of each job, from the headers of its images alone.

The estimates are conservative: they decide where a cluster places a job and when it stops it. ``plan``
reports the same numbers before anything runs.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from math import ceil, prod
from pathlib import Path

from longimorph.errors import InputError, Problem, Unusable
from longimorph.footprint import FINEST_MM, FREE_MAPS, PAIR_PRICES_MAPS
from longimorph.io.patterns import expanded, is_pattern
from longimorph.memory.model import PROCESS_BYTES, USUAL_STEPS, Size, slab_share
from longimorph.orchestration.placement import Placement, least_bytes, place, usable_bytes
from longimorph.paths import display
from longimorph.study.gpus import RESOURCES
from longimorph.study.pairs import Pair
from longimorph.study.study import Study
from longimorph.study.table import Visit

HEAD_MM = 220.0
"""The longest side of a head, with a margin: background beyond it is cropped."""

STARTERS_MB = 600
"""Memory of Snakemake around a cluster job: it runs twice, each time with the study in memory."""

SECONDS_PER_MB = 0.07
"""Time of a registration per MB of one map, evaluation and step, on one thread, including everything, when
all its evaluations are used (226 s for 16 MB, 40 evaluations and 5 steps).
"""
FIRST_STEPS = 5
"""Number of steps with which a registration starts when it chooses them itself; most keep it."""
LIMIT = 4
"""Ratio of the time limit to the expected time: more steps, or a slower or busy CPU."""

_BASE_MB = ceil(PROCESS_BYTES / 1e6) + STARTERS_MB
_LIGHT_MB = 600 + STARTERS_MB
_NATIVE_BYTES, _MAPS_MADE = 20, 3
_SECONDS_PER_VOXEL, _SECONDS_PER_MAP_MB = 3e-6, 0.3
"""Requests of alignment and maps, about five times the measured values: three visits of 256³ voxels with an
image each are aligned in 60 s with 1.0 GB, and maps of 420 MB are made in 15 to 29 s with 1.3 GB, on one busy
CPU.
"""
_CHANNELS_HELD = 8
"""Volumes held beside the classes and states while posteriors are read: a channel, its sum, and copies."""
_MAPS_DRAWN = 8
_LATTICE_MAPS, _SECONDS_PER_LATTICE_MB = 15, 0.5
_MAPS_READ, _MAPS_HELD = 6, 5
_SECONDS_PER_MB_READ = 0.1
_TABLE_BYTES_PER_FLOW = 1000
_REGISTRATION_MAPS, _REGISTRATION_FIELDS = 4, 7
_TEMPLATE_VOLUMES, _TEMPLATE_MINUTES = 36, 20
"""Volumes of the template held at a time, of 4 bytes a voxel: points are three of 8 bytes, thrice."""
_SUMS, _RATES_HELD = 4, 6
_SECONDS_PER_TEMPLATE_MB = 0.2
_UNREADABLE = ((256, 256, 256), (1.0, 1.0, 1.0))


@dataclass(frozen=True)
class Request:
    """Request of a job: memory and disk in MB (10^6 bytes), and a time limit in minutes."""

    mem_mb: int
    minutes: int
    disk_mb: int


@dataclass(frozen=True)
class PairSize:
    """The size of one pair's registration: voxels of its grid along each axis, and number of classes."""

    shape: tuple[int, ...]
    classes: int

    @property
    def voxels(self) -> int:
        """Number of voxels of the grid."""
        return prod(self.shape)

    @property
    def map_mb(self) -> float:
        """Size of one probability map: classes × voxels × 4 bytes."""
        return self.voxels * self.classes * 4 / 1e6


@dataclass(frozen=True)
class Needs:
    """Requests of a study's jobs, on one CPU thread unless a GPU is chosen."""

    study: Study

    def align(self, visits: Sequence[Visit]) -> Request:
        """Request of the alignment of a patient's ``visits``."""
        return self._opening(visits, 0, 10)

    def maps(self, visit: Visit) -> Request:
        """Request of a visit's probability maps."""
        size = self.grid(visit)
        return self._opening([visit], size.map_mb, 10 + size.map_mb * (1 + 1 / size.classes))

    def figure(self, pair: Pair) -> Request:
        """Request of a pair's figure."""
        size = self.size(pair)
        return Request(_BASE_MB + ceil(_MAPS_DRAWN * size.map_mb), 5 + ceil(size.map_mb / 60), 20)

    def lesions(self, pairs: Sequence[Pair]) -> Request:
        """Request of the table of single lesions of a patient with ``pairs``."""
        visits = tuple({v.timepoint: v for p in pairs for v in (p.source, p.target)}.values())
        size, held = self.size(pairs[0]), _LATTICE_MAPS + len(visits)
        lattice = self.lattice_voxels(visits[0]) * 4 * held / 1e6
        known = self._opening(visits, size.map_mb, 10)
        minutes = ceil(len(pairs) * lattice / held * _SECONDS_PER_LATTICE_MB / 60)
        return Request(known.mem_mb + ceil(lattice), known.minutes + minutes, known.disk_mb)

    def lattice_voxels(self, visit: Visit) -> int:
        """Number of parts into which the voxels of the registration grid are divided for single lesions."""
        shape, sides = self.grid(visit).shape, self._sides(visit)
        return prod(n * max(ceil(side / FINEST_MM), 1) for n, side in zip(shape, sides, strict=True))

    def patient_report(self, pairs: Sequence[Pair]) -> Request:
        """Request of the page of a patient with ``pairs``: maps are read one by one, up to a few times."""
        size = self.size(pairs[0])
        seconds = 2 * len(pairs) * _MAPS_READ * size.map_mb * _SECONDS_PER_MB_READ
        return Request(_BASE_MB + ceil(_MAPS_HELD * size.map_mb), 5 + ceil(seconds / 60), 20)

    def template(self, visits: Sequence[Visit]) -> Request:
        """Request of the registration of a patient with ``visits`` to the template."""
        size = self.grid(visits[0])
        memory = _BASE_MB + ceil(_MAPS_HELD * size.map_mb + self._template_mb(_TEMPLATE_VOLUMES))
        return Request(memory, 5 + _TEMPLATE_MINUTES, 20 + ceil(self._template_mb(1)))

    def group_maps(self) -> Request:
        """Request of the maps of the cohort: running sums of all maps, and the maps of one patient."""
        size = max((self.size(pair) for pair in self.study.plan.pairs), key=lambda one: one.map_mb)
        maps = 1 + 2 * size.classes
        held = (
            self._template_mb(_TEMPLATE_VOLUMES + _SUMS * maps)
            + _RATES_HELD * size.map_mb * maps / size.classes
        )
        pairs = len(self.study.plan.pairs)
        seconds = pairs * (
            self._template_mb(maps) * _SECONDS_PER_TEMPLATE_MB
            + _MAPS_READ * size.map_mb * _SECONDS_PER_MB_READ
        )
        return Request(_BASE_MB + ceil(held), 10 + ceil(seconds / 60), 20 + ceil(self._template_mb(4 * maps)))

    def group_report(self) -> Request:
        """Request of the page of the maps of the cohort."""
        classes = len(self.study.classes.rows)
        return Request(_BASE_MB + ceil(self._template_mb(_TEMPLATE_VOLUMES + classes)), 10, 30)

    def _template_mb(self, volumes: float) -> float:
        """Size of a number of volumes on the template, 4 bytes a voxel."""
        template = self.study.config.template
        return prod(_header(template)[0]) * 4 * volumes / 1e6 if template is not None else 0.0

    def tables(self, pairs: int) -> Request:
        """Request of the tables of ``pairs`` pairs."""
        flows = pairs * len(self.study.classes.rows) ** 2
        memory = _LIGHT_MB + ceil(flows * _TABLE_BYTES_PER_FLOW / 1e6)
        return Request(memory, 5 + pairs // 200, 10 + pairs // 10)

    def register(self, pair: Pair) -> Request:
        """Request of a pair's registration."""
        size = self.size(pair)
        disk = size.map_mb * (_REGISTRATION_MAPS + _REGISTRATION_FIELDS / size.classes)
        memory = STARTERS_MB + ceil(self.placed(pair).host_bytes / 1e6)
        return Request(memory, 10 + ceil(LIMIT * self.seconds(pair) / 60), 10 + ceil(disk))

    def seconds(self, pair: Pair) -> float:
        """Maximum expected duration of a registration if it keeps its initial number of steps."""
        config, gpu = self.study.config, self.placed(pair).gpu
        steps = FIRST_STEPS if config.steps == "auto" else config.steps
        work = self.size(pair).map_mb * config.max_evaluations * steps
        return 10 + work * SECONDS_PER_MB / (gpu.speed if gpu else 1)

    @property
    def cards_wanted(self) -> bool:
        """Whether registrations may run on requested GPUs."""
        chosen = self.study.config.device
        return chosen == "cuda" or (chosen == "auto" and bool(self.study.gpus))

    def device(self, pair: Pair) -> str:
        """Return the device of a registration; auto still falls back to a CPU where there is no GPU."""
        chosen = self.study.config.device
        return "cpu" if self.placed(pair).device == "cpu" and self.study.gpus else chosen

    def card(self, pair: Pair) -> Mapping[str, str | int]:
        """Return the request for a registration's GPU, by the names of Snakemake's resources."""
        placed = self.placed(pair)
        if placed.gpu is not None:
            return placed.gpu.resources
        return {"gpu": 1} if placed.device == "cuda" else {}

    def card_resources(self) -> list[str]:
        """Return the resource names that ``card`` uses for some pair."""
        if not self.cards_wanted:
            return []
        if not self.study.gpus:
            return ["gpu"]
        used = {name for gpu in self.study.gpus for name in gpu.resources}
        return [name for name in RESOURCES if name in used]

    def placed(self, pair: Pair) -> Placement:
        """The placement of a registration; raises InputError if none of the required GPUs is large enough."""
        found = self._place(self.size(pair))
        if found is None:
            raise InputError(self.refusals())
        return found

    def refusals(self) -> list[Problem]:
        """Return a problem for each size of registration that requires a GPU and fits none."""
        if self.study.config.device != "cuda" or not self.study.gpus:
            return []
        sizes: dict[PairSize, list[Pair]] = {}
        for pair in self.study.plan.all:
            sizes.setdefault(self.size(pair), []).append(pair)
        return [self._refusal(size, pairs) for size, pairs in sizes.items() if self._place(size) is None]

    def size(self, pair: Pair) -> PairSize:
        """Return the maximum size of a pair on the registration grid; the brain's box is not known yet."""
        return self.grid(pair.source)

    def grid(self, visit: Visit, spacing_mm: float | None = None) -> PairSize:
        """Return the maximum size of a visit on the registration grid, or on one of ``spacing_mm``."""
        shape, spacing = _header(visit.regions)
        steps = self._sides(visit, spacing_mm)
        most = HEAD_MM + 2 * self.study.config.margin_mm
        sides = [min(n * size, most) for n, size in zip(shape, spacing, strict=True)]
        voxels = tuple(ceil(side / step) for side, step in zip(sides, steps, strict=True))
        return PairSize(voxels, len(self.study.classes.rows))

    def _sides(self, visit: Visit, spacing_mm: float | None = None) -> tuple[float, ...]:
        """Voxel sizes of the registration grid along each axis, or ``spacing_mm``."""
        chosen = spacing_mm or self.study.config.spacing_mm
        return _header(visit.regions)[1] if chosen == "native" else (float(chosen),) * 3

    def _opening(self, visits: Sequence[Visit], map_mb: float, disk_mb: float) -> Request:
        """Request of a job that opens the files of ``visits`` and makes a map of ``map_mb`` MB."""
        files = [path for visit in visits for path in visit.files().values()]
        voxels = sum(prod(_header(path)[0]) * _volumes(path) for path in files)
        held = sum(self._held_bytes(visit) for visit in visits)
        memory = _BASE_MB + ceil(held / 1e6 + _MAPS_MADE * map_mb)
        seconds = voxels * _SECONDS_PER_VOXEL + map_mb * _SECONDS_PER_MAP_MB
        return Request(memory, 5 + ceil(seconds / 60), ceil(disk_mb))

    def _held_bytes(self, visit: Visit) -> int:
        """What opening the files of a visit holds in memory; of posteriors, a map of each class and state."""
        labels = [path for path in (visit.regions, visit.states) if path is not None]
        image = prod(_header(visit.image)[0]) * _NATIVE_BYTES if visit.image is not None else 0
        voxels = [prod(_header(path)[0]) for path in labels]
        if not any(_volumes(path) > 1 or is_pattern(path) for path in labels):
            return image + sum(voxels) * _NATIVE_BYTES
        states = 1 + _volumes(visit.states) if visit.states is not None else 0
        return image + 4 * max(voxels) * (len(self.study.classes.rows) + states + _CHANNELS_HELD)

    def _place(self, size: PairSize) -> Placement | None:
        config = self.study.config
        return place(self._of_memory(size), self.study.gpus, config.device, config.memory_model)

    def _least_bytes(self, size: PairSize) -> int:
        return least_bytes(self._of_memory(size), self.study.config.memory_model)

    def _of_memory(self, size: PairSize) -> Size:
        """The input of the memory model, with the number of steps to assume."""
        steps = self.study.config.steps
        chosen = USUAL_STEPS if steps == "auto" else steps
        map_bytes = size.voxels * size.classes * 4
        further = PAIR_PRICES_MAPS if self.study.config.reallocation == "pairs" else 0
        further += FREE_MAPS * self.study.free_groups
        slab = slab_share(size.shape[0], map_bytes)
        return Size(map_bytes, size.classes, chosen, slab=slab, further_maps=further)

    def _refusal(self, size: PairSize, pairs: Sequence[Pair]) -> Problem:
        """The problem of pairs of one size, with the voxel size at which they would fit."""
        first, table = pairs[0], display(str(self.study.config.gpus))
        names = f"{first.patient} {first.name}" + (f" and {len(pairs) - 1} more" if pairs[1:] else "")
        largest = max(self.study.gpus, key=lambda gpu: gpu.memory_gb)
        needed = self._least_bytes(size) / 1e9
        grid = f"{'×'.join(map(str, size.shape))} voxels × {size.classes} classes"
        text = (
            f"{names} ({grid}): {needed:.1f} GB needed with the leanest strategy, but "
            f"the largest GPU, {largest.name}, has only {usable_bytes(largest) / 1e9:.1f} GB to spare"
        )
        fits = self._fitting_mm(first.source, usable_bytes(largest))
        hint = f"It would fit with spacing_mm: {fits:g}" if fits else "It does not fit with any spacing_mm"
        return Problem(table, text, hint=f"{hint}; or allow the CPU with device: auto")

    def _fitting_mm(self, visit: Visit, usable: int) -> float | None:
        """Return the finest voxel size, in tenths of a millimetre, at which a visit's pair fits a GPU."""
        for tenths in range(1, 501):
            if self._least_bytes(self.grid(visit, tenths / 10)) <= usable:
                return tenths / 10
        return None


@cache
def _volumes(path: Path) -> int:
    """Return the number of channels of posteriors; 1 for any other file, and where it cannot be read."""
    from longimorph.io.volumes import volume_count

    try:
        return len(expanded(path)) if is_pattern(path) else volume_count(path)
    except Unusable:
        return 1


@cache
def _header(path: Path) -> tuple[tuple[int, ...], tuple[float, ...]]:
    """Return shape and voxel size in mm; typical values when the file cannot be read."""
    from longimorph.io.volumes import read_grid  # slow to import, and only needed where jobs are planned

    try:
        grid = read_grid(expanded(path)[0], several=True)
    except (Unusable, IndexError):
        return _UNREADABLE
    return grid.shape, tuple(float(size) for size in grid.spacing)

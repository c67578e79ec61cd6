"""Peak memory of complete registrations of small random pairs, by phase, to which the memory model is fitted.

Bytes are counted by ``numerics.live_bytes``, so a CPU can stand in for a GPU. The volume is then traversed
slab by slab as on a GPU, with long thin shapes, for which a slab is as small a part as it is in a large
volume.
"""

from __future__ import annotations

import gc
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import avg_pool3d

from longimorph.footprint import THINNEST_SHARE
from longimorph.memory.model import PHASES, Bytes, Size
from longimorph.numerics import passes
from longimorph.numerics.live_bytes import LiveBytes
from longimorph.numerics.memory_strategies import BY_NAME, Ladder
from longimorph.numerics.optimise import Iteration
from longimorph.numerics.phases import observed
from longimorph.numerics.register import register
from longimorph.numerics.run import Run
from longimorph.numerics.shooting import Divergence
from longimorph.numerics.solve import Settings

SPACING = (1.0, 1.0, 1.0)
FLOAT = 4
KERNELS = 2


@dataclass(frozen=True)
class SampleCase:
    """One registration to measure: voxels per axis, classes, steps, and the pairs that L-BFGS keeps.

    ``slabs`` is the maximum number of slabs into which a GPU would cut the volume.
    """

    shape: tuple[int, int, int]
    classes: int
    steps: int
    pairs: int
    slabs: int = THINNEST_SHARE


DESIGNS = {
    "cpu": (
        SampleCase((16, 16, 16), 5, 5, 2),
        SampleCase((20, 18, 16), 3, 10, 4),
        SampleCase((16, 18, 20), 8, 8, 3),
        SampleCase((18, 16, 16), 13, 5, 4),
        SampleCase((24, 22, 20), 4, 6, 2),
        SampleCase((16, 16, 18), 6, 16, 2),
        SampleCase((28, 26, 24), 3, 7, 3),
    ),
    "cuda": (
        SampleCase((64, 10, 12), 5, 5, 1),
        SampleCase((32, 12, 16), 3, 8, 3),
        SampleCase((64, 8, 10), 8, 6, 2),
        SampleCase((96, 8, 8), 12, 5, 3),
        SampleCase((48, 10, 10), 4, 7, 1),
        SampleCase((32, 14, 16), 6, 9, 1),
        SampleCase((96, 8, 12), 3, 5, 2),
        SampleCase((40, 12, 12), 13, 7, 2),
        SampleCase((128, 8, 8), 5, 6, 3),
        SampleCase((64, 10, 10), 7, 6, 2, slabs=4),
        SampleCase((48, 12, 10), 4, 5, 1, slabs=2),
        SampleCase((32, 12, 12), 9, 8, 2, slabs=1),
    ),
}
"""Cases by traversal of the volume. Classes, steps, pairs and size vary independently of one another."""


@dataclass(frozen=True)
class Sample:
    """Peak of one registration by phase; ``size`` has the number of pairs actually kept."""

    strategy: str
    size: Size
    peaks: dict[str, Bytes]


class PhaseMeter(LiveBytes):  # type: ignore[no-untyped-call]
    """Counts the peak of each phase separately; ``phase`` is the current one."""

    def __init__(self, held: Sequence[Tensor] = (), elsewhere: Sequence[Tensor] = ()) -> None:
        self._phase, self.peaks = PHASES[0], {name: Bytes(0, 0, 0) for name in PHASES}
        self._highest: dict[tuple[str, str], Bytes] = {}
        super().__init__(held, elsewhere)

    def _count(self, tensor: Tensor) -> None:
        super()._count(tensor)
        self._note()

    def _note(self) -> None:
        device, host = self._live[False], self._live[True]
        self.peaks[self._phase] = self.peaks[self._phase].most(Bytes(device, host, device + host))

    def rises(self, name: str) -> bool:
        """Return whether more is held than at any earlier call with this name in the same phase."""
        device, host = self._live[False], self._live[True]
        before, now = self._highest.get((self._phase, name), Bytes(0, 0, 0)), Bytes(device, 0, device + host)
        self._highest[self._phase, name] = before.most(now)
        return now.device > before.device or now.both > before.both

    @contextmanager
    def during(self, phase: str) -> Iterator[None]:
        """Assign everything counted within this context to a phase."""
        before, self._phase = self._phase, phase
        self._note()
        try:
            yield
        finally:
            self._phase = before


def random_pair(shape: Sequence[int], classes: int, seed: int = 0) -> tuple[Tensor, Tensor, Tensor]:
    """Two random smooth maps (C, *grid) that resemble each other, and a control matrix (C, C), float32."""
    generator = torch.Generator().manual_seed(seed)
    maps = []
    for _ in range(2):
        noise = torch.randn(classes, *shape, generator=generator)
        for _ in range(2):
            noise = avg_pool3d(noise[None], 3, 1, 1, count_include_pad=False)[0]
        maps.append(torch.softmax(1.5 * noise / noise.std(), 0))
    control = 0.05 + 0.9 * torch.rand(classes, classes, generator=generator)
    return maps[0], 0.8 * maps[0] + 0.2 * maps[1], control


def settings(steps: int, pairs: int) -> Settings:
    """Settings with a fixed number of steps that run until more than ``pairs`` pairs have been produced."""
    return Settings(
        kernel_mm=(1.2,),
        amplitude_mm=3.0,
        regularisation=1e-3,
        max_evaluations=pairs + 5,
        tolerance=1e-12,
        volume_mm=3.0,
        volume_weight=4.0,
        steps=steps,
        pairs_kept=pairs,
    )


def sample(case: SampleCase, strategy: str, walk: str = "cpu") -> Sample:
    """Measure one registration; ``walk`` is a key of DESIGNS.

    The kernels' matrices are excluded: they are negligible compared with a map of realistic size.
    """
    pair = random_pair(case.shape, case.classes)
    gc.collect()
    on_host = 0
    if walk == "cuda":  # the pair; its target stands for the GPU's own copy, unless that is parked
        on_host = 2 if BY_NAME[strategy].host_vectors else 1
    meter, heard = PhaseMeter(pair[on_host:], pair[:on_host]), list[tuple[int, int, int]]()

    def hear(_: float, one: Iteration) -> None:  # not the whole iteration, which holds tensors
        heard.append((one.number, one.evaluations, one.pairs))

    run = Run(hear, Ladder([BY_NAME[strategy]]), apart=walk == "cuda")
    with ExitStack() as stack:
        if walk == "cuda":
            stack.enter_context(slab_walk(pair[0], meter, case.slabs))
        stack.enter_context(observed(meter.during))
        stack.enter_context(meter)
        found = register(*pair, SPACING, settings(case.steps, case.pairs), run)
    used = pairs_used(heard, found.evaluations)
    if used != case.pairs:
        raise Divergence(f"{case}: only {used} pairs were used: {found.reason}")
    slab = _slab_share(pair[0], case.slabs) if walk == "cuda" else 0.0
    size = Size(pair[0].numel() * FLOAT, case.classes, case.steps, used, slab)
    matrices = KERNELS * FLOAT * sum(n * n for n in case.shape)
    return Sample(strategy, size, {phase: peak.less(matrices) for phase, peak in meter.peaks.items()})


def pairs_used(iterations: Sequence[tuple[int, int, int]], evaluations: int) -> int:
    """Maximum number of pairs that L-BFGS held on the last level while another cost was evaluated.

    ``iterations`` gives for each iteration its number, the evaluations so far, and the pairs after it.
    """
    last = max(place for place, (number, _, _) in enumerate(iterations) if number == 0)
    return max((pairs for _, used, pairs in iterations[last:] if used < evaluations), default=0)


@contextmanager
def slab_walk(like: Tensor, meter: PhaseMeter, count: int = THINNEST_SHARE) -> Iterator[None]:
    """On a CPU, hold what a slab-wise traversal holds; a map (C, *grid) gives at most ``count`` slabs.

    The temporaries of a formula always have the same size, so they are held only where the memory beneath
    them reaches a new maximum.
    """

    def hold(which: passes.Pass, inputs: Sequence[Any], outputs: Sequence[Tensor]) -> None:
        if meter.rises(which.value):
            _one_slab(passes.FORMULAS[which], inputs, outputs)

    with passes.heard_by(hold), _slabs_of(like, count):
        yield


def _slabs_of(like: Tensor, count: int) -> AbstractContextManager[None]:
    """Make a CPU cut a map like this one into at most ``count`` slabs within this context."""
    return passes.slabs_of(-(-like.shape[1] // count) * like[:, :1].numel() * like.element_size())


def _slab_share(like: Tensor, count: int) -> float:
    """The share of the volume covered by a slab and its neighbouring planes."""
    with _slabs_of(like, count):
        start, stop = next(passes.slabs(like))
    return min(1.0, (stop - start + 2) / like.shape[1])


def _one_slab(formula: Callable[..., Any], inputs: Sequence[Any], outputs: Sequence[Tensor]) -> None:
    """Hold what a slab-wise traversal holds besides its results: a formula's output on a middle slab."""
    cuts = list(passes.slabs(max(passes.tensors_in((*inputs, *outputs)), key=Tensor.numel)))
    cut, _ = passes.with_halo(*cuts[len(cuts) // 2], *inputs)
    formula(*cut)

"""Peaks of whole registrations of small random pairs, phase by phase, for the memory model to be fitted to.

Bytes are counted by ``numerics.live_bytes``, so a processor can stand in for a graphics card: the volume is
then walked slab by slab as on a card, on long thin shapes, where slabs are as small a part as in a large one.
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
    """One registration to measure: voxels per axis, classes, steps, pairs that L-BFGS keeps.

    ``slabs`` is into how many slabs a card would cut the volume, at most.
    """

    shape: tuple[int, int, int]
    classes: int
    steps: int
    pairs: int
    slabs: int = passes.THINNEST_SHARE


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
"""By the way of walking a volume. No two of classes, steps, pairs and size go together."""


@dataclass(frozen=True)
class Sample:
    """What one registration held at its peak, by phase; ``size`` has the pairs that were kept in fact."""

    strategy: str
    size: Size
    peaks: dict[str, Bytes]


class PhaseMeter(LiveBytes):  # type: ignore[no-untyped-call]
    """Counts the peak of each phase apart; ``phase`` is the one under way."""

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
        """Whether more is held than at any earlier call with this name in the same phase."""
        device, host = self._live[False], self._live[True]
        before, now = self._highest.get((self._phase, name), Bytes(0, 0, 0)), Bytes(device, 0, device + host)
        self._highest[self._phase, name] = before.most(now)
        return now.device > before.device or now.both > before.both

    @contextmanager
    def during(self, phase: str) -> Iterator[None]:
        """What is counted within belongs to this phase."""
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
    """A registration of a fixed number of steps that goes on until more than so many pairs have come up."""
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

    The kernels' matrices are left out: beside a map of a real size they are nothing.
    """
    pair = random_pair(case.shape, case.classes)
    gc.collect()
    on_host = 0
    if walk == "cuda":  # the pair; its target stands for the card's own copy, unless that is parked
        on_host = 2 if BY_NAME[strategy].host_vectors else 1
    meter, heard = PhaseMeter(pair[on_host:], pair[:on_host]), list[tuple[int, int, int]]()

    def hear(_: float, one: Iteration) -> None:  # not the whole, which holds tensors
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
        raise Divergence(f"{case}: only {used} pairs came into use: {found.reason}")
    slab = _slab_share(pair[0], case.slabs) if walk == "cuda" else 0.0
    size = Size(pair[0].numel() * FLOAT, case.classes, case.steps, used, slab)
    matrices = KERNELS * FLOAT * sum(n * n for n in case.shape)
    return Sample(strategy, size, {phase: peak.less(matrices) for phase, peak in meter.peaks.items()})


def pairs_used(iterations: Sequence[tuple[int, int, int]], evaluations: int) -> int:
    """The most pairs that L-BFGS held on the last level while another cost was evaluated.

    ``iterations``: of each its number, the evaluations so far, and the pairs after it.
    """
    last = max(place for place, (number, _, _) in enumerate(iterations) if number == 0)
    return max((pairs for _, used, pairs in iterations[last:] if used < evaluations), default=0)


@contextmanager
def slab_walk(like: Tensor, meter: PhaseMeter, count: int = passes.THINNEST_SHARE) -> Iterator[None]:
    """On a processor, hold what a walk in slabs holds, of which a map (C, *grid) makes ``count`` at most.

    What a formula holds for itself is always the same, so it is only held where more than ever lies below it.
    """

    def hold(which: passes.Pass, inputs: Sequence[Any], outputs: Sequence[Tensor]) -> None:
        if meter.rises(which.value):
            _one_slab(passes.FORMULAS[which], inputs, outputs)

    with passes.heard_by(hold), _slabs_of(like, count):
        yield


def _slabs_of(like: Tensor, count: int) -> AbstractContextManager[None]:
    """Within, a processor cuts a map like this one into at most so many slabs."""
    return passes.slabs_of(-(-like.shape[1] // count) * like[:, :1].numel() * like.element_size())


def _slab_share(like: Tensor, count: int) -> float:
    """The share of the volume that a slab and its neighbours are."""
    with _slabs_of(like, count):
        start, stop = next(passes.slabs(like))
    return min(1.0, (stop - start + 2) / like.shape[1])


def _one_slab(formula: Callable[..., Any], inputs: Sequence[Any], outputs: Sequence[Tensor]) -> None:
    """Hold what a walk in slabs holds besides its results: what a formula makes of a slab in the middle."""
    cuts = list(passes.slabs(max(passes.tensors_in((*inputs, *outputs)), key=Tensor.numel)))
    cut, _ = passes.with_halo(*cuts[len(cuts) // 2], *inputs)
    formula(*cut)

"""Peaks of whole registrations of small random pairs, phase by phase, for the memory model to be fitted to.

Bytes are counted by ``numerics.live_bytes``, so a processor can stand in for a graphics card: the volume is
then walked slab by slab as on a card, on long thin shapes, where slabs are as small a part as in a large one.
"""

from __future__ import annotations

import gc
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from typing import Any
from unittest import mock

import torch
from torch import Tensor
from torch.nn.functional import avg_pool3d

from longimorph.memory.model import PHASES, Bytes, Size
from longimorph.numerics import attribution, objective, optimise, passes, register, solve, warps
from longimorph.numerics.linearised import LinearisedShooting
from longimorph.numerics.live_bytes import LiveBytes
from longimorph.numerics.memory_strategies import BY_NAME, Ladder
from longimorph.numerics.run import Run
from longimorph.numerics.shooting import Divergence

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


class _Kept:
    """How many pairs the history holds, and the most that there were when a cost was evaluated."""

    now = 0
    used = 0


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

    def enter(self, phase: str) -> None:
        """What is counted from now on belongs to this phase."""
        self._phase = phase
        self._note()

    def wrap(self, phase: str, work: Callable[..., Any]) -> Callable[..., Any]:
        """The same function, counted under ``phase``."""

        def counted(*args: Any, **kwargs: Any) -> Any:
            with self.during(phase):
                return work(*args, **kwargs)

        return counted


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


def settings(steps: int, evaluations: int) -> solve.Settings:
    """A registration of a fixed number of steps that goes on until its evaluations are used."""
    return solve.Settings(
        kernel_mm=(1.2,),
        amplitude_mm=3.0,
        regularisation=1e-3,
        max_evaluations=evaluations,
        tolerance=1e-12,
        volume_mm=3.0,
        volume_weight=4.0,
        steps=steps,
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
    meter, kept = PhaseMeter(pair[on_host:], pair[:on_host]), _Kept()
    with ExitStack() as stack:
        if walk == "cuda":
            stack.enter_context(slab_walk(pair[0], meter, case.slabs))
            stack.enter_context(mock.patch.object(solve.MapPair, "at_hand", False))
        stack.enter_context(_history(case.pairs, kept))
        stack.enter_context(_phases(meter, kept))
        stack.enter_context(meter)
        ladder = Ladder([BY_NAME[strategy]])
        chosen = settings(case.steps, case.pairs + 5)
        found = register.register(*pair, SPACING, chosen, Run(ladder=ladder))
    if kept.used != case.pairs:
        raise Divergence(f"{case}: only {kept.used} pairs came into use: {found.reason}")
    slab = _slab_share(pair[0], case.slabs) if walk == "cuda" else 0.0
    size = Size(pair[0].numel() * FLOAT, case.classes, case.steps, kept.used, slab)
    matrices = KERNELS * FLOAT * sum(n * n for n in case.shape)
    return Sample(strategy, size, {phase: peak.less(matrices) for phase, peak in meter.peaks.items()})


@contextmanager
def _phases(meter: PhaseMeter, kept: _Kept) -> Iterator[None]:
    """Tell the meter which phase begins: a cost and gradient, a direction, a solve in it, what follows."""
    evaluate = meter.wrap("evaluation", objective.evaluate)

    def evaluated(*args: Any) -> Any:
        kept.used = max(kept.used, kept.now)
        return evaluate(*args)

    def last(*args: Any) -> Any:
        meter.enter("attribution")
        return attribution.attribute(*args)

    with (
        mock.patch.object(solve, "evaluate", evaluated),
        _counted_method(meter, "direction", optimise.History, "direction"),
        _counted_method(meter, "solve", LinearisedShooting, "inverse"),
        mock.patch.object(register, "attribute", last),
        _counted_method(meter, "warps", warps.Warping, "finish"),
    ):
        yield


def _counted_method(meter: PhaseMeter, phase: str, owner: type, name: str) -> Any:
    work = getattr(owner, name)

    def counted(self: Any, *args: Any) -> Any:
        with meter.during(phase):
            return work(self, *args)

    return mock.patch.object(owner, name, counted)


@contextmanager
def _history(pairs: int, kept: _Kept) -> Iterator[None]:
    """The optimiser keeps that many pairs; ``kept`` is told how many there are on the level under way."""
    add = optimise.History.add

    def start(self: optimise.History) -> None:
        self.pairs, kept.now, kept.used = deque(maxlen=pairs), 0, 0

    def add_and_count(self: optimise.History, *args: Any) -> None:
        add(self, *args)
        kept.now = len(self.pairs)

    with (
        mock.patch.object(optimise.History, "__init__", start),
        mock.patch.object(optimise.History, "add", add_and_count),
    ):
        yield


@contextmanager
def slab_walk(like: Tensor, meter: PhaseMeter, count: int = passes.THINNEST_SHARE) -> Iterator[None]:
    """On a processor, hold what a walk in slabs holds, of which a map (C, *grid) makes ``count`` at most.

    What a formula holds for itself is always the same, so it is only held where more than ever lies below it.
    """
    fused = passes._fused

    def walk(which: passes.Pass, inputs: Sequence[Any], outputs: Sequence[Tensor]) -> None:
        extra = (outputs,) if which is passes.Pass.UNSETTLE else ()
        if meter.rises(which.value):
            _one_slab(passes.FORMULAS[which], (*inputs, *extra), outputs)
        fused(which, inputs, outputs)

    with mock.patch.object(passes, "_fused", walk), _slabs_of(like, count):
        yield


def _slabs_of(like: Tensor, count: int) -> Any:
    """Within, a processor cuts a map like this one into at most so many slabs."""
    least = -(-like.shape[1] // count) * like[:, :1].numel() * like.element_size()
    return mock.patch.dict(passes.SLAB_BYTES, cpu=least)


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

"""The code path of a registration on a GPU, with tensors without memory (the device ``meta``).

Tensors of two devices in one operation raise there, every number that Python reads is counted, and so are
operations and bytes, at any size. Nothing is computed: what comes out is the subject of other tests.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from functools import cache, partial

import pytest
import torch
from small_problems import random_maps, settings

from benchmarks.traffic import ITEM, Traffic, counted, counted_by_kernels
from longimorph.numerics import passes, solve
from longimorph.numerics.memory_strategies import BY_NAME, LADDERS, Ladder
from longimorph.numerics.objective import Matching, evaluate
from longimorph.numerics.optimise import History
from longimorph.numerics.register import register
from longimorph.numerics.run import Run
from longimorph.numerics.solve import MapPair, _handed_over, _preconditioner
from longimorph.numerics.states import State

META = torch.device("meta")
FULL, SMALL = (8, 240, 240, 155), (4, 20, 18, 16)
NAMES = [rung.name for rung in LADDERS["cuda"]]

SYNCS = 4
"""Times that Python waits for the card in one cost and gradient: H and the pace at the start, whether the end
is finite, H and the pace there, the mismatch."""

LIMITS = {"store": (69_000, 3_780), "checkpoint": (89_000, 4_780)}
"""Operations, and GB moved, of one cost and gradient at FULL with N = 10: some 5 % above what they are."""

KERNEL_LIMITS = {"store": (572, 241), "checkpoint": (698, 329)}
"""The same by Triton's kernels."""


def matching_of(shape: tuple[int, ...], steps: int, **changes: object) -> Matching:
    source = torch.empty(shape, device=META)
    pair = MapPair(source, torch.empty_like(source), torch.empty(shape[0], shape[0], device=META), (1.0,) * 3)
    return pair.matching(settings(kernel_mm=(4.0,), steps=steps, **changes))


def counts(shape: tuple[int, ...], steps: int, name: str) -> Traffic:
    matching = matching_of(shape, steps)
    matching.system.per_mm  # made once  # noqa: B018
    with counted(whole_passes=False) as meter:
        evaluate(torch.empty_like(matching.source), matching, BY_NAME[name])
    return meter


@pytest.mark.parametrize("name", NAMES)
def test_python_waits_a_stated_number_of_times_per_evaluation(name):
    for steps in (1, 2, 5):
        assert sum(counts(SMALL, steps, name).syncs.values()) == SYNCS


@pytest.mark.parametrize("name", ["store", "checkpoint"])
def test_operations_and_bytes_grow_by_the_same_with_every_step(name):
    found = [counts(SMALL, steps, name) for steps in (1, 2, 3, 6)]
    by_step = [(meter.launches, meter.bytes) for meter in found]
    slope = [b - a for a, b in zip(by_step[0], by_step[1], strict=True)]
    for steps, told in zip((1, 2, 3, 6), by_step, strict=True):
        assert list(told) == [a + (steps - 1) * b for a, b in zip(by_step[0], slope, strict=True)]


@cache
def at_full_size(name: str) -> tuple[int, float]:
    """Operations and GB at N = 10, from two and one steps (they grow by the same with every step)."""
    one, two = (counts(FULL, steps, name) for steps in (1, 2))
    launches = one.launches + 9 * (two.launches - one.launches)
    return launches, (one.bytes + 9 * (two.bytes - one.bytes)) / 1e9


@pytest.mark.parametrize("name", LIMITS)
def test_an_evaluation_of_full_size_stays_below_its_limits(name, record_property):
    launches, gigabytes = at_full_size(name)
    record_property("launches", launches)
    record_property("gigabytes", gigabytes)
    assert launches <= LIMITS[name][0] and gigabytes <= LIMITS[name][1], (launches, gigabytes)
    assert launches > 0.8 * LIMITS[name][0] and gigabytes > 0.8 * LIMITS[name][1], "the limits can be lower"


def counts_by_kernels(shape: tuple[int, ...], steps: int, name: str) -> Traffic:
    with counted_by_kernels() as meter:
        matching = matching_of(shape, steps)
        matching.system.per_mm  # made once  # noqa: B018
        meter.launches = meter.bytes = 0
        meter.syncs.clear()
        evaluate(torch.empty_like(matching.source), matching, BY_NAME[name])
        assert matching.system.kernel.scales[0].taps, "a kernel of 4 mm is applied by its bands"
    return meter


@pytest.mark.parametrize("name", KERNEL_LIMITS)
def test_kernels_move_a_tenth_of_what_operations_move(name, record_property):
    one, two = (counts_by_kernels(FULL, steps, name) for steps in (1, 2))
    launches = one.launches + 9 * (two.launches - one.launches)
    gigabytes = (one.bytes + 9 * (two.bytes - one.bytes)) / 1e9
    record_property("launches", launches)
    record_property("gigabytes", gigabytes)
    assert launches <= KERNEL_LIMITS[name][0]
    assert gigabytes <= KERNEL_LIMITS[name][1]
    assert launches > 0.9 * KERNEL_LIMITS[name][0] and gigabytes > 0.9 * KERNEL_LIMITS[name][1], (
        "can be lower"
    )
    assert sum(two.syncs.values()) == SYNCS


@pytest.mark.parametrize("name", ["store", "checkpoint"])
def test_what_drives_a_state_is_not_made_again(name, monkeypatch):
    """Two states per step and the end; the way back makes those within the steps again where none is kept."""
    calls: Counter[str] = Counter()
    density = passes.density

    def one(*args):
        calls["density"] += 1
        return density(*args)

    monkeypatch.setattr(passes, "density", one)
    counts(SMALL, 10, name)
    assert calls["density"] == {"store": 21, "checkpoint": 41}[name]


def test_the_preconditioner_waits_twice_per_iteration_of_its_solves():
    matching = matching_of(SMALL, 3)
    shooting = _preconditioner(matching).shooting
    gradient = torch.empty_like(matching.source)
    waits = {}
    for iterations in (3, 7):
        with Traffic(shrinks=0.7) as meter, torch.no_grad():  # residuals of a solve that converges
            replace(shooting, iterations=iterations).inverse(gradient, 0.01)
        waits[iterations] = sum(meter.syncs.values())
    assert waits[7] - waits[3] == 2 * 4 and waits[3] <= 2 * 3 + 2


def test_the_preconditioner_and_its_start_momentum_stay_on_the_device():
    matching = matching_of(SMALL, 3)
    precondition = _preconditioner(matching)
    with Traffic() as meter, torch.no_grad():
        for found in (
            precondition(torch.empty_like(matching.source), 0.1),
            precondition.momentum(torch.empty_like(matching.source), 0.1),
        ):
            assert found.is_meta and found.shape == matching.source.shape
    assert set(meter.syncs) == {ITEM}


def test_a_coarse_level_hands_over_on_the_device():
    source = torch.empty(SMALL, device=META)
    pair = MapPair(source, torch.empty_like(source), torch.empty(4, 4, device=META), (1.0, 1.0, 2.0))
    axes = (True, True, False)
    chosen = settings(kernel_mm=(4.0,), steps=3)
    fine, coarse = pair.matching(chosen), pair.coarser(axes).matching(chosen)
    with Traffic(), torch.no_grad():
        at = State(coarse.source, torch.empty_like(coarse.source))
        rate = _handed_over(at, coarse.system, pair, fine, axes)
    assert rate.is_meta and rate.shape == source.shape


@pytest.mark.parametrize("name", NAMES)
def test_a_whole_registration_mixes_no_devices(name, monkeypatch):
    """From maps on the host, over two levels, to the attribution and the warps."""
    monkeypatch.setattr(solve, "HALVINGS", 0)
    monkeypatch.setattr(solve, "START_DAMPINGS", solve.START_DAMPINGS[:1])
    generator = torch.Generator().manual_seed(1)
    source, target = (random_maps(generator, 4, (16, 18, 16)).float() for _ in range(2))
    chosen = settings(kernel_mm=(4.0,), steps=2, max_evaluations=4)
    heard: list[float] = []
    with Traffic(made_up=0.0) as meter:
        found = register(
            source,
            target,
            torch.full((4, 4), 0.5),
            (1.0, 1.0, 1.0),
            chosen,
            Run(lambda spacing, _: heard.append(spacing), Ladder([BY_NAME[name]]), device=META),
        )
    assert set(heard) == {1.0, 2.0}
    fields = (found.momentum, found.attribution.deformation, found.warps.forward, found.warps.log_jacobian)
    assert all(field.is_meta for field in fields)
    assert set(meter.syncs) <= {ITEM, "_to_copy", "equal"}


@pytest.mark.parametrize("name", NAMES)
def test_the_optimiser_keeps_its_vectors_on_its_device_or_parked(name):
    history, ladder = History(), Ladder([BY_NAME[name]])
    with Traffic() as meter, torch.no_grad():
        for _ in range(3):
            history.add(torch.empty(SMALL, device=META), torch.empty(SMALL, device=META), ladder)
        found = history.direction(torch.empty(SMALL, device=META), torch.clone)
    assert found.is_meta and len(history.pairs) == 3
    assert meter.syncs == {ITEM: 3 * 3 + 2 * 3}, "three numbers when a pair is added, two when it is used"


def test_operations_on_two_devices_are_found():
    on_card, on_host = torch.empty(3, 4, device=META), torch.ones(3, 4)
    with Traffic() as meter:
        with pytest.raises(RuntimeError, match="on cpu and meta"):
            on_card + on_host
        assert float(on_card.sum()) == 1.0
        assert torch.stack([on_card.sum(), on_card.sum()]).tolist() == [1.0, 1.0]
        on_host.to(META)
    assert meter.syncs == {ITEM: 1, "_to_copy": 2}


def test_what_is_counted_is_what_is_done():
    """The operations and bytes of a piece of code that is counted by hand."""
    a, out = torch.empty(5, 7, device=META), torch.empty(5, 7, device=META)
    with Traffic() as meter:
        a[1:]  # a view
        torch.empty_like(a)
        torch.add(a, a, out=out)
        a.mul_(2)
        a @ a.T
    assert meter.launches == 3
    assert meter.bytes == 4 * (35 * 2 + 35 * 2 + (35 + 35 + 25))
    assert meter.flops == 2 * 5 * 7 * 5
    with Traffic() as again:
        partial(torch.add, a)(a)
    assert again.launches == 1

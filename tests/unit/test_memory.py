"""The instrument counts bytes as an allocator does, and each strategy holds what it states."""

from __future__ import annotations

import gc

import pytest
import torch
from small_problems import random_maps, settings
from torch.profiler import ProfilerActivity, profile

from longimorph.memory import model
from longimorph.numerics import optimise, solve
from longimorph.numerics.live_bytes import LiveBytes
from longimorph.numerics.memory_strategies import BY_NAME
from longimorph.numerics.objective import evaluate

SPACING = (1.0, 1.0, 1.0)
FLOAT = 4


def random_pair(shape, classes):
    generator = torch.Generator().manual_seed(classes)
    source, other = (random_maps(generator, classes, shape) for _ in range(2))
    control = 0.05 + 0.9 * torch.rand(classes, classes, generator=generator)
    return source.float(), (0.8 * source + 0.2 * other).float(), control


def chosen(steps, evaluations=11):
    return settings(
        kernel_mm=(1.2,), amplitude_mm=3.0, steps=steps, max_evaluations=evaluations, tolerance=1e-9
    )


def test_live_bytes_counts_storages_once_and_only_while_they_live():
    held = torch.zeros(10)
    with LiveBytes([held]) as meter:
        a = torch.zeros(1000)
        assert meter.peak == FLOAT * 1010
        view = a[100:].reshape(30, 30)
        del a
        b = torch.ones(1000)
        assert meter.peak == FLOAT * 2010
        del view, b
        c = held + torch.zeros(1500)[:10]
        assert meter.peak == FLOAT * 2010
        del c
        both = torch.zeros(2000).split(1000)
        assert meter.peak == FLOAT * 2010
    assert len(both) == 2


def test_live_bytes_sees_the_backward_pass():
    x = torch.zeros(1000, requires_grad=True)
    with LiveBytes([x]) as meter:
        y = x.exp().sum()
        before = meter.peak
        (gradient,) = torch.autograd.grad(y, x)
    assert before == FLOAT * 2001
    assert meter.peak >= FLOAT * 3001
    assert gradient.shape == x.shape


def allocator_peak(work):
    """Largest sum of what PyTorch's allocator gave and took back during ``work``, in bytes."""
    with profile(activities=[ProfilerActivity.CPU], profile_memory=True) as record:
        kept = work()
    events = [e for e in record.profiler.kineto_results.events() if e.name() == "[memory]"]
    now = peak = 0
    for event in sorted(events, key=lambda e: e.start_ns()):
        now += event.nbytes()
        peak = max(peak, now)
    del kept
    return peak


def test_the_instrument_agrees_with_the_allocator():
    pair = solve.MapPair(*random_pair((14, 12, 13), 4), SPACING)  # type: ignore[call-arg]
    matching = pair.matching(chosen(4))
    momentum = torch.zeros_like(matching.source)
    outside = [pair.source, pair.target, matching.source, matching.system.control[0], momentum]
    kernels = (matching.system.kernel, matching.volumes)
    outside += [matrix for kernel in kernels for matrix in kernel.matrices()]
    gc.collect()
    with LiveBytes(outside) as meter:
        evaluate(momentum, matching)
    before = sum(t.untyped_storage().nbytes() for t in outside)
    assert allocator_peak(lambda: evaluate(momentum, matching)) == pytest.approx(
        meter.peak - before, rel=0.002
    )


def test_a_cost_and_gradient_holds_what_its_strategy_says_per_step():
    """Two maps per state; the inside of a step two more and eighteen fields; nested states do not add up."""
    pair = solve.MapPair(*random_pair((14, 12, 13), 4), SPACING)  # type: ignore[call-arg]
    per_step = {}
    for name, strategy in BY_NAME.items():
        peaks = []
        for steps in (5, 12):
            matching = pair.matching(chosen(steps))
            with LiveBytes() as meter:
                evaluate(torch.zeros_like(matching.source), matching, strategy)
            peaks.append((meter.peak, meter.host_peak))
        growth = [
            (late - early) / 7 / pair.source.numel() / FLOAT for early, late in zip(*peaks, strict=True)
        ]
        per_step[name] = [round(value, 3) for value in growth]
    assert per_step["checkpoint"] == per_step["offload"] == [2, 0]
    assert per_step["host"] == [0, 2]
    assert per_step["nested"] == [0, 0]
    form = model.model().devices["cpu"]["store"]["evaluation"]["device"]
    expected = form["maps_per_step"] + form["fields_per_step"] / 4
    assert per_step["store"] == [pytest.approx(expected, abs=0.02), 0]


def test_the_number_of_pairs_of_the_model_is_that_of_the_optimiser():
    assert optimise.History().pairs.maxlen == model.Size(map_bytes=8, classes=2, steps=1).pairs

"""A GPU gives what the CPU gives, in the memory that the model predicts."""

from __future__ import annotations

import gc
from dataclasses import replace

import pytest
import torch
from small_problems import ball_maps, random_maps, settings

from benchmarks.gpu_card import pinned_pool
from longimorph.footprint import PAIRS_KEPT
from longimorph.memory import budget
from longimorph.memory.model import model
from longimorph.numerics.memory_strategies import BY_NAME, LADDERS, STORE, Ladder
from longimorph.numerics.objective import evaluate
from longimorph.numerics.register import register
from longimorph.numerics.run import Run
from longimorph.numerics.solve import MapPair
from longimorph.numerics.sphere import tangent

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="PyTorch sees no CUDA device here"),
]

TOLERANCE = 1e-4
SPACING = (1.5, 1.5, 1.6)


def agree(on_gpu, on_cpu, tolerance=TOLERANCE):
    assert on_gpu.device.type == "cuda"
    difference = (on_gpu.cpu().double() - on_cpu.double()).norm()
    assert float(difference) <= tolerance * float(on_cpu.double().norm())


def random_pair(shape, classes):
    generator = torch.Generator().manual_seed(classes)
    source, other = (random_maps(generator, classes, shape) for _ in range(2))
    control = 0.05 + 0.9 * torch.rand(classes, classes, generator=generator)
    return source.float(), (0.8 * source + 0.2 * other).float(), control


@pytest.mark.parametrize("shape", [(24, 22), (14, 16, 12)])
def test_cost_and_gradient_agree(shape):
    source, target, control = random_pair(shape, 4)
    chosen = settings(kernel_mm=(2.0, 4.0), amplitude_mm=4.0, steps=8)
    noise = 0.05 * random_maps(torch.Generator().manual_seed(9), 4, shape).float()
    found = {}
    for device in ("cpu", "cuda"):
        pair = MapPair(source.to(device), target.to(device), control.to(device), SPACING[: len(shape)])
        matching = pair.matching(chosen)
        found[device] = evaluate(tangent(noise.to(device), matching.source), matching)
    assert found["cuda"].cost == pytest.approx(found["cpu"].cost, rel=TOLERANCE)
    assert found["cuda"].energy == pytest.approx(found["cpu"].energy, rel=TOLERANCE)
    agree(found["cuda"].gradient, found["cpu"].gradient)


def test_a_whole_registration_agrees():
    """In float64: in float32 the optimiser may take another path to an equal cost."""
    source, target = (ball_maps((14, 13, 12), SPACING, [((10.0, 9.0, 9.0), r)]) for r in (4.5, 5.5))
    control = torch.full((2, 2), 0.99, dtype=torch.float64)
    found = {
        device: register(source.to(device), target.to(device), control.to(device), SPACING, settings())
        for device in ("cpu", "cuda")
    }
    for part in ("deformation", "reallocation", "deformation_flows", "reallocation_flows"):
        agree(getattr(found["cuda"].attribution, part), getattr(found["cpu"].attribution, part))
    for part in ("forward", "inverse", "log_jacobian"):
        agree(getattr(found["cuda"].warps, part), getattr(found["cpu"].warps, part))
    assert found["cuda"].reason == found["cpu"].reason


@pytest.mark.parametrize("name", [rung.name for rung in LADDERS["cuda"]])
def test_every_strategy_gives_the_same_numbers(name):
    source, target, control = (t.cuda() for t in random_pair((14, 16, 12), 4))
    matching = MapPair(source, target, control, SPACING).matching(settings(kernel_mm=(2.0,), steps=8))
    noise = 0.05 * random_maps(torch.Generator().manual_seed(9), 4, (14, 16, 12)).float()
    momentum = tangent(noise.cuda(), matching.source)
    expected, found = (evaluate(momentum, matching, rung) for rung in (STORE, BY_NAME[name]))
    assert found.cost == pytest.approx(expected.cost, rel=1e-5)
    agree(found.gradient, expected.gradient.cpu(), 1e-5)


def allocated_before():
    """Bytes allocated before a registration: cuBLAS's workspace, 32 MiB on Hopper, which it takes once."""
    a = torch.ones(64, 64, device="cuda")
    for one in (a, a.expand(2, 64, 64)):
        torch.matmul(one, a)
    del a, one
    gc.collect()
    torch.cuda.synchronize()
    torch.cuda.empty_cache()
    return torch.cuda.memory_allocated()


@pytest.mark.parametrize("name", [rung.name for rung in LADDERS["cuda"]])
def test_the_device_holds_what_the_model_says(name):
    source, target, control = random_pair((64, 60, 56), 5)
    chosen = settings(kernel_mm=(1.7,), amplitude_mm=3.0, steps=6, max_evaluations=12, tolerance=1e-9)
    pinned, iterations, device = pinned_pool(), [], torch.device("cuda")
    before = allocated_before()
    torch.cuda.reset_peak_memory_stats()
    if pinned is not None:
        pinned.reset_peak()
    ladder = Ladder([BY_NAME[name]])
    register(
        source,
        target,
        control,
        SPACING,
        chosen,
        Run(lambda _, i: iterations.append(i), ladder, device=device),
    )
    peak = torch.cuda.max_memory_allocated() - before
    size = replace(budget.size_of(source, 6), pairs=min(len(iterations) - 1, PAIRS_KEPT))
    predicted = model().peak(name, size, "cuda")
    assert peak == pytest.approx(predicted.device, rel=0.1)
    if pinned is not None:
        assert pinned.peak == pytest.approx(predicted.host, rel=0.1)


def test_maps_may_lie_on_the_host():
    source, target, control = random_pair((14, 16, 12), 3)
    chosen = settings(kernel_mm=(3.0,), amplitude_mm=4.0, steps=4, max_evaluations=4)
    device = torch.device("cuda")
    found = register(source, target, control, SPACING, chosen, Run(device=device))
    expected = register(source.cuda(), target.cuda(), control.cuda(), SPACING, chosen)
    agree(found.attribution.deformation, expected.attribution.deformation.cpu())

"""The fused loops for a CPU agree with the plain formulas, slab by slab, on any shape."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time

import pytest
import torch
from pass_arguments import PRECISIONS, agree, random_arguments, results
from small_problems import control_matrix, random_maps, random_matching, settings, smooth

from longimorph.numerics import control, fused, passes
from longimorph.numerics.objective import evaluate
from longimorph.numerics.passes import Pass
from longimorph.numerics.solve import MapPair
from longimorph.numerics.sphere import tangent

SHAPES = [(4, 5, 6), (2, 3, 4), (3, 2, 2), (2, 3, 2), (2, 40, 30), (2, 30, 41)]
"""The last two have rows enough for more than one block of them."""


def both_ways(monkeypatch, work):
    """What a piece of work gives with the fused loops, and with the formulas on the thinnest slabs."""
    assert passes.FUSED_LOOPS
    fused = work()
    monkeypatch.setattr(passes, "_fused", lambda *_: pytest.fail("a fused loop where slabs were asked for"))
    monkeypatch.setattr(passes, "FUSED_LOOPS", False)
    monkeypatch.setitem(passes.SLAB_BYTES, "cpu", 1)
    return fused, work()


@pytest.fixture()
def two_threads():
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    yield
    torch.set_num_threads(before)


def problem(shape, kind):
    generator = torch.Generator().manual_seed(sum(shape))
    source, target = (random_maps(generator, 3, shape).to(kind) for _ in range(2))
    control = control_matrix("mixed", 3, generator).to(kind)
    chosen = settings(kernel_mm=(2.0, 4.0), amplitude_mm=4.0, steps=4)
    matching = MapPair(source, target, control, (1.0, 1.2, 0.9)).matching(chosen)
    return tangent(0.1 * smooth(generator, 3, shape).to(kind), matching.source), matching


@pytest.mark.parametrize("kind", PRECISIONS)
@pytest.mark.parametrize("shape", [(7, 6, 5), (2, 5, 6), (6, 2, 5), (5, 6, 2), (2, 2, 2)])
def test_cost_and_gradient(monkeypatch, shape, kind):
    momentum, matching = problem(shape, kind)
    fused, plain = both_ways(monkeypatch, lambda: evaluate(momentum, matching))
    assert fused.cost == pytest.approx(plain.cost, rel=PRECISIONS[kind])
    agree(fused.gradient, plain.gradient, PRECISIONS[kind])


@pytest.mark.parametrize("kind", PRECISIONS)
@pytest.mark.parametrize("shape", [(7, 6, 5), (2, 5, 6), (6, 2, 5), (5, 6, 2), (2, 2, 2)])
def test_the_matrix_of_each_voxel(monkeypatch, shape, kind):
    _, matching = problem(shape, kind)
    system = matching.system
    fused, plain = both_ways(
        monkeypatch, lambda: passes.metric(matching.source, system.control, system.per_mm)
    )
    agree(fused, plain, PRECISIONS[kind])


@pytest.mark.parametrize("kind", PRECISIONS)
@pytest.mark.parametrize("which", Pass)
def test_every_fused_loop_against_its_formula(which, kind):
    """The formula sees the whole arrays at once, so it takes no part in how a volume is walked."""
    for seed, shape in enumerate(SHAPES):
        arguments = random_arguments(which, shape, kind, seed)
        expected = passes.tensors_in(passes.FORMULAS[which](*arguments))
        axes = next(
            (one for one in arguments if isinstance(one, torch.Tensor) and one.shape[1:] == (1, 1, 1)), None
        )
        found = results(which, arguments, axes, expected)
        assert len(found) == len(expected)
        for one, other in zip(found, expected, strict=True):
            agree(one, other, PRECISIONS[kind])


@pytest.mark.parametrize("kind", PRECISIONS)
@pytest.mark.parametrize("which", [Pass.DENSITY, Pass.METRIC, Pass.DENSITY_CHANGE])
def test_the_loops_bound_rho_where_the_formulas_do(which, kind):
    """Half of the voxels have no control at all; a compiled loop keeps the bound it was compiled with."""
    arguments = list(random_arguments(which, SHAPES[0], kind, 0))
    place = {Pass.METRIC: 1, Pass.DENSITY: 2, Pass.DENSITY_CHANGE: 3}[which]
    arguments[place][:, ::2] = 0
    if which is Pass.DENSITY_CHANGE:
        arguments[4][:, ::2] = control.RHO_MIN
    expected = passes.tensors_in(passes.FORMULAS[which](*arguments))
    for one, other in zip(results(which, arguments, arguments[-1], expected), expected, strict=True):
        agree(one[:, ::2], other[:, ::2], PRECISIONS[kind])


def test_every_pass_has_a_formula_and_a_loop_of_its_name():
    assert {which: formula.__name__ for which, formula in passes.FORMULAS.items()} == {
        which: which.value for which in Pass
    }
    assert {name: loop.__name__ for name, loop in fused.LOOPS.items()} == {
        which.value: which.value for which in Pass
    }


def test_the_loops_are_the_same_without_compilation():
    """Run as plain Python, no promise to the compiler and no rewriting by it is part of the result."""
    tests = f"{__file__}::test_every_fused_loop_against_its_formula"
    environment = {**os.environ, "NUMBA_DISABLE_JIT": "1"}
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "-p", "no:xdist", tests]
    run = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=500)
    assert run.returncode == 0, run.stdout


@pytest.mark.parametrize("threads", [2, 3])
def test_pieces_of_several_threads(monkeypatch, threads):
    momentum, matching = random_matching(5, dims=3)
    before = torch.get_num_threads()
    torch.set_num_threads(threads)
    try:
        fused, plain = both_ways(monkeypatch, lambda: evaluate(momentum, matching))
    finally:
        torch.set_num_threads(before)
    agree(fused.gradient, plain.gradient, 1e-12)


def test_a_forked_process_has_threads_of_its_own(two_threads):
    """Those of its parent are not in it, so a pool that remembered them would wait for ever."""
    sums = [0, 0]
    passes.in_parts(lambda part: sums.__setitem__(part[0], sum(part)), 2)
    time.sleep(0.3)  # until its threads wait for work
    child = os.fork()
    if child == 0:
        signal.alarm(20)
        passes.in_parts(lambda _: None, 2)
        os._exit(0)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0 and sums == [1, 3]


@pytest.mark.parametrize("error", [ImportError("Numba needs NumPy 2.4 or less"), SystemError("init")])
def test_where_numba_cannot_be_imported_the_formulas_do(monkeypatch, caplog, error):
    """numba refuses, for instance, a numpy that is newer than itself."""
    momentum, matching = problem((7, 6, 5), torch.float64)
    expected = evaluate(momentum, matching)

    class Refusing:
        def find_spec(self, name, path=None, target=None):
            if name.split(".")[0] == "numba":
                raise error

    for name in [
        name
        for name in sys.modules
        if name.split(".")[0] == "numba" or name.endswith((".fused", ".compiling"))
    ]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.delattr("longimorph.numerics.fused", raising=False)
    monkeypatch.setattr(sys, "meta_path", [Refusing(), *sys.meta_path])
    passes._fused_loops.cache_clear()
    try:
        found = evaluate(momentum, matching)
    finally:
        passes._fused_loops.cache_clear()
    assert found.cost == pytest.approx(expected.cost, rel=1e-12)
    agree(found.gradient, expected.gradient, 1e-12)
    assert caplog.text.count(str(error)) == 1


@pytest.mark.parametrize("error", [ImportError("no Triton here"), RuntimeError("Failed to find C compiler")])
def test_where_triton_does_not_work_the_formulas_do(monkeypatch, caplog, error):
    """A CPU stands in for a GPU."""

    class Refusing:
        def find_spec(self, name, path=None, target=None):
            if name.split(".")[0] == "triton":
                raise error

    momentum, matching = problem((7, 6, 5), torch.float64)
    monkeypatch.setattr(passes, "FUSED_LOOPS", False)
    expected = evaluate(momentum, matching)
    for name in [name for name in sys.modules if name.split(".")[0] == "triton" or "numerics.triton" in name]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.delattr("longimorph.numerics.triton_passes", raising=False)
    monkeypatch.setattr(sys, "meta_path", [Refusing(), *sys.meta_path])
    monkeypatch.setattr(passes, "KERNEL_DEVICES", ("cpu",))
    passes._triton_kernels.cache_clear()
    try:
        found = evaluate(momentum, matching)
    finally:
        passes._triton_kernels.cache_clear()
    assert found.cost == expected.cost and torch.equal(found.gradient, expected.gradient)
    assert caplog.text.count(str(error)) == 1

"""The Triton kernels for a GPU agree with the plain formulas, and keep their numbers in registers.

Triton's interpreter runs the kernels on a CPU. Triton decides for or against it when it is imported, so one
test runs this file again with the interpreter; the tests marked ``interpreted`` are its own. The compiler for
a GPU needs no GPU.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
from itertools import product
from typing import Any

import pytest
import torch
from pass_arguments import PRECISIONS, agree, random_arguments, results
from small_problems import control_matrix, random_maps, settings, smooth

from benchmarks import traffic
from longimorph.numerics import control, passes
from longimorph.numerics.conjugate import conjugate_gradients, inner, smooth_solution
from longimorph.numerics.kernels import along_all, gaussian_kernel
from longimorph.numerics.objective import evaluate
from longimorph.numerics.passes import Pass
from longimorph.numerics.solve import MapPair
from longimorph.numerics.sphere import tangent

triton = pytest.importorskip("triton", reason="needs Triton: pip install 'longimorph[triton]'")

from longimorph.numerics import triton_convolution, triton_passes, triton_solves  # noqa: E402

IN_INTERPRETER = os.environ.get("TRITON_INTERPRET") == "1"
interpreted = pytest.mark.skipif(not IN_INTERPRETER, reason="run by test_every_kernel_in_the_interpreter")
compiled = pytest.mark.skipif(IN_INTERPRETER, reason="needs the compiler")

SHAPES = [((4, 5, 9), 3), ((2, 2, 2), 2), ((2, 3, 7), 8), ((5, 3, 2), 13)]
"""Grids and numbers of classes; the first takes more than one block of threads."""
FLAT = [(1, 5, 6), (4, 1, 3), (3, 4, 1), (1, 1, 150)]
PASSES = [Pass(name) for name in triton_passes.KERNELS]
CARDS = (80, 90)


@pytest.fixture
def kernels(monkeypatch):
    """The kernels do on a CPU what they do on a GPU."""
    monkeypatch.setattr(passes, "KERNEL_DEVICES", ("cpu",))
    monkeypatch.setattr(passes, "FUSED_LOOPS", False)
    monkeypatch.setattr(passes, "_walk", lambda *_: pytest.fail("a formula where a kernel was asked for"))


def axes_in(arguments):
    return next(
        (one for one in arguments if isinstance(one, torch.Tensor) and one.shape == (3, 1, 1, 1)), None
    )


@compiled
@pytest.mark.slow
def test_every_kernel_in_the_interpreter():
    environment = {**os.environ, "TRITON_INTERPRET": "1"}
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "-p", "no:xdist", __file__]
    run = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=550)
    assert run.returncode == 0, run.stdout
    assert int(re.search(r"(\d+) passed", run.stdout)[1]) > len(PASSES), run.stdout


@interpreted
@pytest.mark.parametrize("kind", PRECISIONS)
@pytest.mark.parametrize("which", PASSES)
def test_every_kernel_against_its_formula(kernels, which, kind):
    endings = range(3 if which is Pass.PULL_BACK else 1)
    for (seed, (shape, classes)), ending in product(enumerate(SHAPES), endings):
        arguments = random_arguments(which, shape, kind, seed + ending, classes)
        expected = passes.tensors_in(passes.FORMULAS[which](*arguments))
        found = results(which, arguments, axes_in(arguments), expected)
        assert len(found) == len(expected)
        for one, other in zip(found, expected, strict=True):
            agree(one, other, PRECISIONS[kind])


@interpreted
@pytest.mark.parametrize("shape", FLAT)
@pytest.mark.parametrize("which", PASSES)
def test_along_an_axis_of_one_voxel_nothing_changes(monkeypatch, which, shape):
    """The formulas need two voxels per axis; the fused loops do not."""
    arguments = random_arguments(which, shape, torch.float64, 5)
    again = random_arguments(which, shape, torch.float64, 5)
    like = [torch.empty_like(one) for one in passes.tensors_in(passes.FORMULAS[which](*_padded(which)))]
    like = [torch.empty(len(one), *shape, dtype=torch.float64) for one in like]
    expected = results(which, arguments, axes_in(arguments), like)
    monkeypatch.setattr(passes, "FUSED_LOOPS", False)
    monkeypatch.setattr(passes, "KERNEL_DEVICES", ("cpu",))
    for one, other in zip(results(which, again, axes_in(again), like), expected, strict=True):
        agree(one, other, PRECISIONS[torch.float64])


def _padded(which):
    return random_arguments(which, (2, 2, 2), torch.float64, 5)


@interpreted
@pytest.mark.parametrize("kind", PRECISIONS)
@pytest.mark.parametrize("which", [Pass.DENSITY, Pass.DENSITY_CHANGE])
def test_the_kernels_bound_rho_where_the_formulas_do(kernels, which, kind):
    arguments = list(random_arguments(which, (4, 5, 6), kind, 0))
    arguments[3 if which is Pass.DENSITY_CHANGE else 2][:, ::2] = 0
    if which is Pass.DENSITY_CHANGE:
        arguments[4][:, ::2] = control.RHO_MIN
    expected = passes.tensors_in(passes.FORMULAS[which](*arguments))
    for one, other in zip(results(which, arguments, arguments[-1], expected), expected, strict=True):
        agree(one[:, ::2], other[:, ::2], PRECISIONS[kind])


@interpreted
@pytest.mark.parametrize("which", PASSES)
def test_offsets_of_64_bits_give_the_same(kernels, monkeypatch, which):
    """Offsets beyond 2^31 elements cannot be tried here; that their type changes no number can."""
    monkeypatch.setattr(triton_passes, "MOST_OFFSETS", 1)
    for ending in range(3):
        arguments = random_arguments(which, (4, 5, 6), torch.float32, ending)
        expected = passes.tensors_in(passes.FORMULAS[which](*arguments))
        for one, other in zip(results(which, arguments, axes_in(arguments), expected), expected, strict=True):
            agree(one, other, PRECISIONS[torch.float32])


@interpreted
@pytest.mark.parametrize("kind", PRECISIONS)
def test_cost_and_gradient(monkeypatch, kind):
    generator = torch.Generator().manual_seed(5)
    source, target = (random_maps(generator, 3, (6, 5, 4)).to(kind) for _ in range(2))
    matrix = control_matrix("mixed", 3, generator).to(kind)
    chosen = settings(kernel_mm=(2.0, 4.0), amplitude_mm=4.0, steps=2)
    matching = MapPair(source, target, matrix, (1.0, 1.2, 0.9)).matching(chosen)
    momentum = tangent(0.1 * smooth(generator, 3, (6, 5, 4)).to(kind), matching.source)
    monkeypatch.setattr(passes, "FUSED_LOOPS", False)
    expected = evaluate(momentum, matching)
    monkeypatch.setattr(passes, "KERNEL_DEVICES", ("cpu",))
    monkeypatch.setattr(passes, "_walk", lambda *_: pytest.fail("a formula where a kernel was asked for"))
    found = evaluate(momentum, matching)
    assert found.cost == pytest.approx(expected.cost, rel=PRECISIONS[kind])
    agree(found.gradient, expected.gradient, PRECISIONS[kind])


@interpreted
@pytest.mark.parametrize("kind", PRECISIONS)
@pytest.mark.parametrize("shape", [(9, 5, 4), (1, 20, 3), (12, 1, 1)])
def test_a_band_along_each_axis(shape, kind):
    generator = torch.Generator().manual_seed(7)
    field = torch.randn(2, *shape, generator=generator, dtype=torch.float64).to(kind)
    band = torch.rand(6, generator=generator, dtype=torch.float64).to(kind)
    for axis, n in enumerate(shape):
        apart = (torch.arange(n)[:, None] - torch.arange(n)).abs()
        matrices = [torch.eye(side, dtype=kind) for side in shape]
        matrices[axis] = torch.where(apart < len(band), band[apart.clamp(max=len(band) - 1)], 0)
        agree(triton_convolution.filtered(field, band, axis), along_all(field, matrices), PRECISIONS[kind])


@interpreted
def test_a_kernel_by_bands(kernels, monkeypatch):
    field = torch.randn(3, 40, 12, 6, generator=torch.Generator().manual_seed(2))
    monkeypatch.setattr("longimorph.numerics.kernels.TAP", 0.0)  # even where a matrix takes less time
    one = gaussian_kernel((40, 12, 6), (1.0, 1.2, 0.9), [1.3], 2.0, field)
    asked: list[int] = []
    monkeypatch.setattr(triton_convolution, "filtered", _heard(triton_convolution.filtered, asked))
    assert one.scales[0].taps
    expected = along_all(field, one.scales[0].dense)
    assert float((one(field) - expected).abs().max()) <= 1e-6 * float(expected.abs().max())
    assert asked == [0, 1]


def _heard(work, asked):
    def heard(field, taps, axis):
        asked.append(axis)
        return work(field, taps, axis)

    return heard


@interpreted
@pytest.mark.parametrize("kind", PRECISIONS)
def test_solves_by_kernels_are_those_of_the_formulas(monkeypatch, kind):
    generator = torch.Generator().manual_seed(9)
    shape = (8, 9, 17)

    def field(channels):
        return torch.randn(channels, *shape, generator=generator, dtype=torch.float64).to(kind)

    vectors, b, weights = torch.stack([field(3), field(3)]), field(3), field(3).abs() + 0.5
    metric = torch.stack([(vectors[:, d] * vectors[:, e]).sum(0) for d in range(3) for e in range(d + 1)])
    blur = gaussian_kernel(shape, (1.0, 1.1, 0.9), [1.2], 1.5, b)

    def work():
        return (
            inner(b, weights).reshape(1),
            smooth_solution(metric, blur, b.clone(), 4, 1e-9),
            conjugate_gradients(lambda x: weights * x, b.clone(), 3, 1e-9),
        )

    monkeypatch.setattr(passes, "FUSED_LOOPS", False)
    expected = work()
    monkeypatch.setattr(passes, "KERNEL_DEVICES", ("cpu",))
    launched: list[Any] = []
    monkeypatch.setattr(triton_solves, "_launch", _noted(triton_solves._launch, launched))
    for one, other in zip(work(), expected, strict=True):
        agree(one, other, 10 * PRECISIONS[kind])
    assert {one.__name__ for one in launched} == {one.__name__ for one in triton_solves.KERNELS}


def _noted(work, launched):
    def noted(one, *rest):
        launched.append(one)
        work(one, *rest)

    return noted


def test_kernels_have_the_names_of_their_passes():
    for name, one in triton_passes.KERNELS.items():
        assert Pass(name) and one.__name__ == name
    assert set(triton_passes.KERNELS) == traffic.KERNELS, "what is counted"


SIZES = ("nx", "ny", "nz", "n", "step", "columns", "size")
DOUBLES = {
    "duration": "fp64",
    "factor": "fp64",
    "ratio": "fp64",
    "added": "fp64",
    "settled": "fp64",
    "sums": "*fp64",
}


def resources(one, card, fixed, warps, **options):
    """Registers of a thread, and bytes that spill to memory, of a kernel on float32 compiled for a card, as
    usual for tensors, which begin at a multiple of 16 bytes.
    """
    kinds = {**dict.fromkeys(SIZES, "i32"), **dict.fromkeys(fixed, "constexpr"), **DOUBLES}
    if "sums" in one.arg_names or one is triton_solves.descend:
        kinds["length"] = "fp64"
    signature = {given: kinds.get(given, "*fp32") for given in one.arg_names}
    pointers = [i for i, given in enumerate(one.arg_names) if signature[given].startswith("*")]
    aligned = {(i,): [["tt.divisibility", 16]] for i in pointers}
    source = triton.compiler.ASTSource(one, signature, fixed, aligned)
    target = triton.backends.compiler.GPUTarget("cuda", card, 32)
    options = {"num_warps": warps, **options}
    return _assembled(triton.compile(source, target=target, options=options).asm["ptx"])


def of_pass(name, card, classes=8, **options):
    fixed = {"CLASSES": classes, "INDEX": triton.language.int32, "BLOCK": triton_passes.BLOCK}
    return resources(triton_passes.KERNELS[name], card, fixed, triton_passes.WARPS, **options)


def _assembled(ptx):
    place = triton.knobs.nvidia.ptxas.path
    target = re.search(r"^\.target (\w+)", ptx, re.MULTILINE)[1]
    command = [place, "-v", f"--gpu-name={target}", "-o", os.devnull, "-"]
    said = subprocess.run(command, input=ptx, capture_output=True, text=True, check=True).stderr
    spilled = [int(n) for n in re.findall(r"(\d+) bytes spill (?:stores|loads)", said)]
    assert spilled, said
    return int(re.search(r"Used (\d+) registers", said)[1]), max(spilled)


@compiled
@pytest.mark.parametrize("card", CARDS)
@pytest.mark.parametrize("name", triton_passes.KERNELS)
def test_no_pass_spills_registers(name, card):
    registers, spilled = of_pass(name, card)
    assert spilled == 0
    assert registers <= 128, "fewer than 16 warps would fit on a multiprocessor"


@compiled
@pytest.mark.parametrize("card", CARDS)
@pytest.mark.parametrize("one", triton_solves.KERNELS, ids=lambda one: one.__name__)
def test_no_update_of_a_solve_spills_registers(one, card):
    assert resources(one, card, {"BLOCK": triton_solves.BLOCK}, triton_passes.WARPS)[1] == 0


@compiled
@pytest.mark.parametrize("card", CARDS)
def test_no_band_spills_registers(card):
    fixed = {
        "REACH": 23,
        "INDEX": triton.language.int32,
        "ROWS": triton_convolution.ROWS,
        "COLUMNS": triton_convolution.COLUMNS,
    }
    assert resources(triton_convolution.along, card, fixed, triton_passes.WARPS)[1] == 0


@compiled
def test_registers_do_not_depend_on_the_number_of_classes():
    assert of_pass("pull_back", 90, classes=30) == of_pass("pull_back", 90, classes=9)


@compiled
@pytest.mark.parametrize("flat", [["nz"], ["nx", "ny", "nz"]])
def test_sizes_of_one_are_constants_to_the_compiler(flat):
    """That is how Triton launches a kernel, and constants have other types."""
    fixed = {
        "CLASSES": 2,
        "INDEX": triton.language.int32,
        "BLOCK": triton_passes.BLOCK,
        **dict.fromkeys(flat, 1),
    }
    for one in triton_passes.KERNELS.values():
        assert resources(one, 90, fixed, triton_passes.WARPS)[1] == 0


@compiled
def test_a_spill_would_be_seen():
    assert of_pass("pull_back", 90, maxnreg=48)[1] > 0

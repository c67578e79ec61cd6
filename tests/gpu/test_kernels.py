"""Triton's kernels give on a GPU what their formulas give on a CPU."""

from __future__ import annotations

import pytest
import torch
from pass_arguments import PRECISIONS, agree, overwritten, random_arguments

from longimorph.numerics import passes
from longimorph.numerics.passes import Pass, PerAxis

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="PyTorch sees no CUDA device here"),
]

SHAPES = [((4, 5, 6), 2), ((33, 20, 17), 3), ((21, 40, 30), 8), ((9, 10, 11), 13)]


def on_gpu(value):
    """An argument of a pass with every tensor on the GPU; what holds a number per axis is marked."""
    if isinstance(value, torch.Tensor):
        return PerAxis(value.cuda()) if value.shape == (3, 1, 1, 1) else value.cuda()
    return type(value)(*map(on_gpu, value)) if isinstance(value, tuple) else value


@pytest.mark.parametrize("kind", PRECISIONS)
def test_every_kernel(kind):
    triton_passes = pytest.importorskip("longimorph.numerics.triton_passes", reason="needs Triton")
    for name in triton_passes.KERNELS:
        which = Pass(name)
        for seed, (shape, classes) in enumerate(SHAPES):
            arguments = random_arguments(which, shape, kind, seed, classes)
            given = [on_gpu(one) for one in arguments]
            expected = passes.tensors_in(passes.FORMULAS[which](*arguments))
            outputs = overwritten(which, given) or [torch.empty_like(one).cuda() for one in expected]
            assert passes.kernels_for(outputs) is not None, "Triton does not work here"
            passes._run(which, given, outputs)
            for one, other in zip(outputs, expected, strict=True):
                agree(one.cpu(), other, PRECISIONS[kind])

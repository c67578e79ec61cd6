"""The fused updates of the solves against their formulas in torch, on random fields."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import settings as examples
from hypothesis import strategies as st

from longimorph.numerics import conjugate
from longimorph.numerics.conjugate import conjugate_gradients, inner, smooth_solution
from longimorph.numerics.kernels import gaussian_kernel

pytestmark = pytest.mark.filterwarnings("error")

SIDES = st.tuples(st.integers(2, 7), st.integers(1, 9), st.integers(1, 60))
ROUNDING = {torch.float32: 2e-5, torch.float64: 1e-12}
KINDS = st.sampled_from([torch.float32, torch.float64])
SEEDS = st.integers(0, 100_000)


def in_torch(work):
    """The result without fused loops."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(conjugate, "_loops", lambda *_: None)
        return work()


def far_apart(a, b):
    return float((a - b).abs().max()) / max(float(b.abs().max()), 1e-30)


def random_system(seed, shape, kind):
    """A metric with G = sum of a a^T over two random vectors per voxel, a kernel and a right-hand side."""
    generator = torch.Generator().manual_seed(seed)
    vectors = torch.randn(2, 3, *shape, generator=generator, dtype=torch.float64)
    rows = [(vectors[:, d] * vectors[:, e]).sum(0) for d in range(3) for e in range(d + 1)]
    b = torch.randn(3, *shape, generator=generator, dtype=torch.float64)
    kernel = gaussian_kernel(shape, (1.0, 1.1, 0.9), [1.2, 2.5], 1.5, b.to(kind))
    return torch.stack(rows).to(kind), kernel, b.to(kind)


@examples(max_examples=25, deadline=None)
@given(SEEDS, SIDES, st.integers(1, 4), KINDS)
def test_a_scalar_product_is_the_sum_of_products_on_any_number_of_threads(seed, shape, channels, kind):
    generator = torch.Generator().manual_seed(seed)
    a, b = (torch.randn(channels, *shape, generator=generator, dtype=torch.float64).to(kind) for _ in "ab")
    found, threads = inner(a, b), torch.get_num_threads()
    assert found.dtype == torch.float64
    size = float((a * b).abs().sum(dtype=torch.float64))
    assert abs(float(found) - float(in_torch(lambda: inner(a, b)))) <= 1e-14 * size
    try:
        torch.set_num_threads(3)
        assert float(inner(a, b)) == float(found)
    finally:
        torch.set_num_threads(threads)


@examples(max_examples=20, deadline=None)
@given(SEEDS, SIDES, KINDS)
def test_a_smooth_solution_is_that_of_the_formulas(seed, shape, kind):
    metric, kernel, b = random_system(seed, shape, kind)
    fused = smooth_solution(metric, kernel, b.clone(), 6, 1e-3)
    assert far_apart(fused, in_torch(lambda: smooth_solution(metric, kernel, b.clone(), 6, 1e-3))) < (
        100 * ROUNDING[kind]
    )


@examples(max_examples=10, deadline=None)
@given(SEEDS, st.tuples(st.integers(2, 4), st.integers(2, 4), st.integers(2, 5)))
def test_a_smooth_solution_solves_its_system(seed, shape):
    """(K^-1 + G) y = b, multiplied by K so that its inverse is not needed."""
    metric, kernel, b = random_system(seed, shape, torch.float64)
    y = smooth_solution(metric, kernel, b.clone(), 500, 1e-13)
    left = y + kernel(conjugate.multiply(metric, y))
    assert far_apart(left, kernel(b)) < 1e-9


@examples(max_examples=20, deadline=None)
@given(SEEDS, SIDES, st.integers(1, 4), KINDS)
def test_conjugate_gradients_are_those_of_the_formulas(seed, shape, channels, kind):
    generator = torch.Generator().manual_seed(seed)
    weights, b = (
        torch.rand(channels, *shape, generator=generator, dtype=torch.float64).to(kind) for _ in "ab"
    )

    def apply(x):
        return x * (1 + 5 * weights)

    fused = conjugate_gradients(apply, b.clone(), 5, 1e-4)
    assert far_apart(fused, in_torch(lambda: conjugate_gradients(apply, b.clone(), 5, 1e-4))) < (
        100 * ROUNDING[kind]
    )


def test_a_graph_is_recorded_where_one_is_asked_for():
    a = torch.ones(2, 3, 4, 5, dtype=torch.float64, requires_grad=True)
    inner(a, 2 * torch.ones_like(a)).backward()
    assert a.grad is not None and float(a.grad.min()) == float(a.grad.max()) == 2.0

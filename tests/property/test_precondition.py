"""Conjugate gradients solve their system, and the preconditioner is the documented operator."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import settings as examples
from hypothesis import strategies as st
from small_problems import random_problem

from longimorph.numerics.conjugate import conjugate_gradients, multiply
from longimorph.numerics.linearised import LinearisedShooting
from longimorph.numerics.precondition import CURVATURE_FLOOR, Preconditioner
from longimorph.numerics.sphere import dot, tangent

pytestmark = pytest.mark.filterwarnings("error")

SEEDS = st.integers(0, 100_000)


def positive_matrix(seed, n):
    generator = torch.Generator().manual_seed(seed)
    a = torch.randn(n, n, generator=generator, dtype=torch.float64)
    return a @ a.T + torch.eye(n, dtype=torch.float64), torch.randn(n, generator=generator).double()


@examples(max_examples=10, deadline=None)
@given(SEEDS, st.integers(2, 20))
def test_conjugate_gradients_solve_a_positive_system(seed, n):
    matrix, b = positive_matrix(seed, n)
    x = conjugate_gradients(lambda v: matrix @ v, b.clone(), 10 * n, 1e-10)
    assert float((matrix @ x - b).norm()) <= 1e-9 * float(b.norm())


def test_conjugate_gradients_stop_where_told():
    matrix, b = positive_matrix(0, 30)
    calls = []

    def apply(v):
        calls.append(v)
        return matrix @ v

    conjugate_gradients(apply, b.clone(), 7, 0.0)
    assert len(calls) == 7
    calls.clear()
    x = conjugate_gradients(apply, b.clone(), 1000, 0.1)
    assert len(calls) < 60
    assert float((matrix @ x - b).norm()) <= 0.1 * float(b.norm()) * 1.001
    assert torch.equal(conjugate_gradients(apply, 0 * b, 5, 1e-3), 0 * b)


def symmetric_matrix(apply, q):
    """The matrix of a linear map on tangent fields at q, zero along q."""
    unit = torch.eye(q.numel(), dtype=torch.float64).reshape(-1, *q.shape)
    project = torch.stack([tangent(e, q).flatten() for e in unit])
    found = project @ torch.stack([apply(tangent(e, q)).flatten() for e in unit]) @ project
    assert float((found - found.T).norm()) < 1e-10 * float(found.norm())
    return (found + found.T) / 2, project


KINDS = pytest.mark.parametrize("kind", ["mixed", "all deformation", "all reallocation"])


@examples(max_examples=10, deadline=None)
@given(SEEDS, st.sampled_from([1, 2, 3]))
def test_multiply_is_the_product_with_the_symmetric_matrix_of_each_voxel(seed, dims):
    generator = torch.Generator().manual_seed(seed)
    rows = torch.randn(dims * (dims + 1) // 2, 4, 3, generator=generator, dtype=torch.float64)
    field = torch.randn(dims, 4, 3, generator=generator, dtype=torch.float64)
    whole = torch.empty(dims, dims, 4, 3, dtype=torch.float64)
    places = [(row, column) for row in range(dims) for column in range(row + 1)]
    for entry, (row, column) in zip(rows, places, strict=True):
        whole[row, column] = whole[column, row] = entry
    expected = torch.einsum("de...,e...->d...", whole, field)
    assert float((multiply(rows, field) - expected).norm()) < 1e-13 * float(expected.norm())


@KINDS
@pytest.mark.parametrize("shift", [1.0, 1e-2, 1e-5])
@pytest.mark.parametrize(("seed", "dims"), [(0, 2), (1, 2), (2, 3)])
def test_the_inverse_of_the_linearised_shooting(seed, dims, kind, shift):
    (q, p), system = random_problem(seed, dims, kind, classes=3)
    exact = LinearisedShooting(q, system, iterations=3000, tolerance=1e-13)
    x = exact.inverse(p, shift)
    assert float((exact(x) + shift * x - p).norm()) < 1e-8 * float(p.norm())
    assert float(dot(x, q).abs().max()) < 1e-12 * float(x.abs().max())


@pytest.mark.parametrize("seed", range(3))
def test_the_iterations_bound_the_solve_and_the_tolerance_ends_it(seed):
    (q, p), system = random_problem(seed, 2, "mixed", classes=3)
    exact = LinearisedShooting(q, system, iterations=5000, tolerance=1e-14).inverse(p, 1e-3)

    def off(**bounds):
        return float((LinearisedShooting(q, system, **bounds).inverse(p, 1e-3) - exact).norm() / exact.norm())

    assert off() < 0.05
    assert off(iterations=2) > 10 * off(iterations=40)
    assert off(tolerance=0.5) > off(tolerance=1e-2) > off(tolerance=1e-6)
    nothing = LinearisedShooting(q, system).inverse(0 * p, 1e-3)
    assert torch.equal(nothing, 0 * p)


@KINDS
@pytest.mark.parametrize("seed", range(3))
def test_the_preconditioner_is_the_function_of_m_and_w_that_its_docstring_says(seed, kind):
    (q, p), system = random_problem(seed, 2, kind, classes=3)
    m, project = symmetric_matrix(LinearisedShooting(q, system), q)
    values = torch.linalg.eigvalsh(m)
    assert float(values.min()) > -1e-9 * float(values.max())
    a = torch.randn(q.numel(), q.numel(), generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    w = project @ (a @ a.T / q.numel()) @ project
    damping, weight = 0.5, 0.25
    one = torch.eye(q.numel(), dtype=torch.float64)
    first = torch.linalg.solve(m + (damping + weight) * one, p.flatten())
    middle = torch.linalg.solve(w + CURVATURE_FLOOR * one, first)
    expected = torch.linalg.solve(m + (damping + weight) * one, middle)

    def curve(x):
        return (w @ x.flatten()).reshape(x.shape)

    shooting = LinearisedShooting(q, system, iterations=2000, tolerance=1e-12)
    exact = Preconditioner(shooting, curve, weight, iterations=2000, tolerance=1e-12)(p, damping)
    assert float((exact.flatten() - expected).norm()) < 1e-8 * float(expected.norm())
    rough = Preconditioner(LinearisedShooting(q, system), curve, weight)(p, damping)
    assert float((rough - exact).norm()) < 0.1 * float(exact.norm())
    assert float((rough * p).sum()) > 0
    assert float(dot(rough, q).abs().max()) < 1e-12 * float(rough.abs().max()) + 1e-14


@pytest.mark.parametrize("seed", range(3))
def test_the_momentum_of_a_rate_leaves_the_kernel_of_m_alone(seed):
    (q, p), system = random_problem(seed, 2, "all deformation", classes=3)
    shooting = LinearisedShooting(q, system, iterations=3000, tolerance=1e-12)
    rate = shooting(p)
    found = Preconditioner(shooting, lambda x: x, 0.0).momentum(rate, 1e-4)
    again = shooting(found)
    assert float((again - rate).norm()) < 0.05 * float(rate.norm())
    assert float(found.norm()) < float(p.norm())

"""Conjugate gradients solve their system, and the preconditioner is the operator it claims to be."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import settings as examples
from hypothesis import strategies as st
from small_problems import random_problem

from longimorph.numerics.dynamics import infinitesimal
from longimorph.numerics.precondition import CURVATURE_FLOOR, Preconditioner, conjugate_gradients
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
    x = conjugate_gradients(lambda v: matrix @ v, b, 10 * n, 1e-10)
    assert float((matrix @ x - b).norm()) <= 1e-9 * float(b.norm())


def test_conjugate_gradients_stop_where_told():
    matrix, b = positive_matrix(0, 30)
    calls = []

    def apply(v):
        calls.append(v)
        return matrix @ v

    conjugate_gradients(apply, b, 7, 0.0)
    assert len(calls) == 7
    calls.clear()
    x = conjugate_gradients(apply, b, 1000, 0.1)
    assert len(calls) < 60
    assert float((matrix @ x - b).norm()) <= 0.1 * float(b.norm()) * 1.001
    assert torch.equal(conjugate_gradients(apply, 0 * b, 5, 1e-3), 0 * b)


@pytest.mark.parametrize("kind", ["mixed", "all deformation"])
@pytest.mark.parametrize("seed", range(3))
def test_the_preconditioner_is_the_function_of_m_and_w_that_its_docstring_says(seed, kind):
    (q, p), system = random_problem(seed, 2, kind, classes=3)
    shooting = infinitesimal(q, system)
    unit = torch.eye(q.numel(), dtype=torch.float64).reshape(-1, *q.shape)
    project = torch.stack([tangent(e, q).flatten() for e in unit])
    m = project @ torch.stack([shooting(tangent(e, q)).flatten() for e in unit]) @ project
    values = torch.linalg.eigvalsh((m + m.T) / 2)
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

    exact = Preconditioner(shooting, curve, weight, iterations=2000, tolerance=1e-12)(p, damping)
    assert float((exact.flatten() - expected).norm()) < 1e-8 * float(expected.norm())
    rough = Preconditioner(shooting, curve, weight)(p, damping)
    assert float((rough - exact).norm()) < 0.2 * float(exact.norm())
    assert float((rough * p).sum()) > 0
    assert float(dot(rough, q).abs().max()) < 1e-12 * float(rough.abs().max()) + 1e-14


@pytest.mark.parametrize("seed", range(3))
def test_the_momentum_of_a_rate_leaves_the_kernel_of_m_alone(seed):
    (q, p), system = random_problem(seed, 2, "all deformation", classes=3)
    shooting = infinitesimal(q, system)
    rate = shooting(p)
    found = Preconditioner(shooting, lambda x: x, 0.0, iterations=3000, tolerance=1e-12).momentum(rate, 1e-4)
    again = shooting(found)
    assert float((again - rate).norm()) < 0.05 * float(rate.norm())
    assert float(found.norm()) < float(p.norm())

"""The geodesic equations with the signs of their first print fail where the corrected ones hold.

The talk that introduced the model prints dp/dt with a minus sign before its last two terms:

    dp/dt = -div(alpha p v) -+ (<p, (v.grad) q> / (2 alpha) + <p, z> / (2 beta)) drho/dq -+ beta <p, q> z.

Here both versions are written out as they stand, with p free to point along q, and held against the
automatic derivative of H = 1/2 <alpha m, K(alpha m)> + 1/2 |z|^2. Space is a torus with spectral derivatives,
on which <grad q, q> = 0 to rounding for the smooth fields used, so that |q| = 1 is kept as in the continuum.
"""

from __future__ import annotations

import math

import pytest
import torch
from small_problems import random_problem

from longimorph.numerics.dynamics import flow, hamiltonian
from longimorph.numerics.shooting import drift
from longimorph.numerics.sphere import dot, tangent, to_sphere
from longimorph.numerics.states import State

pytestmark = pytest.mark.filterwarnings("error")

PRINTED, CORRECTED = -1.0, 1.0
NODES = 31
FREQUENCIES = torch.fft.fftfreq(NODES, 1 / NODES, dtype=torch.float64)


def derivative(f, axis):
    """Spectral derivative on the torus of length 2 pi; its adjoint is minus itself."""
    k = FREQUENCIES[:, None] if axis == 0 else FREQUENCIES
    return torch.fft.ifft2(1j * k * torch.fft.fft2(f)).real


def kernel(f):
    """Convolution with a Gaussian of standard deviation 0.5."""
    squared = FREQUENCIES[:, None].square() + FREQUENCIES.square()
    return torch.fft.ifft2(torch.exp(-squared / 8) * torch.fft.fft2(f)).real


def waves(generator, channels):
    """Random fields of the lowest frequencies: (channels, NODES, NODES)."""
    x = 2 * math.pi * torch.arange(NODES, dtype=torch.float64) / NODES
    basis = torch.stack([torch.ones_like(x), x.cos(), x.sin()])
    weights = torch.randn(channels, 3, 3, generator=generator, dtype=torch.float64)
    return torch.einsum("cij,ix,jy->cxy", weights, basis, basis)


def torus_problem(seed):
    """q, a momentum that is not tangent, and R T."""
    generator = torch.Generator().manual_seed(seed)
    q = to_sphere(torch.softmax(0.3 * waves(generator, 3), 0))
    target = torch.softmax(0.3 * waves(generator, 3), 0)
    control = 0.1 + 0.8 * torch.rand(3, 3, generator=generator, dtype=torch.float64)
    return q, 0.3 * waves(generator, 3), torch.einsum("ij,jxy->ixy", control, target)


def terms(q, p, alloc):
    share = dot(q.square(), alloc)
    alpha, beta = share.sqrt(), (1 - share).sqrt()
    slopes = [derivative(q, 0), derivative(q, 1)]
    m = torch.stack([(p * slope).sum(0) for slope in slopes])
    return alpha, beta, slopes, m, beta * tangent(p, q)


def energy(q, p, alloc):
    alpha, _, _, m, z = terms(q, p, alloc)
    return 0.5 * ((alpha * m * kernel(alpha * m)).sum() + z.square().sum())


def right_hand_side(q, p, alloc, sign):
    """dq/dt and dp/dt as written above; ``sign`` is that of the last two terms."""
    alpha, beta, slopes, m, z = terms(q, p, alloc)
    v = -kernel(alpha * m)
    dq = -alpha * (v[0] * slopes[0] + v[1] * slopes[1]) + beta * z
    divergence = sum(derivative(alpha * p * v[axis], axis) for axis in (0, 1))
    weight = (m * v).sum(0, keepdim=True) / (2 * alpha) + dot(p, z) / (2 * beta)
    return dq, -divergence + sign * (weight * 2 * q * alloc + beta * dot(p, q) * z)


def error_of_derivative(q, p, alloc, sign):
    """Relative error of dp/dt against minus the derivative of H, along the sphere."""
    leaf = q.clone().requires_grad_()
    exact = -torch.autograd.grad(energy(leaf, p, alloc), leaf)[0]
    _, dp = right_hand_side(q, p, alloc, sign)
    return float(tangent(dp - exact, q).norm() / tangent(exact, q).norm())


def drift_of_fourth_order_steps(q, p, alloc, sign, steps):
    """Largest relative departure of H over Runge-Kutta steps from time 0 to 1."""
    first, worst, h = float(energy(q, p, alloc)), 0.0, 1.0 / steps
    for _ in range(steps):
        k1 = right_hand_side(q, p, alloc, sign)
        k2 = right_hand_side(q + h / 2 * k1[0], p + h / 2 * k1[1], alloc, sign)
        k3 = right_hand_side(q + h / 2 * k2[0], p + h / 2 * k2[1], alloc, sign)
        k4 = right_hand_side(q + h * k3[0], p + h * k3[1], alloc, sign)
        moved = [(a + 2 * b + 2 * c + d) * h / 6 for a, b, c, d in zip(k1, k2, k3, k4, strict=True)]
        q, p = q + moved[0], p + moved[1]
        worst = max(worst, abs(float(energy(q, p, alloc)) / first - 1))
    return worst


@pytest.mark.parametrize("seed", range(6))
def test_the_printed_signs_fail_the_test_of_the_derivative_and_the_corrected_ones_pass(seed):
    problem = torus_problem(seed)
    assert error_of_derivative(*problem, CORRECTED) < 1e-13  # type: ignore[call-arg]
    assert error_of_derivative(*problem, PRINTED) > 1  # type: ignore[call-arg]


@pytest.mark.parametrize("seed", range(6))
def test_with_the_printed_signs_h_drifts_whatever_the_step(seed):
    problem = torus_problem(seed)
    printed = [drift_of_fourth_order_steps(*problem, PRINTED, steps) for steps in (20, 80)]  # type: ignore[call-arg]
    corrected = [drift_of_fourth_order_steps(*problem, CORRECTED, steps) for steps in (20, 80)]  # type: ignore[call-arg]
    assert printed[1] > 0.1
    assert printed[1] == pytest.approx(printed[0], rel=1e-3)  # a shorter step does not help
    assert corrected[1] < min(1e-8, corrected[0] / 100)


@pytest.mark.parametrize("seed", range(6))
def test_the_package_passes_both_tests(seed):
    state, system = random_problem(seed, speed=0.25)
    leaf = state.q.clone().requires_grad_()
    exact = -torch.autograd.grad(hamiltonian(State(leaf, state.p), system), leaf)[0] / system.voxel_volume
    error = tangent(flow(state, system).dp - exact, state.q)
    assert float(error.norm()) < 1e-13 * float(exact.norm())
    coarse, fine = (drift(state, system, steps) for steps in (20, 160))
    assert fine < 1e-5
    assert fine < coarse / 16

"""Laws of reallocation priced per pair of classes, beyond those that hold for either way of pricing it."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import assume, given
from hypothesis import settings as examples
from hypothesis import strategies as st
from small_problems import SHAPES, SPACINGS, ball_maps, control_matrix, random_maps, random_problem, settings

from longimorph.numerics.attribution import attribute
from longimorph.numerics.control import STIFF, Allocation, Exchange, Matrix, exchange
from longimorph.numerics.dynamics import System, flow
from longimorph.numerics.kernels import Scale, gaussian_kernel
from longimorph.numerics.linearised import LinearisedShooting
from longimorph.numerics.pair_equations import freedom, turn, turn_back
from longimorph.numerics.register import register
from longimorph.numerics.shooting import shoot
from longimorph.numerics.sphere import dot, tangent
from longimorph.numerics.states import State

pytestmark = pytest.mark.filterwarnings("error")

SEEDS = st.integers(0, 100_000)
DIMS = st.sampled_from([2, 3])


def relative(found, expected):
    return float((found - expected).norm() / expected.norm())


def priced_of(system):
    """The prices of a system that has them per pair."""
    assert isinstance(system.control, Exchange)
    return system.control


def two_classes(seed, dims):
    """A source of two classes with a tangent momentum, its system's kernel and spacing."""
    generator = torch.Generator().manual_seed(seed)
    q = random_maps(generator, 2, SHAPES[dims]).sqrt()
    p = tangent(torch.randn(q.shape, generator=generator, dtype=torch.float64), q)
    return State(q, 0.3 * p), gaussian_kernel(SHAPES[dims], SPACINGS[dims], [1.2, 2.5], 3.0, q)


def equally_free(q, free):
    """Two classes that exchange with the freedom ``free`` in every voxel."""
    field = torch.cat([-torch.ones_like(q[:1]), torch.ones_like(q[:1])])
    return Exchange(field, Matrix(torch.full((2, 2), free, dtype=q.dtype)))


def weighted(kernel, factor):
    """A kernel multiplied by a number, applied as matrices."""
    matrices = [scale.dense for scale in kernel.scales]
    return type(kernel)(tuple(Scale((first * factor, *rest)) for first, *rest in matrices))


@examples(max_examples=10, deadline=None)
@given(SEEDS, DIMS, st.floats(0.05, 0.95))
def test_equal_prices_are_the_scalar_model_with_one_share(seed, dims, share):
    """H of one share rho is that of the prices 1 - rho with a kernel multiplied by rho (2.1 of the talk)."""
    state, kernel = two_classes(seed, dims)
    weaker = weighted(kernel, share)
    scalar = System(kernel, Allocation(torch.full_like(state.q, share)), SPACINGS[dims])
    pairs = System(weaker, equally_free(state.q, 1 - share), SPACINGS[dims])
    one, other = flow(state, scalar), flow(state, pairs)
    for name in ("transport", "source", "dp", "velocity", "energy"):
        torch.testing.assert_close(getattr(other, name), getattr(one, name), rtol=1e-10, atol=1e-12)


@examples(max_examples=10, deadline=None)
@given(SEEDS, DIMS)
def test_without_transport_two_classes_follow_great_circles_exactly(seed, dims):
    """Rotations are exact, so one step is as good as many."""
    state, kernel = two_classes(seed, dims)
    still = weighted(kernel, 0)
    system = System(still, equally_free(state.q, 1.0), SPACINGS[dims])
    angle = dot(state.p, state.p).sqrt()
    exact = torch.cos(angle) * state.q + torch.sinc(angle / math.pi) * state.p
    assert relative(shoot(state, system, 1).q, exact) < 1e-12


@examples(max_examples=10, deadline=None)
@given(SEEDS, DIMS)
def test_a_path_run_backwards_is_a_path(seed, dims):
    """The control does not depend on the direction of time: the way back is a path with momentum -p(1)."""
    state, system = random_problem(seed, dims, "pairs", speed=0.2)
    misses = []
    for steps in (10, 20, 40):
        end = shoot(state, system, steps)
        misses.append(relative(shoot(State(end.q, -end.p), system, steps).q, state.q))
    assert misses[2] < 1e-3
    assert misses[2] < 0.5 * misses[0] or misses[0] < 1e-10


@examples(max_examples=10, deadline=None)
@given(SEEDS, DIMS)
def test_pairs_that_may_not_exchange_do_not(seed, dims):
    """A voxel that rotates through several pairs may still pass one class on to another."""
    state, system = random_problem(seed, dims, "pairs", speed=0.3)
    field, free = priced_of(system).field, torch.zeros(4, 4, dtype=torch.float64)
    free[0, 1] = 1.0
    wanted = (-field[0]).clamp(min=0) * field[1].clamp(min=0)
    assume(float(wanted.max()) > 0.1)  # somewhere class 1 is to take the place of class 0
    found = attribute(state, System(system.kernel, Exchange(field, Matrix(free)), system.spacing), 4)
    assert float(found.reallocation.abs().max()) > 1e-4
    assert torch.equal(found.reallocation[2:], torch.zeros_like(found.reallocation[2:]))
    assert float(found.deformation[2:].abs().max()) > 1e-4


@examples(max_examples=10, deadline=None)
@given(SEEDS, st.booleans())
def test_turning_is_undone_and_its_adjoint_is_its_derivative(seed, reverse):
    state, system = random_problem(seed, 2, "pairs")
    cotangent = State(*(torch.randn_like(part) for part in state))
    leaf = State(*(part.clone().requires_grad_() for part in state))
    turned = turn(leaf, priced_of(system), 0.7, reverse)
    total = torch.stack([(a * b).sum() for a, b in zip(turned, cotangent, strict=True)]).sum()
    by_hand = turn_back(State(*(x.detach() for x in turned)), cotangent, priced_of(system), 0.7, reverse)
    expected = (*state, *torch.autograd.grad(total, leaf))
    for found, known in zip(by_hand, expected, strict=True):
        torch.testing.assert_close(found, known, rtol=1e-9, atol=1e-11)


@examples(max_examples=10, deadline=None)
@given(SEEDS, DIMS)
def test_turning_keeps_lengths_and_tangency(seed, dims):
    state, system = random_problem(seed, dims, "pairs")
    q, p = turn(state, priced_of(system), 0.9, False)
    assert float((dot(q, q) - 1).abs().max()) < 1e-13
    assert float(dot(p, q).abs().max()) < 1e-12 * float(p.abs().max())


@examples(max_examples=8, deadline=None)
@given(SEEDS, DIMS)
def test_only_what_both_maps_show_is_free(seed, dims):
    """b_ij <= (1 - R_ij) min(loss of i, gain of j), and zero for two classes that both lose or both gain."""
    generator = torch.Generator().manual_seed(seed)
    source, target = (random_maps(generator, 4, SHAPES[dims]) for _ in range(2))
    matrix = control_matrix("mixed", 4, generator)
    priced, change = exchange(matrix, source, target), target - source
    for i in range(4):
        for j in range(i + 1, 4):
            lost, gained = (-change[i]).clamp(min=0), change[j].clamp(min=0)
            back, forth = (-change[j]).clamp(min=0), change[i].clamp(min=0)
            most = (1 - matrix[i, j]) * torch.minimum(lost, gained)
            most = most + (1 - matrix[j, i]) * torch.minimum(back, forth)
            assert bool((freedom(priced, i, j) <= most + 1e-12).all())


@examples(max_examples=8, deadline=None)
@given(SEEDS, DIMS, st.floats(1e-3, 1.0))
def test_the_inverse_of_the_linearised_shooting(seed, dims, shift):
    """It solves M x + (shift + STIFF sum x^2 / 2) x = b."""
    state, system = random_problem(seed, dims, "pairs")
    shooting = LinearisedShooting(state.q, system, 3000, 1e-13)
    b = tangent(random_problem(seed + 1, dims)[0].p, state.q)
    x = shooting.inverse(b, shift)
    raised = shift + 0.5 * STIFF * priced_of(system).field.square().sum(0)
    assert relative(shooting(x) + raised * x, b) < 1e-8
    assert float(dot(x, state.q).abs().max()) < 1e-9 * float(x.abs().max())


def pair_of_balls():
    """A ball that widens and a lesion beside it that grows: source and target, float32, and the spacing."""
    shape, spacing = (20, 18, 16), (2.0, 2.0, 2.0)
    before = ball_maps(shape, spacing, [((14.0, 17.0, 15.0), 8.0), ((27.0, 17.0, 15.0), 3.5)])
    after = ball_maps(shape, spacing, [((14.0, 17.0, 15.0), 9.0), ((27.0, 17.0, 15.0), 5.5)])
    return before.float(), after.float(), spacing


def test_a_registration_keeps_the_promise_of_the_matrix():
    """Rest <-> lesion is free, all else closed; one rho per voxel lets tissue pass through the lesion."""
    source, target, spacing = pair_of_balls()
    matrix = torch.full((3, 3), 0.999999)
    matrix[0, 2] = matrix[2, 0] = 0.0001
    closed = matrix >= 0.999
    shares = {}
    for kind in ("pairs", "scalar"):
        chosen = settings(kernel_mm=(4.0,), amplitude_mm=1.0, max_evaluations=30, reallocation=kind)
        found = register(source, target, matrix, spacing, chosen).attribution
        gross = found.deformation_flows.sum() + found.reallocation_flows.sum()
        shares[kind] = float(found.reallocation_flows[closed].sum() / gross)
    assert shares["pairs"] < 0.005
    assert shares["pairs"] < shares["scalar"]


def test_identical_maps_change_nothing():
    source, _, spacing = pair_of_balls()
    matrix = torch.full((3, 3), 0.5)
    chosen = settings(kernel_mm=(4.0,), amplitude_mm=1.0, reallocation="pairs")
    found = register(source, source.clone(), matrix, spacing, chosen)
    assert not found.attribution.deformation.any() and not found.attribution.reallocation.any()
    assert not found.warps.forward.any()

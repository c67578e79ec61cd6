"""The gradient of the cost and the adjoint of the shooting are those of the discrete problem."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from hypothesis import assume, given
from hypothesis import settings as examples
from hypothesis import strategies as st
from small_problems import CONTROLS, cost, is_tame, random_matching, random_problem

from longimorph.numerics.control import Exchange, Matrix
from longimorph.numerics.dynamics import System, drive, fastest, flow, hamiltonian
from longimorph.numerics.equations import settle, velocity
from longimorph.numerics.memory_strategies import Offloadable
from longimorph.numerics.objective import curvature, evaluate, mismatch
from longimorph.numerics.pair_equations import turn
from longimorph.numerics.shooting import Divergence, Ends, sweep
from longimorph.numerics.sphere import dot, tangent
from longimorph.numerics.states import State

pytestmark = pytest.mark.filterwarnings("error")

SEEDS = st.integers(0, 100_000)
DIMS = st.sampled_from([2, 3])
KINDS = st.sampled_from(CONTROLS)


def follow(base, rate, duration):
    """From a state follow rates in a straight line, and settle."""
    q = base.q + duration * (rate.transport + rate.source)
    return State(*settle(q, base.p + duration * rate.dp))


def plain_end(start, system, steps):
    """All steps on one tape of automatic differentiation, nothing computed twice."""
    if isinstance(system.control, Exchange):
        return plain_alternation(start, system, steps)
    state = start
    for _ in range(steps):
        middle = follow(state, flow(state, system), 0.5 / steps)
        state = follow(state, flow(middle, system), 1.0 / steps)
    return state


def plain_alternation(start, system, steps):
    """For each step half the rotations, the transport, and the other half of the rotations."""
    state, priced = start, system.control
    closed = Exchange(priced.field, Matrix(torch.zeros_like(priced.free.entries)))
    carrying = System(system.kernel, closed, system.spacing)
    for _ in range(steps):
        state = State(*turn(state, priced, 0.5 / steps, reverse=False))
        middle = follow(state, flow(state, carrying), 0.5 / steps)
        state = follow(state, flow(middle, carrying), 1.0 / steps)
        state = State(*turn(state, priced, 0.5 / steps, reverse=True))
    return state


@examples(max_examples=10, deadline=None)
@given(SEEDS, DIMS, KINDS)
def test_one_checkpoint_per_step_gives_the_gradient_of_all_steps_stored(seed, dims, kind):
    """For every change of the start that keeps |q| = 1 and <p, q> = 0."""
    state, system = random_problem(seed, dims, kind, speed=0.3)
    assume(is_tame(state, system, 4))
    generator = torch.Generator().manual_seed(seed)
    end = State(*(torch.randn(part.shape, generator=generator).double() for part in state))
    _, found = sweep(state, system, 4, Ends(lambda _: (None, State(*(part.clone() for part in end)))))
    start = State(*(part.clone().requires_grad_() for part in state))
    expected = torch.autograd.grad(tuple(plain_end(start, system, 4)), tuple(start), tuple(end))
    q, p = (torch.randn(part.shape, generator=generator).double() for part in state)
    q = tangent(q, state.q)
    change = State(q, tangent(p, state.q) - dot(state.p, q) * state.q)
    both = (found, expected)
    ours, plain = (sum(float((c * d).sum()) for c, d in zip(s, change, strict=True)) for s in both)
    size = sum(float(c.norm() * d.norm()) for c, d in zip(expected, change, strict=True))
    assert abs(ours - plain) < 1e-13 * size


@examples(max_examples=10, deadline=None)
@given(SEEDS, DIMS, KINDS)
def test_the_gradient_agrees_with_finite_differences_of_the_cost(seed, dims, kind):
    momentum, matching = random_matching(seed, dims, kind=kind)
    found = evaluate(momentum, matching)
    generator = torch.Generator().manual_seed(seed)
    direction = torch.randn(momentum.shape, generator=generator, dtype=torch.float64)
    direction = tangent(direction, matching.source)
    direction = direction / direction.abs().max()
    h = 1e-5
    numeric = (cost(momentum + h * direction, matching) - cost(momentum - h * direction, matching)) / (2 * h)
    exact = float((found.gradient * direction).sum()) * matching.system.voxel_volume
    scale = float(found.gradient.norm() * direction.norm()) * matching.system.voxel_volume
    assert numeric == pytest.approx(exact, abs=1e-7 * scale)


@examples(max_examples=10, deadline=None)
@given(SEEDS, DIMS, KINDS)
def test_the_cost_is_the_mismatch_of_probabilities_and_the_price_of_the_path(seed, dims, kind):
    momentum, matching = random_matching(seed, dims, kind=kind)
    found = evaluate(momentum, matching)
    end = plain_end(State(matching.source, momentum), matching.system, matching.steps).q.square()
    rest = end - matching.target.get()
    weighed = rest + matching.volumes(rest)
    mismatch = 0.5 * float((rest * weighed).sum()) * matching.system.voxel_volume
    energy = float(hamiltonian(State(matching.source, momentum), matching.system))
    assert found.mismatch == pytest.approx(mismatch, rel=1e-12)
    assert found.energy == pytest.approx(energy, rel=1e-12)
    assert found.cost == pytest.approx(mismatch + matching.regularisation * energy, rel=1e-12)
    assert cost(momentum, matching) == pytest.approx(found.cost, rel=1e-12)
    assert found.gradient.shape == momentum.shape
    assert float(dot(found.gradient, matching.source).abs().max()) < 1e-14 * float(found.gradient.norm())


@pytest.mark.parametrize("dims", [2, 3])
def test_a_step_down_the_gradient_lowers_the_cost(dims):
    momentum, matching = random_matching(11, dims)
    found = evaluate(momentum, matching)
    assert cost(momentum - 1e-3 * found.gradient, matching) < found.cost


@examples(max_examples=10, deadline=None)
@given(SEEDS, DIMS)
def test_the_curvature_is_that_of_the_mismatch_along_the_sphere_where_nothing_is_left(seed, dims):
    """By finite differences of the mismatch around a match without a residual, where nothing is left out."""
    _, matching = random_matching(seed, dims)
    q = matching.source
    matched = replace(matching, target=Offloadable(q.square()))
    x = torch.randn(q.shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    x = tangent(x / x.abs().max(), q)
    h = 1e-4
    numeric = (mismatch(q + h * x, matched) + mismatch(q - h * x, matched)) / h**2
    bent = curvature(matched)(x)
    assert float((bent * x).sum()) * matching.system.voxel_volume == pytest.approx(numeric, rel=1e-5)
    assert float(dot(bent, q).abs().max()) < 1e-12 * float(bent.norm())


def test_steps_too_long_for_the_speed_of_the_tissue_are_a_divergence():
    momentum, matching = random_matching(5, steps=1)
    system = matching.system
    driven = drive(State(matching.source, momentum), system)
    pace = fastest(velocity(driven.rho, driven.v), system)
    faster = momentum * (1.5 / pace)
    with pytest.raises(Divergence, match="voxels in one step"):
        evaluate(faster, matching)
    with pytest.raises(Divergence, match="voxels in one step"):
        cost(faster, matching)
    assert cost(faster, replace(matching, steps=20)) > 0

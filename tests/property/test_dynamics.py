"""Laws of the geodesic equations, on random smooth inputs in two and three dimensions."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import assume, given
from hypothesis import settings as examples
from hypothesis import strategies as st
from small_problems import CONTROLS, SCALAR, is_tame, random_problem, smooth

from longimorph.numerics.attribution import attribute
from longimorph.numerics.control import Allocation, Exchange, Matrix
from longimorph.numerics.dynamics import flow, hamiltonian
from longimorph.numerics.linearised import LinearisedShooting
from longimorph.numerics.shooting import drift, energies, shoot, walk
from longimorph.numerics.sphere import dot, log_map, tangent
from longimorph.numerics.states import State
from longimorph.numerics.warps import Warping

pytestmark = pytest.mark.filterwarnings("error")

SEEDS = st.integers(0, 100_000)
DIMS = st.sampled_from([2, 3])
KINDS = st.sampled_from(CONTROLS)


def relative(found, expected):
    return float((found - expected).abs().max() / expected.abs().max())


def gradients_of_energy(state, system):
    q, p = (part.clone().requires_grad_() for part in state)
    value = hamiltonian(State(q, p), system)
    by_q, by_p = torch.autograd.grad(value, (q, p))
    return by_q / system.voxel_volume, by_p / system.voxel_volume, value.detach()


def momentum_along_q(state, seed):
    generator = torch.Generator().manual_seed(seed)
    return smooth(generator, 1, state.q.shape[1:]) * state.q


@examples(max_examples=24, deadline=None)
@given(SEEDS, DIMS, KINDS)
def test_the_right_hand_side_is_the_symplectic_gradient_of_h(seed, dims, kind):
    state, system = random_problem(seed, dims, kind)
    by_q, by_p, value = gradients_of_energy(state, system)
    rate = flow(state, system)
    scale = float(max(by_p.norm(), by_q.norm(), state.p.norm()))
    assert float((rate.transport + rate.source - by_p).norm()) < 1e-13 * scale
    assert float((tangent(rate.dp, state.q) + tangent(by_q, state.q)).norm()) < 1e-13 * scale
    assert float(rate.energy) == pytest.approx(float(value), rel=1e-12)


@examples(max_examples=10, deadline=None)
@given(SEEDS, DIMS, KINDS)
def test_both_parts_of_the_rate_of_q_are_tangent_to_the_sphere(seed, dims, kind):
    state, system = random_problem(seed, dims, kind)
    rate = flow(state, system)
    for part in (rate.transport, rate.source):
        assert float(dot(part, state.q).abs().max()) < 1e-13 * float(state.p.abs().max())


@examples(max_examples=10, deadline=None)
@given(SEEDS, DIMS, KINDS)
def test_after_each_step_q_is_a_unit_vector_and_p_tangent(seed, dims, kind):
    state, system = random_problem(seed, dims, kind)
    for q, p in (taken.after for taken in walk(state, system, 5)):
        assert float((dot(q, q) - 1).abs().max()) < 1e-14
        assert float(dot(p, q).abs().max()) < 1e-13 * max(1.0, float(p.abs().max()))


@pytest.mark.parametrize("dims", [2, 3])
@pytest.mark.parametrize("kind", CONTROLS)
def test_zero_momentum_moves_nothing_and_changes_nothing(dims, kind):
    state, system = random_problem(7, dims, kind)
    still = State(state.q, torch.zeros_like(state.q))
    warping = Warping(system.spacing, 4, state.q)
    found = attribute(still, system, 4, warping.follow)
    warps = warping.finish()
    for part in (found.deformation, found.reallocation, warps.forward, warps.inverse, warps.log_jacobian):
        assert torch.count_nonzero(part) == 0
    assert torch.count_nonzero(found.deformation_flows + found.reallocation_flows) == 0
    torch.testing.assert_close(found.final.q, state.q, rtol=0, atol=4e-16)
    assert drift(still, system, 4) == 0


@pytest.mark.parametrize("dims", [2, 3])
@pytest.mark.parametrize("kind", CONTROLS)
def test_h_drifts_less_with_shorter_steps_at_second_order_or_better(dims, kind):
    """Over several inputs: in a single one the terms of second and third order may cancel for some step."""
    problems = [random_problem(seed, dims, kind, speed=0.06) for seed in range(6)]
    mean = {n: sum(drift(*case, n) for case in problems) / 6 for n in (20, 80, 160)}
    assert 1e-13 < mean[160] < 1e-7
    assert math.log(mean[20] / mean[80]) / math.log(4) > 1.9
    assert math.log2(mean[80] / mean[160]) > 1.95


@examples(max_examples=8, deadline=None)
@given(SEEDS, DIMS)
def test_the_end_point_converges_at_second_order(seed, dims):
    state, system = random_problem(seed, dims, speed=0.25)
    ends = [shoot(state, system, steps).q for steps in (12, 24, 192)]
    coarse, fine = (float((end - ends[-1]).norm()) for end in ends[:2])
    assert math.log2(coarse / fine) > 1.7


@examples(max_examples=10, deadline=None)
@given(SEEDS, DIMS)
def test_pure_reallocation_follows_great_circles(seed, dims):
    state, system = random_problem(seed, dims, "all reallocation", speed=0.5)
    angle = dot(state.p, state.p).sqrt()
    exact = torch.cos(angle) * state.q + torch.sinc(angle / math.pi) * state.p
    errors = []
    for steps in (10, 40):
        errors.append(float((shoot(state, system, steps).q - exact).abs().max()))
    assert errors[1] < 2e-3
    assert math.log(errors[0] / errors[1]) / math.log(4) > 1.9


@examples(max_examples=10, deadline=None)
@given(SEEDS, DIMS)
def test_the_logarithm_is_the_momentum_that_reaches_a_target_without_deformation(seed, dims):
    state, system = random_problem(seed, dims, "all reallocation")
    goal = random_problem(seed + 1, dims)[0].q
    start = State(state.q, log_map(state.q, goal))
    assert relative(shoot(start, system, 80).q, goal) < 1e-4
    assert torch.count_nonzero(log_map(goal, goal).abs() > 1e-7) == 0


@examples(max_examples=10, deadline=None)
@given(SEEDS, DIMS, KINDS)
def test_momentum_along_q_changes_neither_h_nor_its_derivative(seed, dims, kind):
    state, system = random_problem(seed, dims, kind)
    along = momentum_along_q(state, seed)
    plain, shifted = (gradients_of_energy(State(state.q, state.p + c * along), system) for c in (0, 1))
    assert float(shifted[2]) == pytest.approx(float(plain[2]), rel=1e-12)
    assert relative(shifted[1], plain[1]) < 1e-12


@examples(max_examples=8, deadline=None)
@given(SEEDS, DIMS)
def test_one_share_everywhere_scales_the_two_parts(seed, dims):
    """A scalar rho: transport is rho times that of rho = 1, the source 1 - rho times that of rho = 0."""
    parts = {kind: flow(*random_problem(seed, dims, kind)) for kind in SCALAR[1:]}
    one = parts["one share"]
    assert relative(one.transport, 0.37 * parts["all deformation"].transport) < 1e-12
    assert relative(one.source, 0.63 * parts["all reallocation"].source) < 1e-11
    assert torch.count_nonzero(parts["all deformation"].source.abs() > 1e-12) == 0
    assert float(parts["all reallocation"].transport.abs().max()) < 1e-8


@examples(max_examples=10, deadline=None)
@given(SEEDS, DIMS, KINDS)
def test_the_linearised_shooting_is_symmetric_non_negative_and_the_rate_of_q(seed, dims, kind):
    state, system = random_problem(seed, dims, kind)
    other = tangent(random_problem(seed + 1, dims)[0].p, state.q)
    shooting = LinearisedShooting(state.q, system)
    image = shooting(state.p)
    rate = flow(state, system)
    assert relative(image, rate.transport + rate.source) < 1e-12
    ab, ba = float((image * other).sum()), float((state.p * shooting(other)).sum())
    assert ab == pytest.approx(ba, abs=1e-11 * float(image.norm() * other.norm()))
    assert float((image * state.p).sum()) * system.voxel_volume == pytest.approx(2 * float(rate.energy))
    assert float((image * state.p).sum()) >= 0


def reordered(control, index):
    """The control of the same problem with its classes in another order."""
    if isinstance(control, Allocation):
        return Allocation(control.shares[index])
    return Exchange(control.field[index], Matrix(control.free.entries[index][:, index]))


@examples(max_examples=10, deadline=None)
@given(SEEDS, DIMS, KINDS, st.permutations(range(4)))
def test_relabelling_the_classes_commutes(seed, dims, kind, order):
    """But for pairs, which rotate one after the other: there up to an error of the order of the step."""
    state, system = random_problem(seed, dims, kind, speed=0.3)
    assume(is_tame(state, system, 4))
    index = torch.tensor(order)
    relabelled = type(system)(system.kernel, reordered(system.control, index), system.spacing)

    def differences(steps):
        first = attribute(state, system, steps)
        second = attribute(State(state.q[index], state.p[index]), relabelled, steps)
        maps = (
            getattr(first, part)[index] - getattr(second, part) for part in ("deformation", "reallocation")
        )
        flows = (
            getattr(first, part)[index][:, index] - getattr(second, part)
            for part in ("deformation_flows", "reallocation_flows")
        )
        return [max(float(one.abs().max()) for one in one_kind) for one_kind in (maps, flows)]

    maps, flows = differences(4)
    if kind == "pairs":
        found, flows = differences(16)
        assert found < max(0.2 * maps, 1e-12)
        assert found < 1e-3 and flows < 0.1
    else:
        assert maps < 1e-12 and flows < 1e-10


def test_energies_are_those_of_the_states():
    state, system = random_problem(3)
    expected = torch.stack(
        [hamiltonian(s, system) for s in [state, *(t.after for t in walk(state, system, 3))]]
    )
    torch.testing.assert_close(energies(state, system, 3), expected, rtol=1e-12, atol=0)

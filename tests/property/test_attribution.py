"""Laws of the split into deformation and reallocation, and of the flows between classes."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import settings as examples
from hypothesis import strategies as st
from small_problems import CONTROLS, random_problem

from longimorph.numerics import equations
from longimorph.numerics.attribution import attribute, flows_between, split
from longimorph.numerics.dynamics import flow
from longimorph.numerics.shooting import shoot, walk
from longimorph.numerics.sphere import tangent

pytestmark = pytest.mark.filterwarnings("error")

SEEDS = st.integers(0, 100_000)
DIMS = st.sampled_from([2, 3])
KINDS = st.sampled_from(CONTROLS)


@examples(max_examples=12, deadline=None)
@given(SEEDS, DIMS, KINDS, st.integers(1, 6))
def test_the_two_parts_add_up_to_the_change_and_each_to_zero_over_the_classes(seed, dims, kind, steps):
    state, system = random_problem(seed, dims, kind, speed=0.4)
    velocities: list[Any] = []
    found = attribute(state, system, steps, velocities.append)
    final = shoot(state, system, steps)
    assert torch.equal(found.final.q, final.q)
    change = final.q.square() - state.q.square()
    assert float((found.deformation + found.reallocation - change).abs().max()) < 1e-14
    assert float(found.deformation.sum(0).abs().max()) < 1e-14
    assert float(found.reallocation.sum(0).abs().max()) < 1e-14
    taken = [step.velocity for step in walk(state, system, steps)]
    assert all(torch.equal(a, b) for a, b in zip(velocities, taken, strict=True))


@examples(max_examples=12, deadline=None)
@given(SEEDS, DIMS, KINDS)
def test_the_flows_between_classes_account_for_the_volumes_that_changed(seed, dims, kind):
    state, system = random_problem(seed, dims, kind, speed=0.4)
    found = attribute(state, system, 4)
    parts = (
        (found.deformation, found.deformation_flows),
        (found.reallocation, found.reallocation_flows),
    )
    for maps, flows in parts:
        assert float(flows.min()) >= 0
        assert torch.count_nonzero(flows.diagonal()) == 0
        net = maps.flatten(1).sum(1) * system.voxel_volume
        torch.testing.assert_close(flows.sum(0) - flows.sum(1), net, rtol=0, atol=1e-11)


@examples(max_examples=12, deadline=None)
@given(SEEDS, st.integers(2, 6))
def test_flows_share_out_gains_and_losses_voxel_by_voxel(seed, classes):
    generator = torch.Generator().manual_seed(seed)
    change = torch.randn(classes, 5, 4, generator=generator, dtype=torch.float64)
    change = change - change.mean(0)
    flows = flows_between(change)
    torch.testing.assert_close(flows.sum(0), change.clamp(min=0).flatten(1).sum(1))
    torch.testing.assert_close(flows.sum(1), (-change).clamp(min=0).flatten(1).sum(1))
    by_voxel = sum(flows_between(change[:, i, j, None]) for i in range(5) for j in range(4))
    torch.testing.assert_close(flows, by_voxel)
    assert torch.count_nonzero(flows_between(torch.zeros(classes, 3))) == 0


def test_two_classes_exchange_what_one_of_them_gains():
    flows = flows_between(torch.tensor([[0.25, -0.5], [-0.25, 0.5], [0.0, 0.0]], dtype=torch.float64))
    expected = torch.tensor([[0.0, 0.5, 0.0], [0.25, 0.0, 0.0], [0.0, 0.0, 0.0]], dtype=torch.float64)
    assert torch.equal(flows, expected)


@pytest.mark.parametrize("dims", [2, 3])
def test_only_the_part_that_the_control_matrix_allows_appears(dims):
    moved = attribute(*random_problem(5, dims, "all deformation", speed=0.4), 5)
    assert float(moved.reallocation.abs().max()) < 1e-11
    assert float(moved.deformation.abs().max()) > 1e-2
    changed = attribute(*random_problem(5, dims, "all reallocation", speed=0.4), 5)
    assert float(changed.deformation.abs().max()) < 1e-8
    assert float(changed.reallocation.abs().max()) > 1e-2


@examples(max_examples=10, deadline=None)
@given(SEEDS, DIMS)
def test_short_steps_split_as_the_rates_do(seed, dims):
    """To first order the parts of P(1) - P(0) are 2 q transport h and 2 q source h."""
    state, system = random_problem(seed, dims, speed=0.4)
    steps = 1000
    taken, rate = next(walk(state, system, steps)), flow(state, system)
    middle, driven = taken.middle, taken.drive
    transport, source, _ = equations.rate_parts(*middle, driven.rho, driven.v, system.per_mm)
    parts = split(taken.before.q, taken.after.q, transport, source, 1 / steps)
    for part, cause in zip(parts, rate[:2], strict=True):
        expected = 2 * state.q * tangent(cause, state.q) / steps
        assert float((part - expected).norm()) < 0.02 * float(expected.norm())

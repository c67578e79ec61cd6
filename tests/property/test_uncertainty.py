"""Laws of the uncertainties and of the closed numbers."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import settings as examples
from hypothesis import strategies as st
from small_problems import control_matrix, random_maps, random_problem

from longimorph.numerics.attribution import attribute, flows_between
from longimorph.numerics.uncertainty import net, uncertainty, unexplained_flows

SEEDS = st.integers(0, 100_000)
DIMS = st.sampled_from([2, 3])


def random_uncertainty(seed, dims, control=None):
    state, system = random_problem(seed, dims, speed=0.3)
    generator = torch.Generator().manual_seed(seed + 7)
    target = random_maps(generator, len(state.q), state.q.shape[1:])
    control = control_matrix("mixed", len(state.q), generator) if control is None else control
    found = attribute(state, system, 3)
    return state, system, target, control, found, uncertainty(found, target, control, system.voxel_volume)


@examples(max_examples=12, deadline=None)
@given(SEEDS, DIMS)
def test_the_closed_numbers_explain_the_whole_change_of_volume(seed, dims):
    state, system, target, _, _, told = random_uncertainty(seed, dims)
    change = (target - state.q.square()).flatten(1).sum(1) * system.voxel_volume
    torch.testing.assert_close(told.closed_deformation + told.closed_reallocation, change, rtol=0, atol=1e-10)
    assert float(told.deformation.min()) > 0
    assert float(told.reallocation.min()) > 0


@examples(max_examples=8, deadline=None)
@given(SEEDS, st.sampled_from([0.0, 1.0]))
def test_an_unmixed_control_matrix_gives_the_rest_to_one_kind(seed, share):
    classes = 4
    control = torch.full((classes, classes), share, dtype=torch.float64)
    _, system, target, _, found, told = random_uncertainty(seed, 3, control)
    rest = net(unexplained_flows(found, target, system.voxel_volume))
    moved, changed = net(found.deformation_flows), net(found.reallocation_flows)
    torch.testing.assert_close(told.closed_deformation, moved + share * rest)
    torch.testing.assert_close(told.closed_reallocation, changed + (1 - share) * rest)


@pytest.mark.parametrize("dims", [2, 3])
def test_a_perfect_match_along_the_control_matrix_leaves_a_hundredth_of_the_change(dims):
    """Everything moved, the matrix says that everything moves, and nothing is left."""
    state, system = random_problem(3, dims, "all deformation", speed=0.3)
    found = attribute(state, system, 4)
    control = torch.ones(4, 4, dtype=torch.float64)
    told = uncertainty(found, found.final.q.square(), control, system.voxel_volume)
    hundredth = 0.005 * (net(found.deformation_flows).abs().sum() + net(found.reallocation_flows).abs().sum())
    expected = hundredth.expand(4)
    torch.testing.assert_close(told.deformation, expected, rtol=1e-6, atol=1e-9)


@examples(max_examples=10, deadline=None)
@given(SEEDS, DIMS)
def test_the_matrix_alone_needs_no_registration(seed, dims):
    """Its numbers are those of the difference of the two maps, whatever path was found between them."""
    state, system, target, control, _, told = random_uncertainty(seed, dims)
    flows = flows_between(target - state.q.square()) * system.voxel_volume
    torch.testing.assert_close(told.matrix_deformation, net(flows * control), rtol=1e-9, atol=1e-9)
    torch.testing.assert_close(told.matrix_reallocation, net(flows * (1 - control)), rtol=1e-9, atol=1e-9)

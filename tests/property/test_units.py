"""The same continuous problem gives the same answer on any grid: all lengths are in mm."""

from __future__ import annotations

import math

import pytest
import torch

from longimorph.numerics.control import allocation
from longimorph.numerics.dynamics import System, flow, hamiltonian
from longimorph.numerics.fields import positions
from longimorph.numerics.kernels import gaussian_kernel
from longimorph.numerics.memory_strategies import Offloadable
from longimorph.numerics.objective import Matching, evaluate
from longimorph.numerics.shooting import shoot
from longimorph.numerics.sphere import tangent, to_sphere
from longimorph.numerics.states import State

pytestmark = pytest.mark.filterwarnings("error")

SIDES = (40.0, 32.0)
CONTROL = torch.tensor([[0.9, 0.2, 0.6], [0.3, 0.8, 0.5], [0.7, 0.4, 0.95]], dtype=torch.float64)


def bump(x, centre, width):
    c = torch.tensor(centre, dtype=torch.float64)[:, None, None]
    return torch.exp(-(x - c).square().sum(0) / (2 * width**2))


def sampled(nodes):
    """A fixed continuous problem, sampled with ``nodes`` intervals along the first side."""
    shape = (nodes + 1, nodes * 4 // 5 + 1)
    spacing = tuple(side / (n - 1) for side, n in zip(SIDES, shape, strict=True))
    x = positions(shape, spacing, torch.zeros(0, dtype=torch.float64))
    first, second = 2.5 * bump(x, (17.0, 15.0), 5.0), 2.0 * bump(x, (23.0, 18.0), 4.0)
    source = torch.softmax(torch.stack([torch.ones_like(first), first, second]), 0)
    target = torch.softmax(torch.stack([torch.ones_like(first), 0.8 * second, 1.4 * first]), 0)
    q = to_sphere(source)
    push = torch.stack([bump(x, (20.0, 16.0), 3.0), bump(x, (18.0, 17.0), 3.0), -bump(x, (22.0, 15.0), 3.0)])
    kernel = gaussian_kernel(shape, spacing, [3.5, 6.0], 12.0, q)
    system = System(kernel, allocation(CONTROL, target), spacing)
    return State(q, tangent(0.5 * push, q)), system, target


def on_the_coarsest(f, nodes):
    return f[..., :: nodes // 20, :: nodes // 20]


@pytest.fixture(scope="module")
def answers():
    found = {}
    for nodes in (20, 40, 80, 160):
        state, system, target = sampled(nodes)
        rate = flow(state, system)
        volumes = gaussian_kernel(state.q.shape[1:], system.spacing, [3.0], 2.0, state.q)
        evaluation = evaluate(state.p, Matching(state.q, Offloadable(target), system, volumes, 0.1, 10))
        found[nodes] = {
            "energy": hamiltonian(state, system),
            "velocity": on_the_coarsest(rate.velocity, nodes),
            "transport": on_the_coarsest(rate.transport, nodes),
            "source": on_the_coarsest(rate.source, nodes),
            "dp": on_the_coarsest(rate.dp, nodes),
            "end": on_the_coarsest(shoot(state, system, 10).q.square(), nodes),
            "mismatch": torch.tensor(evaluation.mismatch),
            "gradient": on_the_coarsest(evaluation.gradient, nodes),
        }
    return found


@pytest.mark.parametrize("name", ["energy", "velocity", "transport", "dp", "end", "mismatch", "gradient"])
def test_the_answer_converges_with_the_square_of_the_spacing(answers, name):
    exact = answers[160][name]
    errors = [float((answers[n][name] - exact).norm() / exact.norm()) for n in (20, 40, 80)]
    assert errors[0] < 0.25
    assert errors[2] < 0.015
    assert math.log2(errors[0] / errors[1]) > 1.6
    assert math.log2(errors[1] / errors[2]) > 1.8


def test_what_needs_no_derivative_is_the_same_on_every_grid(answers):
    for nodes in (20, 40, 80):
        torch.testing.assert_close(answers[nodes]["source"], answers[160]["source"], rtol=0, atol=1e-14)

"""The hand-written derivative of the right-hand side, against differences of the right-hand side itself."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import settings as examples
from hypothesis import strategies as st
from small_problems import CONTROLS, random_problem, smooth

from longimorph.numerics.adjoint import pull_back_step
from longimorph.numerics.dynamics import step
from longimorph.numerics.sphere import dot, normalise, tangent
from longimorph.numerics.states import State

pytestmark = pytest.mark.filterwarnings("error")

SEEDS = st.integers(0, 100_000)
DIMS = st.sampled_from([2, 3])
KINDS = st.sampled_from(CONTROLS)


def neighbour(state, dq, dp, distance):
    """A state with |q| = 1 and p tangent, near another."""
    q = normalise(state.q + distance * dq)
    return State(q, tangent(state.p + distance * dp, q))


def tangent_noise(state, seed):
    generator = torch.Generator().manual_seed(seed)
    shape = state.q.shape
    return [tangent(smooth(generator, shape[0], shape[1:]), state.q) for _ in range(2)]


@examples(max_examples=12, deadline=None)
@given(SEEDS, DIMS, KINDS)
def test_the_adjoint_of_a_step_pairs_with_its_derivative(seed, dims, kind):
    """<cotangent, step(ahead) - step(behind)> = <pulled back, ahead - behind> to second order."""
    state, system = random_problem(seed, dims, kind, speed=0.5)
    dq, dp = tangent_noise(state, seed)
    end = State(
        *(torch.randn(part.shape, generator=torch.Generator().manual_seed(seed)).double() for part in state)
    )
    h = 1e-5
    ahead, behind = (neighbour(state, dq, dp, sign * h) for sign in (1, -1))
    after = [step(s, system, 0.2).after for s in (ahead, behind)]
    there = sum(float((c * (a - b)).sum()) for c, a, b in zip(end, *after, strict=True))
    back = pull_back_step(state, State(end.q.clone(), end.p.clone()), system, 0.2)
    here = sum(float((c * (a - b)).sum()) for c, a, b in zip(back, ahead, behind, strict=True))
    scale = sum(float(c.norm() * (a - b).norm()) for c, a, b in zip(back, ahead, behind, strict=True))
    assert there == pytest.approx(here, abs=1e-7 * scale)
    assert scale > 0
    assert float(dot(dq, state.q).abs().max()) < 1e-12 * float(dq.norm())

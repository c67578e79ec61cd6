"""Laws of the warps: paths and volumes against a velocity that is known everywhere."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given
from hypothesis import settings as examples
from hypothesis import strategies as st

from longimorph.numerics.fields import difference, grid_axes, positions
from longimorph.numerics.warps import integrate, jacobian

pytestmark = pytest.mark.filterwarnings("error")

SEEDS = st.integers(0, 100_000)
LIKE = torch.zeros(0, dtype=torch.float64)
SIZES = {2: (24.0, 19.2), 3: (12.0, 9.6, 14.4)}
"""Of the volume in mm."""


def waves(seed, dims, speed):
    """A velocity in mm at points (d, *any): a few long waves, zero on the border, at most about ``speed``."""
    generator = torch.Generator().manual_seed(seed)
    size = torch.tensor(SIZES[dims], dtype=torch.float64)
    weights = torch.randn(3, dims, generator=generator, dtype=torch.float64) * speed / 3
    counts = torch.randint(1, 3, (3, dims, dims), generator=generator)

    def velocity(x):
        scaled = math.pi * x / size.reshape(-1, *(1 for _ in x.shape[1:]))
        rows = []
        for d in range(dims):
            total = torch.zeros_like(x[0])
            for weight, count in zip(weights[:, d], counts[:, d], strict=True):
                parts = [torch.sin(int(n) * one) for n, one in zip(count, scaled, strict=True)]
                total = total + weight * math.prod(parts)
            rows.append(total)
        return torch.stack(rows)

    return velocity


def spacing_of(nodes, dims):
    return tuple(side / (nodes - 1) for side in SIZES[dims])


def carried(velocity, x, steps=20):
    """Where a point (d,) gets to in a unit of time (Runge and Kutta, order 4)."""
    h = 1.0 / steps
    for _ in range(steps):
        a = velocity(x)
        b = velocity(x + h / 2 * a)
        c = velocity(x + h / 2 * b)
        x = x + h / 6 * (a + 2 * b + 2 * c + velocity(x + h * c))
    return x


def truth(velocity, points):
    """Displacement and log det of the flow at single points."""
    ends, logs = [], []
    for x in points:
        ends.append(carried(velocity, x) - x)
        slopes = torch.func.jacrev(lambda one: carried(velocity, one))(x)
        logs.append(torch.linalg.slogdet(slopes)[1])
    return torch.stack(ends), torch.stack(logs)


@examples(max_examples=8, deadline=None)
@given(SEEDS, st.sampled_from([2, 3]))
def test_paths_and_volumes_approach_those_of_the_velocity_at_second_order(seed, dims):
    velocity = waves(seed, dims, speed=1.5)
    generator = torch.Generator().manual_seed(seed + 1)
    where = torch.randint(1, 8, (10, dims), generator=generator)
    places = where * torch.tensor(SIZES[dims], dtype=torch.float64) / 8
    ends, logs = truth(velocity, places)
    errors = []
    for nodes, steps in ((9, 4), (33, 16)):
        spacing = spacing_of(nodes, dims)
        x = positions((nodes,) * dims, spacing, LIKE)
        found = integrate([velocity(x)] * steps, spacing, x)
        nearest = [tuple(int(i) * (nodes - 1) // 8 for i in one) for one in where]
        inverse = torch.stack([torch.stack([u[at] for u in found.inverse]) for at in nearest])
        growth = torch.stack([found.log_jacobian[at] for at in nearest])
        errors.append((float((inverse - ends).norm()), float((growth - logs).norm())))
    for coarse, fine in zip(*errors, strict=True):
        assert fine < 0.25 * coarse


@pytest.mark.parametrize("dims", [2, 3])
def test_volumes_are_found_where_the_grid_cannot_show_the_map(dims):
    """A velocity so strong that the sampled map folds: the volumes stay within what its divergence allows."""
    nodes, steps = 13, 80
    spacing = spacing_of(nodes, dims)
    x = positions((nodes,) * dims, spacing, LIKE)
    wild = waves(3, dims, speed=60.0)
    found = integrate([wild(x)] * steps, spacing, x)
    assert found.folded > 0
    rows = enumerate(zip(wild(x), spacing, strict=True))
    slopes = [torch.gradient(w, spacing=h, dim=d)[0] for d, (w, h) in rows]
    assert 1 < float(found.log_jacobian.abs().max()) <= float(sum(slopes).abs().max()) * (1 + 1e-9)  # type: ignore[union-attr]


def test_a_velocity_that_grows_with_the_distance_expands_by_its_slope():
    spacing, steps = (1.0, 1.5, 0.5), 200
    x = positions((15, 11, 21), spacing, LIKE)
    middle = torch.tensor([7.0, 7.5, 5.0], dtype=torch.float64).reshape(3, 1, 1, 1)
    slopes = torch.tensor([0.2, -0.1, 0.05], dtype=torch.float64).reshape(3, 1, 1, 1)
    found = integrate([slopes * (x - middle)] * steps, spacing, x)
    inside = (slice(3, 12), slice(2, 9), slice(3, 18))
    torch.testing.assert_close(
        found.log_jacobian[inside], torch.full((9, 7, 15), 0.15, dtype=torch.float64), rtol=0, atol=1e-12
    )
    exact = (slopes.exp() - 1) * (x - middle)
    everywhere = (slice(None), *inside)
    torch.testing.assert_close(found.inverse[everywhere], exact[everywhere], rtol=0, atol=2e-4)
    assert found.folded == 0


@pytest.mark.parametrize("dims", [2, 3])
def test_the_determinant_is_that_of_the_derivative(dims, monkeypatch):
    """Written out, so that a card need not factorise millions of small matrices."""
    spacing = (1.0, 1.5, 0.5)[:dims]
    generator = torch.Generator().manual_seed(dims)
    displacement = torch.randn(dims, *(7, 6, 8)[:dims], generator=generator, dtype=torch.float64)
    sides = list(zip(grid_axes(spacing), spacing, strict=True))
    slopes = [[difference(one[None], axis)[0] / (2 * h) for axis, h in sides] for one in displacement]
    matrix = torch.stack([torch.stack(row, -1) for row in slopes], -2) + torch.eye(dims, dtype=torch.float64)
    expected = torch.linalg.det(matrix)
    monkeypatch.setattr(torch.linalg, "det", None)
    torch.testing.assert_close(jacobian(displacement, spacing), expected, rtol=1e-12, atol=1e-12)

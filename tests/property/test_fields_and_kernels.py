"""Laws of differences, interpolation, kernels and levels."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given
from hypothesis import settings as examples
from hypothesis import strategies as st
from small_problems import SHAPES, SPACINGS, smooth

from longimorph.numerics import kernels, levels
from longimorph.numerics.fields import adjoint_difference, difference, interpolate, positions
from longimorph.numerics.kernels import gaussian_kernel

pytestmark = pytest.mark.filterwarnings("error")

SEEDS = st.integers(0, 100_000)
DIMS = st.sampled_from([2, 3])
LIKE = torch.zeros(0, dtype=torch.float64)


def pair_of_fields(seed, dims, channels=None):
    generator = torch.Generator().manual_seed(seed)
    shape = (channels or dims, *SHAPES[dims])
    return (torch.randn(shape, generator=generator, dtype=torch.float64) for _ in range(2))


@examples(max_examples=10, deadline=None)
@given(SEEDS, DIMS)
def test_the_adjoint_of_the_difference_is_its_adjoint(seed, dims):
    f, g = pair_of_fields(seed, dims)
    for axis in range(-dims, 0):
        there = float((difference(f, axis) * g).sum())
        assert there == pytest.approx(float((f * adjoint_difference(g, axis)).sum()), abs=1e-12)


@pytest.mark.parametrize("dims", [2, 3])
@pytest.mark.parametrize("operator", [difference, adjoint_difference])
def test_automatic_differentiation_of_the_differences_is_exact_twice(dims, operator):
    f, _ = pair_of_fields(0, dims)
    for axis in range(-dims, 0):
        assert torch.autograd.gradcheck(lambda x: operator(x, axis), f.requires_grad_())  # noqa: B023
        assert torch.autograd.gradgradcheck(lambda x: operator(x, axis).square(), f)  # noqa: B023


@pytest.mark.parametrize("dims", [2, 3])
def test_the_difference_of_a_linear_field_is_its_slope_inside_and_half_of_it_at_the_border(dims):
    shape, spacing = SHAPES[dims], SPACINGS[dims]
    slopes = torch.arange(1.0, dims + 1, dtype=torch.float64)
    f = torch.tensordot(slopes, positions(shape, spacing, LIKE), 1)
    for axis, (h, slope) in enumerate(zip(spacing, slopes, strict=True)):
        derivative = (difference(f, axis - dims) / (2 * h)).movedim(axis, 0)
        torch.testing.assert_close(derivative[1:-1], slope.expand_as(derivative[1:-1]))
        torch.testing.assert_close(derivative[[0, -1]], (slope / 2).expand_as(derivative[[0, -1]]))


@examples(max_examples=10, deadline=None)
@given(SEEDS, DIMS)
def test_interpolation_returns_the_nodes_and_multilinear_fields_between_them(seed, dims):
    shape, spacing = SHAPES[dims], SPACINGS[dims]
    x = positions(shape, spacing, LIKE)
    generator = torch.Generator().manual_seed(seed)
    values = smooth(generator, 3, shape)
    torch.testing.assert_close(interpolate(values, x, spacing), values, rtol=0, atol=1e-12)
    last = x[(slice(None), *(slice(-1, None) for _ in shape))]
    anywhere = torch.rand(x.shape, generator=generator, dtype=torch.float64) * last
    torch.testing.assert_close(interpolate(x, anywhere, spacing), anywhere, rtol=0, atol=1e-12)
    torch.testing.assert_close(interpolate(x, x + 100, spacing), last.expand_as(x))


@pytest.mark.parametrize("bad", [math.nan, math.inf])
def test_interpolation_refuses_points_that_are_not_finite(bad):
    x = positions((4, 4), (1.0, 1.0), LIKE)
    x[0, 1, 1] = bad
    with pytest.raises(FloatingPointError, match="not finite"):
        interpolate(torch.ones(1, 4, 4, dtype=torch.float64), x, (1.0, 1.0))


@examples(max_examples=10, deadline=None)
@given(SEEDS, DIMS, st.lists(st.floats(0.9, 6.0), min_size=1, max_size=3))
def test_the_kernel_is_self_adjoint_and_positive(seed, dims, sigmas):
    f, g = pair_of_fields(seed, dims)
    kernel = gaussian_kernel(SHAPES[dims], SPACINGS[dims], sigmas, 5.0, f)
    there, back = float((kernel(f) * g).sum()), float((f * kernel(g)).sum())
    assert there == pytest.approx(back, abs=1e-11 * float(f.norm() * g.norm()))
    assert float((kernel(f) * f).sum()) > 0


@pytest.mark.parametrize("dims", [2, 3])
@pytest.mark.parametrize(("sigmas", "tolerance"), [([0.6], 5e-3), ([1.0, 1.5], 1e-4), ([2.0], 1e-6)])
def test_the_integral_of_the_kernel_is_the_square_of_the_amplitude(dims, sigmas, tolerance):
    n, spacing = 25, (1.0, 0.8, 0.9)[:dims]
    kernel = gaussian_kernel((n,) * dims, spacing, sigmas, 3.0, LIKE)
    response = kernel(torch.ones(1, *(n,) * dims, dtype=torch.float64))
    assert float(response[(0, *(n // 2,) * dims)]) == pytest.approx(9.0, rel=tolerance)
    assert float(response.max()) <= 9.0 * (1 + tolerance)


def test_the_kernel_is_the_sum_of_gaussians_that_its_equation_says():
    shape, spacing, sigmas = (7, 5), (1.0, 1.5), [1.2, 2.0]
    x = positions(shape, spacing, LIKE).flatten(1)
    squared = (x[:, :, None] - x[:, None, :]).square().sum(0)
    expected = sum(torch.exp(-squared / (2 * s**2)) / (2 * math.pi * s**2) for s in sigmas) / 2
    f, _ = pair_of_fields(1, 2)
    f = f[:, :7, :5]
    found = gaussian_kernel(shape, spacing, sigmas, 4.0, f)(f).flatten(1)
    torch.testing.assert_close(found, 16 * 1.5 * f.flatten(1) @ expected, rtol=1e-9, atol=1e-9)


def test_a_kernel_narrower_than_the_grid_can_hold_is_refused():
    with pytest.raises(ValueError, match=r"0\.6 voxels"):
        gaussian_kernel((5, 5), (1.0, 2.0), [1.0], 1.0, LIKE)


@examples(max_examples=10, deadline=None)
@given(SEEDS, DIMS, st.lists(st.booleans(), min_size=3, max_size=3))
def test_a_coarser_level_stays_on_the_simplex_and_a_finer_one_keeps_linear_fields(seed, dims, chosen):
    axes, shape, spacing = chosen[:dims], (8, 6, 10)[:dims], SPACINGS[dims]
    maps = torch.softmax(smooth(torch.Generator().manual_seed(seed), 3, shape), 0)
    small = levels.coarser(maps, axes)
    assert small.shape[1:] == tuple(n // 2 if a else n for n, a in zip(shape, axes, strict=True))
    torch.testing.assert_close(small.sum(0), torch.ones_like(small[0]))
    ratio = 2 ** sum(axes)
    torch.testing.assert_close(small.flatten(1).sum(1) * ratio, maps.flatten(1).sum(1))
    x = positions(shape, spacing, LIKE)
    back = levels.finer(levels.coarser(x, axes), shape, axes)
    inside = (slice(None), *(slice(1, -1) for _ in shape))
    torch.testing.assert_close(back[inside], x[inside])


@examples(max_examples=20, deadline=None)
@given(SEEDS, st.lists(st.tuples(st.integers(4, 11), st.booleans()), min_size=2, max_size=3))
def test_a_finer_level_is_interpolated_at_its_nodes(seed, sides):
    """As at positions in mm: the first node of a coarser level lies half a voxel from that of the finer."""
    shape, axes = zip(*sides, strict=True)
    spacing = SPACINGS[len(shape)]
    small = torch.rand(
        3, *((n + 1) // 2 if a else n for n, a in sides), generator=torch.Generator().manual_seed(seed)
    ).double()
    offset = torch.tensor([0.5 * h if a else 0.0 for h, a in zip(spacing, axes, strict=True)]).double()
    x = positions(shape, spacing, LIKE) - offset.reshape(-1, *(1 for _ in shape))
    wide = [h * (2 if a else 1) for h, a in zip(spacing, axes, strict=True)]
    torch.testing.assert_close(levels.finer(small, shape, axes), interpolate(small, x, wide))


def test_levels_stop_at_the_widest_spacing_and_at_the_smallest_side():
    assert levels.halved((32, 32, 32), (1.0, 1.0, 1.0), 4.0) == [True, True, True]
    assert levels.halved((32, 32, 32), (1.0, 1.0, 3.0), 4.0) == [True, True, False]
    assert levels.halved((32, 12, 32), (1.0, 1.0, 1.0), 4.0) == [True, False, True]
    assert levels.halved((32, 32, 32), (3.0, 3.0, 3.0), 4.0) is None


FORMS = {"band": (0.0, 1.0), "roots": (math.inf, 0.0), "matrix": (math.inf, math.inf)}
"""Prices of a tap and of a root, in units of a column of a matrix, at which each form is chosen."""


@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float32, 1e-6), (torch.float64, 1e-10)])
@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("shape", [(23, 18, 31), (9, 40, 14), (12, 1, 17)])
def test_every_form_of_a_kernel_is_the_same_kernel(form, dtype, tolerance, shape, monkeypatch):
    monkeypatch.setattr(kernels, "TAP", FORMS[form][0])
    monkeypatch.setattr(kernels, "ROOT", FORMS[form][1])
    spacing, sigmas = (1.0, 1.2, 0.9), [1.0, 2.3, 6.0]
    generator = torch.Generator().manual_seed(sum(shape))
    f, g = (torch.randn(3, *shape, generator=generator, dtype=dtype) for _ in range(2))
    kernel = gaussian_kernel(shape, spacing, sigmas, 5.0, f)
    chosen = {"band": 1, "roots": 2, "matrix": 0}[form]
    assert all(bool(scale[chosen]) for scale in kernel.scales)
    plain = kernels.Kernel(tuple(kernels.Scale(scale.dense) for scale in kernel.scales))
    found, expected = kernel(f), plain(f)
    assert float((found - expected).abs().max()) < tolerance * float(expected.abs().max())
    there, back = float((found * g).sum(dtype=torch.float64)), float((f * kernel(g)).sum(dtype=torch.float64))
    assert there == pytest.approx(back, abs=0.1 * tolerance * float(f.norm() * g.norm()))
    wanted = torch.ones_like(f, requires_grad=True)
    (kernel(wanted) * g).sum().backward()
    torch.testing.assert_close(wanted.grad, plain(g), rtol=0, atol=tolerance * float(expected.abs().max()))


def test_threads_share_a_band(monkeypatch):
    monkeypatch.setattr(kernels, "TAP", 0.0)
    f = torch.randn(3, 21, 19, 17, generator=torch.Generator().manual_seed(0))
    kernel, before = gaussian_kernel(f.shape[1:], (1.0,) * 3, [1.5], 1.0, f), torch.get_num_threads()
    found = []
    try:
        for threads in (1, 3):
            torch.set_num_threads(threads)
            found.append(kernel(f))
    finally:
        torch.set_num_threads(before)
    assert torch.equal(*found)

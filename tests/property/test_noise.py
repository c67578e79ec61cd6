"""The noise of labels, estimated from what a match leaves: on made-up noise whose variance is known."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from scipy import ndimage
from torch import Tensor

from longimorph.geometry.grid import Grid
from longimorph.maps.simplex import smooth
from longimorph.numerics import noise, passes
from longimorph.numerics.noise import LabelNoise, Scale

SHAPE, SPACING = (30, 28, 26), 2.0
SCALE = Scale((SPACING,) * 3, 1.0, 40.0)
"""A kernel so wide that a match absorbs no noise."""
ALL_MOVES = torch.ones(3, 3, dtype=torch.float64)


def blobs() -> Tensor:
    """Three classes with soft borders, (3, *SHAPE)."""
    rng = np.random.default_rng(1)
    fields = [ndimage.gaussian_filter(rng.normal(size=SHAPE), 4) for _ in range(3)]
    return torch.softmax(torch.from_numpy(np.stack(fields)) * 300, 0)


def noise_of(maps: Tensor, density: float, seed: int, alike: float = 0.0) -> np.ndarray:
    """A flow between each two classes of variance density P_a P_b, as a change (3, *SHAPE).

    ``alike``: standard deviation in voxels over which the flows are alike, whose sum keeps its variance.
    """
    rng = np.random.default_rng(seed)
    added = np.zeros((3, *SHAPE))
    for a, b in ((0, 1), (0, 2), (1, 2)):
        flow = np.sqrt(density * (maps[a] * maps[b]).numpy()) * rng.normal(size=SHAPE)
        flow = ndimage.gaussian_filter(flow, alike, mode="wrap") if alike else flow
        added[a] += flow
        added[b] -= flow
    return added


def noisy(maps: Tensor, density: float, seed: int, alike: float = 0.0) -> Tensor:
    """The maps with noise that is smoothed as the maps are."""
    added = noise_of(maps, density, seed, alike)
    grid = Grid(SHAPE, np.diag([SPACING] * 3 + [1.0]))
    return maps + torch.from_numpy(smooth(added, grid, SCALE.smoothing_mm)).double()


def estimated(maps: Tensor, target: Tensor, control: Tensor = ALL_MOVES, scale: Scale = SCALE) -> LabelNoise:
    """The estimate from a match that ends at ``maps``."""
    final: Any = SimpleNamespace(
        final=SimpleNamespace(q=maps.sqrt()), modelled=lambda planes: maps[:, planes]
    )
    return noise.label_noise(maps, target, final, control, scale)


def spread(maps: Tensor, alike: float = 0.0) -> Tensor:
    """The standard deviation of the volumes over many draws of the noise, mm^3."""
    changes = [noise_of(maps, 0.01, seed, alike).sum(axis=(1, 2, 3)) for seed in range(60)]
    return torch.from_numpy(np.sqrt(np.square(changes).mean(axis=0))) * SPACING**3


def test_the_estimate_is_the_spread_of_the_volumes() -> None:
    maps = blobs()
    target = noisy(maps, 0.01, 99)
    found = estimated(maps, target, scale=Scale(SCALE.spacing, SCALE.smoothing_mm, 400.0))
    torch.testing.assert_close(found.change, spread(maps), rtol=0.25, atol=0)
    borders = torch.einsum("axyz,bxyz->ab", maps, (maps + target) / 2).fill_diagonal_(0)
    expected = (0.01 * borders.sum(1)).sqrt() * SPACING**3
    torch.testing.assert_close(found.change, expected, rtol=0.1, atol=0)


@pytest.mark.parametrize("alike", [0.5, 0.7])
def test_noise_that_neighbours_share_is_extrapolated(alike: float) -> None:
    maps = blobs()
    ratio = estimated(maps, noisy(maps, 0.01, 99, alike)).change / spread(maps, alike)
    assert float(ratio.min()) > 0.7 and float(ratio.max()) < 1.4


def test_absorbed_noise_is_added_back() -> None:
    """The bands lose exp(-A) and exp(-1.42 A) of their power, the corner at least exp(-0.4) of it."""
    gains = noise.band_gains(SCALE)
    for absorbed in (0.5, 0.8):
        powers = 3 * gains * torch.tensor([-absorbed, -noise.STEEPER * absorbed]).exp()
        assert noise.noise_density(powers, 1.0, SCALE) == pytest.approx(3, rel=1e-6)
    coarse = Scale((4.0,) * 3, 0.0, 4.0)
    powers = noise.band_gains(coarse) * torch.tensor([-0.4, -noise.STEEPER * 0.4]).exp()
    assert noise.noise_density(powers, 1.0, coarse) == pytest.approx(1, rel=1e-5)


def test_the_control_matrix_says_which_number_is_noisy() -> None:
    maps = blobs()
    target, control = noisy(maps, 0.01, 5), ALL_MOVES.clone()
    control[0, 1:] = control[1:, 0] = 0
    found = estimated(maps, target, control)
    assert float(found.deformation[0]) == 0 < float(found.reallocation[0])
    total = (found.deformation.square() + found.reallocation.square()).sqrt()
    torch.testing.assert_close(total, found.change)
    control[0, 1:] = control[1:, 0] = torch.nan
    found = estimated(maps, target, control)
    torch.testing.assert_close(found.deformation, found.change)
    torch.testing.assert_close(found.reallocation[0], found.change[0])


def test_maps_that_match_have_no_noise() -> None:
    maps = blobs()
    found = estimated(maps, maps)
    assert not found.change.any() and not found.deformation.any()


def test_slabs_change_nothing() -> None:
    maps = blobs()
    target = noisy(maps, 0.01, 5)
    whole = estimated(maps, target)
    with passes.slabs_of(1):
        torch.testing.assert_close(estimated(maps, target).change, whole.change)

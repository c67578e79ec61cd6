"""Laws of open pairs: what the mismatch ignores (E10), and what is read from the maps at the end (E11)."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest
import torch
from hypothesis import given
from hypothesis import settings as examples
from hypothesis import strategies as st
from small_problems import CONTROLS, ball_maps, random_maps, random_matching, settings, smooth

from longimorph.numerics.attribution import attribute
from longimorph.numerics.objective import cost, curvature, evaluate, mismatch
from longimorph.numerics.open_question import OpenPairs, Swelling, open_exchange, with_exchange
from longimorph.numerics.register import register
from longimorph.numerics.shooting import walk
from longimorph.numerics.sphere import tangent
from longimorph.numerics.states import State

SEEDS = st.integers(0, 100_000)
DIMS = st.sampled_from([2, 3])
PAIRS = st.sampled_from([OpenPairs((0,), (2,)), OpenPairs((0,), (1, 2)), OpenPairs((0, 3), (1,))])
SHAPE, SPACING = (28, 26), (1.0, 1.0)
MOVES = torch.full((4, 4), 0.999999, dtype=torch.float64)


def open_problem(seed, dims, pairs, kind="mixed"):
    """A tangent momentum and a random matching with open pairs."""
    momentum, matching = random_matching(seed, dims, kind=kind)
    source, target = matching.source.square(), matching.target.get()
    exchange = open_exchange(source, target, pairs, matching.system.spacing)
    return momentum, replace(matching, open=exchange)


@examples(max_examples=10, deadline=None)
@given(SEEDS, DIMS, PAIRS)
def test_what_is_ignored_is_an_exchange_and_is_ignored_wholly(seed, dims, pairs):
    _, matching = open_problem(seed, dims, pairs)
    generator = torch.Generator().manual_seed(seed)
    x, y = (smooth(generator, 4, matching.source.shape[1:]) for _ in range(2))
    exchange = matching.open
    once = exchange.remove(x.clone())
    torch.testing.assert_close(exchange.remove(once.clone()), once)
    torch.testing.assert_close((once * y).sum(), (x * exchange.remove_back(y.clone())).sum())
    torch.testing.assert_close(once.sum(0), x.sum(0))
    torch.testing.assert_close(
        once[list(pairs.lesions)].sum(0), torch.zeros_like(once[0]), rtol=0, atol=1e-12
    )
    others = [index for index in range(4) if index not in (*pairs.lesions, *pairs.hosts)]
    assert torch.equal(once[others], x[others])
    composition = exchange.composition
    for classes, total in ((pairs.lesions, 1.0), (pairs.hosts, -1.0)):
        torch.testing.assert_close(composition[list(classes)].sum(0), torch.full_like(composition[0], total))
    assert not composition[others].any()


@examples(max_examples=8, deadline=None)
@given(SEEDS, DIMS, PAIRS)
def test_without_an_exchange_the_lesions_are_those_of_the_source(seed, dims, pairs):
    _, matching = open_problem(seed, dims, pairs)
    source, target = matching.source.square(), matching.target.get()
    found = matching.open.without(source, target)
    assert float(found.min()) >= 0
    torch.testing.assert_close(found.sum(0), torch.ones_like(found[0]))
    whole = source + matching.open.remove(target - source)
    kept = (whole >= 0).all(0)
    assert bool(kept.any())
    torch.testing.assert_close(found[:, kept], whole[:, kept])
    torch.testing.assert_close(
        whole[list(pairs.lesions)].sum(0), source[list(pairs.lesions)].sum(0), rtol=0, atol=1e-12
    )


@examples(max_examples=12, deadline=None)
@given(SEEDS, DIMS, PAIRS, st.sampled_from(CONTROLS))
def test_the_gradient_with_open_pairs_is_that_of_the_cost(seed, dims, pairs, kind):
    momentum, matching = open_problem(seed, dims, pairs, kind)
    generator = torch.Generator().manual_seed(seed + 1)
    direction = tangent(smooth(generator, 4, matching.source.shape[1:]), matching.source)
    slope = float((evaluate(momentum, matching).gradient * direction).sum()) * matching.system.voxel_volume
    h = 1e-5
    ends = [cost(momentum + sign * h * direction, matching) for sign in (1, -1)]
    assert slope == pytest.approx((ends[0] - ends[1]) / (2 * h), rel=1e-6, abs=1e-8)


@examples(max_examples=8, deadline=None)
@given(SEEDS, DIMS, PAIRS)
def test_the_curvature_with_open_pairs_is_that_of_the_mismatch_of_small_changes(seed, dims, pairs):
    _, matching = open_problem(seed, dims, pairs)
    q = matching.source
    exchange = open_exchange(q.square(), q.square(), pairs, matching.system.spacing)
    matching = replace(matching, open=exchange, target=type(matching.target)(q.square()))
    x = 1e-4 * tangent(smooth(torch.Generator().manual_seed(seed), 4, q.shape[1:]), q)
    expected = 0.5 * float((x * curvature(matching)(x)).sum()) * matching.system.voxel_volume
    assert mismatch(q + x, matching) == pytest.approx(expected, rel=2e-2)


@examples(max_examples=8, deadline=None)
@given(SEEDS, DIMS, PAIRS)
def test_the_parts_add_up_and_stay_probabilities(seed, dims, pairs):
    momentum, matching = open_problem(seed, dims, pairs)
    start, system, target = State(matching.source, momentum), matching.system, matching.target.get()
    swelling = Swelling(pairs, system, start.q)
    path = attribute(start, system, 4, watch=swelling.follow)
    before = path.deformation.clone(), path.reallocation_flows.clone()
    found = with_exchange(path, target, matching.open, swelling.volume, system.spacing)
    here = start.q.square() + found.deformation + found.reallocation
    torch.testing.assert_close(here, found.modelled(), rtol=0, atol=1e-12)
    assert float(found.modelled().min()) >= 0
    torch.testing.assert_close(found.exchanged.sum(0), torch.zeros_like(here[0]), rtol=0, atol=1e-12)
    for maps, flows in (
        (found.deformation, found.deformation_flows),
        (found.reallocation, found.reallocation_flows),
    ):
        net = flows.sum(0) - flows.sum(1)
        torch.testing.assert_close(maps.flatten(1).sum(1) * system.voxel_volume, net, rtol=0, atol=1e-9)
    others = [index for index in range(4) if index not in (*pairs.lesions, *pairs.hosts)]
    assert torch.equal(found.deformation[others], before[0][others])
    assert torch.equal(found.reallocation_flows[others], before[1][others])
    least, most = found.ambiguous
    assert (least <= 0).all()
    assert (most >= 0).all()
    lesions = list(pairs.lesions)
    rest = target[lesions].sum(0) - found.modelled()[lesions].sum(0)
    enough = found.final.q.square()[list(pairs.hosts)].sum(0) > 0.2
    assert float(rest[enough].abs().max() if enough.any() else 0) < 0.9


def square_maps(lesion=None):
    """A host with a ventricle, another tissue and perhaps a lesion: classes lesion, host, other, fluid."""
    balls: list[tuple[tuple[float, ...], float]] = [((7.0, 7.0), 3.5), ((8.0, 19.0), 3.5)]
    fluid, other = ball_maps(SHAPE, SPACING, balls)[1:]
    maps = torch.stack([torch.zeros_like(fluid), 1 - fluid - other, other, fluid])
    return maps if lesion is None else torch.stack([lesion, maps[1] * (1 - lesion), *maps[2:] * (1 - lesion)])


def test_a_lesion_that_takes_the_place_of_one_tissue_moves_nothing():
    source = square_maps().clamp(min=1e-6)
    lesion = torch.zeros(SHAPE, dtype=torch.float64)
    lesion[17:24, 10:20] = 0.9
    target = source.clone()
    target[0] += lesion * target[1]
    target[1] *= 1 - lesion
    source, target = source / source.sum(0), target / target.sum(0)
    found = register(source, target, MOVES, SPACING, settings(), open_pairs=OpenPairs((0,), (1,)))
    gain = float((target - source)[0].sum())
    parts = found.attribution
    assert float(parts.deformation.abs().max()) < 1e-9
    assert float(parts.reallocation[0].sum()) == pytest.approx(gain, rel=1e-6)
    assert float(parts.reallocation_flows[1, 0]) == pytest.approx(gain, rel=1e-6)
    told = found.uncertainty
    assert float(told.deformation_high[0]) < 0.05 * gain
    assert float(told.reallocation_low[0]) > 0.95 * gain


def test_identical_maps_with_open_pairs_give_exact_zeros():
    maps = random_maps(torch.Generator().manual_seed(3), 4, SHAPE).float()
    found = register(
        maps, maps.clone(), MOVES.float(), SPACING, settings(), open_pairs=OpenPairs((0,), (1, 2))
    )
    parts = found.attribution
    for zero in (found.momentum, parts.deformation, parts.reallocation, parts.reallocation_flows):
        assert torch.count_nonzero(zero) == 0


def grown_mass(seen: float):
    """A mass in a ring of host tissue grows; a share ``seen`` of it displaces the ring into the fluid."""
    centre = (13.5, 12.5)

    def maps(mass: float, ring: float):
        lesion, brain = (ball_maps(SHAPE, SPACING, [(centre, r)])[1] for r in (mass, ring))
        lesion = torch.minimum(lesion, brain)
        fluid = 1 - brain
        found = torch.stack([lesion, brain - lesion, torch.zeros_like(fluid), fluid]).clamp(min=1e-6)
        return found / found.sum(0)

    first, last, brain = 4.0, 6.0, 9.0
    outer = math.sqrt(brain**2 + seen * (last**2 - first**2))
    return maps(first, brain), maps(last, outer)


@pytest.mark.parametrize("seen", [0.0, 0.5, 1.0])
def test_a_mass_displaces_as_much_as_its_surroundings_show(seen):
    source, target = grown_mass(seen)
    pairs = OpenPairs((0,), (1,))
    found = register(source, target, MOVES, SPACING, settings(max_evaluations=40), open_pairs=pairs)
    growth = float((target - source)[0].sum())
    moved = float(found.attribution.deformation[0].sum())
    assert moved / growth == pytest.approx(seen, abs=0.12)
    told = found.uncertainty
    assert float(told.deformation_low[0]) - 0.1 * growth <= seen * growth
    assert seen * growth <= float(told.deformation_high[0]) + 0.1 * growth
    assert torch.isnan(told.matrix_deformation[:2]).all()
    assert torch.isfinite(told.matrix_deformation[2:]).all()


@examples(max_examples=6, deadline=None)
@given(SEEDS, DIMS, PAIRS)
def test_swelling_is_the_expansion_of_the_hosts_over_time(seed, dims, pairs):
    momentum, matching = open_problem(seed, dims, pairs)
    start, system = State(matching.source, momentum), matching.system
    swelling, expected = Swelling(pairs, system, start.q), torch.zeros_like(start.q[:1])
    for step in walk(start, system, 3):
        swelling.follow(step)
        hosts = step.middle.q[list(pairs.hosts)].square().sum(0)
        parts = torch.gradient(step.velocity, spacing=system.spacing, dim=tuple(range(1, dims + 1)))
        inside = (slice(1, -1),) * dims
        divergence = torch.stack([part[axis] for axis, part in enumerate(parts)]).sum(0)
        expected[0][inside] += (hosts * divergence / 3)[inside]
    torch.testing.assert_close(swelling.volume[0][inside], expected[0][inside])

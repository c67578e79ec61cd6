"""Laws of free exchanges: what leaves the mismatch (E10), and what is read at the end (E11, E12)."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest
import torch
from hypothesis import given
from hypothesis import settings as examples
from hypothesis import strategies as st
from small_problems import CONTROLS, ball_maps, cost, random_maps, random_matching, settings, smooth

from longimorph.free_pairs import FreePairs
from longimorph.numerics.attribution import attribute
from longimorph.numerics.fields import interpolate, positions
from longimorph.numerics.objective import curvature, evaluate, mismatch
from longimorph.numerics.open_question import PathVolumes, Swelling, with_exchanges
from longimorph.numerics.projection import Projection, free_exchange, projection
from longimorph.numerics.register import register
from longimorph.numerics.shooting import walk
from longimorph.numerics.sphere import tangent
from longimorph.numerics.states import State
from longimorph.numerics.warps import integrate

SEEDS = st.integers(0, 100_000)
DIMS = st.sampled_from([2, 3])
PAIRS = st.sampled_from(
    [
        FreePairs((0,), (2,)),
        FreePairs((0,), (1, 2)),
        FreePairs((0, 3), (1,)),
        FreePairs((0, 3), (1,), within=True),
        FreePairs((0, 3), (1, 2), open=False, within=True),
    ]
)
SHAPE, SPACING = (28, 26), (1.0, 1.0)
MOVES = torch.full((4, 4), 0.999999, dtype=torch.float64)


def open_problem(seed, dims, pairs, kind="mixed"):
    """A tangent momentum and a random matching with open pairs."""
    momentum, matching = random_matching(seed, dims, kind=kind)
    source, target = matching.source.square(), matching.target.get()
    return momentum, replace(matching, free=projection(source, target, [pairs], matching.system.spacing))


@examples(max_examples=10, deadline=None)
@given(SEEDS, DIMS, PAIRS)
def test_what_is_ignored_is_an_exchange_and_is_ignored_wholly(seed, dims, pairs):
    _, matching = open_problem(seed, dims, pairs)
    generator = torch.Generator().manual_seed(seed)
    x, y = (smooth(generator, 4, matching.source.shape[1:]) for _ in range(2))
    (exchange,) = matching.free.exchanges
    once = exchange.remove(x.clone())
    torch.testing.assert_close(exchange.remove(once.clone()), once)
    torch.testing.assert_close((once * y).sum(), (x * exchange.remove_back(y.clone())).sum())
    torch.testing.assert_close(once.sum(0), x.sum(0))
    lesions = once[list(pairs.lesions)]
    torch.testing.assert_close(lesions.sum(0), torch.zeros_like(once[0]), rtol=0, atol=1e-12)
    assert not (pairs.within and lesions.any())
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
    found = matching.free.without(source, target)
    assert float(found.min()) >= 0
    torch.testing.assert_close(found.sum(0), torch.ones_like(found[0]))
    whole = source + matching.free.remove(target - source)
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
    free = projection(q.square(), q.square(), [pairs], matching.system.spacing)
    matching = replace(matching, free=free, target=type(matching.target)(q.square()))
    x = 1e-4 * tangent(smooth(torch.Generator().manual_seed(seed), 4, q.shape[1:]), q)
    expected = 0.5 * float((x * curvature(matching)(x)).sum()) * matching.system.voxel_volume
    assert mismatch(q + x, matching) == pytest.approx(expected, rel=2e-2)


@examples(max_examples=8, deadline=None)
@given(SEEDS, DIMS, PAIRS)
def test_the_parts_add_up_and_stay_probabilities(seed, dims, pairs):
    momentum, matching = open_problem(seed, dims, pairs)
    start, system, target = State(matching.source, momentum), matching.system, matching.target.get()
    swelling = Swelling([pairs], system, start.q)
    path = attribute(start, system, 4, watch=swelling.follow)
    before = path.deformation.clone(), path.reallocation_flows.clone()
    along = PathVolumes(torch.ones_like(target[:1]), swelling.volume)
    found = with_exchanges(path, target, matching.free, along, system.spacing)
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
    lesions = list(pairs.lesions)
    if pairs.open:
        least, most = found.ambiguous
        assert (least <= 0).all()
        assert (most >= 0).all()
    else:
        assert found.ambiguous is None
        assert torch.equal(found.deformation, before[0])
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
    found = register(source, target, MOVES, SPACING, settings(), free=(FreePairs((0,), (1,)),))
    gain = float((target - source)[0].sum())
    parts = found.attribution
    assert found.evaluations == 1  # there is nothing left to match
    assert float(parts.deformation.abs().max()) < 1e-9
    assert float(parts.reallocation[0].sum()) == pytest.approx(gain, rel=1e-6)
    assert float(parts.reallocation_flows[1, 0]) == pytest.approx(gain, rel=1e-6)
    told = found.uncertainty
    assert float(told.deformation_high[0]) < 0.05 * gain
    assert float(told.reallocation_low[0]) > 0.95 * gain


def test_identical_maps_with_open_pairs_give_exact_zeros():
    maps = random_maps(torch.Generator().manual_seed(3), 4, SHAPE).float()
    found = register(maps, maps.clone(), MOVES.float(), SPACING, settings(), free=(FreePairs((0,), (1, 2)),))
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
    pairs = FreePairs((0,), (1,))
    found = register(source, target, MOVES, SPACING, settings(max_evaluations=40), free=(pairs,))
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
    swelling = Swelling([replace(pairs, open=True)], system, start.q)
    expected = torch.zeros_like(start.q[:1])
    for step in walk(start, system, 3):
        swelling.follow(step)
        hosts = step.middle.q[list(pairs.hosts)].square().sum(0)
        parts = torch.gradient(step.velocity, spacing=system.spacing, dim=tuple(range(1, dims + 1)))
        inside = (slice(1, -1),) * dims
        divergence = torch.stack([part[axis] for axis, part in enumerate(parts)]).sum(0)
        expected[0][inside] += (hosts * divergence / 3)[inside]
    torch.testing.assert_close(swelling.volume[0][inside], expected[0][inside])


@examples(max_examples=8, deadline=None)
@given(SEEDS, DIMS)
def test_groups_with_the_same_hosts_leave_the_mismatch_together(seed, dims):
    _, matching = random_matching(seed, dims)
    maps = matching.source.square(), matching.target.get()
    groups = FreePairs((0,), (1, 2), open=False), FreePairs((3,), (1, 2), open=False)
    spacing = matching.system.spacing
    both = projection(*maps, groups, spacing)
    generator = torch.Generator().manual_seed(seed)
    x, y = (smooth(generator, 4, matching.source.shape[1:]) for _ in range(2))
    once = both.remove(x.clone())
    torch.testing.assert_close(both.remove(once.clone()), once)
    torch.testing.assert_close((once * y).sum(), (x * both.remove_back(y.clone())).sum())
    swapped = Projection(tuple(reversed(both.exchanges)))
    torch.testing.assert_close(swapped.remove(x.clone()), once)


@pytest.mark.parametrize("is_open", [True, False])
def test_a_mass_that_only_pushed_was_carried_as_far_as_the_matrix_lets_it(is_open):
    """The same flow explains the surroundings; what the lesion gained beyond it is read from the maps."""
    source, target = grown_mass(1.0)
    pairs = FreePairs((0,), (1,), is_open)
    control = MOVES.clone()
    control[0, 1] = control[1, 0] = 0.0001
    found = register(source, target, control, SPACING, settings(), free=(pairs,))
    parts, growth = found.attribution, float((target - source)[0].sum())
    moved, changed = (float(maps[0].sum()) for maps in (parts.deformation, parts.reallocation))
    assert moved + changed == pytest.approx(growth, rel=0.02)
    assert float(parts.reallocation[2:].abs().max()) < 1e-3
    told = found.uncertainty
    assert bool(torch.isnan(told.matrix_deformation[0])) == is_open
    assert (told.deformation_high - told.deformation_low)[0] > 0


def test_lesions_that_exchange_with_each_other_end_as_the_target_has_them():
    maps = square_maps(torch.full(SHAPE, 0.3, dtype=torch.float64))
    source = torch.stack([maps[0] * 0.9, maps[1], maps[2] + maps[3], maps[0] * 0.1])
    target = torch.stack([maps[0] * 0.2, maps[1], maps[2] + maps[3], maps[0] * 0.8])
    source, target = source / source.sum(0), target / target.sum(0)
    pairs = FreePairs((0,), (3,), open=False)
    found = register(source, target, MOVES, SPACING, settings(), free=(pairs,))
    torch.testing.assert_close(found.attribution.modelled(), target, rtol=0, atol=1e-6)
    assert not found.attribution.deformation.abs().max() > 1e-9
    exchange = free_exchange(source, target, FreePairs((0, 3), (1,), open=False, within=True), SPACING)
    left = exchange.left(source, target)
    torch.testing.assert_close((source + left)[[0, 3]], target[[0, 3]], rtol=0, atol=1e-12)


def swirl(seed: int, steps: int) -> list[torch.Tensor]:
    """Smooth velocities in mm per unit of time that grow and shrink tissue, constant over time."""
    generator = torch.Generator().manual_seed(seed)
    w = smooth(generator, 2, SHAPE)
    return [w * (2.0 / w.abs().max())] * steps


@examples(max_examples=6, deadline=None)
@given(SEEDS)
def test_the_mean_volume_is_that_of_the_path(seed):
    """Against the determinants of the maps back to every time."""
    steps, like = 16, torch.zeros((1, *SHAPE), dtype=torch.float64)
    velocities = swirl(seed, steps)
    found = integrate(velocities, SPACING, like).mean_volume
    back = [-w / steps for w in reversed(velocities)]
    parts = [integrate([w * n for w in back], SPACING, like).log_jacobian.exp() for n in range(steps + 1)]
    expected = torch.trapezoid(torch.stack(parts), dx=1 / steps, dim=0)
    torch.testing.assert_close(found, expected, rtol=1e-3, atol=0)
    assert float((found - 1).abs().max()) > 0.03


@examples(max_examples=6, deadline=None)
@given(SEEDS)
def test_swapped_visits_reallocate_the_same_volume(seed):
    """What becomes a lesion with a density at the first visit, summed over the brain in both orders."""
    steps, like = 16, torch.zeros((1, *SHAPE), dtype=torch.float64)
    velocities = swirl(seed, steps)
    there, back = (
        integrate(path, SPACING, like) for path in (velocities, [-w for w in reversed(velocities)])
    )
    x = positions(SHAPE, SPACING, like)
    turned = torch.exp(-((x - 13.0) ** 2).sum(0, keepdim=True) / 18)
    carried = interpolate(turned, x + there.forward, SPACING)
    volumes = (carried * there.mean_volume).sum(), (turned * back.mean_volume).sum()
    assert float(volumes[0]) == pytest.approx(float(volumes[1]), rel=0.02)

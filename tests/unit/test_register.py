"""Registrations with a known outcome, on small grids: signs, exact zeros, failures."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

import pytest
import torch
from small_problems import ball_maps, cost, random_matching, settings

from longimorph.free_pairs import FreePairs
from longimorph.numerics import objective, optimise, solve
from longimorph.numerics.dynamics import drive, fastest
from longimorph.numerics.equations import velocity
from longimorph.numerics.kernels import gaussian_kernel
from longimorph.numerics.linearised import LinearisedShooting
from longimorph.numerics.memory_strategies import CHECKPOINT, Ladder
from longimorph.numerics.objective import Evaluation, curvature, difference, evaluate, follow, mismatch
from longimorph.numerics.optimise import DescentOptions, minimise
from longimorph.numerics.precondition import Preconditioner
from longimorph.numerics.register import register
from longimorph.numerics.run import Run
from longimorph.numerics.shooting import Divergence, drift
from longimorph.numerics.states import State

pytestmark = pytest.mark.filterwarnings("error")

SHAPE, SPACING = (26, 24), (1.0, 1.2)
CENTRE = (13.0, 14.0)
DEFORM = torch.full((2, 2), 0.999, dtype=torch.float64)
LESION = torch.tensor([[0.999, 0.999, 0.001], [0.999, 0.999, 0.001], [0.001, 0.001, 0.999]]).double()


def volumes(maps):
    return maps.flatten(1).sum(1) * math.prod(SPACING)


def ball(radius, centre=CENTRE):
    return ball_maps(SHAPE, SPACING, [(centre, radius)])


@pytest.fixture(scope="module")
def grown():
    """A ball that grows, all of it by deformation."""
    source, target = ball(5.0), ball(6.5)
    chosen = settings(steps=12, regularisation=0.03)
    return source, target, register(source, target, DEFORM, SPACING, chosen)


@pytest.fixture(scope="module")
def moved():
    """A ball that moves 3 mm up the first axis, with a kernel wide enough to take its inside along."""
    source, target = ball(5.0, (11.0, 14.0)), ball(5.0, (14.0, 14.0))
    chosen = settings(kernel_mm=(5.0,), steps=10, regularisation=0.03)
    return source, target, register(source, target, DEFORM, SPACING, chosen)


@pytest.fixture(scope="module")
def lesion():
    """A lesion that appears in the tissue around a ventricle which stays where it is."""
    quiet = ((8.0, 8.0), 4.0)
    absent, present = ((17.0, 18.0), -6.0), ((17.0, 18.0), 4.0)
    source, target = (ball_maps(SHAPE, SPACING, [quiet, spot]) for spot in (absent, present))
    return source, target, register(source, target, LESION, SPACING, settings(amplitude_mm=0.7, steps=10))


@pytest.mark.parametrize("kind", [torch.float32, torch.float64])
def test_identical_maps_give_exact_zeros(kind):
    maps = ball(5.0).to(kind)
    found = register(maps, maps.clone(), DEFORM.to(kind), SPACING, settings(steps=None))
    parts, warps = found.attribution, found.warps
    zeros = (found.momentum, parts.deformation, parts.reallocation, parts.deformation_flows)
    for zero in (*zeros, parts.reallocation_flows, warps.forward, warps.inverse, warps.log_jacobian):
        assert torch.count_nonzero(zero) == 0
    assert (found.energy, found.drift, warps.folded) == (0.0, 0.0, 0.0)
    assert found.converged
    assert "identical" in found.reason
    torch.testing.assert_close(parts.final.q.square(), maps)


def test_a_growing_ball_is_deformation_with_the_right_signs(grown):
    source, target, found = grown
    deformed, changed = volumes(found.attribution.deformation), volumes(found.attribution.reallocation)
    gain = float((volumes(target) - volumes(source))[1])
    assert gain > 40
    assert float(deformed[1]) == pytest.approx(gain, rel=0.05)
    assert float(deformed[0]) == pytest.approx(-float(deformed[1]), rel=1e-9)
    assert abs(float(changed[1])) < 0.02 * gain
    flows = found.attribution.deformation_flows
    assert float(flows[0, 1]) > 0.9 * gain
    assert float(flows[1, 0]) < 0.05 * gain
    inside = source[1] > 0.9
    assert float(found.warps.log_jacobian[inside].mean()) > 0.1
    assert found.warps.folded == 0


def test_a_ball_that_shrinks_back_is_the_mirror_of_one_that_grows(grown):
    source, target, _ = grown
    found = register(target, source, DEFORM, SPACING, settings())
    assert float(volumes(found.attribution.deformation)[1]) < -40
    assert float(found.warps.log_jacobian[target[1] > 0.9].mean()) < -0.1


def test_a_lesion_that_appears_is_reallocation(lesion):
    source, target, found = lesion
    gain = volumes(target) - volumes(source)
    deformed, changed = volumes(found.attribution.deformation), volumes(found.attribution.reallocation)
    assert float(gain[2]) > 40
    assert float(changed[2]) == pytest.approx(float(gain[2]), rel=0.1)
    assert float(deformed.abs().max()) < 0.05 * float(gain[2])
    assert float(found.attribution.reallocation_flows[0, 2]) > 0.9 * float(gain[2])
    assert float(found.warps.inverse.abs().max()) < 0.3


def mismatch_of(rest):
    """1/2 <r, r + w G_s r> in mm^2 with the settings of these tests."""
    average = gaussian_kernel(rest.shape[1:], SPACING, [settings().volume_mm], 1.0, rest)
    weighed = rest + settings().volume_weight * average(rest)
    return 0.5 * float((rest * weighed).sum()) * math.prod(SPACING)


def test_the_parts_explain_the_whole_change_but_for_the_mismatch(grown, lesion):
    for source, target, found in (grown, lesion):
        parts = found.attribution.deformation + found.attribution.reallocation
        final = found.attribution.final.q.square()
        torch.testing.assert_close(source + parts, final, rtol=0, atol=1e-12)
        assert found.mismatch_after == pytest.approx(mismatch_of(final - target), rel=1e-9)
        assert found.mismatch_before == pytest.approx(mismatch_of(source - target), rel=1e-9)
        assert found.mismatch_after < 0.05 * found.mismatch_before
        assert found.drift < 0.02


def test_the_warps_point_where_tissue_went_and_where_it_came_from(moved):
    source, target, found = moved
    went = found.warps.inverse[:, source[1] > 0.95]
    came = found.warps.forward[:, target[1] > 0.95]
    assert float(went[0].mean()) == pytest.approx(3.0, abs=0.3)
    assert float(came[0].mean()) == pytest.approx(-3.0, abs=0.3)
    assert float(went[1].abs().mean()) < 0.3
    assert abs(float(found.warps.log_jacobian[source[1] > 0.95].mean())) < 0.1


def test_the_two_warps_invert_each_other(grown, moved):
    for _, _, found in (grown, moved):
        assert float(found.warps.inverse.abs().max()) > 0.5
        assert found.warps.inverse_error < 0.02


def test_three_dimensions_work_as_two_do():
    shape, spacing = (13, 12, 11), (1.5, 1.5, 1.6)
    source, target = (ball_maps(shape, spacing, [((9.0, 8.5, 8.0), r)]) for r in (4.5, 5.8))
    found = register(source.float(), target.float(), DEFORM.float(), spacing, settings(max_evaluations=10))
    gain = float((target - source)[1].sum())
    assert float(found.attribution.deformation[1].sum()) == pytest.approx(gain, rel=0.1)
    assert float(found.warps.log_jacobian[source[1] > 0.9].mean()) > 0.1
    assert found.warps.forward.shape == (3, *shape)


def test_a_large_displacement_asks_for_more_steps():
    near, far = ball(4.0, (10.0, 14.0)), ball(4.0, (17.0, 14.0))
    chosen = settings(steps=None, max_evaluations=12)
    found = register(near, far, DEFORM, SPACING, chosen)
    assert found.steps > solve.FEWEST_STEPS
    still = register(near, ball(4.2, (10.0, 14.0)), DEFORM, SPACING, chosen)
    assert still.steps == solve.FEWEST_STEPS


@pytest.mark.parametrize("most", [1, 2, 5])
def test_the_cap_on_evaluations_holds_on_every_level(monkeypatch, most):
    counts: dict[tuple[int, ...], int] = {}

    def counted(momentum, matching, strategy):
        counts[momentum.shape] = counts.get(momentum.shape, 0) + 1
        return evaluate(momentum, matching, strategy)

    monkeypatch.setattr(solve, "evaluate", counted)
    chosen = settings(max_evaluations=most, tolerance=1e-9, steps=None)
    found = register(ball(4.0), ball(6.0), DEFORM, SPACING, chosen)
    assert len(counts) > 1
    assert max(counts.values()) <= most
    assert found.evaluations == counts[(2, *SHAPE)]
    assert not found.converged
    assert f"cap of {most} evaluations (max_evaluations)" in found.reason


def test_the_cap_is_named_as_it_is_set_also_after_a_descent_with_fewer_steps():
    heard: list[Any] = []
    chosen = settings(steps=None, max_evaluations=9, tolerance=1e-9)
    near, far = ball(4.0, (7.0, 14.0)), ball(4.0, (13.0, 14.0))
    found = register(near, far, DEFORM, SPACING, chosen, Run(lambda spacing, it: heard.append((spacing, it))))
    own = [it for spacing, it in heard if spacing == min(SPACING)]
    assert sum(it.number == 0 for it in own) > 1  # more than one descent
    assert [it.evaluations for it in own] == sorted(it.evaluations for it in own)
    assert own[-1].evaluations <= found.evaluations == 9
    assert "cap of 9 evaluations" in found.reason


def test_the_report_hears_of_every_iteration_on_every_level():
    heard: list[Any] = []
    chosen = settings(max_evaluations=8)
    found = register(
        ball(5.0), ball(6.0), DEFORM, SPACING, chosen, Run(lambda spacing, it: heard.append((spacing, it)))
    )
    spacings = [spacing for spacing, _ in heard]
    assert spacings == sorted(spacings, reverse=True)
    assert len(set(spacings)) > 1
    finest = [iteration for spacing, iteration in heard if spacing == min(SPACING)]
    assert [iteration.number for iteration in finest] == list(range(len(finest)))
    costs = [iteration.evaluation.cost for iteration in finest]
    assert costs == sorted(costs, reverse=True)
    assert finest[-1].evaluation.mismatch == found.mismatch_after


# --- the optimiser alone -----------------------------------------------------------------------------------


def no_preconditioner(gradient, damping):
    return gradient


def bowl(most_reach=math.inf):
    """|x - 1|^2 / 2, which diverges beyond a distance from 0."""

    def evaluate_bowl(x):
        if float(x.abs().max()) > most_reach:
            raise Divergence("too far")
        value = 0.5 * float((x - 1).square().sum())
        return Evaluation(value, value, 0.0, x - 1)

    return evaluate_bowl


def flat_bowl(x):
    """sum (x - 1)^4 / 4, whose minimum is approached ever more slowly."""
    value = 0.25 * float((x - 1).pow(4).sum())
    return Evaluation(value, value, 0.0, (x - 1).pow(3))


def run(evaluate_at, start, most=30, gain=1e-9, precondition=no_preconditioner, heard=None, shorten=True):
    report = (lambda _: None) if heard is None else heard.append
    options = DescentOptions(1e-3, 1.0, most, gain, shorten)
    return minimise(evaluate_at, [start], precondition, options, report)


def is_a_sentence(text):
    return text[0].isupper() and text.endswith(".") and len(text.split()) > 5


def test_a_trial_that_diverges_shortens_the_step_and_raises_nothing():
    heard: list[Any] = []
    start = torch.zeros(3, dtype=torch.float64)
    found = run(bowl(2.0), start, precondition=lambda g, damping: 100 * g, heard=heard)
    assert heard[1].step_length < 0.05
    assert heard[1].evaluations > 2  # the failed trials count
    assert found.evaluation.cost < 1e-6
    assert found.converged


def test_a_step_that_diverges_ends_the_descent_where_the_shooting_may_take_more_steps():
    start = torch.zeros(3, dtype=torch.float64)
    found = run(bowl(2.0), start, precondition=lambda g, damping: 100 * g, shorten=False)
    assert found.too_few_steps
    assert not found.converged
    assert found.evaluations == 3  # the start, a full step, and one with more damping
    assert is_a_sentence(found.reason)
    assert torch.equal(found.momentum, start)
    uphill = run(bowl(), start, precondition=lambda g, damping: 3 * g, shorten=False)  # too long, but finite
    assert not uphill.too_few_steps
    assert uphill.evaluation.cost < 1e-6


def test_a_damping_that_failed_is_not_tried_again():
    """A full step is too long below a damping of 0.05: the damping settles above it."""
    dampings: list[float] = []

    def too_long_if_undamped(gradient, damping):
        dampings.append(damping)
        return gradient * (3.0 if damping < 0.05 else 0.05)

    options = DescentOptions(0.1, 1.0, 25, 1e-9, pairs_kept=0)
    minimise(bowl(), [torch.zeros(3, dtype=torch.float64)], too_long_if_undamped, options)
    failed = [damping for damping in dampings if damping < 0.05]
    assert failed == pytest.approx([0.02, 0.04])
    assert dampings[-5:] == pytest.approx([0.08] * 5)


def test_a_descent_ends_where_h_drifts_and_so_does_one_that_resumes_there():
    def drifting(x):
        return replace(bowl()(x), drift=0.1 * float(x.abs().max()))

    options = DescentOptions(1e-3, 1.0, 30, 1e-9, most_drift=0.05)
    start = torch.zeros(3, dtype=torch.float64)
    found = minimise(drifting, [start], lambda g, _: 0.3 * g, options)
    assert not found.converged and not found.too_few_steps
    assert 0.05 < found.evaluation.drift < 0.1 and is_a_sentence(found.reason)
    assert found.evaluations < 30
    at_once = minimise(drifting, [found.momentum], lambda g, _: 0.3 * g, options)
    assert at_once.evaluations == 1 and torch.equal(at_once.momentum, found.momentum)


@pytest.mark.parametrize("radius", [5.6, 6.3, 7.0])
def test_the_drift_decides_how_many_steps_a_path_needs(radius, monkeypatch):
    """By the order of the rule: that many steps are enough, and not far more than are needed; at most half as
    many more at once.
    """
    monkeypatch.setattr(solve, "CFL_LIMIT", 100.0)
    pair, ladder = solve.MapPair(ball(4.0), ball(radius), DEFORM, SPACING), Ladder([CHECKPOINT])
    matching = pair.matching(settings(steps=None))
    momentum = 1.5 * next(
        solve._damped(solve._straight(matching), solve._preconditioner(matching).handed_over, [3e-2], ladder)
    )

    def drift_with(steps):
        try:
            return follow(momentum, replace(matching, steps=steps)).drift
        except Divergence:
            return math.inf

    few = next(steps for steps in range(2, 40) if drift_with(steps) <= 0.12)
    assert drift_with(few) > solve.DRIFT_LIMIT
    most = math.ceil(solve.MOST_AT_ONCE * few)
    needed, drifted = solve._steps_needed(momentum, replace(matching, steps=few), ladder)
    assert drifted == drift_with(few)
    assert few < needed <= most
    assert drift_with(needed) <= solve.DRIFT_LIMIT or needed == most
    assert drift_with(needed) < drift_with(few) / 1.8
    again = max(needed, solve._steps_needed(momentum, replace(matching, steps=needed), ladder).steps)
    assert drift_with(again) <= solve.DRIFT_LIMIT


@pytest.mark.parametrize(("steps", "most"), [(None, 60), (None, 2), (6, 60)])
def test_the_drift_is_that_of_the_path_in_the_result(steps, most):
    """Also where no evaluations are left to descend with as many steps as it needs."""
    chosen = settings(steps=steps, max_evaluations=most)
    found = register(ball(4.0), ball(6.5), DEFORM, SPACING, chosen)
    matching = solve.MapPair(ball(4.0), ball(6.5), DEFORM, SPACING).matching(chosen)
    path = State(matching.source, found.momentum), matching.system, found.steps
    assert found.drift == drift(*path) > 0


@pytest.mark.parametrize("steps", [None, 5])
def test_only_a_path_whose_steps_were_chosen_must_keep_h_better_at_the_most_steps(steps, monkeypatch):
    """Over two levels, of which the coarse one hands over its number of steps."""
    limits, descend = [], solve._descend

    def noted(*args):
        limits.append((args[1].steps, args[1].most_drift))
        return descend(*args)

    monkeypatch.setattr(solve, "_descend", noted)
    monkeypatch.setattr(solve, "MOST_STEPS", 5)
    monkeypatch.setattr(solve, "_enough", lambda *_: 5)
    source, target = (ball_maps((40, 40), (1.0, 1.0), [((20.0, 20.0), r)]) for r in (8.0, 9.0))
    chosen = settings(kernel_mm=(4.0,), steps=steps, max_evaluations=4)
    register(source, target, DEFORM, (1.0, 1.0), chosen)
    assert limits == [(5, objective.WILDEST_DRIFT if steps else solve.DRIFT_LIMIT)] * len(limits)
    assert len(limits) >= 2


def test_the_great_circles_are_tried_only_where_the_coarse_level_is_no_good_start(monkeypatch):
    tried = set()
    momentum = Preconditioner.momentum

    def noted(self, rate, shift):
        tried.add(tuple(rate.shape[1:]))
        return momentum(self, rate, shift)

    monkeypatch.setattr(Preconditioner, "momentum", noted)
    source, target = (ball_maps((40, 40), (1.0, 1.0), [((20.0, 20.0), r)]) for r in (8.0, 10.0))
    chosen = settings(kernel_mm=(4.0,), steps=None, max_evaluations=5)
    register(source, target, DEFORM, (1.0, 1.0), chosen)
    coarsest = min(tried)
    assert tried == {coarsest} and coarsest < (40, 40)
    tried.clear()
    monkeypatch.setattr(solve, "GOOD_START", 0.0)
    register(source, target, DEFORM, (1.0, 1.0), chosen)
    assert max(tried) == (40, 40)


@pytest.mark.parametrize(("price", "cheap"), [(0.9, True), (0.999, False)])
def test_where_reallocation_is_cheap_the_great_circles_are_tried_first(price, cheap, monkeypatch):
    """On two levels: a coarser one blurs what reallocation could follow voxel by voxel."""
    tried: list[str] = []

    def noted(name: str, usual: Any) -> Any:
        def asked(*given: Any) -> Any:
            tried.append(name)
            return usual(*given)

        return asked

    for name in ("handed_over", "momentum"):
        monkeypatch.setattr(Preconditioner, name, noted(name, getattr(Preconditioner, name)))
    monkeypatch.setattr(solve, "FEWEST_VOXELS_PER_SIGMA", 1.0)
    control = torch.full((2, 2), price, dtype=torch.float64)
    pair = solve.MapPair(ball(4.0), ball(5.0), control, SPACING)
    matching = pair.matching(settings())
    monkeypatch.setattr(solve, "_coarse_rate", noted("coarse", lambda *_: (solve._straight(matching), 3)))
    solve._start(pair, matching, solve._preconditioner(matching), settings(kernel_mm=(8.0,)), Run())
    assert tried[0] == ("momentum" if cheap else "coarse")
    assert ("coarse" in tried) is not cheap


def test_more_steps_are_taken_where_the_optimisers_steps_diverge(monkeypatch):
    ends, descend = [], solve._descend

    def noted(*args):
        ends.append((args[1].steps, descend(*args)))
        return ends[-1][1]

    monkeypatch.setattr(solve, "_descend", noted)
    monkeypatch.setattr(objective, "WILDEST_PACE", 0.2)
    monkeypatch.setattr(solve, "MOST_STEPS", 24)
    chosen = settings(steps=None, max_evaluations=15)
    found = register(ball(3.5), ball(6.5), DEFORM, SPACING, chosen)
    early = [steps for steps, end in ends if end.too_few_steps]
    assert early
    assert max(early) < solve.MOST_STEPS
    assert found.steps >= min(2 * early[-1], solve.MOST_STEPS)
    assert not ends[-1][1].too_few_steps


@pytest.mark.parametrize("most", [5, 6])
def test_with_the_most_steps_a_trial_must_keep_h_as_well_as_the_result_is_to(most, monkeypatch):
    monkeypatch.setattr(solve, "MOST_STEPS", most)
    chosen, drifts = settings(steps=None, max_evaluations=60), {}
    for limit in (solve.DRIFT_LIMIT, objective.WILDEST_DRIFT):
        monkeypatch.setattr(solve, "DRIFT_LIMIT", limit)
        found = register(ball(3.0), ball(6.5), DEFORM, SPACING, chosen)
        assert found.steps == most
        drifts[limit] = found.drift
    assert drifts.pop(0.02) <= 0.02 * (1 + 1e-6)
    assert drifts.popitem()[1] > 0.025  # it is the limit that keeps it


@pytest.mark.parametrize("radius", [5.3, 5.6, 6.0, 6.5])
def test_a_start_is_damped_while_that_lowers_its_cost_and_halved_only_where_it_cannot_be_shot(
    radius, monkeypatch
):
    pair = solve.MapPair(ball(5.0), ball(radius), DEFORM, SPACING)
    matching = replace(pair.matching(settings()), steps=40)
    shooting = LinearisedShooting(matching.source, matching.system)
    preconditioner = Preconditioner(shooting, curvature(matching), matching.regularisation)
    rate, ladder = solve._straight(matching), Ladder([CHECKPOINT])
    monkeypatch.setattr(solve, "GOOD_START", 0.0)
    forms = list(solve._damped(rate, preconditioner.momentum, solve.START_DAMPINGS, ladder))
    paces = [pace_at_the_start(p, matching) for p in forms]
    assert paces == sorted(paces, reverse=True)
    costs = [cost(p, matching) for p in forms]
    assert torch.equal(solve._best([forms], matching, ladder)[0], forms[costs.index(min(costs))])
    for tamest, first in ((1, 2), (2, 3)):
        monkeypatch.setattr(objective, "WILDEST_PACE", paces[tamest] * 0.999)
        assert torch.equal(solve._best([forms], matching, ladder)[0], forms[first])
    monkeypatch.setattr(objective, "WILDEST_PACE", 0.0)
    assert not solve._best([forms], matching, ladder)[0].any()


def pace_at_the_start(momentum, matching):
    driven = drive(State(matching.source, momentum), matching.system)
    return float(fastest(velocity(driven.rho, driven.v), matching.system)) / matching.steps


def test_a_real_step_too_long_to_be_shot_is_shortened():
    momentum, matching = random_matching(3, steps=3)
    start, heard = 0 * momentum, []  # type: ignore[var-annotated]
    shooting = LinearisedShooting(matching.source, matching.system)
    reckless = Preconditioner(shooting, curvature(matching), matching.regularisation)
    found = minimise(
        lambda p: evaluate(p, matching),
        [start],
        lambda g, damping: 1e150 * reckless(g, damping),
        DescentOptions(1e-3, matching.system.voxel_volume, 400, 0.0),
        heard.append,
    )
    with pytest.raises(Divergence):
        evaluate(-1e150 * reckless(evaluate(start, matching).gradient, 1e-3), matching)
    assert found.evaluation.cost <= heard[0].evaluation.cost


def test_divergence_at_the_start_is_said():
    with pytest.raises(Divergence, match="at the start"):
        run(bowl(0.5), torch.ones(2, dtype=torch.float64))


def test_maps_that_no_momentum_can_be_shot_from_raise_divergence():
    broken = ball(5.0)
    broken[:, 3, 3] = math.nan
    with pytest.raises(Divergence):
        register(broken, ball(6.0), DEFORM, SPACING, settings())


def test_every_stop_has_its_sentence():
    start = torch.zeros(2, dtype=torch.float64)
    good = run(flat_bowl, start, gain=0.99, precondition=lambda g, damping: 0.5 * g)
    assert good.converged
    assert good.reason.startswith("Converged")
    capped = run(bowl(), start, most=2, precondition=lambda g, damping: 1e-3 * g)
    assert not capped.converged
    assert "cap of 2 evaluations" in capped.reason
    stuck = run(bowl(), start, precondition=lambda g, damping: -g)  # points uphill
    assert stuck.converged
    assert stuck.evaluations == 1
    assert "No shorter step" in stuck.reason
    assert all(is_a_sentence(found.reason) for found in (good, capped, stuck))


def test_a_descent_ends_at_a_cost_that_is_negligible():
    options = DescentOptions(1e-3, 1.0, 60, 1e-9, negligible=1e-2)
    heard: list[Any] = []
    start = torch.zeros(2, dtype=torch.float64)
    found = minimise(bowl(), [start], lambda g, _: 0.3 * g, options, heard.append)
    costs = [iteration.evaluation.cost for iteration in heard]
    assert found.converged and is_a_sentence(found.reason)
    assert costs[-1] == found.evaluation.cost <= 1e-2 < costs[-2]
    at_once = minimise(bowl(), [found.momentum], lambda g, _: 0.3 * g, options)
    assert at_once.evaluations == 1 and torch.equal(at_once.momentum, found.momentum)


def test_what_counts_as_negligible_follows_from_the_maps_with_their_free_exchanges():
    source, target = ball(4.0), ball(6.0)
    pair = solve.MapPair(source, target, DEFORM, SPACING, free=(FreePairs((0,), (1,)),))
    matching = pair.matching(settings())
    apart = solve.MapPair(source, target, DEFORM, SPACING).matching(settings())
    assert difference(matching) == pytest.approx(mismatch(apart.source, apart), rel=1e-12)
    assert mismatch(matching.source, matching) < 0.1 * difference(matching)


def test_a_cap_met_within_a_line_search_is_named_as_the_reason():
    start = torch.zeros(2, dtype=torch.float64)
    found = run(bowl(2.0), start, most=3, precondition=lambda g, damping: 1e9 * g)
    assert found.evaluations == 3
    assert not found.converged
    assert "cap of 3 evaluations" in found.reason


def test_a_gradient_that_is_not_finite_counts_as_a_failed_trial():
    def broken_beyond_2(x):
        there = bowl()(x)
        bad = float(x.max()) > 1.5
        return Evaluation(0.0, 0.0, 0.0, there.gradient * math.nan) if bad else there

    start = torch.zeros(2, dtype=torch.float64)
    found = run(broken_beyond_2, start, precondition=lambda g, damping: 3 * g)
    assert bool(torch.isfinite(broken_beyond_2(found.momentum).gradient).all())
    torch.testing.assert_close(found.momentum, torch.ones_like(start), rtol=0, atol=1e-3)


def test_the_history_keeps_eight_pairs_of_positive_curvature():
    history, ladder = optimise.History(), Ladder([CHECKPOINT])
    generator = torch.Generator().manual_seed(0)
    for _ in range(12):
        s = torch.randn(5, generator=generator)
        history.add(s, 2 * s, ladder)
        history.add(s, -s, ladder)
    assert len(history.pairs) == 8
    assert all(sy > 0 for _, _, sy in history.pairs)


def test_with_enough_pairs_the_direction_is_newtons_on_a_quadratic():
    generator = torch.Generator().manual_seed(1)
    a = torch.randn(4, 4, generator=generator, dtype=torch.float64)
    hessian = a @ a.T + torch.eye(4, dtype=torch.float64)
    history, ladder = optimise.History(), Ladder([CHECKPOINT])
    conjugate = torch.linalg.eigh(hessian).eigenvectors
    for s in conjugate.T:
        history.add(s, hessian @ s, ladder)
    gradient = torch.randn(4, generator=generator, dtype=torch.float64)
    found = history.direction(gradient, lambda g: g)
    torch.testing.assert_close(found, -torch.linalg.solve(hessian, gradient))

"""Random arguments for every pass over a volume, and what a pass makes of them."""

from __future__ import annotations

import torch

from longimorph.numerics import passes
from longimorph.numerics.control import Exchange, Matrix
from longimorph.numerics.passes import Pass, PerAxis
from longimorph.numerics.sphere import normalise
from longimorph.numerics.states import Direction, Ending, Intermediates, Renormalisation, State

PRECISIONS = {torch.float64: 1e-12, torch.float32: 2e-5}


def agree(found, expected, tolerance):
    assert float((found - expected).norm()) <= tolerance * float(expected.norm())


def _none(settling):
    return Renormalisation(*(field[:0] for field in settling))


def random_arguments(which, shape, kind, seed, classes=4):
    """Arguments of a pass on random arrays: q on the sphere, everything else without any structure."""
    generator = torch.Generator().manual_seed(seed)

    def field(channels):
        return torch.randn(channels, *shape, generator=generator, dtype=torch.float64).to(kind)

    def state():
        q = normalise(field(classes).abs() + 0.01)
        return State(q, field(classes))

    at, base, cotangent = state(), state(), State(field(classes), field(classes))
    shares, rho, u = (
        field(classes).abs(),
        field(1).abs().clamp(1e-3, 0.99),
        torch.rand(3, 1, 1, 1, generator=generator, dtype=kind) + 0.2,
    )
    direction = Direction(cotangent, 0.3, field(1), field(1))
    drive, changes = Intermediates(rho, field(3), field(3)), Intermediates(field(1), field(3), field(3))
    free = torch.rand(classes, classes, generator=generator).to(kind)
    free[0, 1] = free[1, 0] = 0
    settling = Renormalisation(rho + 0.5, field(1))
    settled = seed % 3 == 2
    ending = Ending(float(seed % 3 == 1), float(settled), settling if settled else _none(settling))
    total = (ending, *((field(classes), field(classes)) if seed % 3 == 1 else ()))
    priced = Exchange(torch.where(field(classes) > 0, field(classes), 0), Matrix(free))
    return {
        Pass.DENSITY: (*at, shares, u),
        Pass.METRIC: (at.q, shares, u),
        Pass.RATE: (*at, drive.rho, drive.v, u),
        Pass.ADVANCE: (base, at, shares, drive, u, 0.1),
        Pass.DIRECTION: (at, cotangent, 0.3),
        Pass.DENSITY_CHANGE: (at, cotangent, 0.3, shares, drive.rho, drive.am, u),
        Pass.PULL_BACK: (at, direction, shares, drive, changes, u, *total),
        Pass.MOMENTUM: (*at, u),
        Pass.MOMENTUM_CHANGE: (at, direction, u),
        Pass.CARRY: (base, at, drive.v, u, 0.1),
        Pass.CARRY_BACK: (at, direction, drive.v, changes.v, u, *total),
        Pass.TURN: (at, priced, 0.1, bool(seed % 2)),
        Pass.TURN_BACK: (at, cotangent, priced, 0.1, bool(seed % 2)),
        Pass.PAIR_METRIC: (at.q, priced, 0.1, u),
        Pass.PAIR_RATE: (*at, priced, drive.v, u),
        Pass.UNEXCHANGE: (at.q, priced, 0.1, field(classes)),
        Pass.UNSETTLE: (at, settling, cotangent),
    }[which]


OVERWRITTEN = {
    Pass.UNSETTLE: slice(-1, None),
    Pass.TURN: slice(0, 1),
    Pass.TURN_BACK: slice(0, 2),
    Pass.PULL_BACK: slice(7, None),
    Pass.CARRY_BACK: slice(6, None),
}
"""Which arguments of a pass it overwrites, if any are given there."""


def overwritten(which, arguments):
    """The tensors among a pass's arguments that it overwrites; none where its outputs are new."""
    return passes.tensors_in(tuple(arguments[OVERWRITTEN[which]])) if which in OVERWRITTEN else []


def results(which, arguments, axes, expected):
    """What a pass makes of its arguments, as tensors; ``axes`` is the one with a number per axis."""
    outputs = overwritten(which, arguments) or [torch.empty_like(one) for one in expected]
    given = [PerAxis(one) if one is axes else one for one in arguments]
    passes._run(which, given, outputs)
    return outputs

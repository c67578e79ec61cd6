"""Split the change along a geodesic into deformation and reallocation so that the parts telescope exactly.

Between two unit vectors q0 and q1 of one step, d = q1 - q0 is orthogonal to q0 + q1, and P1 - P0 = (q0 + q1)
d class by class. With the step q1 = s (q0 + h (f_t + f_s)), s = 1/|q0 + h f|, one has d = 2 s h / (1 + s) *
(f_t + f_s) projected on the plane orthogonal to q0 + q1 (E6). This assigns the transport f_t and the source
f_s each its own share of P1 - P0; each share sums to zero over classes.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from longimorph.numerics import equations, pair_equations, passes
from longimorph.numerics.control import Control, Exchange
from longimorph.numerics.dynamics import Step, System, enter, leave
from longimorph.numerics.shooting import walk
from longimorph.numerics.sphere import dot, normalise, tangent
from longimorph.numerics.states import Intermediates, State


@dataclass(frozen=True)
class Attribution:
    """Change of probability per class and voxel, (C, *grid), and flows between classes in mm^3.

    ``final`` is the state at time 1: without open pairs, q^2 there is the modelled target P(1), and P(1) -
    P(0) = ``deformation + reallocation``. The flows are (C, C), with rows "from" and columns "to"; they are
    non-negative and zero on the diagonal. With open pairs, ``exchanged`` (C, *grid) is the part of the change
    in which they exchange after the path's end (see :mod:`longimorph.numerics.open_question`), included in
    the sums, and ``ambiguous`` (2, C), in mm^3, is the least and the most by which the deformation of each
    class might differ, for the same maps, if the exchange were read otherwise.
    """

    deformation: Tensor
    reallocation: Tensor
    deformation_flows: Tensor
    reallocation_flows: Tensor
    final: State
    exchanged: Tensor | None = None
    ambiguous: Tensor | None = None

    def modelled(self, planes: slice = slice(None)) -> Tensor:
        """The target as the model explains it, on some planes of the first grid axis: (C, *grid)."""
        reached = self.final.q[:, planes].square()
        return reached if self.exchanged is None else reached.add_(self.exchanged[:, planes]).clamp_(min=0)


def split(
    before: Tensor, after: Tensor, transport: Tensor, source: Tensor, duration: float
) -> tuple[Tensor, Tensor]:
    """Return the changes of probability over one step due to transport and to the source, E6: (C, *grid)
    each.

    The step starts from ``before`` and ends at ``after``, with the two parts of dq/dt at the half-way state.
    """
    moved = before + duration * (transport + source)
    scale = 2 * duration / (1 + dot(moved, moved).sqrt())
    both = before + after
    middle = normalise(both)
    return both * tangent(transport, middle) * scale, both * tangent(source, middle) * scale


def flows_between(change: Tensor) -> Tensor:
    """Compute flows from losing to gaining classes; each loss is shared among the gains in proportion.

    ``change`` (C, *grid) sums to zero over classes. Returns the sum over voxels, (C, C) float64.
    """
    flat = change.flatten(1)
    gain, loss = flat.clamp(min=0), (-flat).clamp(min=0)
    share = gain / gain.sum(0, keepdim=True).clamp(min=torch.finfo(change.dtype).tiny)
    return (loss.double() @ share.double().T).fill_diagonal_(0)


def attribute(
    start: State,
    system: System,
    steps: int,
    follow: Callable[[Tensor], None] = lambda _: None,
    watch: Callable[[Step], None] = lambda _: None,
) -> Attribution:
    """Retrace the geodesic and accumulate deformation and reallocation, E6.

    ``follow`` receives w at the midpoint of each step, (d, *grid) in mm per unit of time, after the step
    itself has been released; ``watch`` receives the step.
    """
    totals = torch.zeros_like(start.q), torch.zeros_like(start.q)
    none = torch.zeros(len(start.q), len(start.q), dtype=torch.float64, device=start.q.device)
    flows = none, none.clone()
    final = start
    with torch.no_grad():
        _add_change(start, enter(start, system, 1.0 / steps), system, totals, flows)
        for taken in walk(start, system, steps):
            _add_step(taken, system, totals, flows)
            watch(taken)
            final, w = taken.after, taken.velocity
            del taken
            follow(w)
            del w
        left = leave(final, system, 1.0 / steps)
        _add_change(final, left, system, totals, flows)
        final = left
    return Attribution(*totals, *flows, final)


def _add_change(
    before: State,
    after: State,
    system: System,
    totals: tuple[Tensor, Tensor],
    flows: tuple[Tensor, Tensor],
) -> None:
    """Add to the reallocation what the rotations before the first step or after the last changed."""
    if after is before:
        return
    for start, stop in passes.slabs(before.q):
        change = after.q[:, start:stop].square() - before.q[:, start:stop].square()
        totals[1][:, start:stop] += change
        flows[1].add_(flows_between(change), alpha=system.voxel_volume)


def _add_step(
    taken: Step, system: System, totals: tuple[Tensor, Tensor], flows: tuple[Tensor, Tensor]
) -> None:
    """Add the deformation and reallocation of one step to the totals and flows, slab by slab."""
    fields = (taken.before.q, taken.after, taken.middle, taken.drive, system.control)
    for start, stop in passes.slabs(taken.before.q):
        cut, inside = passes.with_halo(start, stop, *fields)
        before, after, middle, driven, control = cut
        parts = _parts(before, after, middle, driven, control, system.per_mm, taken.duration)
        for total, flow, part in zip(totals, flows, parts, strict=True):
            total[:, start:stop] += part[:, inside]
            flow += flows_between(part[:, inside]) * system.voxel_volume


def _parts(
    before: Tensor,
    after: State,
    middle: State,
    driven: Intermediates,
    control: Control,
    per_mm: Tensor,
    duration: float,
) -> tuple[Tensor, Tensor]:
    """Deformation and reallocation of one step; with prices per pair, its two halves are one or the other."""
    if not isinstance(control, Exchange):
        transport, source, _ = equations.rate_parts(*middle, driven.rho, driven.v, per_mm)
        return split(before, after.q, transport, source, duration)
    half = State(*pair_equations.turn(after, control, -duration / 2, reverse=True))
    carried, _ = pair_equations.turn(half, control, -duration / 2, reverse=False)
    transport, source, _, _ = pair_equations.rate_parts(*middle, control, driven.v, per_mm)
    deformation, _ = split(before, carried, transport, torch.zeros_like(source), duration)
    return deformation, after.q.square() - carried.square()

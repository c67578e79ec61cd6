"""The exchange that is left at the end of the path, and how much of it is deformation where that is open.

Once free exchanges have left the mismatch (:mod:`longimorph.numerics.projection`), what lesions and hosts
must still exchange is read from the two maps at the end of the path. Where the control matrix says so, it is
reallocation. Where it leaves the question open, the flow decides; but the flow is known at borders only and
interpolated between them, so some of a lesion's expansion is attributed to the tissue around it. Healthy
tissue does not swell: within some WIDE_MM of what a lesion gained in place, as much of it counts as
deformation as the hosts there expanded (E11).

Tissue changes class all along the path, not at its end. The volume that is reallocated is therefore the mean
over time of what has e mm^3 at the end: with phi_t the map from the first visit to the time t,

    m e,   m(y) = integral over t of det D(phi_t phi_1^-1)(y),                                      (E12)

and (1 - m) e is deformation, of the classes gained and lost alike. The visits can be swapped.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace
from typing import NamedTuple

import torch
from torch import Tensor

from longimorph.free_pairs import FreePairs
from longimorph.numerics import fields, passes
from longimorph.numerics.attribution import Attribution, flows_between
from longimorph.numerics.dynamics import Step, System
from longimorph.numerics.kernels import Kernel, gaussian_kernel
from longimorph.numerics.projection import FreeExchange, Projection, summed

WIDE_MM, NEAR_MM = 25.0, 20.0
"""Standard deviations in mm of the neighbourhoods in which hosts that swell are a lesion that grew: by how
much on balance, and by how much at most.
"""
SHARE_OF_EXCHANGE = 0.03
"""Share of what lesions exchange with hosts in an open question that is never certain to be reallocation or
deformation."""


class Swelling:
    """The volume that the hosts of open pairs gained along a path, by place: the sum of P_hosts div w over
    time.

    ``volume`` (1, *grid) is in mm^3 per mm^3, where the tissue was at the time; where no pairs are open it is
    a single zero.
    """

    def __init__(self, free: Sequence[FreePairs], system: System, like: Tensor) -> None:
        self.hosts = sorted({host for pairs in free if pairs.open for host in pairs.hosts})
        self.per_mm = system.per_mm
        self.volume = torch.zeros_like(like[:1]) if self.hosts else like.new_zeros(())

    def follow(self, step: Step) -> None:
        """Add what one step contributes."""
        if not self.hosts:
            return
        w, q = step.velocity, step.middle.q
        axes = fields.grid_axes(self.per_mm.flatten().tolist())
        expansion = torch.zeros_like(w[0])
        for part, per_mm, axis in zip(w, self.per_mm.flatten(), axes, strict=True):
            expansion.addcmul_(fields.difference(part, axis), per_mm)
        share = q[self.hosts[0]].square()
        for index in self.hosts[1:]:
            share.addcmul_(q[index], q[index])
        self.volume[0].addcmul_(expansion, share, value=step.duration)


class PathVolumes(NamedTuple):
    """Volumes along a path, (1, *grid) each.

    ``mean`` is m of E12, on the target's grid; ``swelling`` is the volume of :class:`Swelling`.
    """

    mean: Tensor
    swelling: Tensor


def with_exchanges(
    found: Attribution, target: Tensor, free: Projection, along: PathVolumes, spacing: Sequence[float]
) -> Attribution:
    """Add the free exchanges that are left at the target (C, *grid).

    They are reallocation, but for the share of E11 in open questions and the change of E12, which are
    deformation. Never makes a probability negative.
    """
    for exchange in free.exchanges:
        carried = found.deformation_flows.sum(0) - found.deformation_flows.sum(1)
        left = torch.empty_like(found.final.q)
        for start, stop in passes.slabs(left):
            planes = slice(start, stop)
            left[:, planes] = exchange.left(found.modelled(planes), target[:, planes], planes)
        if exchange.pairs.open:
            found = _with_open(found, left, exchange, along, carried, spacing)
        else:
            _add(found, left, along.mean, math.prod(spacing))
        found = replace(found, exchanged=left if found.exchanged is None else found.exchanged.add_(left))
    return found


def _with_open(
    found: Attribution,
    left: Tensor,
    exchange: FreeExchange,
    along: PathVolumes,
    carried: Tensor,
    spacing: Sequence[float],
) -> Attribution:
    """Add the exchange of an open question; the path had changed the volumes by ``carried``, (C,) in mm^3."""
    lesions, voxel_volume = list(exchange.pairs.lesions), math.prod(spacing)
    gained = summed(left, lesions)
    share = _shares(gained, along.swelling, spacing)
    _add(found, left, (1 - share.moved) * along.mean, voxel_volume)
    shifts = torch.zeros(len(share.shifts) + 1, len(left), dtype=torch.float64, device=left.device)
    for start, stop in passes.slabs(left):
        part = left[:, start:stop]
        for row, shift in zip(shifts, share.shifts, strict=False):
            row += _volumes(part * shift[:, start:stop], voxel_volume)
        shifts[-1] += _volumes(part.abs(), voxel_volume) * SHARE_OF_EXCHANGE
    least = shifts[:-1].clamp(max=0).sum(0) - shifts[-1]
    most = shifts[:-1].clamp(min=0).sum(0) + shifts[-1]
    if float((along.swelling * (gained.abs() > 0)).sum()) < 0:
        for index in lesions:
            most[index] += max(-float(carried[index]), 0.0)
    return replace(found, ambiguous=torch.stack([least, most]))


def _add(found: Attribution, left: Tensor, share: Tensor, voxel_volume: float) -> None:
    """Add an exchange (C, *grid) to both mechanisms: a share of it (1, *grid) is reallocation."""
    for start, stop in passes.slabs(left):
        part = left[:, start:stop]
        changed = part * share[:, start:stop]
        found.reallocation[:, start:stop] += changed
        found.reallocation_flows.add_(flows_between(changed), alpha=voxel_volume)
        found.deformation[:, start:stop] += part - changed
        found.deformation_flows.add_(flows_between(part - changed), alpha=voxel_volume)


class _Shares(NamedTuple):
    """The share of an exchange that is deformation, (1, *grid), and the shifts of it that are possible.

    Each shift changes the deformation of a class in one direction only.
    """

    moved: Tensor
    shifts: tuple[Tensor, ...]


def _shares(gained: Tensor, swelling: Tensor, spacing: Sequence[float]) -> _Shares:
    """E11 and its shifts, from what lesions gained in place (1, *grid) and how the hosts swelled.

    Where lesions gained, at least half of the swelling counts, and at most the swelling near them without
    what shrank beside it. Where they lost, none counts, and at most what the hosts shrank near them.
    """
    wide, near = (
        gaussian_kernel(gained.shape[1:], spacing, [max(sigma, max(spacing))], 1.0, gained)
        for sigma in (WIDE_MM, NEAR_MM)
    )

    def share(nearby: Kernel, volume: Tensor, exchanged: Tensor) -> Tensor:
        smallest = torch.finfo(exchanged.dtype).eps
        found = nearby(volume).div_(nearby(exchanged).clamp_(min=smallest)).clamp_(0, 1)
        return found.mul_(exchanged > 0)

    grown, lost = gained.clamp(min=0), (-gained).clamp(min=0)
    moved = share(wide, swelling, grown)
    most = torch.maximum(moved, share(near, swelling.clamp(min=0), grown))
    shrunk = share(near, (-swelling).clamp(min=0), lost)
    return _Shares(moved, (-moved / 2, most - moved, shrunk))


def _volumes(maps: Tensor, voxel_volume: float) -> Tensor:
    return maps.flatten(1).sum(1, dtype=torch.float64) * voxel_volume

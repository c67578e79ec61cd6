"""Open questions: pairs of classes of which the data, not the control matrix, say whether tissue moved.

Some classes (lesions) and some others (their hosts) are open to each other: a lesion that grew may have
displaced its host or taken its place. Both explain the same two maps, so what tells them apart is what
happens around them: fluid gives way, and borders between other classes move. The mismatch therefore ignores
any exchange between lesions and hosts,

    r -> A r,   A = 1 - u 1_L^T,   (1_L^T r) = sum over lesions of r,                               (E10)

with u (C, *grid) the composition of what is exchanged: shares of the lesions, which sum to 1, minus shares of
the hosts, which sum to 1. A is a projection: what it removes is an exchange, and what it keeps must be
explained by movement or by reallocation that the control matrix prices. Only then is the exchange that is
left at the target read from the maps, and none is left where movement explains the lesion.

The flow is known at borders and interpolated between them, so some of a lesion's expansion is attributed to
the tissue around it. Healthy tissue does not swell: within some WIDE_MM of what a lesion gained in place, as
much of it counts as movement as the hosts there expanded (E11).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import NamedTuple

import torch
from torch import Tensor

from longimorph.numerics import fields, passes
from longimorph.numerics.attribution import Attribution, flows_between
from longimorph.numerics.dynamics import Step, System
from longimorph.numerics.kernels import Kernel, gaussian_kernel

FAINT = 0.001
"""Weight of the tissue present, beside the tissue lost or gained, in the composition of an exchange; its
square is the weight of the tissue nearby."""
NEARBY_MM = 8.0
WIDE_MM, NEAR_MM = 25.0, 20.0
"""Standard deviations in mm of the neighbourhoods in which hosts that swell are a lesion that grew: by how
much on balance, and by how much at most.
"""
SHARE_OF_EXCHANGE = 0.03
"""Share of what lesions exchange with hosts that is never certain to be reallocation or deformation."""


@dataclass(frozen=True)
class OpenPairs:
    """Indices of the classes that are open to each other: each of ``lesions`` with each of ``hosts``."""

    lesions: tuple[int, ...]
    hosts: tuple[int, ...]

    @classmethod
    def of(cls, lesions: tuple[int, ...], hosts: tuple[int, ...]) -> OpenPairs | None:
        """The open pairs of these classes; None when there are no lesions."""
        return cls(lesions, hosts) if lesions else None


@dataclass(frozen=True)
class OpenExchange:
    """The open pairs on a grid: ``composition`` is u of E10, (C, *grid)."""

    pairs: OpenPairs
    composition: Tensor

    def remove(self, residual: Tensor) -> Tensor:
        """A r (E10), in place: ``residual`` (C, *grid)."""
        total = summed(residual, self.pairs.lesions)
        return residual.addcmul_(self.composition, total, value=-1)

    def without(self, source: Tensor, target: Tensor) -> Tensor:
        """What the target would be without any exchange: P + A (T - P), on the simplex, (C, *grid)."""
        found = self.remove(target - source).add_(source).clamp_(min=0)
        return found.div_(found.sum(0, keepdim=True))

    def remove_back(self, cotangent: Tensor) -> Tensor:
        """The adjoint of :meth:`remove`, in place: ``cotangent`` (C, *grid)."""
        along = torch.zeros_like(cotangent[:1])
        for u, part in zip(self.composition, cotangent, strict=True):
            along.addcmul_(u, part)
        for index in self.pairs.lesions:
            cotangent[index].sub_(along[0])
        return cotangent


def summed(maps: Tensor, classes: Sequence[int]) -> Tensor:
    """The sum of some classes of ``maps`` (C, *grid): (1, *grid)."""
    total = maps[classes[0]].clone()
    for index in classes[1:]:
        total.add_(maps[index])
    return total[None]


def open_exchange(source: Tensor, target: Tensor, pairs: OpenPairs, spacing: Sequence[float]) -> OpenExchange:
    """The composition u (E10) from two maps (C, *grid) on the simplex, spacing in mm.

    Where lesions gain, they gain in proportion to their own gains and hosts give in proportion to their
    losses, and the reverse where lesions lose. Where the maps show neither, the tissue that is present
    decides, and where there is none, the tissue nearby.
    """
    change = target - source
    direction = summed(change, pairs.lesions).sign()
    blur = gaussian_kernel(source.shape[1:], spacing, [max(NEARBY_MM, max(spacing))], 1.0, source)
    composition = torch.zeros_like(source)
    for classes, sign in ((pairs.lesions, 1), (pairs.hosts, -1)):
        for index in classes:
            present = source[index, None] + target[index, None]
            weight = (sign * direction * change[index]).clamp_(min=0)
            weight.add_(present, alpha=FAINT).add_(blur(present), alpha=FAINT**2)
            composition[index] = weight[0] + torch.finfo(source.dtype).eps
        total = summed(composition, classes)[0] * sign
        for index in classes:
            composition[index].div_(total)
    return OpenExchange(pairs, composition)


class Swelling:
    """The volume that the hosts gained along a path, by place: the sum of P_hosts div w over time.

    ``volume`` (1, *grid) is in mm^3 per mm^3, where the tissue was at the time.
    """

    def __init__(self, pairs: OpenPairs, system: System, like: Tensor) -> None:
        self.pairs, self.per_mm = pairs, system.per_mm
        self.volume = torch.zeros_like(like[:1])

    def follow(self, step: Step) -> None:
        """Add what one step contributes."""
        w, q = step.velocity, step.middle.q
        axes = fields.grid_axes(self.per_mm.flatten().tolist())
        expansion = torch.zeros_like(w[0])
        for part, per_mm, axis in zip(w, self.per_mm.flatten(), axes, strict=True):
            expansion.addcmul_(fields.difference(part, axis), per_mm)
        share = q[self.pairs.hosts[0]].square()
        for index in self.pairs.hosts[1:]:
            share.addcmul_(q[index], q[index])
        self.volume[0].addcmul_(expansion, share, value=step.duration)


def with_exchange(
    found: Attribution, target: Tensor, exchange: OpenExchange, swelling: Tensor, spacing: Sequence[float]
) -> Attribution:
    """Add the exchange between lesions and hosts that is left at the target (C, *grid).

    It is reallocation, but for the share of E11, which is deformation. Never makes a probability negative.
    """
    lesions, voxel_volume = list(exchange.pairs.lesions), math.prod(spacing)
    carried = [float(_volumes(found.deformation[index, None], voxel_volume)) for index in lesions]
    left = torch.empty_like(found.final.q)
    for start, stop in passes.slabs(left):
        here = found.final.q[:, start:stop].square()
        cut = OpenExchange(exchange.pairs, exchange.composition[:, start:stop])
        left[:, start:stop] = _exchange_left(here, target[:, start:stop], cut)
    gained = summed(left, lesions)
    share = _shares(gained, swelling, spacing)
    shifts = torch.zeros(len(share.shifts) + 1, len(left), dtype=torch.float64, device=left.device)
    for start, stop in passes.slabs(left):
        part = left[:, start:stop]
        _add(found, part, share.moved[:, start:stop], (start, stop), voxel_volume)
        for row, shift in zip(shifts, share.shifts, strict=False):
            row += _volumes(part * shift[:, start:stop], voxel_volume)
        shifts[-1] += _volumes(part.abs(), voxel_volume) * SHARE_OF_EXCHANGE
    least = shifts[:-1].clamp(max=0).sum(0) - shifts[-1]
    most = shifts[:-1].clamp(min=0).sum(0) + shifts[-1]
    if float((swelling * (gained.abs() > 0)).sum()) < 0:
        for index, volume in zip(lesions, carried, strict=True):
            most[index] += max(-volume, 0.0)
    return replace(found, exchanged=left, ambiguous=torch.stack([least, most]))


def _add(
    found: Attribution, part: Tensor, share: Tensor, planes: tuple[int, int], voxel_volume: float
) -> None:
    """Add an exchange on some planes (C, *grid) to both mechanisms: a share of it is deformation."""
    moved, (start, stop) = part * share, planes
    found.deformation[:, start:stop] += moved
    found.deformation_flows.add_(flows_between(moved), alpha=voxel_volume)
    found.reallocation[:, start:stop] += part - moved
    found.reallocation_flows.add_(flows_between(part - moved), alpha=voxel_volume)


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


def _exchange_left(here: Tensor, target: Tensor, exchange: OpenExchange) -> Tensor:
    """The exchange from P(1) (``here``) towards the target, (C, *grid): sums to zero, and P(1) plus it is
    never negative."""
    lesions, hosts, mix = exchange.pairs.lesions, exchange.pairs.hosts, exchange.composition
    wanted = summed(target, lesions) - summed(here, lesions)
    left = torch.zeros_like(here)
    for takers, givers, sign in ((lesions, hosts, 1.0), (hosts, lesions, -1.0)):
        amount = torch.minimum((sign * wanted).clamp_(min=0), summed(here, givers))[0]
        given = [torch.minimum(amount * mix[index].abs(), here[index]) for index in givers]
        short = amount - torch.stack(given).sum(0)
        spare = [here[index] - part for index, part in zip(givers, given, strict=True)]
        room = torch.stack(spare).sum(0).clamp(min=torch.finfo(here.dtype).tiny)
        for index, part, rest in zip(givers, given, spare, strict=True):
            left[index] -= part + torch.minimum(short * rest / room, rest)
        for index in takers:
            left[index] += amount * mix[index].abs()
    return left

"""The mismatch without free exchanges: what may change class in place does not drive the flow.

Some classes (in short, lesions) may exchange with others (their hosts), because the control matrix calls the
exchange reallocation or leaves the question open. The mismatch ignores any such exchange,

    r -> A r,   A = 1 - u 1_L^T,   (1_L^T r) = sum over lesions of r,                               (E10)

with u (C, *grid) the composition of what is exchanged: shares of the lesions, which sum to 1, minus shares of
the hosts, which sum to 1. Where lesions may also exchange with each other, A sets their residuals to zero. A
is a projection: what it removes is an exchange, and what it keeps must be explained by movement, or by
reallocation that the control matrix prices. Several groups of pairs are removed one after the other.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from longimorph.free_pairs import FreePairs
from longimorph.numerics.blocks import new_field
from longimorph.numerics.kernels import gaussian_kernel

FAINT = 0.001
"""Weight of the tissue present, beside the tissue lost or gained, in the composition of an exchange; its
square is the weight of the tissue nearby."""
NEARBY_MM = 8.0


@dataclass(frozen=True)
class FreeExchange:
    """Free pairs on a grid: ``composition`` is u of E10, (C, *grid)."""

    pairs: FreePairs
    composition: Tensor

    def remove(self, residual: Tensor) -> Tensor:
        """A r (E10), in place: ``residual`` (C, *grid)."""
        total = summed(residual, self.pairs.lesions)
        residual.addcmul_(self.composition, total, value=-1)
        return self._emptied(residual)

    def remove_back(self, cotangent: Tensor) -> Tensor:
        """The adjoint of :meth:`remove`, in place: ``cotangent`` (C, *grid)."""
        self._emptied(cotangent)
        along = new_field(cotangent, 1).zero_()
        for u, part in zip(self.composition, cotangent, strict=True):
            along.addcmul_(u, part)
        for index in self.pairs.lesions:
            cotangent[index].sub_(along[0])
        return cotangent

    def left(self, here: Tensor, target: Tensor, planes: slice = slice(None)) -> Tensor:
        """The exchange that leads from P(1) (``here``) towards the target on some planes of the first grid
        axis, (C, *planes): sums to zero, and P(1) plus it is never negative.
        """
        lesions, hosts, mix = self.pairs.lesions, self.pairs.hosts, self.composition[:, planes]
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
        return self._as_in_target(left, here, target) if self.pairs.within else left

    def _as_in_target(self, left: Tensor, here: Tensor, target: Tensor) -> Tensor:
        """The same exchange, with the lesions in the proportions of the target."""
        lesions = self.pairs.lesions
        total, reached = summed(target, lesions)[0], (summed(here, lesions) + summed(left, lesions))[0]
        ratio = reached / total.clamp(min=torch.finfo(here.dtype).tiny)
        for index in lesions:
            left[index] = target[index] * ratio - here[index]
        return left

    def _emptied(self, maps: Tensor) -> Tensor:
        for index in self.pairs.lesions if self.pairs.within else ():
            maps[index].zero_()
        return maps


@dataclass(frozen=True)
class Projection:
    """A of E10 for all free pairs; without any, the identity."""

    exchanges: tuple[FreeExchange, ...] = ()

    def remove(self, residual: Tensor) -> Tensor:
        """A r, in place: ``residual`` (C, *grid)."""
        for exchange in self.exchanges:
            exchange.remove(residual)
        return residual

    def remove_back(self, cotangent: Tensor) -> Tensor:
        """The adjoint of :meth:`remove`, in place: ``cotangent`` (C, *grid)."""
        for exchange in reversed(self.exchanges):
            exchange.remove_back(cotangent)
        return cotangent

    def without(self, source: Tensor, target: Tensor) -> Tensor:
        """What the target would be without free exchanges: P + A (T - P), on the simplex, (C, *grid)."""
        if not self.exchanges:
            return target
        found = self.remove(target - source).add_(source).clamp_(min=0)
        return found.div_(found.sum(0, keepdim=True))


EVERYTHING = Projection()
"""The mismatch sees everything."""


def summed(maps: Tensor, classes: Sequence[int]) -> Tensor:
    """The sum of some classes of ``maps`` (C, *grid): (1, *grid)."""
    total = maps[classes[0]].clone()
    for index in classes[1:]:
        total.add_(maps[index])
    return total[None]


def free_exchange(source: Tensor, target: Tensor, pairs: FreePairs, spacing: Sequence[float]) -> FreeExchange:
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
    return FreeExchange(pairs, composition)


def projection(
    source: Tensor, target: Tensor, free: Sequence[FreePairs], spacing: Sequence[float]
) -> Projection:
    """A of E10 for two maps (C, *grid) on the simplex, spacing in mm."""
    return Projection(tuple(free_exchange(source, target, pairs, spacing) for pairs in free))

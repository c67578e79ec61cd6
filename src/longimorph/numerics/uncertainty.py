"""Uncertainty of a pair's split, and the split if nothing were left unexplained.

Three sources contribute. The first is the unexplained change, split by kind according to the control matrix.
The second is tissue that the model reallocated although the control matrix calls that transition deformation
(and vice versa), which happens where classes mix within a voxel. The third is the rounding of any
measurement, taken as one hundredth of the change. None of them can reveal that the control matrix is wrong.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from longimorph.free_pairs import FreePairs
from longimorph.numerics import passes
from longimorph.numerics.attribution import Attribution, flows_between

SHARE_OF_CHANGE = 0.01


@dataclass(frozen=True)
class Uncertainty:
    """Per class, (C,) float64 in mm^3.

    ``deformation`` and ``reallocation`` are uncertainties and never negative. The closed numbers are the
    measured ones plus the unexplained change, split by the control matrix; they sum to the change of volume.
    The numbers of the matrix alone split the whole change by the control matrix, as if nothing had been
    registered; they are NaN for classes whose question it leaves open. The ranges are the measured numbers
    give or take their uncertainty; where pairs of classes are open, they also hold every split that the maps
    allow.
    """

    deformation: Tensor
    reallocation: Tensor
    closed_deformation: Tensor
    closed_reallocation: Tensor
    matrix_deformation: Tensor
    matrix_reallocation: Tensor
    deformation_low: Tensor
    deformation_high: Tensor
    reallocation_low: Tensor
    reallocation_high: Tensor


def net(flows: Tensor) -> Tensor:
    """Net gain of each class from flows (C, C) between classes."""
    return flows.sum(0) - flows.sum(1)


def unexplained_flows(attribution: Attribution, target: Tensor, voxel_volume: float) -> Tensor:
    """Flows between classes (C, C) in mm^3 still missing at the modelled target."""
    q, classes = attribution.final.q, len(target)
    total = torch.zeros(classes, classes, dtype=torch.float64, device=q.device)
    for start, stop in passes.slabs(q):
        total += flows_between(target[:, start:stop] - attribution.modelled(slice(start, stop)))
    return total * voxel_volume


def whole_flows(attribution: Attribution, target: Tensor, voxel_volume: float) -> Tensor:
    """Flows between classes (C, C) in mm^3 of the whole change from the source to the target."""
    q, classes = attribution.final.q, len(target)
    total = torch.zeros(classes, classes, dtype=torch.float64, device=q.device)
    for start, stop in passes.slabs(q):
        modelled = attribution.deformation[:, start:stop] + attribution.reallocation[:, start:stop]
        total += flows_between(target[:, start:stop] - attribution.modelled(slice(start, stop)) + modelled)
    return total * voxel_volume


def uncertainty(
    attribution: Attribution,
    target: Tensor,
    control: Tensor,
    voxel_volume: float,
    free: Sequence[FreePairs] = (),
) -> Uncertainty:
    """Uncertainties, closed numbers and ranges of an attribution; ``target`` (C, *grid), ``control`` (C, C).

    What is unexplained between open pairs of classes is split in half.
    """
    share = control.to(attribution.final.q.device, torch.float64)
    undecided = open_entries(share, free)
    share = share.masked_fill(undecided, 0.5)
    there = target.to(attribution.final.q)
    rest, whole = (flows(attribution, there, voxel_volume) for flows in (unexplained_flows, whole_flows))
    moved, changed = net(attribution.deformation_flows), net(attribution.reallocation_flows)
    astray = attribution.reallocation_flows * share.masked_fill(undecided, 0)
    moved_astray = attribution.deformation_flows * (1 - share.masked_fill(undecided, 1))
    against = astray.sum(0) + astray.sum(1) + net(moved_astray).abs()
    against = against + SHARE_OF_CHANGE * 0.5 * (moved.abs().sum() + changed.abs().sum())
    rest_moved, rest_changed = net(rest * share), net(rest * (1 - share))
    around, around_changed = rest_moved.abs() + against, rest_changed.abs() + against
    least, most = (0.0, 0.0) if attribution.ambiguous is None else attribution.ambiguous.unbind()
    alone = share.masked_fill(undecided, torch.nan)
    return Uncertainty(
        around,
        around_changed,
        moved + rest_moved,
        changed + rest_changed,
        net(whole * alone),
        net(whole * (1 - alone)),
        moved + least - around,
        moved + most + around,
        changed - most - around_changed,
        changed - least + around_changed,
    )


def open_entries(share: Tensor, free: Sequence[FreePairs]) -> Tensor:
    """Which entries of a control matrix are left to the data, (C, C) bool."""
    undecided = torch.zeros_like(share, dtype=torch.bool)
    for pairs in free:
        for lesion in pairs.lesions if pairs.open else ():
            for host in pairs.hosts:
                undecided[lesion, host] = undecided[host, lesion] = True
    return undecided

"""Uncertainty of a pair's split, and the split if nothing were left unexplained.

Three sources contribute. The first is the unexplained change, split by kind according to the control matrix.
The second is tissue that the model reallocated although the control matrix calls that transition deformation
(and vice versa), which happens where classes mix within a voxel. The third is the rounding of any
measurement, taken as one hundredth of the change. None of them can reveal that the control matrix is wrong.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from longimorph.numerics import passes
from longimorph.numerics.attribution import Attribution, flows_between

SHARE_OF_CHANGE = 0.01


@dataclass(frozen=True)
class Uncertainty:
    """Per class, (C,) float64 in mm^3.

    ``deformation`` and ``reallocation`` are uncertainties and never negative. The closed numbers are the
    measured ones plus the unexplained change, split by the control matrix; they sum to the change of volume.
    The numbers of the matrix alone split the whole change by the control matrix, as if nothing had been
    registered.
    """

    deformation: Tensor
    reallocation: Tensor
    closed_deformation: Tensor
    closed_reallocation: Tensor
    matrix_deformation: Tensor
    matrix_reallocation: Tensor


def net(flows: Tensor) -> Tensor:
    """Net gain of each class from flows (C, C) between classes."""
    return flows.sum(0) - flows.sum(1)


def unexplained_flows(attribution: Attribution, target: Tensor, voxel_volume: float) -> Tensor:
    """Flows between classes (C, C) in mm^3 still missing at the modelled target."""
    q, classes = attribution.final.q, len(target)
    total = torch.zeros(classes, classes, dtype=torch.float64, device=q.device)
    for start, stop in passes.slabs(q):
        total += flows_between(target[:, start:stop] - q[:, start:stop].square())
    return total * voxel_volume


def whole_flows(attribution: Attribution, target: Tensor, voxel_volume: float) -> Tensor:
    """Flows between classes (C, C) in mm^3 of the whole change from the source to the target."""
    q, classes = attribution.final.q, len(target)
    total = torch.zeros(classes, classes, dtype=torch.float64, device=q.device)
    for start, stop in passes.slabs(q):
        modelled = attribution.deformation[:, start:stop] + attribution.reallocation[:, start:stop]
        total += flows_between(target[:, start:stop] - q[:, start:stop].square() + modelled)
    return total * voxel_volume


def uncertainty(
    attribution: Attribution, target: Tensor, control: Tensor, voxel_volume: float
) -> Uncertainty:
    """Uncertainties and closed numbers of an attribution; ``target`` (C, *grid), ``control`` (C, C)."""
    share = control.to(attribution.final.q.device, torch.float64)
    there = target.to(attribution.final.q)
    rest, whole = (flows(attribution, there, voxel_volume) for flows in (unexplained_flows, whole_flows))
    moved, changed = net(attribution.deformation_flows), net(attribution.reallocation_flows)
    astray = attribution.reallocation_flows * share
    against = astray.sum(0) + astray.sum(1) + net(attribution.deformation_flows * (1 - share)).abs()
    against = against + SHARE_OF_CHANGE * 0.5 * (moved.abs().sum() + changed.abs().sum())
    rest_moved, rest_changed = net(rest * share), net(rest * (1 - share))
    return Uncertainty(
        rest_moved.abs() + against,
        rest_changed.abs() + against,
        moved + rest_moved,
        changed + rest_changed,
        net(whole * share),
        net(whole * (1 - share)),
    )

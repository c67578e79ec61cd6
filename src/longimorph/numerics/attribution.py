"""Deformation and reallocation along a geodesic, split so that the parts telescope exactly.

Between two unit vectors q0 and q1 of one step, d = q1 - q0 is orthogonal to q0 + q1, and
P1 - P0 = (q0 + q1) d class by class. With the step q1 = s (q0 + h (f_t + f_s)), s = 1/|q0 + h f|, one has
d = 2 s h / (1 + s) * (f_t + f_s) projected on the plane orthogonal to q0 + q1 (E6). That sends the
transport f_t and the source f_s each to its own share of P1 - P0; each share sums to zero over classes.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from longimorph.numerics.dynamics import Flow, State, System
from longimorph.numerics.shooting import walk
from longimorph.numerics.sphere import dot, normalise, tangent


@dataclass(frozen=True)
class Attribution:
    """Change of probability per class and voxel, (C, *grid), and flows between classes in mm^3.

    ``final`` is the modelled target P(1); ``final - P(0) = deformation + reallocation``.
    The flows are (C, C), rows from, columns to, non-negative, zero on the diagonal.
    ``velocities`` holds w at the middle of each step, (d, *grid) in mm per unit of time.
    """

    deformation: Tensor
    reallocation: Tensor
    deformation_flows: Tensor
    reallocation_flows: Tensor
    final: State
    velocities: tuple[Tensor, ...]


def split_step(before: Tensor, rate: Flow, after: Tensor, duration: float) -> tuple[Tensor, Tensor]:
    """Change of probability over one step by transport and by source (E6): (C, *grid) each."""
    length = dot(moved := before + duration * (rate.transport + rate.source), moved).sqrt()
    scale = 2 * duration / (1 + length)
    both = before + after
    middle = normalise(both)
    return both * tangent(rate.transport, middle) * scale, both * tangent(rate.source, middle) * scale


def flows_between(change: Tensor) -> Tensor:
    """Flows from losing to gaining classes, each loss shared among the gains in proportion.

    ``change`` (C, *grid) sums to zero over classes; returns the sum over voxels, (C, C) float64.
    """
    flat = change.flatten(1)
    gain, loss = flat.clamp(min=0), (-flat).clamp(min=0)
    share = gain / gain.sum(0, keepdim=True).clamp(min=torch.finfo(change.dtype).tiny)
    return (loss.double() @ share.double().T).fill_diagonal_(0)


def attribute(start: State, system: System, steps: int) -> Attribution:
    """Follow the geodesic once more and add up what moved and what changed its kind, E6."""
    moved, changed = torch.zeros_like(start.q), torch.zeros_like(start.q)
    classes = len(start.q)
    flows = [torch.zeros(classes, classes, dtype=torch.float64, device=start.q.device) for _ in range(2)]
    velocities, final = [], start
    with torch.no_grad():
        for before, rate, after in walk(start, system, steps):
            parts = split_step(before.q, rate, after.q, 1.0 / steps)
            moved += parts[0]
            changed += parts[1]
            for total, part in zip(flows, parts, strict=True):
                total += flows_between(part) * system.voxel_volume
            velocities.append(rate.velocity)
            final = after
    return Attribution(moved, changed, flows[0], flows[1], final, tuple(velocities))

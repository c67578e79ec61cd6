"""The control allocation matrix: the share of each transition between classes that is deformation.

R[i, j] in [0, 1] applies to a change from class i to class j: 1 is deformation, 0 is reallocation.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from longimorph.free_pairs import FreePairs

RHO_MIN = 1e-12
"""Smallest rho used: keeps sqrt(rho) differentiable and lies far below what float32 resolves in the flow."""


MOVES = 0.999999
"""Entry of the matrix with which tissue practically only moves."""

PRICE_MIX = 0.02
"""Changed share of a voxel below which an exchange becomes dearer, so that noise in the maps is not free."""


STIFF = 0.05
"""Added to the linearised exchange of a voxel, in units of its changed share, when it is inverted.

A momentum between two classes that may not exchange costs nothing at the source, yet it turns fast once a
third class has grown there that may exchange with one of them. The linearisation does not see this.
"""


class Allocation(NamedTuple):
    """Reallocation priced by one rho per voxel: ``shares`` is R T, (C, *grid)."""

    shares: Tensor


class Matrix(NamedTuple):
    """A matrix that belongs to a pass but is not a field on the grid, so it is not cut into slabs."""

    entries: Tensor


class Exchange(NamedTuple):
    """Reallocation priced per pair of classes, fixed in space.

    ``field`` x is (C, *grid): positive for classes that the target has more of, negative for those that the
    source has more of. ``free`` is 1 - R, (C, C). Classes i and j exchange with the freedom

        b_ij = free_ij x_i^- x_j^+ + free_ji x_j^- x_i^+ .
    """

    field: Tensor
    free: Matrix


Control = Allocation | Exchange


def exchange(control: Tensor, source: Tensor, target: Tensor) -> Exchange:
    """Prices from the maximal coupling of two maps (C, *grid), which keeps min(P, T) in place.

    b_ij = (1 - R_ij) kappa_ij with kappa_ij = lose_i gain_j / (S + PRICE_MIX), lose = (P - T)^+, gain =
    (T - P)^+ and S = sum lose: only pairs that the maps show to exchange may do so.
    """
    change = target - source
    changed = change.clamp(min=0).sum(0, keepdim=True)
    return Exchange(change / (changed + PRICE_MIX).sqrt(), Matrix((1 - control).to(change)))


def allocation(control: Tensor, target: Tensor) -> Allocation:
    """R T, the share of deformation of each source class given the target's probabilities.

    ``control`` is (C, C), ``target`` (C, *grid) on the simplex; returns (C, *grid) in [0, 1].
    """
    return Allocation(torch.einsum("ij,j...->i...", control, target))


def along_path(control: Tensor, free: Sequence[FreePairs]) -> Tensor:
    """The matrix (C, C) that applies along the path: free exchanges, and lesions themselves, only move."""
    matrix = control.clone()
    for pairs in free:
        partners = (*pairs.hosts, *pairs.lesions) if pairs.within else pairs.hosts
        for lesion in pairs.lesions:
            for other in (lesion, *partners):
                matrix[lesion, other] = matrix[other, lesion] = MOVES
    return matrix


def rho(q: Tensor, alloc: Tensor) -> Tensor:
    """rho(x) = sum_ij P_i R_ij T_j with P = q^2: (1, *grid), in [RHO_MIN, 1] for |q| = 1."""
    return (q.square() * alloc).sum(0, keepdim=True).clamp(min=RHO_MIN)

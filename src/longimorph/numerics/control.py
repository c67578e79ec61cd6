"""The control allocation matrix: the share of each transition between classes that is deformation.

R[i, j] in [0, 1] applies to a change from class i to class j: 1 is deformation, 0 is reallocation.
"""

from __future__ import annotations

import torch
from torch import Tensor

RHO_MIN = 1e-12
"""Smallest rho used: keeps sqrt(rho) differentiable and lies far below what float32 resolves in the flow."""


def allocation(control: Tensor, target: Tensor) -> Tensor:
    """Return R T, the share of deformation of each source class given the target's probabilities.

    ``control`` is (C, C), ``target`` (C, *grid) on the simplex; returns (C, *grid) in [0, 1].
    """
    return torch.einsum("ij,j...->i...", control, target)


def rho(q: Tensor, alloc: Tensor) -> Tensor:
    """rho(x) = sum_ij P_i R_ij T_j with P = q^2: (1, *grid), in [RHO_MIN, 1] for |q| = 1."""
    return (q.square() * alloc).sum(0, keepdim=True).clamp(min=RHO_MIN)

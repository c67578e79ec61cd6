"""Probability maps as points on the unit sphere, one sphere per voxel.

The map P on the simplex becomes q = sqrt(P), |q| = 1: up to a factor 2 an isometry between the Fisher-Rao
metric of the simplex and the sphere. Classes come first: shape (C, *grid).
"""

from __future__ import annotations

import torch
from torch import Tensor

from longimorph.numerics.blocks import new_field


def dot(a: Tensor, b: Tensor) -> Tensor:
    """Scalar product over the classes: (C, *grid) x (C, *grid) -> (1, *grid)."""
    return (a * b).sum(0, keepdim=True)


def to_sphere(probabilities: Tensor) -> Tensor:
    """q = sqrt(P). P is (C, *grid), non-negative, summing to one over the classes."""
    return probabilities.sqrt()


def to_simplex(q: Tensor) -> Tensor:
    """P = q squared; q is (C, *grid) with |q| = 1."""
    return q.square()


def normalise(q: Tensor) -> Tensor:
    """The nearest point of the unit sphere, q / |q|."""
    return q / dot(q, q).sqrt()


def tangent(a: Tensor, q: Tensor) -> Tensor:
    """The part of a that is tangent to the sphere at q, a - <a, q> q, for |q| = 1."""
    return a - dot(a, q) * q


def make_tangent(a: Tensor, q: Tensor) -> Tensor:
    """:func:`tangent`, overwriting a, class by class."""
    along = new_field(a, 1).zero_()
    for one, at in zip(a, q, strict=True):
        along.addcmul_(one, at)
    return a.addcmul_(along, q, value=-1)


def log_map(q: Tensor, target: Tensor) -> Tensor:
    """The tangent vector at q that points along the great circle to ``target``; zero where they agree.

    Both are (C, *grid) with norm 1. Its norm is the angle between them (rho = 0: the exact momentum).
    """
    across = tangent(target, q)
    sine = dot(across, across).sqrt()
    angle = torch.atan2(sine, dot(q, target))
    return across * torch.where(sine > 0, angle / sine.clamp(min=torch.finfo(q.dtype).tiny), 0.0)

"""What the passes over a volume are given and give: states of the flow and what belongs to them.

Shapes: q, p and everything named after a map (C, *grid); rho and other single fields (1, *grid); alpha m and
v (d, *grid). q, p and rates have no unit, velocities are in mm.
"""

from __future__ import annotations

from typing import NamedTuple

from torch import Tensor


class State(NamedTuple):
    """q on the sphere and p tangent to it at q: both (C, *grid). Also their cotangents."""

    q: Tensor
    p: Tensor


class Intermediates(NamedTuple):
    """What a state's motion needs besides the state: rho (1, *grid), alpha m and v (d, *grid)."""

    rho: Tensor
    am: Tensor
    v: Tensor


class Renormalisation(NamedTuple):
    """What settling took off after a step: the length of q and the part of p along q, (1, *grid) each."""

    length: Tensor
    along: Tensor


class Direction(NamedTuple):
    """The change of a state, (E7), that belongs to ``factor`` times a cotangent (a, b) of its rates.

    The change is dq = n q - factor b, dp = factor a - n p with ``normal`` n = factor <b, q>; ``lift`` is
    <dp, q> + <p, dq>. Both (1, *grid).
    """

    cotangent: State
    factor: float
    normal: Tensor
    lift: Tensor

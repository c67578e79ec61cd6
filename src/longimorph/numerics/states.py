"""Inputs and outputs of the passes over a volume: states of the flow and related fields.

Shapes: q, p and everything named after a map (C, *grid); rho and other single fields (1, *grid); alpha m and
v (d, *grid). q, p and rates are dimensionless, velocities are in mm.
"""

from __future__ import annotations

from typing import NamedTuple

from torch import Tensor


class State(NamedTuple):
    """q on the sphere and p tangent to it at q: both (C, *grid). Also used for their cotangents."""

    q: Tensor
    p: Tensor


class Intermediates(NamedTuple):
    """The fields derived from a state that its motion needs: rho (1, *grid), alpha m and v (d, *grid)."""

    rho: Tensor
    am: Tensor
    v: Tensor


class Renormalisation(NamedTuple):
    """What the renormalisation removed after a step: length of q and part of p along q, (1, *grid) each."""

    length: Tensor
    along: Tensor


class Ending(NamedTuple):
    """What becomes of a cotangent that was pulled back to a state.

    If ``added`` is not 0, the cotangent and the one it was pulled back from are added to a total. If
    ``settled`` is not 0, it is pulled back through the renormalisation to that state, ``settling``; otherwise
    the fields of ``settling`` have no channel, (0, *grid). At most one of the two is not 0.
    """

    added: float
    settled: float
    settling: Renormalisation


class Direction(NamedTuple):
    """The perturbation of a state (E7) that corresponds to ``factor`` times a cotangent (a, b) of its rates.

    The perturbation is dq = n q - factor b, dp = factor a - n p with ``normal`` n = factor <b, q>; ``lift``
    is <dp, q> + <p, dq>. Both fields are (1, *grid).
    """

    cotangent: State
    factor: float
    normal: Tensor
    lift: Tensor

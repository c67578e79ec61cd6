"""Pairs of classes whose exchange leaves the mismatch (E10). Without torch, so that settings can be read."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class FreePairs:
    """Each of ``lesions`` with each of ``hosts``, by index; with ``within`` also the lesions with each other.

    What they exchange costs nothing along the path and is read from the maps at its end. With ``open``, part
    of it may be deformation (E11); otherwise all of it is reallocation.
    """

    lesions: tuple[int, ...]
    hosts: tuple[int, ...]
    open: bool = True
    within: bool = False

"""Suggest the known name nearest to a mistyped one."""

from __future__ import annotations

import difflib
from collections.abc import Iterable


def nearest(name: str, known: Iterable[str], cutoff: float | None = None) -> str | None:
    """Return the entry of ``known`` most similar to ``name``, ignoring case; None if none is similar.

    ``cutoff``: the least similarity, from 0 to 1.
    """
    by_lower = {candidate.lower(): candidate for candidate in known}
    if cutoff is None:
        cutoff = 0.6 if len(name) > 3 else 0.5
    match = difflib.get_close_matches(name.lower(), by_lower, n=1, cutoff=cutoff)
    return by_lower[match[0]] if match else None


def did_you_mean(name: str, known: Iterable[str], cutoff: float | None = None) -> str | None:
    """Return a sentence that suggests the nearest known name; None if none is similar."""
    near = nearest(name, known, cutoff)
    return f"Did you mean '{near}'?" if near is not None else None

"""Suggest the known name nearest to a mistyped one."""

from __future__ import annotations

import difflib
from collections.abc import Iterable


def nearest(name: str, known: Iterable[str]) -> str | None:
    """Return the entry of ``known`` most similar to ``name``, ignoring case; None if none is similar."""
    by_lower = {candidate.lower(): candidate for candidate in known}
    cutoff = 0.6 if len(name) > 3 else 0.5
    match = difflib.get_close_matches(name.lower(), by_lower, n=1, cutoff=cutoff)
    return by_lower[match[0]] if match else None


def did_you_mean(name: str, known: Iterable[str]) -> str | None:
    """Return a sentence that suggests the nearest known name; None if none is similar."""
    near = nearest(name, known)
    return f"Did you mean '{near}'?" if near is not None else None

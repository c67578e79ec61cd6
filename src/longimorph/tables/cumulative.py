"""From pairs of visits to changes since the first visit: which pairs add up to it."""

from __future__ import annotations

from collections.abc import Collection, Sequence

Pair = tuple[str, str]
"""Names of an earlier visit and of a later one."""


def ways(order: Sequence[str], known: Collection[Pair]) -> dict[str, tuple[Pair, ...]]:
    """The pairs whose changes add up to the change from the first visit to each visit.

    ``order``: the visits in order of time; ``known``: the pairs that are done. A visit that no chain of known
    pairs reaches is missing; the first visit needs no pair. The chain is the shortest one, so a pair measured
    directly from the first visit comes before a sum; of equally short chains, it is the one whose last pair
    begins latest.
    """
    found: dict[str, tuple[Pair, ...]] = {order[0]: ()} if order else {}
    for place, visit in enumerate(order[1:], 1):
        last = [via for via in reversed(order[:place]) if via in found and (via, visit) in known]
        if last:
            found[visit] = min(((*found[via], (via, visit)) for via in last), key=len)
    return found

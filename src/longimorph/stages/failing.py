"""The name of the stage in which a visit or a pair is unusable; the code that notices it does not know it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from longimorph.errors import PairFailure, Unusable


def failure_of(stage: str, found: Unusable) -> PairFailure:
    """The failure of ``stage`` that ``found`` causes; a failure that already has a stage stays as it is."""
    if isinstance(found, PairFailure):
        return found
    return PairFailure(stage, found.code, found.message)


@contextmanager
def failing(stage: str) -> Iterator[None]:
    """Turn what is unusable within this context into a failure of ``stage``."""
    try:
        yield
    except PairFailure:
        raise
    except Unusable as found:
        raise failure_of(stage, found) from found

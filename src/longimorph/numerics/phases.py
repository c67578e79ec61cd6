"""The phases of a registration, announced to an observer that measures them."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager
from functools import wraps
from typing import ParamSpec, TypeVar

Observer = Callable[[str], AbstractContextManager[None]]
"""Takes the name of a phase and returns a context that lasts as long as the phase."""

_P = ParamSpec("_P")
_R = TypeVar("_R")
_OBSERVERS: list[Observer] = []


def phase(name: str) -> Callable[[Callable[_P, _R]], Callable[_P, _R]]:
    """Decorator: announce every call of a function as a phase of this name; phases may be nested."""

    def announced(work: Callable[_P, _R]) -> Callable[_P, _R]:
        @wraps(work)
        def run(*args: _P.args, **kwargs: _P.kwargs) -> _R:
            if not _OBSERVERS:
                return work(*args, **kwargs)
            with ExitStack() as stack:
                for observer in _OBSERVERS:
                    stack.enter_context(observer(name))
                return work(*args, **kwargs)

        return run

    return announced


@contextmanager
def observed(observer: Observer) -> Iterator[None]:
    """Announce the phases that run within this context, in this process, to ``observer``."""
    _OBSERVERS.append(observer)
    try:
        yield
    finally:
        _OBSERVERS.remove(observer)

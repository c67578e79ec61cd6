"""Labels of BIDS, which are letters and digits alone, for the names of patients, visits and classes."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable, Iterator, Mapping
from itertools import count

_OTHER = re.compile(r"[^A-Za-z0-9]+")
_DIGITS = 6


def labels(names: Iterable[str], prefix: str = "", kept: Mapping[str, str] | None = None) -> dict[str, str]:
    """Return a label for each name; no two labels are equal or differ only by case.

    A name loses ``prefix`` (such as ``sub-``) and every character that a label cannot have. Where another
    name has the label that is left, hexadecimal digits from the hash of the name follow it. Names that change
    least choose first, so the result does not depend on the order of ``names``. ``kept``: labels given
    earlier, which stay.
    """
    wanted, earlier = set(names), dict(kept or {})
    found = {name: label for name, label in earlier.items() if name in wanted}
    taken = {label.lower() for label in earlier.values()}
    for name in sorted(wanted - set(found), key=lambda name: (_changes(name, prefix), name)):
        label = next(text for text in _candidates(name, prefix) if text.lower() not in taken)
        found[name] = label
        taken.add(label.lower())
    return found


def _changes(name: str, prefix: str) -> int:
    """0: the name is a label; 1: it is one without the prefix; 2: it is none."""
    plain = _plain(name, prefix)
    return 0 if plain == name else 1 if plain == name.removeprefix(prefix) else 2


def _plain(name: str, prefix: str) -> str:
    return _OTHER.sub("", name.removeprefix(prefix))


def _candidates(name: str, prefix: str) -> Iterator[str]:
    plain = _plain(name, prefix)
    if plain:
        yield plain
    for attempt in count():
        yield plain + hashlib.sha256(f"{name}{attempt or ''}".encode()).hexdigest()[:_DIGITS]

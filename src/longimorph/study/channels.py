"""Which label each channel of posteriors stands for, and the label of what the channels leave out."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np

from longimorph.errors import Unusable
from longimorph.study.classes import ClassTable

Column = Literal["regions", "states"]
_MOST = 8


@dataclass(frozen=True)
class Rest:
    """What the channels leave out: its label (None: nothing may be left out).

    ``given``: a channel stands for it, so that it is all of a voxel where every channel is 0, or nothing.
    """

    label: int | None
    given: bool


def labels_of(
    classes: ClassTable, column: Column, names: Sequence[str], numbered: bool
) -> tuple[tuple[int, ...], Rest]:
    """Return the label of each channel, and what becomes of the rest of each voxel.

    ``names`` are the channels' names; ``numbered``: they are those of a 4-D file, 0, 1, …, which must be
    complete. A name is an entry of the column ``channels`` (regions), or else the name of a class, which
    stands for the first label of its row, or else a label. Raises Unusable with all problems.
    """
    given = _given(classes) if column == "regions" else {}
    found = {name: _label(classes, column, name, given) for name in names}
    strange = [name for name, label in found.items() if label is None]
    faults = [_unknown(classes, column, strange, bool(given))] if strange else []
    faults += _missing(classes, column, names, given, numbered)
    labels = [label for label in found.values() if label is not None]
    twice = sorted({label for label in labels if labels.count(label) > 1})
    if twice:
        faults.append(f"several channels stand for label {_listed(map(str, twice))}")
    if faults:
        raise Unusable("channels", "; ".join(faults))
    return tuple(labels), _rest(classes, column, labels)


def _given(classes: ClassTable) -> dict[str, int]:
    """The column ``channels``: label by name, in lower case."""
    return {name.lower(): label for row in classes.rows for name, label in row.labels_of_channels()}


def _label(classes: ClassTable, column: Column, name: str, given: dict[str, int]) -> int | None:
    if name.lower() in given:
        return given[name.lower()]
    for row in classes.rows:
        spans = row.regions if column == "regions" else row.states
        if row.name.lower() == name.lower() and spans:
            return spans[0][0]
    return int(name) if name.isdecimal() and not given else None


def _unknown(classes: ClassTable, column: Column, names: Sequence[str], given: bool) -> str:
    plural = "s" if len(names) > 1 else ""
    text = f"channel{plural} {_listed(names)}: {classes.name} does not say for which label"
    if column == "states":
        return f"{text}. Name the class of the state, or its number"
    if given:
        return f"{text}. Add {'them' if plural else 'it'} to its column 'channels'"
    return f"{text}. Name a class or a label, or give {classes.name} a column 'channels'"


def _missing(
    classes: ClassTable, column: Column, names: Sequence[str], given: dict[str, int], numbered: bool
) -> list[str]:
    """Return the fault that channels are missing that the table expects.

    Of a file per class only the column ``channels`` says which there must be.
    """
    if given and not numbered:
        lacking = [name for name in given if name not in {own.lower() for own in names}]
        text = f"there is no file for channel{'s' if len(lacking) > 1 else ''} {_listed(lacking)}"
        return [f"{text}, which {classes.name} names in its column 'channels'"] if lacking else []
    if not numbered:
        return []
    if given:
        lacking = [name for name in given if name not in {own.lower() for own in names}]
        what = f"but {classes.name} names channel{'s' if len(lacking) > 1 else ''} {_listed(lacking)} too"
    else:
        lacking = [str(label) for label in sorted(classes.named(column)) if label >= len(names)]
        what = (
            f"which stand for labels 0 to {len(names) - 1}, but {classes.name} names {_listed(lacking)} too"
        )
    if not lacking:
        return []
    hint = (
        "If the channels stand for other labels, say so in a column 'channels'; if they are label volumes, "
    )
    hint += "give one of them, with three axes"
    return [f"there are {len(names)} channels (0 to {len(names) - 1}), {what}. {hint}"]


def _rest(classes: ClassTable, column: Column, labels: Sequence[int]) -> Rest:
    """Return state 0, or the first label of the background, and whether a channel stands for it."""
    if column == "states":
        return Rest(0, 0 in labels)
    row = classes.rows[classes.background] if classes.background is not None else None
    if row is None or not row.regions:
        return Rest(None, True)
    own = np.asarray(labels, np.int64)
    given = any(bool(((own >= first) & (own <= last)).any()) for first, last in row.regions)
    return Rest(row.regions[0][0], given)


def _listed(names: object) -> str:
    known = list(names)  # type: ignore[call-overload]
    more = f" and {len(known) - _MOST} more" if len(known) > _MOST else ""
    return ", ".join(known[:_MOST]) + more

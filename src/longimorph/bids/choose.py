"""Which of a visit's volumes are its regions, its states and its image: one of each, or a question."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from longimorph.bids.names import OF_VISIT
from longimorph.bids.tree import RAW, Volume
from longimorph.errors import Problem
from longimorph.words import counted

Role = Literal["regions", "states", "image"]
Key = tuple[str, tuple[tuple[str, str], ...], str, str]

IMAGE = "T1w"
ABSENT = "none"
_STATE_SUFFIXES = ("dseg", "mask", "roi", "lesion")
_LESION = re.compile(r"lesion|wmh|tumou?r|o?edema|glioma|stroke|infarct", re.IGNORECASE)
_OF_THE_SCAN = ("T1w", "T2w", "FLAIR", "orig", "native", "individual", "scanner")
"""Spaces that are a scan's own; a map in any other space has lost the volumes of the patient."""
_MOST = 5
FORM = "such as desc-aseg_dseg, PIPELINE/dseg, acq-none_T1w or T1w.nii.gz"


@dataclass(frozen=True)
class Pattern:
    """Which files are meant: pipeline, entities (``none``: without it), suffix, extension; None: any."""

    text: str
    pipeline: str | None
    entities: tuple[tuple[str, str], ...]
    suffix: str | None
    extension: str | None

    def matches(self, volume: Volume) -> bool:
        """Whether the file is meant. Maps in a template's space have to be asked for by ``space-``."""
        values = volume.name.values
        if "space" not in dict(self.entities) and not in_own_space(volume):
            return False
        return (
            self.pipeline in (None, volume.pipeline)
            and self.suffix in (None, volume.name.suffix)
            and self.extension in (None, volume.name.extension)
            and all(values.get(key, ABSENT) == value for key, value in self.entities)
        )


def pattern(text: str) -> Pattern | None:
    """Read what --regions, --states or --image was given; None when it is no pattern."""
    pipeline, slash, rest = text.rpartition("/")
    stem, dot, extension = rest.partition(".")
    parts = stem.split("_")
    suffix = parts.pop() if "-" not in parts[-1] else None
    pairs = [tuple(part.partition("-")[::2]) for part in parts]
    wrong = any(not key or not value or key in OF_VISIT for key, value in pairs)
    if wrong or not rest or (slash and not pipeline) or (dot and not extension):
        return None
    entities = tuple((key, value) for key, value in pairs)
    return Pattern(text, pipeline or None, entities, suffix or None, f".{extension.lower()}" if dot else None)


def in_own_space(volume: Volume) -> bool:
    """Whether a file lies in a scan's own space, by its name."""
    return volume.name.values.get("space", _OF_THE_SCAN[0]) in _OF_THE_SCAN


def shows_lesions(volume: Volume) -> bool:
    """Whether a label volume is one of lesions, by its name."""
    values = volume.name.values
    words = (volume.name.suffix, values.get("label", ""), values.get("desc", ""))
    return volume.name.suffix in _STATE_SUFFIXES and any(_LESION.search(word) for word in words)


def candidates(
    role: Role, volumes: Iterable[Volume], patterns: Sequence[Pattern], near: str | None = None
) -> list[Volume]:
    """Return the volumes of one visit that may play the role: one when it is clear, none, or several.

    With patterns, the first that any volume matches decides. Without, regions are ``dseg``, states label
    volumes named after lesions, images ``T1w``: of the pipeline ``near``, else raw.
    """
    if patterns:
        for one in patterns:
            if found := [volume for volume in volumes if one.matches(volume)]:
                return found
        return []
    own = [volume for volume in volumes if in_own_space(volume)]
    if role == "regions":
        return [volume for volume in own if volume.name.suffix == "dseg" and not shows_lesions(volume)]
    if role == "states":
        return [volume for volume in own if shows_lesions(volume)]
    images = [volume for volume in own if volume.name.suffix == IMAGE]
    for pipeline in (near, RAW):
        if found := [volume for volume in images if volume.pipeline == pipeline]:
            return found
    return images


def question(role: Role, root: str, unclear: Mapping[str, Sequence[Volume]]) -> Problem:
    """Return the problem that several volumes fit at some visits, with the options that would decide.

    ``unclear`` holds the candidates by visit.
    """
    keys = Counter(volume.key for found in unclear.values() for volume in found)
    first: dict[Key, Volume] = {}
    for volume in (volume for found in unclear.values() for volume in found):
        first.setdefault(volume.key, volume)
    lines = [
        f"\n       --{role} {told(key, keys)}   ({counted(number, 'visit')}, such as {first[key].path.name})"
        for key, number in keys.most_common()
    ]
    text = (
        f"{counted(len(unclear), 'visit')} ({listed(unclear)}) with more than one file that can be '{role}'"
    )
    return Problem(root, text, hint="Choose by one of these options, or several in order:" + "".join(lines))


def told(key: Key, others: Iterable[Key]) -> str:
    """Return the pattern that means the files of this key and none of the other keys."""
    pipeline, own, suffix, extension = key
    rest = [other for other in others if other != key]
    absent = {name for other in rest if other[2] == suffix for name, _ in other[1]} - {
        name for name, _ in own
    }
    parts = [f"{name}-{value}" for name, value in own] + [f"{name}-{ABSENT}" for name in sorted(absent)]
    start = f"{pipeline}/" if any(other[0] != pipeline for other in rest) else ""
    twin = any(other[:3] == key[:3] for other in rest)
    text = start + "_".join([*parts, suffix]) + (extension if twin else "")
    return f"'{text}'" if re.search(r"[^\w./+-]", text) else text


def listed(names: Iterable[str]) -> str:
    """Return names as text, the first few of many."""
    known = list(names)
    more = f" and {len(known) - _MOST} more" if len(known) > _MOST else ""
    return ", ".join(known[:_MOST]) + more

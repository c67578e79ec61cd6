"""Select a visit's regions, states and image among its volumes: one of each, or a question to the user."""

from __future__ import annotations

import dataclasses
import re
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from longimorph.bids.names import OF_VISIT
from longimorph.bids.tree import PROBSEG, RAW, Volume
from longimorph.errors import Problem
from longimorph.text import counted

Role = Literal["regions", "states", "image"]
Key = tuple[str, tuple[tuple[str, str], ...], str, str]

IMAGE = "T1w"
ABSENT = "none"
_STATE_SUFFIXES = ("dseg", "mask", "roi", "lesion")
_TISSUE = re.compile(
    r"brain|head|skull|scalp|[lr]?gm|[lr]?wm|s?cgm|csf|bg|bone|sft|nrr|[lr]|left|right", re.IGNORECASE
)
"""Labels of masks that are not lesion compartments: whole tissues, sides and the head."""
OWN, RUN = "", "run"
_OF_THE_SCAN = (OWN, "T1w", "T2w", "FLAIR", "orig", "native", "individual", "scanner")
"""Spaces of the scan itself. In a template space a map no longer has the patient's volumes."""
_MOST = 5
_COMBINE = (
    "\n     A visit has one file of states. Combine masks of several compartments into one label volume "
    "first (docs/own-data.md, A lesion mask); if you choose only one, the other compartments count as healthy"
)
FORM = "such as desc-aseg_dseg, PIPELINE/dseg, acq-none_T1w or T1w.nii.gz"


@dataclass(frozen=True)
class Pattern:
    """A file pattern: pipeline, entities (``none``: absent), suffix, extension; None: any."""

    text: str
    pipeline: str | None
    entities: tuple[tuple[str, str], ...]
    suffix: str | None
    extension: str | None

    def matches(self, volume: Volume, space: str = OWN) -> bool:
        """Return whether the file matches. A file outside the space ``space`` needs an entity ``space-``."""
        values = volume.name.values
        if "space" not in dict(self.entities) and space_of(volume) != space:
            return False
        return (
            self.pipeline in (None, volume.pipeline)
            and self.suffix in (None, volume.name.suffix)
            and self.extension in (None, volume.name.extension)
            and all(values.get(key, ABSENT) == value for key, value in self.entities)
        )

    @property
    def without_run(self) -> Pattern | None:
        """The pattern with any run in place of its own; None if it names none."""
        rest = tuple(pair for pair in self.entities if pair[0] != RUN)
        return dataclasses.replace(self, entities=rest) if rest != self.entities else None


def pattern(text: str) -> Pattern | None:
    """Parse a value of --regions, --states or --image; None if it is not a pattern."""
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


def space_of(volume: Volume) -> str:
    """Return the space of a file according to its name: ``OWN`` for the names of a scan's own space."""
    space = volume.name.values.get("space", OWN)
    return OWN if space in _OF_THE_SCAN else space


def is_mask(volume: Volume) -> bool:
    """Return whether the name of a file is that of a mask other than a tissue mask."""
    label = volume.name.values.get("label", "")
    return volume.name.suffix in ("mask", "roi") and bool(label) and not _TISSUE.fullmatch(label)


def shows_lesions(volume: Volume) -> bool:
    """Return whether the name of a label volume indicates lesions."""
    return volume.name.suffix in _STATE_SUFFIXES and volume.shows_lesion


def candidates(
    role: Role, volumes: Sequence[Volume], patterns: Sequence[Pattern], regions: Volume | None = None
) -> list[Volume]:
    """Return the candidate volumes of one visit for the role: one if it is unambiguous, none, or several.

    With patterns, the first one that matches any volume decides. Without patterns, regions are ``dseg``;
    states are label volumes named after lesions and lesion masks; either are ``probseg`` if there are none
    (for states, if a pattern can name them alone). Images are ``T1w``, from the pipeline of ``regions`` or
    else raw. States and image lie in the space of ``regions``. A file named after another visit counts only
    if there is no other.
    """
    found = _candidates(role, volumes, patterns, regions)
    return [volume for volume in found if volume.fault != "misnamed"] or found


def _alone(volume: Volume, others: Sequence[Volume]) -> bool:
    """Return whether the pattern of a set of posteriors matches no posteriors of another kind."""
    return not any(other.path == volume.path for other in others if other is not volume)


def _candidates(
    role: Role, volumes: Sequence[Volume], patterns: Sequence[Pattern], regions: Volume | None
) -> list[Volume]:
    space = space_of(regions) if regions is not None else OWN
    if patterns:
        return _matching(volumes, patterns, space)
    own = [volume for volume in volumes if space_of(volume) == space]
    soft = [volume for volume in own if volume.name.suffix == PROBSEG]
    if role == "regions":
        hard = [volume for volume in own if volume.name.suffix == "dseg" and not shows_lesions(volume)]
        return hard or [volume for volume in soft if not volume.shows_lesion]
    if role == "states":
        lesions = any(map(shows_lesions, own))
        hard = [volume for volume in own if shows_lesions(volume) or (lesions and is_mask(volume))]
        return hard or [volume for volume in soft if volume.shows_lesion and _alone(volume, soft)]
    images = [volume for volume in own if volume.name.suffix == IMAGE]
    for pipeline in (regions.pipeline if regions is not None else None, RAW):
        if found := [volume for volume in images if volume.pipeline == pipeline]:
            return found
    return images


def _matching(volumes: Sequence[Volume], patterns: Sequence[Pattern], space: str) -> list[Volume]:
    """Return the volumes that match the first pattern with any match.

    If none matches, the run is ignored, provided that exactly one volume then matches: a visit with a single
    run, or without a run in its names, corresponds to another visit with several runs.
    """
    for one in patterns:
        if found := [volume for volume in volumes if one.matches(volume, space)]:
            return found
    for one in patterns:
        loose = one.without_run
        found = [volume for volume in volumes if loose is not None and loose.matches(volume, space)]
        if len(found) == 1:
            return found
    return []


def question(role: Role, root: str, unclear: Mapping[str, Sequence[Volume]]) -> Problem:
    """Return the problem that several volumes match at some visits, with the options that would decide.

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
        f"{counted(len(unclear), 'visit')} ({listed(unclear)}) with more than one candidate file for '{role}'"
    )
    hint = "Choose with one of these options, or with several in order of preference:" + "".join(lines)
    several = any(len({v.name.values.get("label") for v in found}) > 1 for found in unclear.values())
    return Problem(root, text, hint=hint + (_COMBINE if role == "states" and several else ""))


def told(key: Key, others: Iterable[Key]) -> str:
    """Return the pattern that matches the files of this key and none of the other keys."""
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
    """Format names, limited to the first few."""
    known = list(names)
    more = f" and {len(known) - _MOST} more" if len(known) > _MOST else ""
    return ", ".join(known[:_MOST]) + more

"""BIDS file names: ``sub-01_ses-02_desc-aseg_dseg.nii.gz`` has entities, a suffix and an extension."""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from longimorph.study.table import SUFFIXES

_ENTITY = re.compile(r"([A-Za-z0-9]+)-(.+)", re.DOTALL)
_EXTENSIONS = sorted(SUFFIXES, key=len, reverse=True)
OF_VISIT = ("sub", "ses")


@dataclass(frozen=True)
class Name:
    """The parts of a name: entities in their order, the suffix (``T1w``), the extension in lower case."""

    entities: tuple[tuple[str, str], ...]
    suffix: str
    extension: str

    @cached_property
    def values(self) -> dict[str, str]:
        """The value of each entity."""
        return dict(self.entities)

    @property
    def own(self) -> tuple[tuple[str, str], ...]:
        """The entities other than those of patient and visit."""
        return tuple(pair for pair in self.entities if pair[0] not in OF_VISIT)


def parse(name: str) -> Name | None:
    """Parse a volume's file name; None for a name that does not follow BIDS."""
    extension = next((e for e in _EXTENSIONS if name.lower().endswith(e)), None)
    if extension is None or name.startswith("."):
        return None
    *entities, suffix = name[: -len(extension)].split("_")
    matches = [_ENTITY.fullmatch(entity) for entity in entities]
    pairs = [(match[1], match[2]) for match in matches if match is not None]
    of_subject = [pair for pair in pairs if pair[0] == "sub"]
    if len(pairs) < len(entities) or not suffix or "-" in suffix or pairs[:1] != of_subject:
        return None
    return Name(tuple(pairs), suffix, extension)


def natural(text: str) -> list[Any]:
    """Return a sort key that places ``ses-2`` before ``ses-10``."""
    parts = re.split(r"(\d+)", text)
    return [(int(part) if i % 2 else 0, part) for i, part in enumerate(parts)]

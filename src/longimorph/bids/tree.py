"""The volumes of a BIDS tree with its derivatives: only those in ``sub-*/[ses-*/]anat``.

A file that cannot be used (a link without its content, a name of another visit) is a volume with a fault,
which matters only if the file would be selected.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

from longimorph import paths
from longimorph.bids.names import Name, parse
from longimorph.errors import InputError, Problem

RAW = "raw"
"""Name of the tree itself, as opposed to its derivative pipelines."""

PROBSEG, ANY = "probseg", "*"
"""The suffix of posteriors; what stands for the label in the pattern of a set of them."""

_LESION = re.compile(
    r"lesion|wmh|tumou?r|o?edema|glioma|stroke|infarct|necro|enhanc|hyperintens|ha?emorrh|metasta|cavity|cyst",
    re.IGNORECASE,
)
Fault = Literal["absent", "misnamed"]
"""A link whose content is not present; a file that names another visit than its folder does."""


@dataclass(frozen=True)
class Volume:
    """One file of a visit, according to its folder.

    ``pipeline`` is the derivatives' folder, or ``raw``; ``session`` is None without sessions; ``fault`` is
    why the file cannot be used, if so. ``labels`` are those of a set of posteriors with a file per label,
    whose ``path`` is a pattern.
    """

    path: Path
    name: Name
    pipeline: str
    subject: str
    session: str | None
    fault: Fault | None = None
    labels: tuple[str, ...] = ()

    @property
    def words(self) -> tuple[str, ...]:
        """What the name says about its content: suffix, labels and description."""
        values = self.name.values
        return (self.name.suffix, *(self.labels or (values.get("label", ""),)), values.get("desc", ""))

    @property
    def shows_lesion(self) -> bool:
        """Whether the name indicates lesions."""
        return any(_LESION.search(word) for word in self.words)

    @property
    def key(self) -> tuple[str, tuple[tuple[str, str], ...], str, str]:
        """The properties shared by files of one kind over all visits."""
        return (self.pipeline, self.name.own, self.name.suffix, self.name.extension)


@dataclass(frozen=True)
class Tree:
    """The volumes found, by file name."""

    root: Path
    volumes: tuple[Volume, ...]


def read_tree(root: Path, derivatives: Sequence[Path] = ()) -> Tree:
    """Search ``root``, the folders in its ``derivatives`` and further ``derivatives``.

    Raises InputError when one of them is not a folder, or when no subject is found.
    """
    missing = [folder for folder in (root, *derivatives) if not folder.is_dir()]
    if missing:
        raise InputError([Problem(paths.display(folder), "is not a folder") for folder in missing])
    volumes: list[Volume] = []
    subjects = 0
    for pipeline, folder in _trees(root, derivatives):
        for subject in _folders(folder, "sub-"):
            subjects += 1
            volumes += _of_subject(subject, pipeline)
    if not subjects:
        text = "contains no folder 'sub-*', either directly or in derivatives/*"
        hint = "Give the root of the BIDS tree; --derivatives adds a folder of derivatives elsewhere"
        raise InputError([Problem(paths.display(root), text, hint=hint)])
    return Tree(root, tuple(volumes))


def _trees(root: Path, derivatives: Sequence[Path]) -> Iterator[tuple[str, Path]]:
    yield RAW, root
    inside = root / "derivatives"
    if inside.is_dir():
        yield inside.name, inside
        for folder in _folders(inside, ""):
            if not folder.name.startswith(("sub-", ".")):
                yield folder.name, folder
    for folder in derivatives:
        yield folder.absolute().name, folder


def _of_subject(folder: Path, pipeline: str) -> Iterator[Volume]:
    for place in (folder, folder / "anat"):
        yield from _of_visit(place, pipeline, folder.name, None)
    for session in _folders(folder, "ses-"):
        for place in (session, session / "anat"):
            yield from _of_visit(place, pipeline, folder.name, session.name)


def _of_visit(folder: Path, pipeline: str, subject: str, session: str | None) -> Iterator[Volume]:
    """Yield the volumes of a folder; the posteriors of one set, a file per label, are one volume."""
    sets: dict[object, list[Volume]] = {}
    for volume in _single(folder, pipeline, subject, session):
        if volume.name.suffix == PROBSEG and "label" in volume.name.values:
            others = tuple(pair for pair in volume.name.entities if pair[0] != "label")
            sets.setdefault((others, volume.name.extension, volume.shows_lesion), []).append(volume)
        else:
            yield volume
    yield from map(_together, sets.values())


def _together(volumes: Sequence[Volume]) -> Volume:
    """Return the pattern of the posteriors of one set, which names a class in place of the label by ``*``."""
    first = volumes[0]
    label = first.name.values["label"]
    path = first.path.with_name(first.path.name.replace(f"_label-{label}_", f"_label-{ANY}_"))
    entities = tuple((key, ANY if key == "label" else value) for key, value in first.name.entities)
    fault = next((volume.fault for volume in volumes if volume.fault), None)
    labels = tuple(volume.name.values["label"] for volume in volumes)
    return replace(first, path=path, name=replace(first.name, entities=entities), fault=fault, labels=labels)


def _single(folder: Path, pipeline: str, subject: str, session: str | None) -> Iterator[Volume]:
    for file in _files(folder):
        name = parse(file.name)
        if name is None:
            continue
        said = (f"sub-{name.values['sub']}", f"ses-{name.values['ses']}" if "ses" in name.values else None)
        fault: Fault | None = None
        if said[0] != subject or (session and said[1] not in (session, None)):
            fault, said = "misnamed", (subject, session)
        elif not file.exists():
            fault = "absent"
        yield Volume(file, name, pipeline, subject, session or said[1], fault)


def _folders(folder: Path, start: str) -> list[Path]:
    return sorted(e for e in _entries(folder) if e.name.startswith(start) and e.is_dir())


def _files(folder: Path) -> list[Path]:
    return sorted(e for e in _entries(folder) if e.name.startswith("sub-") and not e.is_dir())


def _entries(folder: Path) -> list[Path]:
    try:
        with os.scandir(folder) as found:
            return [folder / entry.name for entry in found]
    except (FileNotFoundError, NotADirectoryError):
        return []
    except OSError as error:
        problem = Problem(paths.display(folder), f"cannot be listed ({error.strerror})")
        raise InputError([problem]) from error

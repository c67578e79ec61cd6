"""One file per class: paths with one ``*`` in the file name, and the files that they match.

What ``*`` stands for names the channel: ``WM`` in ``sub-01_label-*_probseg.nii.gz``.
"""

from __future__ import annotations

import os
import re
from pathlib import Path

_NUMBERS = re.compile(r"(\d+)")


def is_pattern(path: Path) -> bool:
    """Return whether a path is a pattern: its file name contains ``*``, and no file has that very name."""
    return "*" in path.name and not os.path.exists(path)


def matched(path: Path) -> dict[str, Path]:
    """Return the files that a pattern matches by the text that ``*`` stands for, in natural order.

    Empty where nothing matches, or where the folder cannot be read. Only the file name may contain ``*``, and
    only once.
    """
    start, _, end = path.name.partition("*")
    try:
        names = os.listdir(path.parent)
    except OSError:
        return {}
    found = {
        name[len(start) : len(name) - len(end)]: path.parent / name
        for name in names
        if name.startswith(start) and name.endswith(end) and len(name) > len(start) + len(end)
    }
    return {key: found[key] for key in sorted(found, key=_natural)}


def expanded(path: Path) -> list[Path]:
    """Return the files of a path: those that it matches if it is a pattern, otherwise the path itself."""
    return list(matched(path).values()) if is_pattern(path) else [path]


def _natural(text: str) -> list[tuple[int, str]]:
    return [(int(part), "") if part.isdigit() else (-1, part) for part in _NUMBERS.split(text) if part]

"""Identification of a file's content by its SHA-256, and by a stamp that changes whenever the file does.

Copying programs can give a file any date, so a date alone is not reliable. A stamp holds the size, the times
of change of content and metadata, and the inode. A copy, a redirected link, or a byte written in place
changes at least one of them. If the stamps are equal the file is not read again; otherwise the hash decides
whether its content differs.
"""

from __future__ import annotations

import hashlib
import os
import re
import stat
import time
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from longimorph.io.patterns import expanded

SETTLED_S = 2.0
"""File systems count time in steps of up to two seconds: a younger file can change unnoticed."""

_HEADER_BYTES = 1 << 16
_DETACHED = re.compile(
    r"^\s*(?:ElementDataFile\s*=|data ?file\s*:=?)\s*(.+?)\s*$", re.IGNORECASE | re.MULTILINE
)
_PATTERN = re.compile(r"([^\s%]*%0?\d?d[^\s%]*)\s+(\d+)\s+(\d+)(?:\s+(\d+))?.*")
_MOST_PARTS = 10_000

Stamp = tuple[int, int, int, int]


@dataclass(frozen=True)
class Content:
    """The content of a file: its SHA-256 (None without a file) and its stamp.

    The stamp is None if the file was too recent for a stamp to reveal a later change.
    """

    sha256: str | None
    stamp: Stamp | None = None


def stamp(file: Path | str) -> Stamp | None:
    """Return the stamp of the file that ``file`` resolves to; None if that is not a file."""
    try:
        found = os.stat(file)
    except (OSError, ValueError):
        return None
    if not stat.S_ISREG(found.st_mode):  # a pipe would never end
        return None
    return found.st_size, found.st_mtime_ns, found.st_ctime_ns, found.st_ino


def as_stamp(numbers: Iterable[int | str]) -> Stamp:
    """Parse a stamp from four numbers; raises ValueError if they are not."""
    size, modified, changed, inode = map(int, numbers)
    return size, modified, changed, inode


def settled(file: Path | str) -> Stamp | None:
    """Return the stamp of a file old enough for a later change to show in it, else None."""
    found, now = stamp(file), time.time()
    return found if found is not None and max(found[1:3]) < (now - SETTLED_S) * 1e9 else None


def content(file: Path | str) -> Content:
    """Read a file and return its content. A file that changes meanwhile gets no stamp, and is read again."""
    before = settled(file)
    if stamp(file) is None:
        return Content(None)
    try:
        with open(file, "rb") as stream:
            found = hashlib.file_digest(stream, "sha256").hexdigest()
    except (OSError, ValueError):
        return Content(None)
    return Content(found, before if before == stamp(file) else None)


def hashes(files: Iterable[Path]) -> dict[str, str | None]:
    """Return the SHA-256 of files, and of those that hold their voxels, by path; None for missing files."""
    return {str(part): content(part).sha256 for file in files for part in parts(file)}


def parts(path: Path) -> list[Path]:
    """Return the files of a path or pattern, and those with the voxels of a header (``.mhd``, ``.nhdr``)."""
    return [part for file in expanded(path) for part in _parts(file)]


def _parts(file: Path) -> list[Path]:
    if file.suffix.lower() not in (".mhd", ".nhdr"):
        return [file]
    try:
        with file.open("rb") as stream:
            text = stream.read(_HEADER_BYTES).decode("latin-1")
    except OSError:
        return [file]
    return [file, *(file.parent / name for name in _detached(text))]


def _detached(header: str) -> Iterator[str]:
    """Yield the names of a header's data files: one, a list below it, or numbered ones."""
    found = _DETACHED.search(header)
    if found is None or found[1].upper() == "LOCAL":
        return
    if found[1].upper().startswith("LIST"):
        yield from (line.strip() for line in header[found.end() :].splitlines() if line.strip())
    elif numbered := _PATTERN.fullmatch(found[1]):
        first, last, step = int(numbered[2]), int(numbered[3]), int(numbered[4] or 1)
        numbers = range(first, last + 1, max(step, 1))[:_MOST_PARTS]
        yield from (numbered[1] % number for number in numbers)
    else:
        yield found[1]

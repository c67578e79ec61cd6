"""What a file holds, told by its SHA-256, and by a stamp that changes whenever the file does.

Programs that copy can give a file any date, so a date alone says little. A stamp has the size, the time of
change of the content and of the entry, and the inode: a copy, a link that leads elsewhere, or a byte written
in place changes one of them. Equal stamps spare a file from being read again; whether its content differs is
then decided by the hash.
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

SETTLED_S = 2.0
"""File systems count time in steps of up to two seconds: a file younger than that can change unseen."""

_HEADER_BYTES = 1 << 16
_DETACHED = re.compile(
    r"^\s*(?:ElementDataFile\s*=|data ?file\s*:=?)\s*(.+?)\s*$", re.IGNORECASE | re.MULTILINE
)
_PATTERN = re.compile(r"([^\s%]*%0?\d?d[^\s%]*)\s+(\d+)\s+(\d+)(?:\s+(\d+))?.*")
_MOST_PARTS = 10_000

Stamp = tuple[int, int, int, int]


@dataclass(frozen=True)
class Content:
    """The content of a file: its SHA-256, None where there is no file, and the stamp it had, None where the
    file was too young for a stamp to tell of a later change."""

    sha256: str | None
    stamp: Stamp | None = None


def stamp(file: Path | str) -> Stamp | None:
    """Return the stamp of the file that ``file`` leads to, None where that is no file."""
    try:
        found = os.stat(file)
    except (OSError, ValueError):
        return None
    if not stat.S_ISREG(found.st_mode):  # a pipe would never end
        return None
    return found.st_size, found.st_mtime_ns, found.st_ctime_ns, found.st_ino


def as_stamp(numbers: Iterable[int | str]) -> Stamp:
    """Return the stamp that was written as four numbers; ValueError where they are none."""
    size, modified, changed, inode = map(int, numbers)
    return size, modified, changed, inode


def settled(file: Path | str) -> Stamp | None:
    """Return the stamp of a file that is old enough for a later change to show in it, else None."""
    found, now = stamp(file), time.time()
    return found if found is not None and max(found[1:3]) < (now - SETTLED_S) * 1e9 else None


def content(file: Path | str) -> Content:
    """Read a file and return its content. A file that changes meanwhile has no stamp, and is read again."""
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
    """Return the SHA-256 of files, and of those that hold their voxels, by path; None where there is none."""
    return {str(part): content(part).sha256 for file in files for part in parts(file)}


def parts(file: Path) -> list[Path]:
    """Return the file and, where it is a header (``.mhd``, ``.nhdr``), the files that hold the voxels."""
    if file.suffix.lower() not in (".mhd", ".nhdr"):
        return [file]
    try:
        with file.open("rb") as stream:
            text = stream.read(_HEADER_BYTES).decode("latin-1")
    except OSError:
        return [file]
    return [file, *(file.parent / name for name in _detached(text))]


def _detached(header: str) -> Iterator[str]:
    """Yield the names of the data files of a header: one, a list below it, or numbered ones."""
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

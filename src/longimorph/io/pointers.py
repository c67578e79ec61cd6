"""Files whose content was not fetched: the placeholders of git-annex (DataLad) and Git LFS."""

from __future__ import annotations

import os
import stat
from pathlib import Path

_ANNEX = b"/annex/objects/"
_LFS = b"version https://git-lfs.github.com/spec/v1"
_LARGEST = 1 << 15
"""Maximum size of a pointer in bytes."""


def unfetched(path: Path) -> str | None:
    """Explain that a file's content is not present, and which command fetches it; None if it is present."""
    if _annex_link(path):
        return _of_annex("a link into git-annex", path)
    head = _head(path)
    if head.startswith(_ANNEX):
        return _of_annex("a pointer of git-annex", path)
    if head.startswith(_LFS):
        command = f'git lfs pull --include "{path.name}"'
        return f"is a pointer of Git LFS whose content was not fetched. In its repository: {command}"
    return None


def _of_annex(what: str, path: Path) -> str:
    fetch = f"get '{path}'"
    return f"is {what} whose content was not fetched. Fetch it: datalad {fetch}, or git annex {fetch}"


def _annex_link(path: Path) -> bool:
    """Return whether the path resolves to a dangling link into the objects of git-annex."""
    if not os.path.islink(path) or os.path.exists(path):
        return False
    return f".git{_ANNEX.decode()}" in Path(os.path.realpath(path)).as_posix()


def _head(path: Path) -> bytes:
    """Return the first bytes of a small regular file; empty for anything else."""
    try:
        status = os.stat(path)
        if not stat.S_ISREG(status.st_mode) or status.st_size > _LARGEST:
            return b""
        with path.open("rb") as file:
            return file.read(len(_LFS))
    except (OSError, ValueError):
        return b""

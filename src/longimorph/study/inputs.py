"""Checks of input files before they are opened: the type of file at a path, and the bytes of a text.

Only regular files of plausible size are read, so that a pipe or a device can neither block a check nor
exhaust the memory.
"""

from __future__ import annotations

import errno
import os
import stat
import time
from pathlib import Path

from longimorph.io.pointers import unfetched

FILE = "file"
MISSING = "file not found"
MOST_BYTES = 100 << 20
"""Larger than any table or configuration: a million visits take half of it."""

_SKEW_S = 60.0  # allowed difference between the clocks of a file server and this machine
_FORBIDDEN = "cannot be read: permission denied"
_LEADS_NOWHERE = "is a broken link"


class Unreadable(Exception):
    """A text that cannot be read; the message says what is at its path instead."""


def state(path: Path) -> str:
    """Return ``FILE`` for a readable file, ``MISSING`` for none, otherwise a description of what is there."""
    try:
        mode = os.stat(path).st_mode
    except PermissionError:
        return _FORBIDDEN
    except (OSError, ValueError) as error:
        return _reason(path, error)
    if stat.S_ISDIR(mode):
        return "is a folder, not a file"
    if not stat.S_ISREG(mode):
        return "is neither a file nor a folder"
    return (unfetched(path) or FILE) if os.access(path, os.R_OK) else _FORBIDDEN


def _reason(path: Path, error: OSError | ValueError) -> str:
    number = getattr(error, "errno", None)
    if number not in (errno.ENOENT, errno.ENOTDIR, errno.ELOOP):
        return f"is not a valid path ({getattr(error, 'strerror', None) or error})"
    return (unfetched(path) or _LEADS_NOWHERE) if os.path.islink(path) else MISSING


def from_the_future(path: Path) -> bool:
    """Return whether a file was modified in the future: all results derived from it would look outdated."""
    return path.stat().st_mtime > time.time() + _SKEW_S


def read_bytes(path: Path) -> bytes:
    """Return the bytes of a text file; raises Unreadable."""
    found = state(path)
    if found != FILE:
        raise Unreadable(found)
    try:
        if path.stat().st_size > MOST_BYTES:
            raise Unreadable(f"is too large: more than {MOST_BYTES >> 20} MB")
        return path.read_bytes()
    except OSError as error:
        raise Unreadable(f"cannot be read ({error})") from error

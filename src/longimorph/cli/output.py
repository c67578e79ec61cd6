"""Files that commands write on request: one that a command did not write is never overwritten."""

from __future__ import annotations

from pathlib import Path

from longimorph.errors import LongimorphError


def refuse_to_overwrite(file: Path, begins: bytes) -> None:
    """Raise LongimorphError where ``file`` is neither empty nor begins as the command's own output does."""
    if file.is_dir():
        raise LongimorphError(f"{file} is a folder; give the name of a file to write.")
    if not file.is_file():
        return
    with file.open("rb") as stream:
        own = stream.read(len(begins)) in (begins, b"")
    if not own:
        told = "exists, and it was not written by this command"
        raise LongimorphError(f"{file} {told}. Give another name, or remove the file first.")

"""Atomic file output: write a temporary file beside the target, then rename it.

A job killed half-way leaves the earlier file untouched, so every existing file is complete.
"""

from __future__ import annotations

import json
import math
import os
import secrets
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import pandas as pd


@contextmanager
def atomic_path(path: Path | str) -> Iterator[Path]:
    """Yield a temporary path to write to; on success it atomically replaces ``path``.

    The temporary file lies in the same folder (created if missing) and its name ends as ``path`` does, so
    that writers that choose a format by suffix (``.nii.gz``) choose the right one. When the block raises, the
    temporary file is removed and an earlier ``path`` is kept.
    """
    target = Path(path)
    target.parent.mkdir(parents=True, exist_ok=True)
    temporary = target.with_name(f".tmp-{os.getpid()}-{secrets.token_hex(4)}-{target.name}")
    try:
        yield temporary
        _flush(temporary)
        os.replace(temporary, target)
    except BaseException:
        with suppress(FileNotFoundError):
            temporary.unlink()
        raise
    with suppress(OSError):  # some network disks cannot flush a folder
        _flush(target.parent)


def _flush(path: Path) -> None:
    """Flush ``path``, a file or a folder, to disk."""
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def write_text(path: Path | str, text: str) -> None:
    """Write ``text`` atomically as UTF-8 with Unix line endings."""
    with atomic_path(path) as temporary:
        temporary.write_text(text, encoding="utf-8", newline="\n")


def write_json(path: Path | str, data: Any) -> None:
    """Write ``data`` atomically as JSON; the same data gives the same bytes.

    Keys keep their order. Numbers that JSON cannot represent (NaN, infinities) become null. NumPy scalars and
    arrays, paths and tuples become their plain counterparts.
    """
    write_text(path, json.dumps(_plain(data), indent=2, ensure_ascii=False, allow_nan=False) + "\n")


def _plain(data: Any) -> Any:
    """Convert ``data`` to JSON types; anything else is left for ``json`` to refuse."""
    if isinstance(data, Mapping):
        return {str(key): _plain(value) for key, value in data.items()}
    if isinstance(data, list | tuple):
        return [_plain(value) for value in data]
    numpy = sys.modules.get("numpy")  # if it is not imported there are no NumPy numbers
    if numpy is not None and isinstance(data, numpy.ndarray | numpy.generic):
        return _plain(data.tolist())
    if isinstance(data, Path):
        return str(data)
    if isinstance(data, float) and not math.isfinite(data):
        return None
    return data


def write_csv(path: Path | str, table: pd.DataFrame, float_format: str | None = None) -> None:
    """Write ``table`` atomically as CSV without its index; missing numbers become empty cells.

    ``float_format`` (such as ``%.6g``) shortens numbers; by default they are written so that reading them
    back gives the same bits.
    """
    with atomic_path(path) as temporary:
        table.to_csv(temporary, index=False, na_rep="", lineterminator="\n", float_format=float_format)

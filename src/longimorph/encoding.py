"""Text for terminals, pipes and files whose encoding lacks some of its characters: told in plain ones.

A locale of C or POSIX has ASCII alone, and a file's name may hold bytes that no encoding knows. Neither is a
reason to end a command before it has said what it found.
"""

from __future__ import annotations

import codecs
import io
import sys
from typing import TextIO

_NAME = "longimorph"
_PLAIN = {
    "×": "x", "±": "+-", "²": "2", "³": "3", "°": " deg", "µ": "u", "μ": "u", "σ": "sigma", "−": "-",
    "–": "-", "—": "-", "…": "...", "·": ".", "→": "->", "←": "<-", "≤": "<=", "≥": ">=", "’": "'", "‘": "'",
    "“": '"', "”": '"', "\N{NO-BREAK SPACE}": " ",
}  # fmt: skip


def forgive(*streams: TextIO | None) -> None:
    """Let streams, by default standard output and error, take any text: what their encoding lacks is spelled
    out, letters and odd bytes of names as ``\\xe4``."""
    codecs.register_error(_NAME, _spelled)
    for stream in streams or (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors=_NAME)


def spelled(text: str) -> str:
    """Return the text in ASCII."""
    return "".join(_PLAIN.get(sign) or sign.encode("ascii", "backslashreplace").decode() for sign in text)


def _spelled(error: UnicodeError) -> tuple[str, int]:
    if not isinstance(error, UnicodeEncodeError):
        raise error
    return spelled(error.object[error.start : error.end]), error.end

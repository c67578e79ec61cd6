"""Text output to terminals, pipes and files whose encoding lacks some of its characters.

The C and POSIX locales only have ASCII, and a file's name may hold bytes that are invalid in any encoding.
Neither must end a command before it has reported its findings.
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
    """Make streams, by default standard output and error, accept any text.

    Characters that the encoding lacks and invalid bytes of names are escaped as ``\\xe4``.
    """
    codecs.register_error(_NAME, _spelled)
    for stream in streams or (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors=_NAME)


def spelled(text: str) -> str:
    """Return the text in ASCII, with other characters spelled out."""
    return "".join(_PLAIN.get(sign) or sign.encode("ascii", "backslashreplace").decode() for sign in text)


def _spelled(error: UnicodeError) -> tuple[str, int]:
    if not isinstance(error, UnicodeEncodeError):
        raise error
    return spelled(error.object[error.start : error.end]), error.end

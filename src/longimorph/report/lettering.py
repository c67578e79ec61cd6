"""Width of rendered text, for fitting labels into the available space.

Widths are those of DejaVu Sans, matplotlib's default font; few browser fonts are wider.
"""

from __future__ import annotations

from functools import lru_cache

from matplotlib.font_manager import FontProperties
from matplotlib.textpath import text_to_path

ELLIPSIS = "…"


@lru_cache(maxsize=4096)
def width(words: str, size: float, bold: bool = False) -> float:
    """Width of one line of ``words`` in the unit of ``size``, the height of the font."""
    font = FontProperties(family="DejaVu Sans", size=size, weight="bold" if bold else "normal")
    return float(text_to_path.get_text_width_height_descent(words, font, ismath=False)[0])


def shortened(words: str, room: float, size: float, bold: bool = False) -> str:
    """Shorten ``words`` to fit into ``room``, with an ellipsis between their beginning and end."""
    if width(words, size, bold) <= room:
        return words
    fits = ELLIPSIS
    for kept in range(1, len(words)):
        tail = kept // 3
        tried = words[: kept - tail].rstrip() + ELLIPSIS + words[len(words) - tail :]
        if width(tried, size, bold) > room:
            return fits
        fits = tried
    return fits


def wrapped(words: str, room: float, size: float) -> list[str]:
    """Break ``words`` into lines that fit into ``room``; a single word that is too long is shortened."""
    lines: list[str] = []
    for word in words.split():
        longer = f"{lines[-1]} {word}" if lines else word
        if lines and width(longer, size) <= room:
            lines[-1] = longer
        else:
            lines.append(shortened(word, room, size))
    return lines

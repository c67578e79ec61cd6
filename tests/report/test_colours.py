"""The colours of the pages keep the contrasts of WCAG 2.2 AA: on the screen, light and dark, and in print."""

from __future__ import annotations

import re

import numpy as np
import pytest

from longimorph.report.page import static

TEXT, GRAPHICS = 4.5, 3.0
"""Least contrasts (success criteria 1.4.3 and 1.4.11)."""

MEDIA = {"screen": [""], "dark": ["", "prefers-color-scheme: dark"], "print": ["", "print"],
         "dark, printed": ["", "prefers-color-scheme: dark", "print"]}  # fmt: skip


def colours(media: str) -> dict[str, np.ndarray]:
    """The colours that hold in a medium: name → red, green, blue in [0, 1]."""
    css = re.sub(r"/\*.*?\*/", "", static("page.css"), flags=re.S)
    found: dict[str, np.ndarray] = {}
    for wanted in MEDIA[media]:
        for condition, rule in re.findall(r"(?:@media \(?([^){]*)\)?\s*\{\s*)?:root \{([^}]*)\}", css):
            if condition.strip() == wanted:
                for name, code in re.findall(r"--([\w-]+):\s*#([0-9a-f]{6}|[0-9a-f]{3})\b", rule):
                    full = code if len(code) == 6 else "".join(2 * digit for digit in code)
                    found[name] = np.array([int(full[i : i + 2], 16) / 255 for i in (0, 2, 4)])
    return found


def contrast(one: np.ndarray, other: np.ndarray) -> float:
    """The ratio of relative luminances as WCAG defines it."""
    linear = [np.where(c <= 0.04045, c / 12.92, ((c + 0.055) / 1.055) ** 2.4) for c in (one, other)]
    low, high = sorted(float(c @ (0.2126, 0.7152, 0.0722)) for c in linear)
    return (high + 0.05) / (low + 0.05)


def mixed(over: np.ndarray, under: np.ndarray, share: float) -> np.ndarray:
    return share * over + (1 - share) * under


def test_contrast_is_that_of_the_standard() -> None:
    white, grey = np.ones(3), np.full(3, 0x76 / 255)
    assert contrast(white, np.zeros(3)) == pytest.approx(21)
    assert contrast(grey, white) == pytest.approx(4.54, abs=0.005)


@pytest.mark.parametrize("media", MEDIA)
def test_text_can_be_read_and_graphics_be_seen(media: str) -> None:
    known = colours(media)
    papers = [known["paper"], known["card"]]
    least = {
        name: min(contrast(known[name], paper) for paper in papers)
        for name in ("ink", "soft", "link", "moved", "changed", "bad", "note", "good", "rest", "edge")
    }
    for name, value in least.items():
        assert value >= (GRAPHICS if name in ("rest", "edge") else TEXT), name
    for text, paper in (("bad", "bad-paper"), ("note", "note-paper"), ("paper", "link")):
        assert contrast(known[text], known[paper]) >= TEXT, (text, paper)


@pytest.mark.parametrize("media", MEDIA)
def test_numbers_can_be_read_on_the_colour_of_their_cell_or_ribbon(media: str) -> None:
    known = colours(media)
    for kind in ("up", "down"):
        assert contrast(known["ink"], mixed(known[kind], known["paper"], 0.45)) >= TEXT
    for kind in ("moved", "changed"):
        assert contrast(known["ink"], mixed(known[kind], known["card"], 0.45)) >= TEXT

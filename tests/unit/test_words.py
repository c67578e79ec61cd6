"""Numbers with their nouns, and sentences that contain them."""

from __future__ import annotations

import re

import pytest

from longimorph import paths
from longimorph.text import counted

FIXED = re.compile(
    r"\{[^{}]+\} (more )?(pair|patient|visit|job|scan|result|failure|remark|problem|cell|column)s\b"
)
"""A number in a sentence with a plural that stays one."""
NEVER_ONE = (
    "visits would be called",  # said of two at least
    "pairs were used",  # those that the optimiser keeps
    "has one cell, but",  # two columns at least
)


def test_one_is_singular() -> None:
    texts = [counted(number, "pair") for number in (0, 1, 1.0, 1.5, 2, 4000)]
    assert texts == ["0 pairs", "1 pair", "1 pair", "1.5 pairs", "2 pairs", "4000 pairs"]


@pytest.mark.parametrize("folder", ["src/longimorph", "workflow"])
def test_no_sentence_has_a_plural_whatever_the_number(folder: str) -> None:
    files = [p for kind in ("py", "smk") for p in (paths.repository() / folder).rglob(f"*.{kind}")]
    lines = [f"{p.name}: {line}" for p in files for line in p.read_text(encoding="utf-8").splitlines()]
    assert len(lines) > 100 and FIXED.search('f"{done} of {total} pairs done"')
    assert [x for x in lines if FIXED.search(x) and not any(words in x for words in NEVER_ONE)] == []

"""The pages over which a patient's pairs are spread, and links to places on them."""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import pairwise

PAIRS_A_PAGE = 10
"""Maximum number of pairs on one page; further pages keep each one small and its viewer fine."""

FIRST = "report.html"


def spans(pairs: int) -> list[range]:
    """The indices of the pairs of each page, evenly distributed; a single page for few pairs."""
    count = max(math.ceil(pairs / PAIRS_A_PAGE), 1)
    ends = [pairs * number // count for number in range(count + 1)]
    return [range(*span) for span in pairwise(ends)]


def page_of(index: int, pairs: int) -> str:
    """The file name of the page with the pair at ``index`` of all ``pairs``."""
    return name(next(n for n, span in enumerate(spans(pairs), 1) if index in span))


def name(number: int) -> str:
    """The file name of a page, counted from 1."""
    return FIRST if number == 1 else FIRST.replace(".", f"_{number}.")


def place(pair: str, at_mm: Sequence[float]) -> str:
    """The fragment of a page's address that opens the viewer for ``pair`` at a point, RAS mm."""
    return f"#pair={pair}&at=" + ",".join(f"{x:.1f}" for x in at_mm)

"""The list of planned pairs and of excluded patients."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from longimorph import tables


def pairs(planned: Sequence[Mapping[str, Any]], left_out: Sequence[Mapping[str, str]], out: Path) -> None:
    """Write ``out``, a CSV with one row per planned pair and one per excluded patient."""
    tables.write_pair_list(planned, left_out, out)

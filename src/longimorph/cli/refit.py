"""``longimorph memory fit --from``: correct the memory model from a cohort's peaks, with a report."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from longimorph.errors import LongimorphError
from longimorph.memory.model import Model, model
from longimorph.memory.refit import refit
from longimorph.tables.memory import of_results
from longimorph.text import aligned

_HEAD = ("device", "strategy", "pairs", "factor", "mean error", "", "largest", "", "largest shortfall", "")


def corrected(results: Sequence[Path]) -> tuple[Model, int]:
    """Return the package's model, corrected by the pairs below these folders, and their number."""
    table = _pairs_of(results)
    found = refit(table, model())
    rows: list[tuple[str, ...]] = [_HEAD]
    for one in found.corrections:
        errors = _percent(one.before, one.after)
        rows.append((*one.key, str(len(one.before)), f"{one.factor:.3f}", *errors))
    lines = aligned(rows)
    for device, size in sorted(found.model.process.items()):
        before = model().process_bytes(device)
        lines.append(f"{device}: the process itself takes {size / 1e9:.2f} GB (was {before / 1e9:.2f} GB)")
    lines += [f"not corrected: {reason}" for reason in found.left]
    maps = table["map_bytes"].dropna() / 1e6
    lines.append(
        f"fitted on maps of {maps.min():.3g} to {maps.max():.3g} MB; far outside this range it extrapolates"
    )
    sys.stdout.write("\n".join(lines) + "\n")
    return found.model, sum(len(one.before) for one in found.corrections)


def _pairs_of(results: Sequence[Path]) -> pd.DataFrame:
    """The rows of ``memory.csv`` of all pairs below these folders."""
    for folder in results:
        if not (folder / "patients").is_dir():
            raise LongimorphError(f"{folder} contains no results: it has no folder 'patients'")
    return pd.concat([of_results(folder) for folder in results], ignore_index=True)


def _percent(before: NDArray[np.float64], after: NDArray[np.float64]) -> list[str]:
    """Relative errors in %, before and after: mean, largest, and largest underprediction."""
    numbers = [(abs(e).mean(), abs(e).max(), max(-e.min(), 0.0)) for e in (before, after)]
    return [
        text for a, b in zip(*numbers, strict=True) for text in (f"{100 * a:.1f} %", f"-> {100 * b:.1f} %")
    ]

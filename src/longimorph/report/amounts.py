"""The amount of tissue change of a pair, in one sentence, excluding exchange with the background."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

import pandas as pd

from longimorph.study.config import PRESET
from longimorph.verdict.status import PairStatus


def passed(flows: pd.DataFrame, kind: str, background: str | None) -> float:
    """Net volume exchanged between tissue classes by one mechanism, in the unit of ``flows``.

    ``flows``: rows of ``transitions.csv``; ``kind``: one of its columns of volumes.
    """
    inner = flows[(flows["from_class"] != background) & (flows["to_class"] != background)]
    volumes = pd.to_numeric(inner[kind], errors="coerce").fillna(0.0)
    gained = volumes.groupby(inner["to_class"]).sum()
    return float(gained.sub(volumes.groupby(inner["from_class"]).sum(), fill_value=0.0).abs().sum()) / 2


def crossed(flows: pd.DataFrame, kinds: Iterable[str], background: str | None) -> float:
    """Net volume exchanged between the background and each class, summed, in the unit of ``flows``."""
    total = 0.0
    for kind in kinds:
        volumes = pd.to_numeric(flows[kind], errors="coerce").fillna(0.0)
        out = volumes[flows["from_class"] == background].groupby(flows["to_class"]).sum()
        back = volumes[flows["to_class"] == background].groupby(flows["from_class"]).sum()
        total += float(out.sub(back, fill_value=0.0).abs().sum())
    return total


def left(classes: Iterable[str], rest: Iterable[float], background: str | None) -> float:
    """Unexplained change between tissue classes, from the unexplained change of each class."""
    signs = (
        -abs(value) if name == background else abs(value) for name, value in zip(classes, rest, strict=True)
    )
    return max(sum(signs), 0.0) / 2


def control_of(status: PairStatus) -> str:
    """Name what decided between deformation and reallocation; empty if a result does not record it."""
    control = status.control or ""
    if control.startswith(PRESET):
        return f"the control preset {control.removeprefix(PRESET)}"
    return f"the control matrix {Path(control).name}" if control else ""


def sentence(control: str, moved: float, changed: float, rest: float) -> str:
    """Describe the pair in one sentence, volumes in mL."""
    said = f"{moved:.1f} mL of tissue moved, {changed:.1f} mL changed class in place"
    said += f", and {rest:.1f} mL remain unexplained."
    return f"With {control}: {said}" if control else said

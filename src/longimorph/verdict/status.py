"""What is known of one pair: the contents of its ``status.json``."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

FILE = "status.json"
OK = "ok"
_KEYS = {"source": "from", "target": "to"}
"""Keys in the file that cannot be names in Python."""


@dataclass(frozen=True)
class PairStatus:
    """A pair's outcome, how it came about, and what it was made from; docs/outputs.md has every key.

    ``status`` is OK or the code of the failure, of which ``stage``, ``message`` and ``timepoint`` tell more.
    None: not known, because the pair failed before or an older version made the result.
    """

    patient: str = ""
    source: str = ""
    target: str = ""
    compared_share: float | None = None
    not_compared_mm3: float | None = None
    not_shown_mm3: Mapping[str, float] | None = None
    status: str = ""
    stage: str | None = None
    message: str = ""
    timepoint: str | None = None
    stop_reason: str | None = None
    converged: bool | None = None
    drift: float | None = None
    dice_before: Mapping[str, float | None] | None = None
    dice_after: Mapping[str, float | None] | None = None
    mismatch_before_mm3: float | None = None
    mismatch_after_mm3: float | None = None
    energy_mm3: float | None = None
    folded_share: float | None = None
    inverse_consistency_mm: float | None = None
    steps: int | None = None
    iterations: int | None = None
    evaluations: int | None = None
    device: str | None = None
    likeness: Mapping[str, float | None] | None = None
    warp_check: Mapping[str, float] | None = None
    class_changes: Mapping[str, Mapping[str, Any]] | None = None
    left_to_gain: float | None = None
    verdict: str | None = None
    verdict_reasons: Sequence[Mapping[str, str]] | None = None
    warnings: Sequence[str] | None = None
    memory_strategy_begun: str | None = None
    memory_strategy: str | None = None
    predicted_peak_bytes: int | None = None
    observed_peak_bytes: int | None = None
    memory: Mapping[str, Any] | None = None
    seconds: float | None = None
    attempts: int | None = None
    settings: Mapping[str, Any] | None = None
    control: str | None = None
    inputs_sha256: Mapping[str, str] | None = None
    versions: Mapping[str, str] | None = None

    @property
    def ok(self) -> bool:
        """Whether the pair is done."""
        return self.status == OK

    @classmethod
    def of(cls, found: Mapping[str, Any]) -> PairStatus:
        """The status from the contents of a file; keys that it does not know are left out."""
        keys = {field.name: _KEYS.get(field.name, field.name) for field in fields(cls)}
        return cls(**{name: found[key] for name, key in keys.items() if key in found})

    def to_dict(self) -> dict[str, Any]:
        """The contents of the file: what is known, and what a pair with this outcome always states."""
        always = {"stage", "warp_check"} if self.ok else {"stage", "timepoint"}
        values = {field.name: getattr(self, field.name) for field in fields(self)}
        return {
            _KEYS.get(name, name): value
            for name, value in values.items()
            if value is not None or name in always
        }


def read_status(folder: Path) -> PairStatus:
    """Read the status of the pair in ``folder``."""
    return PairStatus.of(json.loads((folder / FILE).read_text(encoding="utf-8")))


def status_or(folder: Path, otherwise: PairStatus) -> PairStatus:
    """Read the same; if there is none, or it is being replaced, the status known ``otherwise``."""
    try:
        found = json.loads((folder / FILE).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return otherwise
    return PairStatus.of(found) if isinstance(found, dict) else otherwise

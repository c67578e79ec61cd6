"""The settings of a registration, read once from the plain values that its job receives."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from longimorph.numerics.solve import Settings


@dataclass(frozen=True)
class RegisterSettings:
    """What a study sets for a registration (``numerical``, ``compared_min``, ``smoothing_mm``), and its job.

    ``memory_mb`` is the memory that the job requested, ``memory_model`` a model file; None: not given.
    ``recorded`` are the plain values, for status.json.
    """

    numerical: Settings
    compared_min: float
    smoothing_mm: float
    device: Literal["auto", "cpu", "cuda"]
    threads: int
    memory_mb: int | None
    memory_model: Path | None
    recorded: Mapping[str, Any]

    @classmethod
    def of(cls, given: Mapping[str, Any]) -> RegisterSettings:
        """The settings from a job's plain values."""
        file = given.get("memory_model")
        return cls(
            numerical=numerical_settings(given),
            compared_min=given["compared_min"],
            smoothing_mm=given["smoothing_mm"],
            device=given["device"],
            threads=given["threads"],
            memory_mb=given.get("memory_mb"),
            memory_model=Path(file) if file else None,
            recorded=dict(given),
        )


def numerical_settings(given: Mapping[str, Any]) -> Settings:
    """The settings of the numerics from a configuration's values; ``auto`` is None there."""
    steps, kernel = given["steps"], given["kernel_mm"]
    return Settings(
        reallocation=given["reallocation"],
        kernel_mm=None if kernel == "auto" else tuple(kernel),
        amplitude_mm=given["amplitude_mm"],
        regularisation=given["regularisation"],
        volume_mm=given["volume_mm"],
        volume_weight=given["volume_weight"],
        max_evaluations=given["max_evaluations"],
        tolerance=given["tolerance"],
        steps=None if steps == "auto" else steps,
    )

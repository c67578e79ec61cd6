"""The settings of one study: ``config.yaml`` as a frozen object, with all defaults filled in."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from longimorph import paths
from longimorph.errors import InputError, LongimorphError, Problem
from longimorph.memory import model
from longimorph.study import schema as schemas
from longimorph.study import yamlfile
from longimorph.study.schema import Source

PRESET = "preset:"
REGISTRATION = (
    "reallocation",
    "kernel_mm",
    "amplitude_mm",
    "regularisation",
    "volume_mm",
    "volume_weight",
    "max_evaluations",
    "tolerance",
    "steps",
)
"""The settings of the registration itself, given the maps."""

PATHS = ("cohort", "classes", "control", "gpus", "memory_model", "template", "template_mask")


@dataclass(frozen=True)
class AlignConfig:
    """Acceptance limits and search settings of the rigid alignment; lengths in mm, angles in degrees."""

    metric_min: float
    overlap_min: float
    coverage_min: float
    max_inconsistency_mm: float
    max_rotation_deg: float
    max_translation_mm: float
    seed: int


@dataclass(frozen=True)
class Config:
    """All settings of a study; the schema ``workflow/schemas/config.schema.yaml`` describes each of them.

    Paths are absolute. ``control`` is an absolute path or ``preset:NAME``.
    """

    cohort: Path
    classes: Path
    control: str
    gpus: Path | None
    memory_model: Path | None
    pairs: Literal["consecutive", "baseline", "all"]
    patients: tuple[str, ...] | None
    reference: Literal["midspace", "baseline", "none"]
    spacing_mm: float | Literal["native"]
    margin_mm: float
    smoothing_mm: float
    floor: float
    device: Literal["auto", "cpu", "cuda"]
    threads: int
    reallocation: Literal["projected", "scalar", "pairs"]
    kernel_mm: tuple[float, ...] | Literal["auto"]
    amplitude_mm: float
    regularisation: float
    volume_mm: float
    volume_weight: float
    max_evaluations: int
    tolerance: float
    steps: int | Literal["auto"]
    compared_min: float
    template: Path | None
    template_mask: Path | None
    template_smoothing_mm: float
    sweep: Mapping[str, Any] | None
    align: AlignConfig


def load_config(file: Path | str) -> Config:
    """Read the configuration ``file``; raises InputError with all its problems."""
    values, problems = examine_file(Path(file))
    return _finish(values, problems)


def from_mapping(settings: Mapping[str, Any], folder: Path | str, name: str = "configuration") -> Config:
    """Build the configuration from settings that were already read, such as Snakemake's ``config``.

    Relative paths start at ``folder``; messages show ``name`` in place of a file name.
    """
    values, problems = examine_config(settings, Path(folder), Source(name))
    return _finish(values, problems)


def defaults() -> Config:
    """The configuration of a study that sets only its three tables."""
    tables = {"cohort": "cohort.tsv", "classes": "classes.tsv", "control": "preset:lesion"}
    return from_mapping(tables, Path("."))


def examine_file(file: Path) -> tuple[dict[str, Any], list[Problem]]:
    """Read the configuration ``file`` as far as possible: usable values, and all problems."""
    settings, source, problems = yamlfile.read_yaml(file)
    if settings is None:
        return {}, problems
    values, found = examine_config(settings, file.resolve().parent, source)
    return values, problems + found


def examine_config(
    settings: Mapping[Any, Any], folder: Path, source: Source
) -> tuple[dict[str, Any], list[Problem]]:
    """Check ``settings``; return the usable constructor arguments of Config, and all problems."""
    values, problems = schemas.check_settings(settings, schemas.load_schema(), source)
    for key in PATHS:
        if values.get(key) is not None:
            path = located(values[key], folder)
            values[key] = path if key == "control" else Path(path)
    if (tables := located_in_sweep(values.get("sweep"), folder)) is not None:
        sweep = values["sweep"]
        values["sweep"] = {**sweep, "settings": {**sweep["settings"], "control": tables}}
    if values.get("memory_model") is not None:
        problems += _unusable_model(values["memory_model"], source)
    _convert(values)
    return values, problems


def _unusable_model(file: Path, source: Source) -> list[Problem]:
    try:
        model.model(file)
    except LongimorphError as error:
        return [source.problem("memory_model", f"cannot be used: {error}")]
    return []


def located(text: str, folder: Path) -> str:
    """The absolute path of a table that a configuration in ``folder`` names; a preset stays as it is."""
    return text if text.startswith(PRESET) else str(paths.resolve(text.strip(), folder).absolute())


def located_in_sweep(sweep: Any, folder: Path) -> list[Any] | None:
    """The control tables of a sweep with absolute paths, None where it has none; no other part of it is
    checked.
    """
    settings = sweep.get("settings") if isinstance(sweep, Mapping) else None
    names = settings.get("control") if isinstance(settings, Mapping) else None
    if not isinstance(names, list):
        return None
    return [located(name, folder) if isinstance(name, str) else name for name in names]


def _convert(values: dict[str, Any]) -> None:
    """Convert the checked values to the types that Config declares."""
    patients = values["patients"]
    if patients is not None:
        values["patients"] = (patients,) if isinstance(patients, str) else tuple(patients)
    if values["kernel_mm"] != "auto":
        values["kernel_mm"] = tuple(float(sigma) for sigma in values["kernel_mm"])
    for group, fields in ((values, Config.__annotations__), (values["align"], AlignConfig.__annotations__)):
        for key, kind in fields.items():
            if isinstance(group.get(key), int | float):
                group[key] = int(group[key]) if kind.startswith("int") else float(group[key])


def _finish(values: dict[str, Any], problems: list[Problem]) -> Config:
    if problems:
        raise InputError(problems)
    return build(values)


def build(values: Mapping[str, Any]) -> Config:
    """Build the Config from examined ``values`` that hold every key."""
    return Config(**{**values, "align": AlignConfig(**values["align"])})

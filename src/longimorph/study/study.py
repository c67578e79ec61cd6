"""A study: the configuration with its three tables, read together to report all problems at once."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from longimorph.errors import InputError, Problem
from longimorph.study import classes as class_tables
from longimorph.study import config as configs
from longimorph.study import control as controls
from longimorph.study import gpus as gpu_tables
from longimorph.study import pairs as pairing
from longimorph.study import sweep as sweeps
from longimorph.study import table as cohorts
from longimorph.study import template as templates
from longimorph.study import yamlfile
from longimorph.study.classes import ClassTable
from longimorph.study.config import Config
from longimorph.study.gpus import Gpu
from longimorph.study.pairs import Plan
from longimorph.study.schema import Source
from longimorph.study.suggest import did_you_mean
from longimorph.study.sweep import Sweep
from longimorph.study.table import Cohort

Settings = Path | str | Mapping[str, Any]


@dataclass(frozen=True)
class Study:
    """The contents of all input files.

    ``cohort`` holds the chosen patients only. ``control`` is (C, C), rows from and columns to, in the order
    of ``classes``. ``plan`` lists the pairs and the patients without pairs. ``gpus`` are the kinds of GPUs
    that a cluster offers. ``sweep`` describes the runs with other settings, if any.
    """

    config: Config
    cohort: Cohort
    classes: ClassTable
    control: NDArray[np.float64]
    plan: Plan
    gpus: tuple[Gpu, ...] = ()
    sweep: Sweep | None = None

    @property
    def free_groups(self) -> int:
        """The most groups of free pairs that the control matrix has, or a matrix of the sweep."""
        swept = [combination.matrix for combination in self.sweep.combinations] if self.sweep else []
        projected = self.config.reallocation == "projected"
        free = [controls.free_pairs(m, self.classes, projected) for m in (self.control, *swept)]
        return max(map(len, free))


@dataclass(frozen=True)
class Draft:
    """The readable part of a study, complete or not, and all problems found.

    ``classes`` is None unless its table is free of problems, since an incomplete table is misleading.
    """

    values: dict[str, Any]
    cohort: Cohort | None
    classes: ClassTable | None
    control: NDArray[np.float64] | None
    gpus: tuple[Gpu, ...]
    sweep: Sweep | None
    problems: tuple[Problem, ...]

    def finish(self) -> Study:
        """Return the study; raises InputError if there is any problem."""
        if self.problems or self.cohort is None or self.classes is None or self.control is None:
            raise InputError(self.problems)
        config = configs.build(self.values)
        plan = pairing.plan_pairs(self.cohort, config.pairs)
        return Study(config, self.cohort, self.classes, self.control, plan, self.gpus, self.sweep)


def load_study(
    settings: Settings,
    folder: Path | str | None = None,
    file: Path | str | None = None,
    check_files: bool = True,
) -> Study:
    """Read a study; raises InputError with all problems of all files.

    ``settings`` is the configuration file, or its content (such as Snakemake's ``config``). For content,
    relative paths start at ``folder``, by default the working folder, and ``file``, from which the content
    was read, provides names and lines for messages. With ``check_files`` each scan must exist.
    """
    return draft(settings, folder, file, check_files).finish()


def draft(
    settings: Settings,
    folder: Path | str | None = None,
    file: Path | str | None = None,
    check_files: bool = True,
) -> Draft:
    """Read a study as far as possible; arguments as for ``load``."""
    values, source, problems = _settings(settings, folder, file)
    cohort = classes = control = None
    gpus: tuple[Gpu, ...] = ()
    if "cohort" in values:
        cohort, found = cohorts.examine_cohort(values["cohort"], check_files)
        problems += found + _unknown_patients(cohort, values["patients"], source)
        cohort = cohort.select(values["patients"]) if cohort is not None else None
    if "classes" in values:
        classes, found = class_tables.examine_classes(values["classes"])
        classes = None if found else classes
        problems += found
    if "control" in values:
        control, found = controls.examine_control(values["control"], classes)
        problems += found
    if values.get("gpus") is not None:
        gpus, found = gpu_tables.examine_gpus(values["gpus"])
        problems += found
    if check_files:
        problems += templates.examine_template(values.get("template"), values.get("template_mask"), source)
    sweep = None
    if values.get("sweep") is not None:
        plan = pairing.plan_pairs(cohort, values["pairs"]) if cohort is not None else None
        sweep, found = sweeps.examine_sweep(
            values["sweep"], source, (values.get("control", ""), control), plan, classes
        )
        problems += found
    return Draft(values, cohort, classes, control, gpus, sweep, tuple(problems))


def _settings(
    settings: Settings, folder: Path | str | None, file: Path | str | None
) -> tuple[dict[str, Any], Source, list[Problem]]:
    """Return the checked settings, their location for messages, and all problems."""
    source = Source("configuration")
    problems: list[Problem] = []
    content: Mapping[str, Any] | None
    if isinstance(settings, Mapping):
        content = settings
        if file is not None:
            _, source, problems = yamlfile.read_yaml(Path(file))
    else:
        content, source, problems = yamlfile.read_yaml(Path(settings))
    if content is None:
        return {}, source, problems
    if not isinstance(settings, Mapping):
        folder = Path(settings).resolve().parent
    values, found = configs.examine_config(content, Path(folder or "."), source)
    return values, source, problems + found


def _unknown_patients(cohort: Cohort | None, chosen: tuple[str, ...] | None, source: Source) -> list[Problem]:
    """Return a problem for each chosen patient that is not in the cohort table."""
    known = sorted(cohort.named) if cohort is not None else []
    text = "is not a patient of the cohort table"
    return [
        source.problem("patients", text, value=name, hint=did_you_mean(name, known))
        for name in chosen or ()
        if cohort is not None and name not in known
    ]

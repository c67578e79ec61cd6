"""The sweep of a study: chosen pairs to register with every combination of chosen settings."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import product
from math import prod
from pathlib import Path
from typing import Any

from longimorph.errors import Problem
from longimorph.study import control as controls
from longimorph.study import schema as schemas
from longimorph.study.classes import ClassTable
from longimorph.study.config import PRESET, REGISTRATION
from longimorph.study.control import Matrix
from longimorph.study.pairs import Pair, Plan
from longimorph.study.schema import Source, shown
from longimorph.study.suggest import did_you_mean

SETTINGS = (*REGISTRATION, "control")
"""The settings that a sweep may vary; the maps of the visits depend on none of them."""

MOST = 200
"""Maximum number of combinations; more are presumably a typing error, and too many to inspect."""

_KEYS = ("pairs", "settings")
_LONGEST = 180


@dataclass(frozen=True)
class Combination:
    """One combination of settings.

    ``name``: of its folder. ``settings``: without ``control``, whose source and ``matrix`` (C, C) are
    separate fields. ``texts``: the value of each varied setting as text.
    """

    name: str
    settings: Mapping[str, Any]
    control: str
    matrix: Matrix
    texts: Mapping[str, str]


@dataclass(frozen=True)
class Sweep:
    """The pairs of a sweep and all its combinations, in the given order."""

    pairs: tuple[Pair, ...]
    combinations: tuple[Combination, ...]


def examine_sweep(
    given: Mapping[Any, Any],
    source: Source,
    own: tuple[str, Matrix | None],
    plan: Plan | None,
    classes: ClassTable | None,
) -> tuple[Sweep | None, list[Problem]]:
    """Return the sweep of the setting ``given`` if it is complete, and all problems.

    ``own`` is the study's own control, its source and its matrix. If the matrix, ``plan`` or ``classes`` is
    missing because its table is unusable, no sweep is returned, and what depends on it is not checked.
    """
    problems = [_unknown(key, source) for key in given if key not in _KEYS]
    pairs, wrong_pairs = _pairs(given.get("pairs"), plan, source)
    values, wrong_values = _values(given.get("settings"), source)
    matrices, wrong_controls = _matrices(values.get("control", []), classes)
    problems += [*wrong_pairs, *wrong_values, *wrong_controls]
    count = prod(len(choices) for choices in values.values())
    if count > MOST:
        text = f"gives {count:,} combinations; at most {MOST} are allowed"
        problems.append(source.problem("sweep.settings", text, hint="Remove values or settings"))
    if problems or own[1] is None or plan is None:
        return None, problems
    matrices |= {own[0]: own[1]}
    chosen = [dict(zip(values, choice, strict=True)) for choice in product(*values.values())]
    return Sweep(tuple(pairs), tuple(_combination(one, own[0], matrices) for one in chosen)), []


def _unknown(key: Any, source: Source) -> Problem:
    hint = did_you_mean(str(key), _KEYS) or f"Known keys: {', '.join(_KEYS)}"
    return source.problem(f"sweep.{key}", "unknown key", hint=hint)


def _matrices(names: Sequence[str], classes: ClassTable | None) -> tuple[dict[str, Matrix], list[Problem]]:
    """Return the control matrices by their source, and the problems of all of them."""
    matrices, problems = {}, []
    for name in names:
        matrix, found = controls.examine_control(name, classes)
        problems += found
        if matrix is not None:
            matrices[name] = matrix
    return matrices, problems


def _pairs(given: Any, plan: Plan | None, source: Source) -> tuple[list[Pair], list[Problem]]:
    expected = "a list of pairs such as [P001/V1__V2]"
    names = [given] if isinstance(given, str) else given
    if not isinstance(names, list) or not names or not all(isinstance(name, str) for name in names):
        found = None if given is None else shown(given)
        return [], [source.problem("sweep.pairs", "is not valid", value=found, expected=expected)]
    if plan is None:
        return [], []
    known = {f"{pair.patient}/{pair.name}": pair for pair in plan.pairs}
    problems = [
        source.problem("sweep.pairs", "is not a pair of the study", value=shown(name), expected=expected,
                       hint=did_you_mean(name, known))
        for name in names
        if name not in known
    ]  # fmt: skip
    return [known[name] for name in dict.fromkeys(names) if name in known], problems


def _values(given: Any, source: Source) -> tuple[dict[str, list[Any]], list[Problem]]:
    """Return the values of each varied setting, and all problems."""
    if not isinstance(given, Mapping) or not given:
        expected = "lists of values by setting, such as {kernel_mm: [[3], [4]], control: [preset:lesion]}"
        found = None if given is None else shown(given)
        return {}, [source.problem("sweep.settings", "is not valid", value=found, expected=expected)]
    rules = {key: schemas.load_schema()["properties"][key] for key in SETTINGS}
    values: dict[str, list[Any]] = {}
    problems = []
    for key, choices in given.items():
        place = f"sweep.settings.{key}"
        if key not in rules:
            hint = did_you_mean(str(key), SETTINGS) or f"A sweep can vary: {', '.join(SETTINGS)}"
            problems.append(source.problem(place, "is not a setting that a sweep can vary", hint=hint))
        elif not isinstance(choices, list) or not choices:
            expected = f"a list of values, each {schemas.expected_text(rules[key])}"
            problems.append(source.problem(place, "is not valid", value=shown(choices), expected=expected))
        else:
            values[key], found = _checked(choices, rules[key], source, place)
            problems += found
    return {key: values[key] for key in SETTINGS if key in values}, problems


def _checked(
    choices: Sequence[Any], rule: schemas.Schema, source: Source, place: str
) -> tuple[list[Any], list[Problem]]:
    values: list[Any] = []
    problems = []
    for choice in choices:
        value, found = schemas.check_value(choice, rule, source, place)
        problems += found
        if not found and text_of(value) in map(text_of, values):
            problems.append(
                source.problem(place, "contains a value or a table name twice", value=shown(value))
            )
        values += [value] if not found else []
    return values, problems


def _combination(chosen: Mapping[str, Any], own_control: str, matrices: Mapping[str, Matrix]) -> Combination:
    control = str(chosen.get("control", own_control))
    settings = {key: value for key, value in chosen.items() if key != "control"}
    texts = {key: text_of(value) for key, value in chosen.items()}
    name = "__".join(f"{key}-{text}" for key, text in texts.items())
    if len(name) > _LONGEST:
        name = f"{name[:_LONGEST]}-{hashlib.sha256(name.encode()).hexdigest()[:8]}"
    return Combination(name, settings, control, matrices[control], texts)


def text_of(value: Any) -> str:
    """Format a value for tables and folder names: letters, digits and ``_.+-``."""
    if isinstance(value, list):
        return "+".join(map(text_of, value))
    if isinstance(value, int | float):
        return f"{value:.10g}"
    name = value.removeprefix(PRESET) if value.startswith(PRESET) else Path(value).stem
    return re.sub(r"[^A-Za-z0-9_.+-]", "_", name.strip())

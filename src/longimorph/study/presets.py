"""Control matrices given as rules by kind of class, so that a preset fits any class table.

A preset is a YAML file in ``config/presets`` with ``description`` and ``rules``, each with ``from``, ``to``
and ``rho``, a number or ``open``. For each pair of classes the first matching rule gives rho.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from longimorph import paths
from longimorph.errors import Problem
from longimorph.study import yamlfile
from longimorph.study.classes import BACKGROUND, ClassRow, ClassTable
from longimorph.study.schema import shown
from longimorph.study.suggest import did_you_mean

KINDS = ("any", "healthy", "pathological", "fluid", BACKGROUND, "same")
OPEN = "open"
"""An entry that the data decide, not the matrix; in a matrix of numbers it is NaN."""


def available() -> dict[str, str]:
    """Return the names of the presets with their descriptions."""
    found = {}
    for file in sorted(paths.presets().glob("*.yaml")):
        settings, _, _ = yamlfile.read_yaml(file)
        found[file.stem] = str((settings or {}).get("description", "")).strip()
    return found


def examine_presets(
    name: str, classes: ClassTable | None
) -> tuple[NDArray[np.float64] | None, list[Problem]]:
    """Return the matrix (C, C) of the preset called ``name`` for ``classes``, and all problems."""
    known = available()
    if name not in known:
        hint = did_you_mean(name, known) or f"Presets: {', '.join(known)}"
        return None, [Problem("control", "is not a preset", value=f"preset:{name}", hint=hint)]
    file = paths.presets() / f"{name}.yaml"
    settings, _, problems = yamlfile.read_yaml(file)
    rules = (settings or {}).get("rules")
    problems += _rule_problems(file, rules)
    if problems or classes is None:
        return None, problems
    assert isinstance(rules, list)
    rho = [[_first_rho(rules, source, target) for target in classes.rows] for source in classes.rows]
    if any(entry is None for row in rho for entry in row):
        text = "the rules do not cover all pairs of classes"
        return None, [Problem(paths.display(file), text, hint="Add a last rule from any to any")]
    return np.array(rho, np.float64), []


def _first_rho(rules: list[dict[str, Any]], source: ClassRow, target: ClassRow) -> float | None:
    for rule in rules:
        same = rule["to"] == "same" and source.name == target.name
        if _is(source, rule["from"]) and (same or _is(target, rule["to"])):
            return math.nan if rule["rho"] == OPEN else float(rule["rho"])
    return None


def _is(row: ClassRow, kind: str) -> bool:
    """Return whether the class of ``row`` is of ``kind``; fluids and the background also count as healthy."""
    if kind == BACKGROUND:
        return row.name == BACKGROUND
    if kind == "fluid":
        return row.fluid
    return kind == "any" or kind == ("pathological" if row.pathological else "healthy")


def _rule_problems(file: Path, rules: Any) -> list[Problem]:
    name = paths.display(file)
    if not isinstance(rules, list) or not rules:
        return [Problem(name, "is not a list of rules", column="rules")]
    problems = []
    for number, rule in enumerate(rules, 1):
        for text, value, expected in _rule_faults(rule):
            problems.append(Problem(name, text, None, f"rules, number {number}", value, expected))
    return problems


def _rule_faults(rule: Any) -> Iterator[tuple[str, Any, str]]:
    """Yield the faults of one rule: the message, what was found, what was expected."""
    if not isinstance(rule, dict) or set(rule) != {"from", "to", "rho"}:
        yield "is not a rule", None, "the keys from, to and rho"
        return
    for key, kinds in (("from", KINDS[:-1]), ("to", KINDS)):
        if rule[key] not in kinds:
            yield f"'{key}' is not valid", shown(rule[key]), f"one of {', '.join(kinds)}"
    rho = rule["rho"]
    if rho != OPEN and (not isinstance(rho, int | float) or not 0 <= rho <= 1):
        yield "'rho' is not valid", shown(rho), f"a number from 0 to 1, or {OPEN}"

"""YAML files with the line of every key, and syntax errors reported as problems."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import yaml

from longimorph import paths
from longimorph.errors import Problem
from longimorph.study import inputs
from longimorph.study.schema import Source

_MOST_VALUES = 1_000_000
_DEPTH = 2  # groups within groups of which lines are known


def read_yaml(file: Path) -> tuple[dict[Any, Any] | None, Source, list[Problem]]:
    """Return the mapping of a YAML file, the line of each key, and its YAML errors."""
    name = paths.display(file)
    try:
        text = inputs.read_bytes(file).decode("utf-8-sig")
    except inputs.Unreadable as error:
        return None, Source(name), [Problem(name, str(error))]
    except UnicodeDecodeError:
        return None, Source(name), [Problem(name, "is not UTF-8 text", hint="Save the file as UTF-8")]
    try:
        loader = yaml.SafeLoader(text)
        node = loader.get_single_node()
        if _size(node, {}) > _MOST_VALUES:
            return None, Source(name), [Problem(name, f"is too large: more than {_MOST_VALUES:,} values")]
        source, problems = _lines(node, name)
        data = loader.construct_document(node) if node is not None else {}
    except yaml.MarkedYAMLError as error:
        return None, Source(name), [_syntax_problem(name, text, error)]
    except (yaml.YAMLError, ValueError, OverflowError, RecursionError) as error:
        return None, Source(name), [Problem(name, f"is not valid YAML: {str(error).splitlines()[0]}")]
    if not isinstance(data, dict):
        return None, source, [Problem(name, "contains no settings", expected="lines such as 'key: value'")]
    return data, source, problems


def _syntax_problem(name: str, text: str, error: yaml.MarkedYAMLError) -> Problem:
    row = error.problem_mark.line + 1 if error.problem_mark is not None else None
    return Problem(name, f"is not valid YAML: {error.problem}", row=row, hint=_yaml_hint(text, row))


def _yaml_hint(text: str, row: int | None) -> str | None:
    """Return a hint at a common YAML mistake, if the line at ``row`` contains it."""
    lines = text.splitlines()
    if row is None or row > len(lines):
        return None
    if "\t" in lines[row - 1]:
        return "The line contains a tab: indent with spaces"
    return "Write 'key: value' with a space after the colon; put text with special characters in quotes"


def _size(node: Any, sizes: dict[int, int]) -> int:
    """Return how many values a node holds when every alias is expanded, without expanding them."""
    if id(node) not in sizes:
        sizes[id(node)] = 0  # what a node holds of itself does not count
        parts = node.value if isinstance(node, yaml.CollectionNode) else []
        inner = (part for entry in parts for part in (entry if isinstance(entry, tuple) else (entry,)))
        sizes[id(node)] = 1 + sum(_size(part, sizes) for part in inner)
    return sizes[id(node)]


def _lines(node: Any, name: str) -> tuple[Source, list[Problem]]:
    """Return the line of each key, and a problem for each duplicate key."""
    lines: dict[str, int] = {}
    problems: list[Problem] = []

    def walk(mapping: Any, prefix: str) -> None:
        for key, value in mapping.value:
            if not isinstance(key, yaml.ScalarNode):
                continue
            full, line = prefix + key.value, key.start_mark.line + 1
            if full in lines:
                text = f"occurs twice, first on line {lines[full]}"
                problems.append(Problem(name, text, row=line, column=full))
            lines.setdefault(full, line)
            if isinstance(value, yaml.MappingNode) and prefix.count(".") < _DEPTH:
                walk(value, full + ".")

    if isinstance(node, yaml.MappingNode):
        walk(node, "")
    return Source(name, lines), problems

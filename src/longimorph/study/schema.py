"""The configuration's schema: checks with readable messages, defaults, and descriptions of the keys."""

from __future__ import annotations

import math
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from functools import cache
from typing import Any

import yaml
from jsonschema import Draft202012Validator

from longimorph import paths
from longimorph.errors import Problem
from longimorph.study.suggest import did_you_mean, nearest

Schema = dict[str, Any]

_EXPONENT = re.compile(r"[-+]?(\d+\.?\d*|\.\d+)[eE][-+]?\d{1,3}")
_LIMITS = {
    "minimum": "at least",
    "exclusiveMinimum": "above",
    "maximum": "at most",
    "exclusiveMaximum": "below",
}
_LONGEST_SHOWN = 80


@dataclass(frozen=True)
class Source:
    """Origin of settings: the name shown in messages, and the line of each key (``align.seed``)."""

    name: str
    lines: Mapping[str, int] = field(default_factory=dict)

    def problem(self, key: str, message: str, **details: Any) -> Problem:
        """Return a problem with this source's ``key``."""
        return Problem(self.name, message, row=self.lines.get(key), column=key, **details)


@cache
def load_schema(name: str = "config") -> Schema:
    """Return the schema called ``name`` of ``workflow/schemas``."""
    schema: Schema = yaml.safe_load(paths.schema(name).read_text(encoding="utf-8"))
    return schema


def check_settings(
    settings: Mapping[Any, Any], schema: Schema, source: Source
) -> tuple[dict[str, Any], list[Problem]]:
    """Return the usable settings with all defaults filled in, and a problem for each unusable one.

    A setting with a problem takes its default, so that the rest of the input can still be examined. A
    required setting that is missing or unusable is absent from the result.
    """
    return _check_group(settings, schema, source, "")


def _check_group(
    settings: Mapping[Any, Any], schema: Schema, source: Source, prefix: str
) -> tuple[dict[str, Any], list[Problem]]:
    known: dict[str, Schema] = schema["properties"]
    values: dict[str, Any] = {}
    problems = [_unknown(key, list(known), source, prefix) for key in settings if key not in known]
    for key, rule in known.items():
        present = key in settings
        if rule.get("type") == "object":
            values[key], found = _check_nested(settings.get(key), present, rule, source, prefix + key)
        elif present:
            value, found = check_value(settings[key], rule, source, prefix + key)
            if not found:
                values[key] = value
        else:
            missing = key in schema.get("required", ()) and not _mistyped(key, settings, known)
            found = [source.problem(prefix + key, "required key is missing")] if missing else []
        problems += found
        if key not in values and "default" in rule:
            values[key] = rule["default"]
    return values, problems


def _check_nested(
    value: Any, present: bool, rule: Schema, source: Source, key: str
) -> tuple[dict[str, Any], list[Problem]]:
    """Check a group of settings such as ``align``; an absent or unusable one takes its defaults."""
    if isinstance(value, Mapping):
        return _check_group(value, rule, source, key + ".")
    values, _ = _check_group({}, rule, source, key + ".")
    if not present:
        return values, []
    expected = f"a group of indented settings: {', '.join(rule['properties'])}"
    return values, [source.problem(key, "is not valid", value=shown(value), expected=expected)]


def check_value(value: Any, rule: Schema, source: Source, key: str) -> tuple[Any, list[Problem]]:
    """Return the value, and a problem if ``rule`` does not allow it.

    Texts such as ``1e-3`` are converted to numbers where a number is expected.
    """
    value = _numbers(value) if _takes_numbers(rule) else value
    if _finite(value) and Draft202012Validator(rule).is_valid(value):
        return value, []
    message = "is empty" if value is None else "is not valid"
    found = None if value is None else shown(value)
    hint = _hint(value, rule)
    return value, [source.problem(key, message, value=found, expected=expected_text(rule), hint=hint)]


def _hint(value: Any, rule: Schema) -> str | None:
    words = [w for r in _alternatives(rule) for w in r.get("enum", [r["const"]] if "const" in r else [])]
    if isinstance(value, str) and words:
        return did_you_mean(value, words)
    names = any(r.get("items", {}).get("type") == "string" for r in _alternatives(rule))
    if names and isinstance(value, list) and any(isinstance(entry, int | float) for entry in value):
        return "YAML reads 001 as a number: put names made of digits in quotes, '001'"
    return None


def _unknown(key: Any, known: list[str], source: Source, prefix: str) -> Problem:
    hint = did_you_mean(str(key), known) or f"Known keys: {', '.join(known)}"
    return source.problem(f"{prefix}{key}", "unknown key", hint=hint)


def _mistyped(key: str, settings: Mapping[Any, Any], known: Mapping[str, Schema]) -> bool:
    """Return whether an unknown key of ``settings`` is already reported as a misspelling of ``key``."""
    return any(nearest(str(given), known) == key for given in settings if given not in known)


def shown(value: Any) -> Any:
    """Return ``value`` shortened for a message."""
    if isinstance(value, str | int | float | bool) or value is None:
        text = value if isinstance(value, str) else repr(value)
        return text[:_LONGEST_SHOWN] + "…" if len(text) > _LONGEST_SHOWN else value
    if isinstance(value, list) and len(value) <= 8 and all(isinstance(v, str | int | float) for v in value):
        return value
    return f"a {type(value).__name__} of {len(value)}" if hasattr(value, "__len__") else type(value).__name__


def _alternatives(rule: Schema) -> list[Schema]:
    alternatives: list[Schema] = rule.get("oneOf", [rule])
    return alternatives


def _takes_numbers(rule: Schema) -> bool:
    kinds = {r.get("items", r).get("type") for r in _alternatives(rule)}
    return bool(kinds & {"number", "integer"})


def _numbers(value: Any) -> Any:
    """Return ``value`` with texts such as ``1e-3``, which YAML 1.1 does not read as numbers, as numbers."""
    if isinstance(value, list):
        return [_numbers(entry) for entry in value]
    return float(value) if isinstance(value, str) and _EXPONENT.fullmatch(value.strip()) else value


def _finite(value: Any) -> bool:
    if isinstance(value, list):
        return all(_finite(entry) for entry in value if isinstance(entry, int | float))
    try:
        return not isinstance(value, int | float) or math.isfinite(value)
    except OverflowError:  # a whole number with more digits than any float has
        return False


def expected_text(rule: Schema) -> str:
    """Describe the values that a key takes: ``a number above 0 (mm), or native``."""
    if "expected" in rule:
        return str(rule["expected"])
    texts = [t for t in (_kind_text(r) for r in _alternatives(rule)) if t]
    return ", or ".join(texts)


def _kind_text(rule: Schema) -> str:
    if "const" in rule:
        return str(rule["const"])
    if "enum" in rule:
        return "one of " + ", ".join(rule["enum"])
    kind = rule.get("type")
    if kind == "array":
        return f"a list in brackets, each entry {_kind_text(rule['items'])}"
    words = {"number": "a number", "integer": "a whole number", "string": "text"}
    return (words.get(str(kind), "") + _range_text(rule)).strip()


def _range_text(rule: Schema) -> str:
    limits = [f"{word} {rule[key]}" for key, word in _LIMITS.items() if key in rule]
    return f" {' and '.join(limits)}" if limits else ""


def keys(schema: Schema, prefix: str = "") -> Iterator[tuple[str, Schema, bool]]:
    """Yield every key with its rule and whether it is required, groups as ``group.key``."""
    for key, rule in schema["properties"].items():
        if rule.get("type") == "object":
            yield from keys(rule, f"{prefix}{key}.")
        else:
            yield f"{prefix}{key}", rule, key in schema.get("required", ())

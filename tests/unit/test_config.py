"""The configuration: defaults, messages on errors, and its documentation."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import pytest
from study_files import CONFIG

from longimorph import paths
from longimorph.errors import InputError
from longimorph.study import config, reference, schema
from longimorph.study.config import AlignConfig, Config


def problems_of(folder: Path, text: str) -> list[str]:
    """The problems of a configuration with this text."""
    (folder / "config.yaml").write_text(text)
    with pytest.raises(InputError) as error:
        config.load_config(folder / "config.yaml")
    return [str(problem) for problem in error.value.problems]


def test_three_tables_are_enough(tmp_path: Path) -> None:
    (tmp_path / "config.yaml").write_text(CONFIG)
    made = config.load_config(tmp_path / "config.yaml")
    assert made.cohort == tmp_path / "cohort.tsv"
    assert made.control == str(tmp_path / "control.tsv")
    for key, rule, _ in schema.keys(schema.load_schema()):
        if "default" in rule and "." not in key:
            value = getattr(made, key)
            assert (list(value) if isinstance(value, tuple) else value) == rule["default"], key


def test_dataclasses_hold_exactly_the_keys_of_the_schema() -> None:
    keys = schema.load_schema()["properties"]
    assert list(keys) == [field.name for field in dataclasses.fields(Config)]
    assert list(keys["align"]["properties"]) == [field.name for field in dataclasses.fields(AlignConfig)]


def test_every_key_is_described() -> None:
    for key, rule, required in schema.keys(schema.load_schema()):
        assert rule["description"].endswith("."), key
        assert required or "default" in rule, key


@pytest.mark.parametrize(
    "key", [key for key, _, required in schema.keys(schema.load_schema()) if not required]
)
def test_every_default_passes_its_own_rule(key: str) -> None:
    rule = {name: rule for name, rule, _ in schema.keys(schema.load_schema())}[key]
    group = {key: rule["default"]} if "." not in key else {"align": {key.split(".")[1]: rule["default"]}}
    tables = {"cohort": "a", "classes": "b", "control": "c"}
    assert schema.check_settings({**tables, **group}, schema.load_schema(), schema.Source("x"))[1] == []


@pytest.mark.parametrize("text, number", [("1e-5", 1e-5), ("1.0e-5", 1e-5), ("0.005", 0.005)])
def test_exponents_without_a_point_are_numbers(tmp_path: Path, text: str, number: float) -> None:
    (tmp_path / "config.yaml").write_text(CONFIG + f"floor: {text}\n")
    assert config.load_config(tmp_path / "config.yaml").floor == number


@pytest.mark.parametrize(
    "lines, expected",
    [
        ("spacng_mm: 2", "line 4, 'spacng_mm': unknown key. Did you mean 'spacing_mm'?"),
        ("spacing_mm: natve", "line 4, 'spacing_mm': is not valid; found 'natve'; expected a number"),
        ("spacing_mm: natve", "Did you mean 'native'?"),
        ("spacing_mm: 0", "found 0; expected a number above 0"),
        ("spacing_mm: .nan", "found nan; expected a number above 0"),
        ("spacing_mm: .inf", "found inf; expected a number above 0"),
        ("spacing_mm:", "'spacing_mm': is empty; expected a number above 0"),
        ("pairs: Baseline", "expected one of consecutive, baseline, all. Did you mean 'baseline'?"),
        ("threads: 1.5", "found 1.5; expected a whole number at least 1"),
        ("threads: true", "found True; expected a whole number at least 1"),
        ("kernel_mm: 8", "expected a list of different numbers above 0"),
        ("kernel_mm: []", "found []; expected a list of different numbers"),
        ("align:\n  seeed: 1", "line 5, 'align.seeed': unknown key. Did you mean 'seed'?"),
        ("align: 3", "'align': is not valid; found 3; expected a group of indented settings: metric_min"),
        ("patients: [001]", "put names made of digits in quotes, '001'"),
        ("device: cpu\ndevice: cuda", "line 5, 'device': occurs twice, first on line 4"),
        ("device cpu", "line 5: is not valid YAML"),
        ("align:\n\tseed: 1", "The line contains a tab: indent with spaces"),
        ("pairs: [", "is not valid YAML"),
    ],
)
def test_each_mistake_gets_its_sentence(tmp_path: Path, lines: str, expected: str) -> None:
    found = problems_of(tmp_path, CONFIG + lines + "\n")
    assert any(expected in text for text in found), found


def test_all_mistakes_at_once(tmp_path: Path) -> None:
    text = "cohrt: a.tsv\nclasses: b.tsv\nfloor: 2\nthreads: 0\nreference: base\n"
    found = problems_of(tmp_path, text)
    assert len(found) == 5
    assert "unknown key. Did you mean 'cohort'?" in found[0]
    assert any("'control': required key is missing" in text for text in found)


def test_missing_and_odd_files(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="file not found"):
        config.load_config(tmp_path / "config.yaml")
    with pytest.raises(InputError, match="is a folder"):
        config.load_config(tmp_path)
    assert "'cohort': required key is missing" in problems_of(tmp_path, "")[0]
    assert "contains no settings" in problems_of(tmp_path, "- a\n- b\n")[0]
    (tmp_path / "config.yaml").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(InputError, match="not UTF-8"):
        config.load_config(tmp_path / "config.yaml")


def test_one_patient_may_be_named_without_a_list(tmp_path: Path) -> None:
    settings = {"cohort": "a.tsv", "classes": "b.tsv", "control": "preset:lesion", "patients": "P1"}
    made = config.from_mapping(settings, tmp_path)
    assert made.patients == ("P1",)
    assert made.control == "preset:lesion"
    assert config.from_mapping({**settings, "patients": ["P1", "P2"]}, tmp_path).patients == ("P1", "P2")


def test_shipped_configuration_is_usable() -> None:
    made = config.load_config(paths.repository() / "config" / "config.yaml")
    assert made.cohort.is_file() and made.classes.is_file() and Path(made.control).is_file()


def test_reference_page_is_in_step_with_the_schema() -> None:
    page = paths.repository() / "config" / "README.md"
    assert page.read_text(encoding="utf-8") == reference.updated(page.read_text(encoding="utf-8"))
    assert all(
        f"`{key}`" in page.read_text(encoding="utf-8") for key, _, _ in schema.keys(schema.load_schema())
    )

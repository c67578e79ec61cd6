"""The settings of a sweep, its combinations and its page."""

from __future__ import annotations

import re
from itertools import product
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import yaml
from study_files import write_study

from longimorph.errors import InputError
from longimorph.orchestration import parameters
from longimorph.orchestration.sweep import NoSweep, SweepJobs, controls
from longimorph.report.sweep import picture, summary, sweep_page
from longimorph.study import study
from longimorph.study.sweep import SETTINGS
from longimorph.tables import columns
from longimorph.tables.sweep import HEALTH

GRID = {"kernel_mm": [[3], [4, 8]], "control": ["preset:lesion", "control.tsv"], "steps": [5, "auto"]}


def write(folder: Path, sweep: object) -> Path:
    """A whole study with this sweep."""
    config = write_study(folder)
    config.write_text(config.read_text() + yaml.safe_dump({"sweep": sweep}))
    return config


def test_all_combinations_in_order(tmp_path: Path) -> None:
    config = write(tmp_path, {"pairs": ["P2/m0__m6", "P1/m0__m6"], "settings": GRID})
    found = study.load_study(config)
    assert found.sweep is not None
    assert [pair.patient for pair in found.sweep.pairs] == ["P2", "P1"]
    names = [combination.name for combination in found.sweep.combinations]
    assert names[0] == "kernel_mm-3__steps-5__control-lesion"
    assert names[-1] == "kernel_mm-4+8__steps-auto__control-control"
    assert len(names) == len(set(names)) == 8
    jobs = SweepJobs(found)
    settings = jobs.settings(names[-3])
    assert settings["kernel_mm"] == [4, 8] and settings["steps"] == 5
    assert {k: v for k, v in settings.items() if k not in GRID} == {
        k: v for k, v in parameters.Jobs(found).settings("register").items() if k not in GRID
    }
    assert controls(found)[names[0]] == "preset:lesion"
    assert controls(found)[names[-1]] == str(tmp_path / "control.tsv")
    assert (jobs.combination(names[-1]).matrix == found.control).all()
    assert jobs.control_version(names[0]) != jobs.control_version(names[-1])
    slow, fast = (jobs.needs(name).register(found.plan.pairs[0]) for name in (names[-1], names[0]))
    assert slow.mem_mb >= fast.mem_mb
    assert len(jobs.results()) == 2 * 2 * 8


def test_more_evaluations_ask_for_more_time(tmp_path: Path) -> None:
    found = study.load_study(
        write(tmp_path, {"pairs": "P1/m0__m6", "settings": {"max_evaluations": [40, 100_000]}})
    )
    jobs, pair = SweepJobs(found), found.plan.pairs[0]
    few, many = (jobs.needs(c.name).register(pair).minutes for c in jobs.sweep.combinations)
    assert many > few


def test_only_what_a_registration_alone_depends_on_can_vary() -> None:
    assert set(SETTINGS) - {"control"} <= set(parameters.SETTINGS["register"])
    assert not set(SETTINGS) & {*parameters.SETTINGS["align"], *parameters.SETTINGS["maps"]}


PAIR = "P1/m0__m6"


@pytest.mark.parametrize(
    "sweep, words",
    [
        ({"settings": GRID}, ["'sweep.pairs': is not valid", "P001/V1__V2"]),
        ({"pairs": [PAIR]}, ["'sweep.settings': is not valid"]),
        ({"pairs": [PAIR], "settings": {}}, ["'sweep.settings': is not valid"]),
        (
            {"pairs": ["P1/m0__m7"], "settings": GRID},
            ["is not a pair of the study", "Did you mean 'P1/m0__m6'?"],
        ),
        ({"pairs": [3], "settings": GRID}, ["'sweep.pairs': is not valid"]),
        (
            {"pairs": [PAIR], "settings": {"kernel": [[3]]}},
            ["not a setting that a sweep can vary", "'kernel_mm'"],
        ),
        ({"pairs": [PAIR], "settings": {"spacing_mm": [2]}}, ["not a setting that a sweep can vary"]),
        (
            {"pairs": [PAIR], "settings": {"kernel_mm": 3}},
            ["a list of values, each a list of different numbers"],
        ),
        ({"pairs": [PAIR], "settings": {"kernel_mm": [3]}}, ["'sweep.settings.kernel_mm'", "found 3"]),
        ({"pairs": [PAIR], "settings": {"tolerance": [0.1, 7]}}, ["found 7", "below 1"]),
        ({"pairs": [PAIR], "settings": {"steps": [4, 4]}}, ["contains a value or a table name twice"]),
        ({"pairs": [PAIR], "settings": {"control": ["preset:leson"]}}, ["is not a preset", "'lesion'"]),
        ({"pairs": [PAIR], "settings": {"control": ["gone.tsv"]}}, ["gone.tsv: file not found"]),
        ({"pairs": [PAIR], "settings": GRID, "pair": 1}, ["'sweep.pair'", "unknown key", "'pairs'"]),
        (
            {"pairs": [PAIR], "settings": {"steps": list(range(1, 103)), "volume_mm": [5, 6]}},
            ["204 combinations"],
        ),
        ([PAIR], ["'sweep': is not valid"]),
    ],
)
def test_what_cannot_be_swept_is_told(tmp_path: Path, sweep: object, words: list[str]) -> None:
    with pytest.raises(InputError) as error:
        study.load_study(write(tmp_path, sweep))
    assert [word for word in words if word not in str(error.value)] == [], str(error.value)


def test_all_problems_of_a_sweep_at_once(tmp_path: Path) -> None:
    wrong = {
        "pairs": ["P9/a__b", PAIR],
        "settings": {"kernel_mm": [[-1]], "control": ["preset:x"], "zzz": [1]},
    }
    with pytest.raises(InputError) as error:
        study.load_study(write(tmp_path, wrong))
    assert str(error.value).startswith("4 problems found")


def test_without_a_sweep_there_is_none(tmp_path: Path) -> None:
    found = study.load_study(write_study(tmp_path))
    assert found.sweep is None and controls(found) == {}
    with pytest.raises(NoSweep, match="has no 'sweep'"):
        SweepJobs(found).combinations()


def table() -> pd.DataFrame:
    """Three values of one setting and two of another, one combination of which failed; names are markup."""
    rows = []
    for steps, control in product(("1", "2", "3"), ("lesion", "<u>")):
        failed = (steps, control) == ("2", "lesion")
        moved = np.nan if failed else 1500.0 - 500 * int(steps)
        numbers = dict.fromkeys((*columns.VOLUMES, *columns.UNCERTAINTIES), moved) | {"volume_from_mm3": 0.0}
        names = {"combination": f"steps-{steps}__control-{control}", "steps": steps, "control": control}
        names |= {"patient": "<b>P1", "from": "a", "to": "b", "class": "<i>WM"}
        health = dict.fromkeys(HEALTH, None if failed else 1.0)
        rows.append({**names, **numbers, **health, "status": "diverged" if failed else "ok"})
    made = pd.DataFrame(rows)
    return made.astype(dict.fromkeys(HEALTH, object)).where(made.notna(), None)


BOTH = ["steps", "control"]


def test_the_page_escapes_names_and_lists_what_failed(tmp_path: Path) -> None:
    sweep_page(table(), BOTH, "snakemake --cores 2 <x> sweep", tmp_path / "sweep.html")
    page = (tmp_path / "sweep.html").read_text()
    for name in ("<b>P1", "<i>WM", "<u>", "<x>"):
        assert name not in page and name.replace("<", "&lt;").replace(">", "&gt;") in page
    assert page.count("diverged") == 2 and not re.search(r"\bnan\b|None", page)
    assert page.count("+1.00 ± 1.00") == 4 and "steps-2__control-lesion/&lt;b&gt;P1/a__b/status.json" in page


def test_the_summary_has_gross_volumes_and_nothing_where_nothing_is_known() -> None:
    found = summary(table(), BOTH)
    assert [row["settings"] for row in found] == [[s, c] for s in "123" for c in ("lesion", "<u>")]
    assert found[0]["gross"] == ["0.5"] * 3 and found[2]["gross"] == [""] * 3
    assert found[0]["drift"] == "100.00" and found[2]["drift"] == found[2]["mismatch"] == ""


def test_a_line_joins_what_differs_in_one_setting_and_has_numbers() -> None:
    drawn = str(picture(table(), "steps", BOTH))
    assert drawn.count("<polyline") == 3 * 2 and drawn.count("h0") == 3 * 3  # those that coincide once
    assert "deformation, steps 1: +1.00 mL, 3: 0.00 mL (control lesion)" in drawn
    assert "deformation, steps 1: +1.00 mL, 2: +0.50 mL, 3: 0.00 mL (control &lt;u&gt;)" in drawn
    alone = table()[lambda rows: rows["control"] == "<u>"]
    assert str(picture(alone, "steps", ["steps"])).count("<polyline") == 3  # type: ignore[arg-type]

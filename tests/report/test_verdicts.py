"""Pages state first, once and in plain words whether to trust a pair; the background is not tissue."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import small_results as small

from longimorph.io import volumes
from longimorph.io.atomic import write_csv, write_json
from longimorph.report import amounts, outliers, pairs, verdict
from longimorph.report.pairs import Amount, PairResults
from longimorph.tables import columns
from longimorph.verdict.status import PairStatus

DAYS = {"V1": 0.0, "V2": 90.0}
REASONS = [
    {"code": "person", "severity": "do not trust", "sentence": "The visits may be of two people."},
    {"code": "cap", "severity": "look", "sentence": "The registration was ended early"},
    {"code": "again", "severity": "look", "sentence": "The registration was ended early."},
]


def amount(name: str = "WM", moved: float = 0.0, rest: float = 0.0, uncertainty: float = 0.1) -> Amount:
    return Amount(name, 600.0, 600.0 + moved + rest, moved, 0.0, rest, uncertainty, uncertainty)


def pair(*found: Amount, **status: Any) -> PairResults:
    nothing = pd.DataFrame()
    return PairResults(
        "P1", "V1", "V2", 90.0, PairStatus.of({"status": "ok", **status}), found, nothing, nothing, Path()
    )


def short(results: Path, **status: Any) -> str:
    """The summary of a page whose pair has more in its status."""
    rows = small.write_patient(results, "P1", DAYS)
    write_json(results / "patients" / "P1" / "V1__V2" / "status.json", small.STATUS | status)
    html = small.patient_page(results, "P1", DAYS, rows).read_text(encoding="utf-8")
    return html[html.index('id="summary"') :]


def test_the_page_answers_in_the_order_of_what_matters_and_says_reasons_once(tmp_path: Path) -> None:
    html = short(tmp_path / "results", verdict="do not trust", verdict_reasons=REASONS, warnings=[])
    words = [
        '<span class="verdict do-not-trust">do not trust</span>',
        "The visits may be of two people.",
        "The registration was ended early.",
        "With the control preset lesion:",
        "Pathological classes",
        "oedema 0.0 → ",
        "Other classes",
        "WM ",
        'id="timeline"',
    ]
    places = [html.index(text) for text in words]
    assert places == sorted(places)
    for said in ("The visits may be of two people.", "The registration was ended early"):
        assert html.count(said) == 1
    assert "drifts" not in html  # the verdict's reasons stand for the warnings


@pytest.mark.parametrize(
    ("warnings", "level", "said"),
    [
        ([], "trust", ""),
        (["The warp folds in 0.000 % of the voxels."], "trust", ""),
        (["Something is odd", "Something is odd."], "look", "Something is odd."),
        (
            ["H drifts by 7.0 %: the split is less certain; set more steps."],
            "look",
            "The energy of the fitted change should stay constant but drifts by 7.0 %, so the split into "
            "deformation and reallocation is less certain; set more steps.",
        ),
    ],
)
def test_results_of_an_older_version_get_their_verdict_from_their_warnings(
    warnings: list[str], level: str, said: str
) -> None:
    found = verdict.of(pair(amount(), warnings=warnings))
    assert (found.level, found.words) == (level, said)


def test_numbers_within_their_noise_are_no_reason() -> None:
    quiet = (
        amount(moved=0.8, uncertainty=1.2),  # within its uncertainty
        amount(rest=5.0, uncertainty=2.0),  # less than segmentations of 600 mL differ by
        amount("background", moved=-90.0, rest=80.0, uncertainty=60.0),
    )
    assert verdict.of(pair(*quiet)).level == "trust"
    loud = verdict.of(
        pair(amount(moved=2.0, uncertainty=1.2), amount("GM", moved=-3.0, uncertainty=1.8), *quiet)
    )
    assert [reason.severity for reason in loud.reasons] == ["look"]
    assert "WM, deformation, +2.0 ± 1.2 mL; GM, deformation, −3.0 ± 1.8 mL" in loud.words
    rest = verdict.of(pair(amount(moved=2.0, rest=7.0)))
    assert rest.level == "look" and "WM, +7.0 mL of a change of +9.0 mL" in rest.words


def test_a_failed_pair_says_why_and_a_given_verdict_stands() -> None:
    failed = verdict.of(pair(status="overlap", stage="align", message="The visits do not overlap"))
    assert failed.level == "no result"
    assert failed.words == "This pair failed in the stage align (overlap): The visits do not overlap."
    kept = verdict.of(
        pair(amount(moved=2.0, rest=7.0), verdict="trust", verdict_reasons=[], warnings=["odd"])
    )
    assert kept == verdict.Verdict("trust")


def test_what_passes_to_the_background_is_no_tissue_that_moved(tmp_path: Path) -> None:
    rows = [
        ("WM", "background", 9.0, 0.0),
        ("WM", "GM", 3.0, 1.0),
        ("GM", "WM", 1.0, 0.0),
        ("GM", "CSF", 2.0, 0.0),
    ]
    flows = pd.DataFrame(rows, columns=["from_class", "to_class", *columns.FLOWS])
    assert amounts.passed(flows, "deformation_mm3", "background") == pytest.approx(2.0)
    assert amounts.passed(flows, "deformation_mm3", None) == pytest.approx(11.0)
    assert amounts.crossed(flows, columns.FLOWS, "background") == pytest.approx(9.0)
    assert amounts.left(["a", "b", "background"], [-5.0, 1.0, 4.0], "background") == pytest.approx(1.0)
    results = tmp_path / "results"
    rows = small.write_patient(results, "P1", DAYS)  # type: ignore[assignment]
    file = results / "patients" / "P1" / "V1__V2" / "transitions.csv"
    table = columns.read_table(file)
    edge = (table["from_class"] == "WM") & (table["to_class"] == "background")
    table.loc[edge, "deformation_mm3"] = 7000.0
    write_csv(file, columns.as_text(table))
    html = small.patient_page(results, "P1", DAYS, rows).read_text(encoding="utf-8")  # type: ignore[arg-type]
    assert "0.0 mL of tissue moved" in html and "7.0 mL passed between tissue and background" in html
    assert "→ background" not in html


def test_the_cohort_has_a_verdict_per_pair_and_the_background_never_stands_out(tmp_path: Path) -> None:
    results = tmp_path / "results"
    rows = [row for name in ("P1", "P2") for row in small.write_patient(results, name, DAYS)]
    worst = small.STATUS | {"verdict": "do not trust", "verdict_reasons": REASONS[:1]}
    write_json(results / "patients" / "P2" / "V1__V2" / "status.json", worst)
    small.write_cohort(results, rows)
    (results / "cohort" / "verdicts.csv").unlink(missing_ok=True)  # made before that status was
    html = small.cohort_page(results).read_text(encoding="utf-8")
    data = json.loads(re.search(r'id="rows">(.*?)</script>', html, flags=re.S)[1])
    assert [data["levels"][row["verdict"]] for row in data["rows"]] == ["look", "do not trust"]
    assert data["rows"][1]["reason"] == "The visits may be of two people."
    part = html[html.index('id="verdicts"') : html.index('id="first"')]
    assert part.count("<li>") == 1 and "P2</a> V1 to V2: The visits may be of two people." in part
    assert "memory.png" not in html and 'href="administration.html"' in html
    pages = (results / "cohort" / "administration.html").read_text(encoding="utf-8")
    assert "Memory: predicted and observed" in pages


def test_a_table_of_verdicts_counts_before_the_pairs_own_files(tmp_path: Path) -> None:
    results = tmp_path / "results"
    small.write_cohort(results, small.write_patient(results, "P1", DAYS))
    row = {
        "patient": "P1",
        "from": "V1",
        "to": "V2",
        "status": "ok",
        "verdict": "do not trust",
        "codes": "a; b",
    }
    said = "These may be two people. The change is implausible."
    write_csv(results / "cohort" / "verdicts.csv", pd.DataFrame([row | {"sentences": said}]))
    html = small.cohort_page(results).read_text(encoding="utf-8")
    assert f"V1 to V2: {said}" in html and '<span class="verdict do-not-trust">do not trust</span>' in html
    assert "drifts" not in html and "7.0 %" not in html


def test_the_background_has_no_score() -> None:
    rows = [
        {"patient": f"P{i}", "from": "A", "to": "B", "days": 365.25, "class": name, "status": "ok",
         "deformation_mm3": 1e6 if i == 0 and name == "background" else float(i), "reallocation_mm3": 0.0,
         "unexplained_mm3": 0.0, **dict.fromkeys(columns.UNCERTAINTIES, 100.0)}
        for i in range(6) for name in ("WM", "background")
    ]  # fmt: skip
    found = outliers.scores(pd.DataFrame(rows), "background")
    assert max(score.value for score in found.values()) < 1
    assert outliers.scores(pd.DataFrame(rows))[("P0", "A", "B")].value > 1000


def test_the_leftovers_of_an_earlier_setting_are_named(tmp_path: Path) -> None:
    results = tmp_path / "results"
    days = {**DAYS, "V3": 180.0}
    rows = small.write_patient(results, "P1", days)
    small.write_patient(results, "P7", DAYS)
    small.write_cohort(results, rows[:1])
    for name in ("report.html", "administration.html"):
        html = small.cohort_page(results).with_name(name).read_text(encoding="utf-8")
        assert "Pairs that are no longer planned in this study: P1/V2__V3." in html
        assert "Patients that are not in this run: P7." in html
    small.write_cohort(results, rows)
    (results / "patients" / "P7").rename(tmp_path / "P7")
    assert "Left over" not in small.cohort_page(results).read_text(encoding="utf-8")


def test_the_pictures_go_to_the_pathological_change_not_to_the_edge(tmp_path: Path) -> None:
    results = tmp_path / "results"
    rows = small.write_patient(results, "P1", DAYS)
    file = results / "patients" / "P1" / "V1__V2" / "deformation.nii.gz"
    maps, grid = volumes.read_maps(file)
    maps[1, 2:5, :, 2:16] = -1  # a skull strip that differs, larger than the lesion, and all of one side
    maps[2, 2:5, :, 2:16] = 1
    volumes.write_maps(file, maps.astype(np.float32), grid)
    html = small.patient_page(results, "P1", DAYS, rows).read_text(encoding="utf-8")
    pack = json.loads(re.search(r'id="volumes">(.*?)</script>', html, flags=re.S)[1])
    change, _ = volumes.read_maps(file.with_name("reallocation.nii.gz"))
    index = np.rint(np.linalg.solve(grid.affine, [*pack["pairs"][0]["focus"], 1])[:3]).astype(int)
    assert change[0][tuple(index)] == 1
    assert 'value="changed" checked' in html and 'value="moved" checked' not in html


def test_a_change_that_cannot_be_split_is_not_called_no_change() -> None:
    """A tumour that grows by 23 mL, most of it unexplained, and one that stays."""
    grown = Amount("enhancing", 15.7, 39.1, 3.2, 0.7, 19.5, 19.0, 19.0)
    assert pairs._clause(grown) == (
        "enhancing 15.7 → 39.1 mL: +3.2 ± 19.0 deformation, +0.7 ± 19.0 reallocation, +19.5 unexplained; "
        "neither part can be told from zero within its uncertainty"
    )
    still = Amount("lesion", 2.0, 2.0, 0.0, 0.0, 0.0, 0.4, 0.4)
    assert pairs._clause(still) == "lesion 2.0 → 2.0 mL: no change"

"""The pages as files: they report what happened, contain what they show, and escape all text."""

from __future__ import annotations

import base64
import gzip
import hashlib
import json
import re
import tomllib
from pathlib import Path

import nibabel as nib
import numpy as np
import pandas as pd
import pytest
import small_results as small

from longimorph.io.atomic import write_csv
from longimorph.report import flows, outliers, page, paging, volumes
from longimorph.report import patient as patients
from longimorph.report.svg import Drawing, ticks
from longimorph.tables import PagesIncomplete, columns, require_complete

REPOSITORY = Path(__file__).parents[2]
MADE_BY_OTHERS = {"alignment.json", "memory.png"}
"""Files of earlier steps that the small study does without."""


def text(results: Path, patient: str) -> str:
    return (results / "patients" / patient / "report.html").read_text(encoding="utf-8")


def packed(html: str) -> dict:
    found = re.search(r'<script type="application/json" id="volumes">(.*?)</script>', html, flags=re.S)
    assert found
    return json.loads(found[1])


def volume(text: str) -> nib.Nifti1Image:
    return nib.Nifti1Image.from_bytes(gzip.decompress(base64.b64decode(text)))


def middle_of(image: nib.Nifti1Image) -> np.ndarray:
    """The middle voxel's place, RAS mm."""
    return (image.affine @ (*(n // 2 for n in image.shape), 1))[:3]


def test_a_page_tells_volumes_warnings_and_where_it_comes_from(results: Path) -> None:
    html = text(results, "P1")
    assert "changed class in place" in html
    assert "snakemake patient_P1" in html and "preset:lesion" in html and "0" * 64 in html
    assert "scans/regions.nii.gz" in html and "1" * 64 in html
    assert html.count("How to read this") >= 8
    assert "Redistribution and use in source and binary forms" in html


def test_the_numbers_of_the_page_are_those_of_the_tables(results: Path) -> None:
    table = columns.read_table(results / "patients" / "P1" / "V1__V2" / "changes.csv").set_index("class")
    html = text(results, "P1")
    section = html[html.index('id="pair-1"') : html.index('id="pair-2"')]
    said = {
        "deformation": "deformation_mm3",
        "reallocation": "reallocation_mm3",
        "unexplained": "unexplained_mm3",
        "deformation by the control matrix alone": "deformation_matrix_mm3",
        "reallocation by the control matrix alone": "reallocation_matrix_mm3",
    }
    hints = re.findall(r"<title>([^,<]*), ([^:<]*): ([+−]?[\d.]+) mL(?: ± ([\d.]+))?</title>", section)
    shown = [(name, words) for name, words, *_ in hints]
    assert sorted(shown) == sorted((n, w) for n in small.NAMES[:2] for w in said)
    for name, words, value, uncertainty in hints:
        known = table.loc[name]
        assert float(value.replace("−", "-")) == pytest.approx(known[said[words]] / 1000, abs=6e-4)
        if uncertainty:
            assert float(uncertainty) == pytest.approx(
                known[said[words].replace("_mm3", "_uncertainty_mm3")] / 1000
            )
    gross = table["reallocation_mm3"].abs().sum() / 2000
    assert f"0.0 mL of tissue moved, {gross:.1f} mL changed class" in section
    flow = columns.read_table(results / "patients" / "P1" / "V1__V2" / "transitions.csv")
    assert f"WM → oedema: {flow['reallocation_mm3'].max() / 1000:.2f} mL reallocation" in section


def test_the_numbers_of_the_cohort_are_those_of_the_tables(results: Path) -> None:
    html = (results / "cohort" / "report.html").read_text(encoding="utf-8")
    data = json.loads(re.search(r'id="rows">(.*?)</script>', html, flags=re.S)[1])
    table = columns.read_table(results / "cohort" / "changes.csv")
    assert data["classes"] == ["oedema", "WM"]
    for place, row in enumerate(data["rows"]):
        own = table[(table["patient"] == row["patient"]) & (table["from"] == row["from"])].set_index("class")
        for name, cells in zip(data["classes"], data["cells"], strict=True):
            parts = own.loc[name, ["deformation_mm3", "reallocation_mm3", "unexplained_mm3"]].to_numpy(float)
            cell = cells[3 * place : 3 * place + 3]
            assert (None in cell) == (row["status"] != "ok") == bool(np.isnan(parts).all())
            assert None in cell or cell == pytest.approx(parts, abs=0.6)


@pytest.mark.parametrize("name", ["patients/P1", "patients/P2", "patients/P3", "cohort"])
def test_every_figure_says_how_to_read_it_and_its_links_lead_to_files(results: Path, name: str) -> None:
    page_of = results / name / "report.html"
    html = re.sub(r"<script.*?</script>", "", page_of.read_text(encoding="utf-8"), flags=re.S)
    for section in re.findall(r"<section.*?</section>", html, flags=re.S):
        figures = re.findall(r"<figure>.*?</figure>", section, flags=re.S)
        below = section.rpartition("</figure>")[2]
        assert all("How to read this" in part for part in figures) or "How to read this" in below
    links = [link for link in re.findall(r'href="([^"#]+)"', html) if not link.startswith("data:")]
    absent = {link for link in links if not (page_of.parent / link).resolve().exists()}
    assert {
        link for link in absent if not link.endswith((".log", "marginals_by_region.csv"))
    } <= MADE_BY_OTHERS


def test_a_failed_pair_has_its_section_and_its_sentence_as_text(results: Path) -> None:
    html = text(results, "P2")
    assert "This pair failed in the stage maps (unreadable)" in html
    assert "&lt;b&gt;cut off&lt;/b&gt; &amp; cannot be read" in html and "<b>cut off</b>" not in html
    assert 'id="pair-2"' in html and "maps.log" in html


def test_a_patient_without_any_result_still_has_a_page(results: Path) -> None:
    html = text(results, "P3")
    assert html.count("This pair failed") == 2 and "No pair has maps" in html
    assert page.problems_of(results / "patients" / "P3" / "report.html") == 0


def test_the_volumes_of_the_viewer_are_those_of_the_results(results: Path) -> None:
    data = packed(text(results, "P1"))
    pair = data["pairs"][0]
    changed, before = volume(pair["changed"]), volume(data["visits"]["V1"]["classes"])
    own = nib.Nifti1Image.from_filename(results / "patients" / "P1" / "V1__V2" / "reallocation.nii.gz")
    share = 50 * np.abs(own.get_fdata()).sum(axis=-1)
    for spot in ((12, 10, 8), (5, 5, 5)):
        world = own.affine @ (*spot, 1)
        index = np.rint(np.linalg.inv(changed.affine) @ world)[:3].astype(int)
        assert changed.get_fdata()[tuple(index)] == pytest.approx(share[spot], abs=0.26)
        assert before.get_fdata()[tuple(index)] == 1
    # nothing changed between the last two visits
    assert data["pairs"][1]["focus"] == pytest.approx(middle_of(changed), abs=8.1)
    growth = volume(pair["growth"]).get_fdata()
    assert growth.max() == pytest.approx(100 * np.expm1(0.1), abs=0.1) and growth.min() == 0
    inside = np.linalg.inv(changed.affine) @ (*pair["focus"], 1)
    assert changed.get_fdata()[tuple(np.rint(inside)[:3].astype(int))] > 50


def test_volumes_get_coarser_until_they_fit(results: Path, tmp_path: Path) -> None:
    folder = tmp_path / "results"
    days = {"V1": 0.0, "V2": 90.0}
    rows = small.write_patient(folder, "P1", days, shape=(64, 72, 60), spacing=2.5)
    known = patients.load_patient_results("P1", days, rows, small.classes(folder), folder / "patients" / "P1")
    found = [
        volumes.pack(known.pairs, days, known.folder, small.classes(folder), most)
        for most in (10_000_000, 40_000)
    ]
    assert found[0] is not None and found[1] is not None
    assert found[0].spacing == found[0].own_spacing == (2.5,) * 3
    assert found[1].spacing[0] > 2.5 and volumes.size(found[1].data) <= 40_000
    fine, coarse = (volume(pack.data["pairs"][0]["changed"]) for pack in found)
    amounts = [v.get_fdata().sum() * np.prod(v.header.get_zooms()) for v in (fine, coarse)]
    assert amounts[1] == pytest.approx(amounts[0], rel=0.02)


@pytest.mark.parametrize(
    ("spacing", "least", "factors"),
    [
        ((0.9, 0.9, 6.5), 2, (2, 2, 1)),
        ((0.9, 0.9, 6.5), 9, (3, 3, 1)),
        ((0.9, 0.9, 6.5), 49, (7, 7, 1)),
        ((0.9, 0.9, 6.5), 300, (13, 13, 2)),
        ((6.5, 0.9, 0.9), 9, (1, 3, 3)),
        ((1.0, 1.1, 1.2), 2, (2, 2, 2)),
        ((1.0, 1.0, 2.0), 2, (2, 2, 1)),
        ((2.0, 2.0, 2.0), 9, (3, 3, 3)),
    ],
)
def test_blocks_of_thick_slices_grow_in_their_plane_first(
    spacing: tuple[float, ...], least: int, factors: tuple[int, ...]
) -> None:
    assert next(f for f in volumes.coarsenings(spacing) if np.prod(f) >= least) == factors


def test_thick_slices_stay_as_thick_as_they_are(tmp_path: Path) -> None:
    folder, days = tmp_path / "results", {"V1": 0.0, "V2": 90.0}
    rows = small.write_patient(folder, "P1", days, shape=(90, 100, 18), spacing=(0.9, 0.9, 6.5))
    known = patients.load_patient_results("P1", days, rows, small.classes(folder), folder / "patients" / "P1")
    found = [
        volumes.pack(known.pairs, days, known.folder, small.classes(folder), most)
        for most in (10_000_000, 40_000)
    ]
    assert found[0] is not None and found[1] is not None
    assert found[0].shown == "0.9 × 0.9 × 6.5" and volumes.size(found[1].data) <= 40_000
    right, front, up = found[1].spacing
    assert 0.9 < right == front <= 6.5 * 1.25 and up == pytest.approx(6.5)
    fine, coarse = (volume(pack.data["pairs"][0]["changed"]) for pack in found)
    middles = [
        np.average(np.argwhere(v.get_fdata() > -1), axis=0, weights=v.get_fdata().ravel())
        for v in (fine, coarse)
    ]
    places = [v.affine @ (*middle, 1) for v, middle in zip((fine, coarse), middles, strict=True)]
    assert places[1] == pytest.approx(places[0], abs=0.1)  # the same change in the same place, mm
    amounts = [v.get_fdata().sum() * np.prod(v.header.get_zooms()) for v in (fine, coarse)]
    assert amounts[1] == pytest.approx(amounts[0], rel=0.02)


def test_many_pairs_are_spread_over_pages(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = tmp_path / "results"
    days = {f"V{i}": 90.0 * i for i in range(1, 7)}
    rows = small.write_patient(folder, "P1", days)
    monkeypatch.setattr(paging, "PAIRS_A_PAGE", 2)
    out = small.patient_page(folder, "P1", days, rows)
    pages = [out, out.with_name("report_2.html"), out.with_name("report_3.html")]
    assert sorted(out.parent.glob("report*.html")) == sorted(pages)
    html = [file.read_text(encoding="utf-8") for file in pages]
    shown = [re.findall(r'<section class="pair" id="pair-(\d)"', part) for part in html]
    assert shown == [["1"], ["2", "3"], ["4", "5"]]
    assert [[pair["from"] for pair in packed(part)["pairs"]] for part in html] == [
        ["V1"], ["V2", "V3"], ["V4", "V5"],
    ]  # fmt: skip
    for number, page_of in ((1, ""), (3, "report_2.html"), (5, "report_3.html")):
        assert f'<a href="{page_of}#pair-{number}">' in html[0]
    assert 'href="report.html"' in html[1] and 'href="report_3.html"' in html[1]
    assert html[0].count("drifts by 7.0 %") == 5
    assert 'id="timeline"' in html[0] and 'id="timeline"' not in html[1]
    monkeypatch.setattr(paging, "PAIRS_A_PAGE", 5)
    assert list(small.patient_page(folder, "P1", days, rows).parent.glob("report*.html")) == [out]
    assert "pages:" not in out.read_text(encoding="utf-8")


def test_problems_of_further_pages_are_told_on_the_first(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(*_: object) -> None:
        raise ZeroDivisionError

    monkeypatch.setattr("longimorph.report.bars.bars", broken)
    monkeypatch.setattr(paging, "PAIRS_A_PAGE", 1)
    folder = tmp_path / "results"
    days = {"V1": 0.0, "V2": 90.0, "V3": 180.0}
    out = small.patient_page(folder, "P1", days, small.write_patient(folder, "P1", days))
    assert page.problems_of(out) == 2 and page.problems_of(out.with_name("report_2.html")) == 1


def test_what_cannot_be_drawn_leaves_a_sentence_and_spoils_the_verdict(
    tmp_path: Path, results: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(*_: object) -> None:
        raise ZeroDivisionError("no <i>luck</i>")

    monkeypatch.setattr("longimorph.report.bars.bars", broken)
    folder = tmp_path / "results"
    days = {"V1": 0.0, "V2": 90.0}
    rows = small.write_patient(folder, "P1", days)
    out = small.patient_page(folder, "P1", days, rows)
    html = out.read_text(encoding="utf-8")
    assert page.problems_of(out) == 1
    assert "The bars of V1 to V2 could not be made (ZeroDivisionError: no &lt;i&gt;luck" in html
    assert "Transitions between classes" in html and "<i>luck" not in html
    with pytest.raises(PagesIncomplete, match=r"report\.html"):
        require_complete(folder / "patients" / "P1", tmp_path / "complete.json", [out])
    assert not (tmp_path / "complete.json").exists()


@pytest.mark.parametrize("costs", [[], [0.0, 0.0]])
def test_a_pair_without_change_picture_or_uncertainty_has_a_whole_page(
    tmp_path: Path, costs: list[float]
) -> None:
    folder, days = tmp_path / "results", {"V1": 0.0, "V2": 90.0}
    rows = small.write_patient(folder, "P1", days, image=False)
    own = folder / "patients" / "P1" / "V1__V2"
    changes = columns.read_table(own / "changes.csv")
    changes[[*columns.UNCERTAINTIES]] = np.nan
    changes[["deformation_mm3", "reallocation_mm3", "unexplained_mm3"]] = 0.0
    changes["volume_to_mm3"] = changes["volume_from_mm3"]
    write_csv(own / "changes.csv", columns.as_text(changes))
    table = {"spacing_mm": [4.0] * len(costs), "evaluations": [1] * len(costs), "cost_mm3": costs}
    write_csv(own / "convergence.csv", pd.DataFrame(table))
    (own / "transitions.csv").write_text((own / "transitions.csv").read_text().splitlines()[0] + "\n")
    (own / "overview.png").unlink()
    out = small.patient_page(folder, "P1", days, rows)
    html = re.sub(r"<(script|style).*?</\1>", "", out.read_text(encoding="utf-8"), flags=re.S)
    assert page.problems_of(out) == 0
    assert "No appreciable volume passed" in html and not re.search(r"\bnan\b|None", html)


PAGES = [
    *(f"patients/P{number}/report.html" for number in (1, 2, 3)),
    "cohort/report.html",
    "cohort/administration.html",
    "sweep/sweep.html",
]


@pytest.mark.parametrize("name", PAGES)
def test_a_page_asks_for_nothing_and_runs_its_own_scripts_alone(results: Path, name: str) -> None:
    html = (results / name).read_text(encoding="utf-8")
    assert html.startswith('<!DOCTYPE html>\n<html lang="en">')
    assert re.search(r"<title>[^<]+ · longimorph</title>", html)
    assert not re.search(r"""(?:src|href)=["'](?:https?:)?//""", html)
    scripts = re.findall(r"<script>(.*?)</script>", html, flags=re.S)
    policy = re.search(r'Content-Security-Policy" content="([^"]*)"', html)
    assert scripts and policy
    allowed = policy[1].replace("&#39;", "'")
    assert "default-src 'none'" in allowed and "unsafe-eval" not in allowed
    for script in scripts:
        digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
        assert f"'sha256-{digest}'" in allowed
    assert "'unsafe-inline'" not in allowed.split("style-src")[0]


def test_names_cannot_leave_the_data_of_the_cohort_page(results: Path) -> None:
    html = (results / "cohort" / "report.html").read_text(encoding="utf-8")
    assert "&lt;b&gt;cut off&lt;/b&gt;" in html and "<b>cut off" not in html
    data = json.loads(re.search(r'id="rows">(.*?)</script>', html, flags=re.S)[1])
    assert [row["status"] for row in data["rows"]] == [
        "ok",
        "ok",
        "ok",
        "unreadable",
        "unreadable",
        "unreadable",
    ]
    assert "P9: has a single visit" in html


@pytest.mark.parametrize(("classes", "every"), [(8, False), (40, True)])
def test_two_hundred_patients_take_less_than_five_megabytes(
    tmp_path: Path, classes: int, every: bool
) -> None:
    out = small.cohort_of(200, tmp_path / "results", classes, every)
    assert out.stat().st_size < 5_000_000
    assert page.problems_of(out) == 0
    assert "To keep this page small" not in out.read_text(encoding="utf-8")


def test_where_not_all_classes_fit_those_that_change_most_are_shown(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("longimorph.report.cohort._MOST_BYTES", 60_000)
    html = small.cohort_of(12, tmp_path / "results", classes=20).read_text(encoding="utf-8")
    data = json.loads(re.search(r'id="rows">(.*?)</script>', html, flags=re.S)[1])
    kept = data["classes"]
    assert 1 < len(kept) < 19 and len(data["cells"]) == len(kept) and len(data["rows"]) == 48
    assert html.count(f"it shows the {len(kept)} of 19 classes that change most") == 2
    assert re.findall(r'aria-label="Yearly change of ([^"]*)"', html) == kept
    table = columns.read_table(tmp_path / "results" / "cohort" / "changes.csv")
    gross = table[["deformation_mm3", "reallocation_mm3"]].abs().sum(axis=1).groupby(table["class"]).sum()
    order = gross.drop("background").sort_values(ascending=False).index
    assert set(kept) == set(order[: len(kept)]) and kept[0] == "ventricles"


def test_discs_lie_where_they_should_and_those_in_one_place_are_one() -> None:
    drawing = Drawing(100, 100, "discs")
    drawing.dots([(10.0, 20.0), (3.4, 5.5), (10.1, 19.9), (7.0, float("nan")), (50.0, -2.5)], "dots")
    data = re.search(r' d="([^"]*)"', drawing.markup())
    assert data
    at, found = np.zeros(2), []
    for x, y in re.findall(r"m(-?\d+)[ ]?(-?\d+)h0", data[1]):
        at = at + np.array([x, y], dtype=int)
        found.append(tuple(at / 2))
    assert found == [(3.5, 5.5), (10.0, 20.0), (50.0, -2.5)] and 'transform="scale(.5)"' in drawing.markup()


def test_the_fast_patient_stands_out_and_says_why(tmp_path: Path) -> None:
    html = small.cohort_of(12, tmp_path / "results", classes=3).read_text(encoding="utf-8")
    first = re.search(r"<ol>(.*?)</ol>", html, flags=re.S)
    assert first
    entries = first[1].split("<li>")[1:]
    assert all("P011" in entry and "ventricles, deformation: +" in entry for entry in entries[:4])
    assert not any("P011" in entry for entry in entries[4:])


def test_scores_ignore_what_lies_within_the_uncertainty_and_small_cohorts() -> None:
    rows = [
        {"patient": f"P{i}", "from": "A", "to": "B", "days": 365.25, "class": "WM", "status": "ok",
         "deformation_mm3": 40.0 if i == 0 else 0.0, "reallocation_mm3": 0.0, "unexplained_mm3": 0.0,
         "deformation_uncertainty_mm3": 100.0, "reallocation_uncertainty_mm3": 100.0}
        for i in range(6)
    ]  # fmt: skip
    found = outliers.scores(pd.DataFrame(rows))
    assert found[("P0", "A", "B")].value == pytest.approx(0.4)
    assert outliers.scores(pd.DataFrame(rows[:4])) == {}


def test_opposite_flows_are_set_against_each_other() -> None:
    rows = [("a", "b", 3000.0, 0.0), ("b", "a", 1000.0, 500.0), ("a", "c", 1.0, 0.0)]
    table = pd.DataFrame(rows, columns=["from_class", "to_class", *columns.FLOWS])
    table[list(columns.FLOWS)] /= 1000
    shown, rest = flows.flows_of(table)
    assert [(f.source, f.target, f.style, f.volume) for f in shown] == [  # type: ignore[comparison-overlap]
        ("a", "b", "moved", pytest.approx(2.0)),
        ("b", "a", "changed", pytest.approx(0.5)),
    ]
    assert rest == pytest.approx(0.001)


@pytest.mark.parametrize(("low", "high"), [(0, 1), (-3.2, 14.7), (0, 0.004), (1e4, 2.3e4)])
def test_ticks_are_round_and_inside(low: float, high: float) -> None:
    found = ticks(low, high, 5)
    assert 3 <= len(found) <= 8 and low <= found[0] and found[-1] <= high + 1e-12
    assert all(len(f"{value:g}".lstrip("-").replace(".", "").strip("0")) <= 3 for value in found)


def test_the_viewer_is_vendored_with_its_licence_and_goes_into_the_package() -> None:
    folder = REPOSITORY / "src" / "longimorph" / "report" / "vendor" / "niivue"
    digest = hashlib.sha256((folder / "niivue.umd.js").read_bytes()).hexdigest()
    assert digest in (folder / "VERSION.md").read_text()
    assert "BSD 2-Clause" in (folder / "LICENSE").read_text()
    patterns = tomllib.loads((REPOSITORY / "pyproject.toml").read_text())["tool"]["setuptools"][
        "package-data"
    ]
    given = [path for pattern in patterns["longimorph.report"] for path in folder.parents[1].glob(pattern)]
    there = [p for p in folder.parents[1].rglob("*") if p.is_file() and p.suffix not in (".py", ".pyc")]
    assert sorted(given) == sorted(there)

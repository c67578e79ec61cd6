"""The page of the maps of the cohort: its words, its volumes, and its viewer in a headless browser."""

from __future__ import annotations

import base64
import gzip
import json
import re
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import pytest
from test_browser import browser, coloured, element, messages, pixels, press, pytestmark, wait

from longimorph.geometry.grid import Grid
from longimorph.io.atomic import write_json
from longimorph.io.volumes import write_maps, write_scalar
from longimorph.report.page import problems_of
from longimorph.stages.cohort_report import cohort_report
from longimorph.stages.group_report import group_report
from longimorph.tables import group as tables
from longimorph.tables.columns import VERDICTS

__all__ = ["browser"]
needs_browser = pytestmark
TABLE = "class\tregions\tstates\noedema + old\t*\t1\nWM\t2\t*\nbackground\t*\t*\n"
GRID = Grid((24, 20, 22), np.array([[-3, 0, 0, 30], [0, 0, 3, -35], [0, -3, 0, 40], [0, 0, 0, 1.0]]))
PLACE = GRID.index_to_world([4, 9, 12])  # to the right: the first axis runs to the left
SPOT = (slice(3, 6), slice(8, 11), slice(11, 14))
QUALITY = {
    "overlap_rigid": 0.8,
    "overlap_affine": 0.9,
    "overlap_deformable": 0.96,
    "mutual_information_rigid": 0.4,
    "mutual_information_affine": 0.5,
    "mutual_information_deformable": 0.7,
    "scale": 1.04,
    "deformable_mm": 2.5,
    "folded_share": 0.0004,
}


class Member:
    """A patient in the maps."""

    pairs, years = (("V1__V2", 730.5),), 2.0


def write_group(folder: Path, patients: int = 3) -> Path:
    """Write maps that grow by 10 % in a spot, their tables, and the page; return the page."""
    out = folder / "cohort" / "group"
    out.mkdir(parents=True)
    (folder / "classes.tsv").write_text(TABLE)
    brain, spot = np.zeros(GRID.shape), np.zeros(GRID.shape)
    brain[2:-2, 2:-2, 2:-2] = 1
    spot[SPOT] = 1
    write_scalar(folder / "template.nii.gz", 100 * brain, GRID)
    write_scalar(out / "patients.nii.gz", (patients * brain).astype(np.int32), GRID)
    values = {"mean": 0.1 * spot, "t": 8 * spot, "p": 1 - 0.999 * spot, "q": 1 - 0.99 * spot}
    for what, volume in values.items():
        if what == "mean" or patients >= 3:
            write_scalar(out / f"log_jacobian_{what}.nii.gz", volume, GRID)
            for kind in ("deformation", "reallocation"):
                flat = np.ones_like(volume) if what in ("p", "q") else np.zeros_like(volume)
                write_maps(out / f"{kind}_{what}.nii.gz", np.stack([volume, flat, flat]), GRID)
    names = [f"P{n}" for n in range(1, patients + 1)]
    records: dict[str, Any] = {
        name: {"status": "ok", "verdict": "good", "driver": "image", "quality": QUALITY} for name in names
    }
    records["P1"] |= {"verdict": "look", "remarks": ["the brains are <b>odd</b>"]}
    records["P9"] = {"status": "template_overlap"}
    tables.write_registrations(records, dict.fromkeys(names, Member()), out)
    tested = {"t_extreme": 8.0, "q_least": 0.01, **dict(zip(("x_mm", "y_mm", "z_mm"), PLACE, strict=True))}
    counts = {"patients": patients, "voxels": 5000, "tested_voxels": 27, "loss_voxels": 0}
    rows = [
        {"map": "log_jacobian", "class": "", "growth_voxels": 27, "mean_per_year": 0.001, **counts, **tested}
    ]
    for name in ("oedema + old", "WM", "background"):
        own = tested if name == "oedema + old" else {}
        rows.append({"map": "deformation", "class": name, "growth_voxels": 0, **counts, **own})
    tables.write_maps(rows if patients >= 3 else rows[2:], out)
    write_json(out / "group.json", {"patients": names, "tested": patients >= 3})
    page, verdicts = folder / "cohort" / "group.html", folder / "cohort" / "verdicts.csv"
    levels = {"P1": "trust", "P2": "do not trust", "P9": "do not trust"}
    rows_of = [f"{name},V1,V2,ok,{level},,\n" for name, level in levels.items()]
    verdicts.write_text("".join([",".join(VERDICTS) + "\n", *rows_of]))
    group_report(str(folder / "classes.tsv"), [str(folder / "template.nii.gz")], verdicts, out, page)
    return page


@pytest.fixture(scope="module")
def page(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_group(tmp_path_factory.mktemp("group"))


def volumes(page: Path) -> dict[str, Any]:
    """The data of the viewer."""
    text = page.read_text(encoding="utf-8")
    found = re.search(r'<script type="application/json" id="volumes">(.*?)</script>', text, re.DOTALL)
    assert found
    return dict(json.loads(found[1]))


def unpacked(text: str) -> nib.Nifti1Image:
    return nib.Nifti1Image.from_bytes(gzip.decompress(base64.b64decode(text)))


def test_it_tells_who_is_in_the_maps_and_how_well(page: Path) -> None:
    text = " ".join(re.sub(r"<[^>]+>", " ", page.read_text(encoding="utf-8").split("<script")[0]).split())
    assert problems_of(page) == 0
    assert "3 of 4 patients are in these maps" in text and "Not in the maps: P9 (template_overlap)" in text
    assert "include 1 pair with the verdict do not trust : P2 (V1 to V2)" in text
    assert "The registration of 1 patient looks odd" in text and "the brains are &lt;b&gt;odd" in text
    assert "0.80 → 0.90 → 0.96" in text and "1.04" in text and "0.04 %" in text and "2.5 mm" in text
    assert "local volume +0.100 %" in text and "+8.0" in text and "nan," not in text
    assert "deformation, background" not in text


def test_the_viewer_has_the_values_of_the_files_at_their_places(page: Path) -> None:
    data = volumes(page)
    ids = [
        "log_jacobian:",
        *(f"{k}:{n}" for k in ("deformation", "reallocation") for n in ("oedema + old", "WM")),
    ]
    assert [map_["id"] for map_ in data["maps"]] == ids
    first, own = data["maps"][0], data["maps"][1]
    for name, value in (("mean", 10.0), ("t", 8.0), ("sure", 8.0)):
        image = unpacked(own[name])
        index = np.linalg.inv(image.affine) @ [*PLACE, 1]
        assert image.dataobj[tuple(np.rint(index[:3]).astype(int))] == pytest.approx(value, rel=0.02)
        assert nib.aff2axcodes(image.affine) == ("R", "A", "S")
        assert (np.abs(np.asarray(image.dataobj)) > value / 2).sum() == 27
    assert np.asarray(unpacked(first["mean"]).dataobj).max() == pytest.approx(100 * np.expm1(0.1), rel=0.02)
    assert data["maps"][2]["sure"] is None
    assert data["focus"] == pytest.approx(PLACE.tolist())


def test_without_tests_there_are_means_and_a_sentence(tmp_path: Path) -> None:
    small = write_group(tmp_path, patients=2)
    text = small.read_text(encoding="utf-8")
    assert (
        problems_of(small) == 0
        and "A test needs at least 3 patients" in text
        and "q &lt; 0.05</label>" not in text
    )
    assert {map_["t"] for map_ in volumes(small)["maps"]} == {None}


def test_without_maps_there_is_a_page(tmp_path: Path) -> None:
    write_group(tmp_path / "some")
    out = tmp_path / "some" / "cohort" / "group"
    (out / "patients.nii.gz").unlink()
    page = out.parent / "group.html"
    write_json(out / "group.json", {"patients": [], "tested": False})
    files = [str(tmp_path / "some/template.nii.gz")]
    group_report(str(tmp_path / "some/classes.tsv"), files, out.parent / "verdicts.csv", out, page)
    assert problems_of(page) == 0 and "there are no maps" in page.read_text(encoding="utf-8")


def test_the_page_of_the_cohort_links_to_it_and_counts_failures_apart(results: Path, tmp_path: Path) -> None:
    text = (results / "cohort" / "report.html").read_text(encoding="utf-8")
    assert "group.html" not in text
    own = tmp_path / "cohort"
    own.mkdir()
    for file in (results / "cohort").glob("*.csv"):
        (own / file.name).write_bytes(file.read_bytes())
    with (own / "failures.csv").open("a") as failures:
        failures.write(
            "P1,,,template,template_overlap,the brains do not overlap,results/logs/P1/template.log\n"
        )
    (tmp_path / "classes.tsv").write_text(TABLE)
    cohort_report(str(tmp_path / "classes.tsv"), "snakemake", own / "report.html", own / "group.html")
    now = (own / "report.html").read_text(encoding="utf-8")
    assert 'href="group.html"' in now and "the whole patient" in now
    count = re.search(r"(\d+) pairs? failed", text)
    assert count and count[0] in now


@needs_browser
def test_the_viewer_draws_maps_and_follows_links(browser: Any, page: Path) -> None:
    browser.get_log("browser")
    browser.get(page.as_uri())
    wait(lambda: element(browser, "#viewer").get_attribute("data-state") == "ready")
    assert coloured(pixels(browser), 0) > 200
    assert "% of the tissue" in element(browser, "#v-legend").text
    press(browser, "input[value=none]")
    assert coloured(pixels(browser), 0) == 0
    press(browser, "input[value=sure]")
    assert coloured(pixels(browser), 0) > 200
    browser.execute_script("document.querySelectorAll(\"a[href^='#map=deformation']\")[0].click()")
    wait(lambda: element(browser, "#viewer").get_attribute("data-shown") == "deformation:oedema + old sure")
    said = element(browser, "#v-place").text.replace("−", "-")
    assert [int(n) for n in said.partition(" mm")[0].split(",")] == np.rint(PLACE).astype(int).tolist()
    wait(lambda: "t: 8" in element(browser, "#v-place").text)
    assert messages(browser) == []

"""``longimorph pack``: one file whose pages keep their links wherever it is unpacked."""

from __future__ import annotations

import re
import zipfile
from pathlib import Path
from urllib.parse import unquote

import pytest

from longimorph.cli import main

LATER = {"alignment.json", "memory.png", "marginals_by_region.csv", "marginals_by_state.csv", "maps.log"}
"""Files of other steps that the small study does without."""


def links(page: Path) -> list[str]:
    html = re.sub(r"<script.*?</script>", "", page.read_text(encoding="utf-8"), flags=re.S)
    found = re.findall(r'(?:href="|url=)([^"#]+)[#"]', html)
    return [unquote(link) for link in found if not link.startswith("data:")]


def packed(results: Path, folder: Path, *options: str) -> Path:
    out = folder / "zips" / "study.zip"
    assert main(["pack", str(results.parent), "--out", str(out), *options]) == 0
    with zipfile.ZipFile(out) as archive:
        archive.extractall(folder / "elsewhere")
    return folder / "elsewhere" / "study"


def test_every_link_of_every_page_leads_on_in_the_unpacked_file(results: Path, tmp_path: Path) -> None:
    root = packed(results, tmp_path)
    pages = sorted(root.rglob("*.html"))
    names = {page.relative_to(root).as_posix() for page in pages}
    assert {"index.html", "results/cohort/report.html", "results/patients/P1/report.html"} <= names
    assert {"results/cohort/administration.html", "results/sweep/sweep.html"} <= names
    absent = {
        (page.relative_to(root).as_posix(), link)
        for page in pages
        for link in links(page)
        if not (page.parent / link).exists() and Path(link).name not in LATER
    }
    assert {link for _, link in absent if "sweep" not in _} == set()
    assert all((page.parent / link).resolve().is_relative_to(root) for page in pages for link in links(page))
    assert (root / "results" / "cohort" / "changes.csv").read_bytes() == (
        results / "cohort" / "changes.csv"
    ).read_bytes()


def test_volumes_come_when_asked_for_and_are_counted_when_not(
    results: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert not list(packed(results, tmp_path / "small").rglob("*.nii.gz"))
    said = capsys.readouterr().out
    volumes = list(results.rglob("*.nii.gz"))
    assert f"Not included: {len(volumes)} volumes (" in said and "study/index.html" in said and " MB" in said
    whole = packed(results, tmp_path / "whole", "--volumes")
    assert len(list(whole.rglob("*.nii.gz"))) == len(volumes) > 10
    assert "Not included" not in capsys.readouterr().out


def test_states_of_registrations_and_half_written_files_stay_out(results: Path, tmp_path: Path) -> None:
    pair = results / "patients" / "P1" / "V1__V2"
    (pair / "resume").mkdir()
    (pair / "resume" / "state.json").write_text("{}")
    (pair / ".tmp-1-status.json").write_text("{")
    try:
        root = packed(results, tmp_path)
    finally:
        (pair / "resume" / "state.json").unlink()
        (pair / "resume").rmdir()
        (pair / ".tmp-1-status.json").unlink()
    assert not list(root.rglob("resume")) and not list(root.rglob(".tmp*"))


def test_without_pages_it_says_what_to_do(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["pack", str(tmp_path)]) == 1
    assert "has no cohort page" in capsys.readouterr().err
    assert not (tmp_path / "report.zip").exists()


def test_a_file_that_is_no_pack_is_not_overwritten(
    results: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    packed(results, tmp_path)
    packed(results, tmp_path)
    table = results / "cohort" / "changes.csv"
    before = table.read_bytes()
    assert main(["pack", str(results.parent), "--out", str(table)]) == 1
    assert "was not written by this command" in capsys.readouterr().err and table.read_bytes() == before

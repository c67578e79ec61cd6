"""A sweep: every combination on its pairs, one table and one page, without changes to the study."""

from __future__ import annotations

import csv
import hashlib
import re
import subprocess
from pathlib import Path

import pytest
import tiny
from tiny import TinyCohort

GRID = {"kernel_mm": [[24], [24, 48]], "control": ["control.tsv", "preset:atrophy"]}
SWEEP = {"pairs": ["P002/V1__V2"], "settings": GRID}
COMBINATIONS = [
    f"kernel_mm-{kernel}__control-{control}"
    for kernel in ("24", "24+48")
    for control in ("control", "atrophy")
]
Swept = tuple[TinyCohort, subprocess.CompletedProcess[str], dict[str, tuple[str, int]]]


def prints(folder: Path) -> dict[str, tuple[str, int]]:
    """Content and time of change of every file below a folder."""
    files = (path for path in sorted(folder.rglob("*")) if path.is_file())
    return {str(p): (hashlib.sha256(p.read_bytes()).hexdigest(), p.stat().st_mtime_ns) for p in files}


@pytest.fixture(scope="module")
def swept(tmp_path_factory: pytest.TempPathFactory) -> Swept:
    """A study with a finished patient, then its sweep; with what the patient's files were in between."""
    cohort = tiny.study(tmp_path_factory.mktemp("study"))
    cohort.write(max_evaluations=3)
    target = "results/patients/P002/V1__V2/status.json"
    first = cohort.snakemake(target)
    assert first.returncode == 0, first.stderr
    before = prints(cohort.folder / "results")
    cohort.write(sweep=SWEEP)
    assert cohort.planned(target) == []
    return cohort, cohort.snakemake("sweep"), before


def rows(cohort: TinyCohort) -> list[dict[str, str]]:
    """The rows of the table."""
    with (cohort.folder / "results" / "sweep" / "sweep.csv").open(newline="") as file:
        return list(csv.DictReader(file))


def test_each_combination_has_its_rows(swept: Swept) -> None:
    cohort, run, _ = swept
    assert run.returncode == 0, run.stderr
    found = rows(cohort)
    assert [row["combination"] for row in found] == [name for name in COMBINATIONS for _ in range(4)]
    assert [row["class"] for row in found[:4]] == ["oedema", "WM", "ventricles", "background"]
    assert {(row["kernel_mm"], row["control"]) for row in found} == {
        (kernel, control) for kernel in ("24", "24+48") for control in ("control", "atrophy")
    }
    assert {row["status"] for row in found} == {"ok"}
    for row in found:
        parts = [float(row[f"{n}_mm3"]) for n in ("deformation", "reallocation", "unexplained")]
        change = float(row["volume_to_mm3"]) - float(row["volume_from_mm3"])
        assert sum(parts) == pytest.approx(change, abs=1e-6)
        assert 1 <= int(row["evaluations"]) <= 6 and float(row["seconds"]) > 0 and row["drift"]
        assert float(row["deformation_uncertainty_mm3"]) >= 0 and float(row["mismatch_after_mm3"]) > 0


def test_the_settings_make_the_difference(swept: Swept) -> None:
    oedema = {row["combination"]: row for row in rows(swept[0]) if row["class"] == "oedema"}
    changed = [abs(float(oedema[name]["reallocation_mm3"])) for name in COMBINATIONS]
    assert changed[0] > 10 * changed[1] and changed[2] > 10 * changed[3]
    left = [float(oedema[name]["mismatch_after_mm3"]) for name in COMBINATIONS]
    assert left[0] < left[1] != left[3] > left[2]  # with reallocation nothing is left to move


def test_the_study_is_as_it_was(swept: Swept) -> None:
    cohort, run, before = swept
    after = prints(cohort.folder / "results")
    assert {path: after[path] for path in before} == before
    jobs = {job[0] for job in tiny.jobs_of(run.stdout + run.stderr)}
    assert jobs == {"sweep", "sweep_register"}
    planned = {job[0] for job in cohort.planned()}
    assert not {"sweep", "sweep_register"} & planned
    assert cohort.planned("sweep") == []


def test_the_page_tells_it_all_and_fetches_nothing(swept: Swept) -> None:
    page = (swept[0].folder / "results" / "sweep" / "sweep.html").read_text()
    assert len(page) < 200_000
    assert page.count("How to read this") == 3 and "P002: V1 to V2" in page
    assert page.count("<svg") == 3 * 2 and page.count("<tr>") == (1 + 4) + (1 + 16)
    assert "--cores 2 sweep</pre>" in page
    links = {link for link in re.findall(r'href="([^"]+)"', page) if not link.startswith("data:")}
    folder = swept[0].folder / "results" / "sweep"
    assert len(links) == 5 and all((folder / link).exists() for link in links)
    assert "<script src" not in page
    assert not re.search(r"(?:src|href)=\"(?:https?:)?//", page)


def test_another_value_registers_that_alone(swept: Swept) -> None:
    cohort, *_ = swept
    wider = {**SWEEP, "settings": {**GRID, "kernel_mm": [[24], [24, 48], [12]]}}
    cohort.write(sweep=wider)
    try:
        jobs = [job for job in cohort.planned("sweep") if job[0] == "sweep_register"]
        assert [job[1] for job in jobs] == [
            f"combination=kernel_mm-12__control-{control}" for control in ("atrophy", "control")
        ]
    finally:
        cohort.write(sweep=SWEEP)


def test_without_a_sweep_the_target_says_what_is_missing(swept: Swept) -> None:
    cohort, *_ = swept
    cohort.settings.pop("sweep")
    cohort.write()
    try:
        run = cohort.snakemake("--dry-run", "sweep")
        assert run.returncode != 0 and "The configuration has no 'sweep'" in run.stdout + run.stderr
    finally:
        cohort.write(sweep=SWEEP)

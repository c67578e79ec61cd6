"""A study with a template: which jobs it adds, what a failure does, and a whole run of small heads."""

from __future__ import annotations

import json
from pathlib import Path

import nibabel as nib
import numpy as np
import pandas as pd
import pytest
import tiny
from tiny import TinyCohort

from longimorph.cli.main import main
from longimorph.io.volumes import read_maps, read_scalar
from longimorph.report.page import problems_of

ADDED = {"template", "group_maps", "group_report"}
AFTER = {
    *("patient_tables", "cohort_tables", "cohort_visits", "cohort_figure", "patient_report", "cohort_report"),
    "cohort_complete",
}
AFFINE = np.array([[-4, 0, 0, 40.0], [0, 4, 0, -36], [0, 0, 4, -30], [0, 0, 0, 1]])
SHAPE = (20, 19, 16)


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> TinyCohort:
    """A study without a template that has run."""
    cohort = tiny.study(tmp_path_factory.mktemp("study"), stub=True)
    tiny.save(tiny.head(28, False)[0], cohort.config.parent / "template.nii.gz")
    assert cohort.snakemake().returncode == 0
    return cohort


@pytest.fixture
def study(finished: TinyCohort, tmp_path: Path) -> TinyCohort:
    """A copy of it, to change."""
    return finished.copy(tmp_path / "copy")


def rules(study: TinyCohort) -> set[str]:
    """The rules of the planned jobs, without the one at the top."""
    return {job[0] for job in study.planned()} - {"everything", "all"}


def test_a_template_adds_its_jobs_and_renews_what_names_failures(study: TinyCohort) -> None:
    assert rules(study) == set()
    study.write(template="template.nii.gz")
    planned = study.planned()
    assert rules(study) == ADDED | AFTER
    assert sorted(job[1] for job in planned if job[0] == "template") == ["patient=P001", "patient=P002"]
    assert study.snakemake().returncode == 0
    assert rules(study) == set()
    assert (study.folder / "results/cohort/report.html").read_text() == "group.html"
    file = study.config.parent / "template.nii.gz"
    file.touch()
    assert rules(study) == set()
    study.write(template_smoothing_mm=5)
    assert rules(study) == {"group_maps", "group_report", "cohort_report", "cohort_complete"}
    tiny.save(tiny.head(24, False)[0], file)
    assert rules(study) == ADDED | AFTER


def test_a_patient_that_cannot_be_placed_is_a_failure_and_the_others_go_on(
    study: TinyCohort, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    study.write(template="template.nii.gz")
    monkeypatch.setenv("UNPLACED", "P001")
    run = study.snakemake("--keep-going")
    told = run.stdout + run.stderr
    assert run.returncode == 1 and "1 patient could not be registered to the template." in told
    assert "P001: template: template_overlap: the brains do not overlap" in told
    assert "pairs failed" not in told and "Traceback" not in told
    cohort = study.folder / "results" / "cohort"
    rows = pd.read_csv(cohort / "failures.csv", keep_default_na=False).to_dict("records")
    assert rows == [
        {
            "patient": "P001", "from": "", "to": "", "stage": "template", "code": "template_overlap",
            "message": "the brains do not overlap", "log": "results/logs/P001/template.log",
        }
    ]  # fmt: skip
    assert set(pd.read_csv(cohort / "changes.csv")["status"]) == {"ok"}
    assert (cohort / "group.html").exists() and not (cohort / "complete.json").exists()
    assert main(["status", str(study.folder)]) in (0, 1)
    told = capsys.readouterr().out
    assert "template_overlap" in told and "template" in told.splitlines()[4] + told.splitlines()[5]


def small(ventricle_mm: float) -> np.ndarray:
    """Labels of a small head without any symmetry: white matter, and a ventricle on one side."""
    x = np.moveaxis(np.indices(SHAPE), 0, -1) @ AFFINE[:3, :3].T + AFFINE[:3, 3]
    labels = np.where(np.linalg.norm(x / [32, 28, 25], axis=-1) < 1, 1, 0)
    labels[np.linalg.norm((x - [8, 3, 4]) / [1, 1.3, 0.8], axis=-1) < ventricle_mm] = 2
    return labels.astype(np.uint8)


def save(labels: np.ndarray, path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    nib.save(nib.Nifti1Image(labels, AFFINE), path)


def test_a_whole_run_makes_maps_and_their_page(tmp_path: Path) -> None:
    cohort = TinyCohort(tmp_path, settings={"spacing_mm": 4, "reference": "none", "max_evaluations": 6})
    for patient, before, after in (("P001", 9, 12), ("P002", 10, 13)):
        for visit, days, size in (("V1", 0, before), ("V2", 365.25, after)):
            save(small(size), tmp_path / "scans" / patient / f"{visit}_regions.nii.gz")
            save(small(size) * 0, tmp_path / "scans" / patient / f"{visit}_states.nii.gz")
            cohort.rows.append((patient, visit, days))
    save(60 * small(10), cohort.config.parent / "template.nii.gz")
    cohort.write(template="template.nii.gz", template_smoothing_mm=0)
    run = cohort.snakemake("results/cohort/group.html")
    assert run.returncode == 0, run.stdout + run.stderr
    out = tmp_path / "results" / "cohort" / "group"
    assert json.loads((out / "group.json").read_text())["patients"] == ["P001", "P002"]
    moved, grid = read_maps(out / "deformation_mean.nii.gz", [2])
    assert (
        np.allclose(grid.affine, AFFINE) and grid.shape == read_scalar(out / "log_jacobian_mean.nii.gz").shape
    )
    moved = moved[0]  # of the ventricles
    x = np.argwhere(moved > moved.max() / 2) @ AFFINE[:3, :3].T + AFFINE[:3, 3]
    assert np.linalg.norm(x.mean(0) - [8, 3, 4]) < 1.5 * 4 and moved.max() > 0.2
    rows = pd.read_csv(out / "maps.csv").set_index(["map", "class"])
    volume = 4 / 3 * np.pi * 1.04 * (12**3 - 9**3 + 13**3 - 10**3) / 2
    assert rows.loc[("deformation", "ventricles"), "sum_mm3_per_year"] == pytest.approx(volume, rel=0.35)
    page = out.parent / "group.html"
    assert problems_of(page) == 0 and "A test needs at least 3 patients" in page.read_text(encoding="utf-8")
    outcome = (tmp_path / "results/logs/cohort/group_maps.log").read_text().splitlines()[-1]
    assert outcome.startswith("outcome: ok")

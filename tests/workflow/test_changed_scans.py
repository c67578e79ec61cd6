"""Results depend on the content of the scans, whatever their dates or paths."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import pytest
import tiny
from tiny import TinyCohort

OLD_S = 1.7e9
HEAVY = {"align", "maps", "register"}


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> TinyCohort:
    """A study that has run, with stubs for the steps; its scans lie behind a link."""
    cohort = tiny.study(tmp_path_factory.mktemp("study"), stub=True)
    os.rename(cohort.folder / "scans", cohort.folder / "first")
    (cohort.folder / "scans").symlink_to("first")
    run = cohort.snakemake()
    assert run.returncode == 0, run.stderr
    return cohort


@pytest.fixture
def study(finished: TinyCohort, tmp_path: Path) -> TinyCohort:
    """A copy of the finished study, to change."""
    return finished.copy(tmp_path / "copy")


def mask_without_lesion(study: TinyCohort, folder: str = "scans") -> Path:
    """Replace a visit's mask by an empty one of 2023."""
    mask = study.folder / folder / "P002" / "V2_states.nii.gz"
    _, states = tiny.head(24, lesion=False)
    tiny.save(states, mask)
    os.utime(mask, (OLD_S, OLD_S))
    return mask


def heavy(jobs: list[tuple[str, ...]]) -> set[tuple[str, str]]:
    return {(job[0], job[1]) for job in jobs if job[0] in HEAVY}


OF_P002 = {(rule, "patient=P002") for rule in HEAVY}


def test_a_corrected_mask_of_an_older_date_runs_its_patient_again(study: TinyCohort) -> None:
    mask = mask_without_lesion(study)
    assert not heavy(study.planned("patient_P001")), "another patient is not concerned"
    assert heavy(study.planned("patient_P002")) == OF_P002
    assert heavy(study.planned("--rerun-triggers", "mtime")) == OF_P002
    run = study.snakemake()
    assert run.returncode == 0, run.stderr
    assert "P002: scans/P002/V2_states.nii.gz has changed since the results were made" in run.stderr
    assert heavy(tiny.jobs_of(run.stdout + run.stderr)) == OF_P002
    assert study.planned() == []
    mask.touch()
    assert study.planned() == [], "the same content with another date"
    _, states = tiny.head(24, lesion=True)
    tiny.save(states, mask)
    os.utime(mask, (OLD_S, OLD_S))
    assert heavy(study.planned()) == OF_P002


def test_another_folder_behind_the_same_link_runs_who_differs_there(study: TinyCohort) -> None:
    scans = study.folder / "scans"
    shutil.copytree(study.folder / "first", study.folder / "second")
    mask_without_lesion(study, "second")
    scans.unlink()
    scans.symlink_to("second")
    assert heavy(study.planned()) == OF_P002
    scans.unlink()
    scans.symlink_to("first")
    assert study.planned() == [], "what was noticed is undone"

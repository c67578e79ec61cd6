"""The inputs and the resource requests of jobs."""

from __future__ import annotations

import time
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
import yaml

from longimorph.errors import LongimorphError
from longimorph.orchestration import start
from longimorph.orchestration.parameters import SETTINGS, Jobs, log_files, pair_record, visit_record
from longimorph.orchestration.resources import Needs
from longimorph.study import study as studies
from longimorph.study.study import Study

TABLES = {
    "classes.tsv": "class\tregions\tstates\nWM\t1\t*\nbackground\t*\t*\n",
    "control.tsv": "from\tWM\tbackground\nWM\t1\t1\nbackground\t1\t1\n",
    "cohort.tsv": "patient\ttimepoint\tdays\tregions\n"
    "P1\tA\t0\ta.nii.gz\nP1\tB\t10\ta.nii.gz\nP2\tA\t0\ta.nii.gz\n",
    "config.yaml": "cohort: cohort.tsv\nclasses: classes.tsv\ncontrol: control.tsv\n",
}


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A working folder with the tables of a study and one scan of 100 × 110 × 120 mm."""
    for name, text in TABLES.items():
        (tmp_path / name).write_text(text)
    scan = nib.Nifti1Image(np.zeros((50, 110, 60), np.uint8), np.diag([2.0, 1.0, 2.0, 1.0]))
    nib.save(scan, tmp_path / "a.nii.gz")
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture
def study(folder: Path) -> Study:
    """The study of the folder."""
    return studies.load_study(folder / "config.yaml")


def test_every_setting_belongs_to_one_stage_or_is_known_to_change_no_result(study: Study) -> None:
    staged = [key for keys in SETTINGS.values() for key in keys]
    staged.remove("smoothing_mm")  # which the noise of registered maps depends on as well
    elsewhere = {
        "cohort",
        "classes",
        "control",
        "pairs",
        "patients",
        "device",
        "threads",
        "gpus",
        "memory_model",
        "sweep",
        "template",
        "template_mask",
    }
    assert sorted(staged) == sorted(set(type(study.config).__annotations__) - elsewhere)


def test_a_job_knows_its_visit_by_paths_relative_to_the_working_folder_and_without_a_date(
    study: Study,
) -> None:
    record = visit_record(Jobs(study).visit("P1", "B"))
    assert record == {"patient": "P1", "timepoint": "B", "image": None, "regions": "a.nii.gz", "states": None}


def test_an_unknown_name_is_a_sentence_with_the_nearest_known_one(study: Study) -> None:
    jobs = Jobs(study)
    with pytest.raises(LongimorphError, match=r"no patient called 'p1'. Did you mean 'P1'"):
        jobs.visits_of("p1")
    with pytest.raises(LongimorphError, match="no patient with at least two visits called 'P2'"):
        jobs.pairs_of("P2")
    with pytest.raises(LongimorphError, match="no pair of P1 called 'A__C'"):
        jobs.pair("P1", "A__C")
    with pytest.raises(LongimorphError, match="no visit of P1 called 'C'"):
        jobs.visit("P1", "C")


def test_sizes_come_from_the_header_and_the_spacing(study: Study) -> None:
    size = Needs(study).size(Jobs(study).pair("P1", "A__B"))
    assert (size.voxels, size.classes) == (50 * 55 * 60, 2)
    assert size.map_mb == pytest.approx(50 * 55 * 60 * 2 * 4 / 1e6)


def test_finer_grids_ask_for_more(folder: Path) -> None:
    needs = []
    for spacing in (4, 2, 1):
        (folder / "config.yaml").write_text(TABLES["config.yaml"] + f"spacing_mm: {spacing}\n")
        study = studies.load_study(folder / "config.yaml")
        pair = Jobs(study).pair("P1", "A__B")
        asked = Needs(study).register(pair)
        needs.append((asked.mem_mb, asked.minutes, asked.disk_mb))
    for column in zip(*needs, strict=True):
        assert column[0] < column[1] < column[2]


def test_a_scan_that_cannot_be_read_still_gets_a_size(folder: Path) -> None:
    (folder / "b.nii.gz").write_bytes(b"nothing")
    (folder / "cohort.tsv").write_text(TABLES["cohort.tsv"].replace("a.nii", "b.nii"))
    study = studies.load_study(folder / "config.yaml")
    assert Needs(study).align(Jobs(study).visits_of("P1")).mem_mb > 1000


def test_maps_of_the_cohort_ask_for_more_with_a_larger_template(folder: Path) -> None:
    asked = []
    for side in (20, 150):
        nib.save(nib.Nifti1Image(np.eye(side)[None].repeat(side, 0), np.eye(4)), folder / "t.nii.gz")
        (folder / "config.yaml").write_text(TABLES["config.yaml"] + f"template: t{side}.nii.gz\n")
        (folder / "t.nii.gz").rename(folder / f"t{side}.nii.gz")
        study = studies.load_study(folder / "config.yaml")
        needs, visits = Needs(study), Jobs(study).visits_of("P1")
        asked.append([needs.template(visits).mem_mb, needs.group_maps().mem_mb, needs.group_report().mem_mb])
        assert Jobs(study).template_files == [f"t{side}.nii.gz"] and all(Jobs(study).template_version)
    assert all(small + 400 < large for small, large in zip(*asked, strict=True))


def test_tables_start_at_the_folder_of_the_file_that_names_them(folder: Path) -> None:
    (folder / "sub").mkdir()
    (folder / "sub" / "more.yaml").write_text("control: other.tsv\nspacing_mm: 3\n")
    files = [folder / "config.yaml", folder / "sub" / "more.yaml"]
    settings = {"cohort": "cohort.tsv", "classes": "c.tsv", "control": "other.tsv", "spacing_mm": 3}
    values = start.source_of(settings, files, {"classes": "c.tsv"})
    assert isinstance(values, dict)
    assert values["cohort"] == str(folder / "cohort.tsv")
    assert values["control"] == str(folder / "sub" / "other.tsv")
    assert values["classes"] == "c.tsv"
    assert start.source_of(settings, files[:1], {}) == files[0]


@pytest.mark.parametrize("later", ["template: null\n", "sweep: null\n", "sweep: {settings: null}\n"])
def test_a_later_file_can_take_a_setting_back(folder: Path, later: str) -> None:
    key = later.split(":")[0]
    (folder / "first.yaml").write_text("template: a.nii.gz\nsweep: {settings: {control: [a.tsv]}}\n")
    (folder / "later.yaml").write_text(later)
    files = [folder / "config.yaml", folder / "first.yaml", folder / "later.yaml"]
    merged = {"template": "a.nii.gz", "sweep": {"settings": {"control": ["a.tsv"]}}}
    merged[key] = yaml.safe_load(later)[key]
    values = start.source_of(merged, files, {})
    assert isinstance(values, dict) and values[key] == merged[key]
    assert start.source_of({**merged, "sweep": "null"}, files, {"sweep": "null"})["sweep"] == "null"  # type: ignore[index]


@pytest.mark.parametrize("overridden", [False, True])
def test_tables_of_a_sweep_start_there_too(folder: Path, overridden: bool) -> None:
    (folder / "sub").mkdir()
    tables = "[a.tsv, 'preset:lesion', ~nobody-of-that-name/a.tsv]"
    (folder / "sub" / "more.yaml").write_text(f"sweep: {{settings: {{control: {tables}}}}}\n")
    files = [folder / "config.yaml", folder / "sub" / "more.yaml"]
    given = {"settings": {"control": ["b.tsv"]}} if overridden else {"patients": "P1"}
    settings = {"cohort": "cohort.tsv", "sweep": {"settings": {"control": ["as Snakemake merged them"]}}}
    values = start.source_of(settings, files, {"sweep": given})
    assert isinstance(values, dict)
    at = str(folder / "sub")
    expected = [f"{at}/a.tsv", "preset:lesion", f"{at}/~nobody-of-that-name/a.tsv"]
    assert values["sweep"]["settings"]["control"] == (
        ["as Snakemake merged them"] if overridden else expected
    )
    assert settings["sweep"] == {"settings": {"control": ["as Snakemake merged them"]}}


def test_a_thousand_patients_are_planned_within_seconds(folder: Path) -> None:
    rows = [f"P{patient}\t{visit}\t{visit}\ta.nii.gz" for patient in range(1000) for visit in range(3)]
    (folder / "cohort.tsv").write_text("patient\ttimepoint\tdays\tregions\n" + "\n".join(rows) + "\n")
    began = time.perf_counter()
    jobs = Jobs(studies.load_study(folder / "config.yaml", check_files=False))
    records = [pair_record(pair) for patient in jobs.patients for pair in jobs.pairs_of(patient)]
    assert len(records) == 2000
    assert time.perf_counter() - began < 2


def test_the_logs_of_a_pair_are_those_of_its_patient_visits_and_registration(study: Study) -> None:
    logs = log_files(Jobs(study).pair("P1", "A__B"))
    assert logs == {
        "align": "results/logs/P1/align.log",
        "maps:A": "results/logs/P1/maps_A.log",
        "maps:B": "results/logs/P1/maps_B.log",
        "register": "results/logs/P1/register_A__B.log",
    }

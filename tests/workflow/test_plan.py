"""The jobs that the workflow plans, and those that it plans again after a change."""

from __future__ import annotations

import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import tiny
from tiny import ENTRY_POINTS, REPOSITORY, TinyCohort

TOP = {"everything", "all"}
HEAVY = {"align", "maps", "register"}
PAGES = {"patient_report", "cohort_report"}
END = {
    "lesions", "patient_tables", "cohort_tables", "cohort_visits", "cohort_figure", "cohort_complete", *PAGES
}  # fmt: skip


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> TinyCohort:
    """A study that has run."""
    cohort = tiny.study(tmp_path_factory.mktemp("study"), stub=True)
    run = cohort.snakemake()
    assert run.returncode == 0, run.stderr
    assert "3 of 3 pairs done." in run.stdout + run.stderr
    return cohort


@pytest.fixture
def study(finished: TinyCohort, tmp_path: Path) -> TinyCohort:
    """A copy of the finished study, in another folder, to change."""
    return finished.copy(tmp_path / "copy")


def rules(jobs: list[tuple[str, ...]]) -> set[str]:
    """The rules of jobs, without the one at the top."""
    return {job[0] for job in jobs} - TOP


def test_both_entry_points_plan_the_same_jobs(tmp_path: Path) -> None:
    cohort = tiny.study(tmp_path)
    plans = [[job for job in cohort.planned(entry=entry) if job[0] not in TOP] for entry in ENTRY_POINTS]
    assert plans[0] == plans[1]
    count = {rule: sum(job[0] == rule for job in plans[0]) for rule in rules(plans[0])}
    assert count == {
        "align": 2,
        "maps": 5,
        "register": 3,
        "figure": 3,
        "lesions": 2,
        "pairs": 1,
        "patient_tables": 2,
        "cohort_tables": 1,
        "cohort_visits": 1,
        "cohort_figure": 1,
        "patient_report": 2,
        "cohort_report": 1,
        "cohort_complete": 1,
    }


def test_a_finished_study_has_nothing_to_do_even_in_another_folder(study: TinyCohort) -> None:
    assert study.planned() == []


def test_a_patient_is_a_target_and_forcing_it_plans_nothing_of_others(study: TinyCohort) -> None:
    jobs = study.planned("--forceall", "patient_P002")
    own = {"figure", "lesions", "patient_tables", "patient_report", "patient_complete", "patient_P002"}
    assert {job[0] for job in jobs} == {*HEAVY, *own}
    assert all("patient=P002" in job for job in jobs if job[0] != "patient_P002")


def test_a_new_patient_runs_alone(study: TinyCohort) -> None:
    study.add("P004-b", "V1", 0, 22)
    study.add("P004-b", "V2", 30, 25)
    study.write()
    jobs = study.planned()
    assert {job[1] for job in jobs if job[0] in HEAVY} == {"patient=P004-b"}
    assert rules(jobs) == {*HEAVY, *END, "figure", "pairs"}
    assert study.planned("patient_P004-b")


def test_a_second_visit_makes_a_patient_of_one_who_was_left_out(study: TinyCohort) -> None:
    study.add("P003", "V2", 30, 25)
    study.write()
    assert {job[1] for job in study.planned() if job[0] in HEAVY} == {"patient=P003"}


CHANGES = {
    "spacing_mm": (4, {*HEAVY, *END, "figure"}),
    "smoothing_mm": (3, {"maps", "register", *END, "figure"}),
    "max_evaluations": (7, {"register", *END, "figure"}),
    "amplitude_mm": (9.5, {"register", *END, "figure"}),
    "device": ("cpu", set()),
    "threads": (2, set()),
}


@pytest.mark.parametrize("key", CHANGES)
def test_a_setting_runs_again_what_depends_on_it(study: TinyCohort, key: str) -> None:
    value, expected = CHANGES[key]
    study.write(**{key: value})
    assert rules(study.planned()) == expected


def edit(file: str, old: str, new: str) -> Callable[[TinyCohort], None]:
    """Return a change of one table's text."""

    def change(study: TinyCohort) -> None:
        path = study.folder / "config" / file
        text = path.read_text()
        assert old in text
        path.write_text(text.replace(old, new))

    return change


def add_column(name: str, *cells: str) -> Callable[[TinyCohort], None]:
    """Return a change that adds a column to the cohort table; the last cell fills the remaining rows."""

    def change(study: TinyCohort) -> None:
        path = study.folder / "config" / "cohort.tsv"
        head, *rows = path.read_text().splitlines()
        own = [*cells, *[cells[-1]] * len(rows)]
        lines = [f"{head}\t{name}", *(f"{row}\t{cell}" for row, cell in zip(rows, own, strict=False))]
        path.write_text("\n".join(lines) + "\n")

    return change


EDITS = {
    "age": (add_column("age", "50", "51"), {"cohort_visits", "cohort_complete"}),
    "icv": (add_column("icv_mm3", "1500000", "n/a"), END - {"lesions"}),
    "colour": (edit("classes.tsv", "#f0f0f0", "#f1f1f1"), {"figure", "cohort_complete", *PAGES}),
    "region": (edit("classes.tsv", "CSF", "fluid"), {*END}),
    "date": (edit("cohort.tsv", "\t61\t", "\t62\t"), {"figure", "pairs", *END}),
    "labels": (edit("classes.tsv", "WM\t1\t*", "WM\t1,9\t*"), {*HEAVY, *END, "figure"}),
    "control": (
        edit("control.tsv", "oedema\t1\t0\t1\t1", "oedema\t1\t0.5\t1\t1"),
        {"register", *END, "figure"},
    ),
    "comment": (edit("config.yaml", "smoothing_mm", "# a remark\nsmoothing_mm"), set()),
}


@pytest.mark.parametrize("name", EDITS)
def test_an_edited_table_runs_again_what_depends_on_it(study: TinyCohort, name: str) -> None:
    change, expected = EDITS[name]
    change(study)
    assert rules(study.planned()) == expected


def test_a_replaced_scan_runs_its_patient_again(study: TinyCohort) -> None:
    regions, _ = tiny.head(31, lesion=False)
    tiny.save(regions, study.folder / "scans" / "P001" / "V2_regions.nii.gz")
    jobs = study.planned()
    assert {job[1] for job in jobs if job[0] in HEAVY} == {"patient=P001"}


def test_settings_of_the_working_folder_do_not_leak_into_another_configuration(study: TinyCohort) -> None:
    elsewhere = study.folder / "other"
    shutil.copytree(study.config.parent, elsewhere)
    text = study.config.read_text()
    study.config.write_text(text + "max_evaluations: 3\n")
    run = study.snakemake("--dry-run", "--configfile", str(elsewhere / "config.yaml"))
    assert "register" not in {job[0] for job in tiny.jobs_of(run.stdout + run.stderr)}


def test_without_a_configuration_on_the_command_line_that_of_the_working_folder_counts(
    study: TinyCohort,
) -> None:
    command = [sys.executable, "-m", "snakemake", "--cores", "1", "--dry-run", "-s", str(ENTRY_POINTS[0])]
    run = subprocess.run(command, cwd=study.folder, capture_output=True, text=True, timeout=60)
    assert run.returncode == 0, run.stderr
    assert "Nothing to be done" in run.stdout + run.stderr


def test_settings_can_come_from_the_command_line_and_from_a_second_file(study: TinyCohort) -> None:
    assert rules(study.planned("--config", "max_evaluations=9")) == {"register", *END, "figure"}
    second = study.folder / "more.yaml"
    second.write_text("patients: [P001]\n")
    jobs = study.planned("--configfile", str(study.config), str(second), "--forceall")
    assert {job[1] for job in jobs if job[0] in HEAVY} == {"patient=P001"}


def test_what_is_typed_wrongly_is_listed_at_once_and_nothing_runs(study: TinyCohort) -> None:
    study.write(smoothing_m=3)
    edit("cohort.tsv", "P001/V2_regions", "P001/V9_regions")(study)
    edit("control.tsv", "oedema\t1\t0\t1\t1", "oedema\t1\t7\t1\t1")(study)
    run = study.snakemake()
    text = run.stdout + run.stderr
    assert run.returncode == 1
    assert "3 problems found" in text and "Traceback" not in text
    for part in ("smoothing_mm", "V9_regions.nii.gz", "control.tsv, line 2"):
        assert part in text


def test_a_patient_that_is_left_out_is_named_with_the_reason(study: TinyCohort) -> None:
    run = study.snakemake("--dry-run")
    assert "P003 is left out" in run.stdout + run.stderr


def test_the_local_profile_works_from_another_folder(study: TinyCohort) -> None:
    assert study.planned("--profile", str(REPOSITORY / "profiles" / "local")) == []


@pytest.mark.parametrize("entry", ENTRY_POINTS, ids=lambda path: str(path.relative_to(REPOSITORY)))
def test_the_linter_is_content(study: TinyCohort, entry: Path) -> None:
    run = study.snakemake("--lint", entry=entry)
    assert run.returncode == 0, run.stdout + run.stderr


def test_every_rule_file_is_formatted() -> None:
    pytest.importorskip("snakefmt")
    command = [sys.executable, "-m", "snakefmt", "--check", "Snakefile", "workflow"]
    run = subprocess.run(command, cwd=REPOSITORY, capture_output=True, text=True, timeout=60)
    assert run.returncode == 0, run.stderr

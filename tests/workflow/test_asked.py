"""Resource requests of jobs: dry runs show them, and changing them runs nothing again."""

from __future__ import annotations

import csv
import re
from pathlib import Path

import pytest
import tiny
from tiny import TinyCohort

from longimorph.cli import main
from longimorph.orchestration.resources import Needs
from longimorph.study import study as studies

TABLE = "name\tmemory_gb\trequest\tconstraint\tpartition\n"
CARDS = TABLE + "small\t8\tgpus=t4:1\t\t\nlarge\t80\tgpus=a100:1\tfast\tgpuq\n"
GROUPS = (
    "align=prepare_{patient}",
    "maps=prepare_{patient}",
    "figure=finish_{patient}",
    "patient_report=finish_{patient}",
)


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> TinyCohort:
    """A study that has run, with stubs for the steps."""
    cohort = tiny.study(tmp_path_factory.mktemp("study"), stub=True)
    run = cohort.snakemake()
    assert run.returncode == 0, run.stderr
    return cohort


@pytest.fixture
def study(finished: TinyCohort, tmp_path: Path) -> TinyCohort:
    """A copy of the finished study."""
    return finished.copy(tmp_path / "copy")


def with_cards(study: TinyCohort, text: str, **settings: object) -> None:
    """Give the study a table of cards."""
    (study.config.parent / "gpus.tsv").write_text(text)
    study.write(gpus="gpus.tsv", **settings)


def resources(study: TinyCohort, *arguments: str) -> dict[str, list[dict[str, str]]]:
    """The resources of every job of a dry run, by rule."""
    run = study.snakemake("--dry-run", "--forceall", *arguments)
    assert run.returncode == 0, run.stdout + run.stderr
    found: dict[str, list[dict[str, str]]] = {}
    rule = ""
    for line in (run.stdout + run.stderr).splitlines():
        head = re.match(r"\s*(?:local)?rule (\w+):", line)
        rule = head[1] if head else rule
        if line.strip().startswith("resources:"):
            text = line.split("resources:")[1]
            found.setdefault(rule, []).append(dict(re.findall(r"(\w+)=([^,]*)", text)))
    return found


def test_every_rule_asks_for_memory_time_and_disk_and_the_dry_run_shows_it(study: TinyCohort) -> None:
    tiny.save(tiny.head(28, False)[0], study.config.parent / "template.nii.gz")
    study.repeat("P001", "V2", 24)
    sweep = {"pairs": ["P001/V1__V2"], "settings": {"kernel_mm": [[24], [48]]}}
    study.write(template="template.nii.gz", sweep=sweep)
    found = resources(study, "everything", "patient_P001", "sweep")
    needs = Needs(studies.load_study(study.config))
    files = (tiny.REPOSITORY / "workflow" / "rules").glob("*.smk")
    rules = [name for file in files for name in re.findall(r"^rule (\w+):", file.read_text(), re.MULTILINE)]
    assert len(rules) > 10 and set(rules) == set(found) - {"all", "everything", "patient_P001"}
    for rule in rules:
        for job in found[rule]:
            assert all(int(job[name]) > 0 for name in ("mem_mb", "runtime", "disk_mb")), rule
    asked = needs.register(needs.study.plan.pairs[0])
    shown = found["register"][0]
    assert (int(shown["mem_mb"]), int(shown["runtime"])) == (asked.mem_mb, asked.minutes)
    assert "gpu" not in shown and shown["device"] == "auto"


def test_registrations_ask_for_the_card_and_no_other_job_does(study: TinyCohort) -> None:
    with_cards(study, CARDS)
    found = resources(study)
    for job in found["register"]:
        assert (job["gpu"], job["gpu_model"], job["device"]) == ("1", "t4", "auto")
        assert "constraint" not in job and "slurm_partition" not in job
    rest = [job for rule, jobs in found.items() if rule != "register" for job in jobs]
    assert not any("gpu" in job or "gres" in job for job in rest)


def test_a_card_without_a_partition_leaves_that_of_the_profile(study: TinyCohort) -> None:
    with_cards(study, CARDS)
    found = resources(study, "--default-resources", "slurm_partition=short")
    assert {job["slurm_partition"] for job in found["register"]} == {"short"}
    with_cards(study, CARDS.replace("small\t8\t", "small\t0.61\t"))
    found = resources(study, "--default-resources", "slurm_partition=short")
    assert {job["slurm_partition"] for job in found["register"]} == {"gpuq"}
    assert {job["constraint"] for job in found["register"]} == {"fast"}
    assert {job["slurm_partition"] for job in found["maps"]} == {"short"}


def test_cards_and_needs_are_no_reason_to_run_a_job_again(study: TinyCohort) -> None:
    with_cards(study, CARDS)
    assert study.planned() == []
    with_cards(study, CARDS.replace("t4", "v100"))
    assert study.planned() == []


def test_what_fits_no_card_is_refused_before_anything_runs(
    study: TinyCohort, capsys: pytest.CaptureFixture[str]
) -> None:
    with_cards(study, TABLE + "toy\t0.605\tgpus=1\t\t\n", device="cuda", spacing_mm=1)
    run = study.snakemake()
    text = run.stdout + run.stderr
    assert run.returncode == 1 and "Traceback" not in text
    assert "1 problem found, nothing was run" in text
    assert re.search(r"P001 V1__V2 and 2 more .* would fit with spacing_mm: \d", text)
    assert main(["plan", str(study.config)]) == 2
    assert "would fit with spacing_mm" in capsys.readouterr().err
    with_cards(study, TABLE + "toy\t0.605\tgpus=1\t\t\n", device="auto", spacing_mm=1)
    assert {job["device"] for job in resources(study)["register"]} == {"cpu"}


def test_the_small_jobs_of_a_patient_make_one_job_with_the_memory_of_the_largest(study: TinyCohort) -> None:
    """As the profiles of clusters set it; a group is shown with what it asks for altogether."""
    groups = ["--groups", *GROUPS, "patient_tables=finish_{patient}"]
    groups += ["--group-components", "finish_{patient}=1000"]
    groups += ["--resources", "in_turn=1", "--set-resource-scopes", "in_turn=local"]
    run = study.snakemake("--dry-run", "--forceall", *groups)
    text = run.stdout + run.stderr
    assert run.returncode == 0, text
    names = sorted(re.findall(r"Group job (\w+)", text, flags=re.IGNORECASE))
    assert names == ["finish_P001", "finish_P002", "prepare_P001", "prepare_P002"]


def test_the_plan_as_csv_has_the_numbers_of_the_text(
    study: TinyCohort, capsys: pytest.CaptureFixture[str]
) -> None:
    with_cards(study, CARDS)
    file = study.folder / "plan.csv"
    assert main(["plan", str(study.config), "--csv", str(file)]) == 0
    with file.open() as lines:
        rows = list(csv.DictReader(lines))
    text = capsys.readouterr().out
    assert [(row["patient"], row["from"], row["to"]) for row in rows] == [
        ("P001", "V1", "V2"),
        ("P002", "V1", "V2"),
        ("P002", "V2", "V3"),
    ]
    assert {row["runs_on"] for row in rows} == {"small"} and {row["strategy"] for row in rows} == {"store"}
    asked = Needs(studies.load_study(study.config)).register(studies.load_study(study.config).plan.pairs[0])
    assert int(rows[0]["host_memory_mb"]) == asked.mem_mb and int(rows[0]["disk_mb"]) == asked.disk_mb
    assert "3 registrations of 2 patients" in text and "3 on small, strategy store" in text

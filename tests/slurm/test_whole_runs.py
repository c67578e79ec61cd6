"""Whole runs on a cluster: the profile by its name, and GPUs."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest
import tiny
from on_cluster import ClusterCohort, slurm

REGISTRATIONS = ("register-P001-V1__V2", "register-P002-V1__V2", "register-P002-V2__V3")


def test_the_profile_is_found_by_its_name(tmp_path: Path) -> None:
    """The set-up's links, then what users type, with the real steps."""
    environment = {"HOME": str(tmp_path / "home"), "XDG_CONFIG_HOME": str(tmp_path / "settings")}
    link = [Path(tiny.PYTHON).with_name("longimorph"), "profiles"]
    said = subprocess.run(link, env={**os.environ, **environment}, capture_output=True, text=True, check=True)  # type: ignore[arg-type]
    assert "snakemake --profile slurm: " in said.stdout
    study = ClusterCohort(tiny.study(tmp_path / "study"))
    study.cohort.write(max_evaluations=3)
    head = study.start(profile="slurm", environment=environment)
    assert head.end() == 0, head.text[-3000:]
    study.check_tables(pairs=3)
    assert "SLURM run ID: longimorph_" in head.text
    for row in study.rows("changes"):
        parts = [float(row[f"{kind}_mm3"]) for kind in ("deformation", "reallocation", "unexplained")]
        assert sum(parts) == pytest.approx(float(row["volume_to_mm3"]) - float(row["volume_from_mm3"]), abs=1)


@pytest.mark.parametrize(
    ("profile", "request_of_one"), [("slurm", "gres=gpu:small:1"), ("slurm-gpus", "gpus=large:1")]
)
def test_jobs_share_the_cards_of_a_node(tmp_path: Path, profile: str, request_of_one: str) -> None:
    """Two registrations have a card each, the third waits until one is free."""
    cohort = tiny.study(tmp_path / "study", stub=True)
    table = "name\tmemory_gb\trequest\tpartition\n" + f"card\t80\t{request_of_one}\tgpu\n"
    (cohort.config.parent / "gpus.tsv").write_text(table)
    cohort.write(gpus="gpus.tsv")
    study = ClusterCohort(cohort)
    faults = [study.fault(job, "wait") for job in REGISTRATIONS]
    head = study.start(profile=tiny.REPOSITORY / "profiles" / profile)
    study.until(lambda: len(cards(study)) == 2, "two registrations to begin")
    waits = ("squeue", "--noheader", "--partition=gpu", "--states=PENDING", "--format=%r %Z")
    study.until(lambda: f"Resources {study.folder}" in slurm(*waits), "the third to wait for a card")
    first = cards(study)
    assert len(set(first.values())) == 2
    for fault in faults:
        fault.unlink()
    assert head.end() == 0, head.text[-3000:]
    assert set(cards(study).values()) == set(first.values())
    assert {note[2] for note in study.notes("began") if not note[0].startswith("register")} == {"-"}
    study.check_tables(pairs=3)


def cards(study: ClusterCohort) -> dict[str, str]:
    """Return the card that each registration was given."""
    return {note[0]: note[2] for note in study.notes("began") if note[0] in REGISTRATIONS}

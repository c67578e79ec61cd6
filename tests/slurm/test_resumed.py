"""A real registration that SLURM interrupts continues where it stopped, on any node."""

from __future__ import annotations

import json
import re
from pathlib import Path

from on_cluster import ClusterCohort, slurm
from tiny import TinyCohort

PAIR = Path("results", "patients", "P001", "V1__V2")
LOG = Path("results", "logs", "P001", "register_V1__V2.log")


def one_pair(folder: Path) -> TinyCohort:
    """One pair that takes many iterations."""
    cohort = TinyCohort(folder)
    cohort.add("P001", "V1", 0, 20)
    cohort.add("P001", "V2", 61, 28, lesion=True)
    chosen = {"spacing_mm": 6, "smoothing_mm": 4, "reference": "none", "tolerance": 1e-9}
    cohort.write(**chosen, max_evaluations=40, steps=6)
    return cohort


def number_after(study: ClusterCohort, iteration: int) -> str:
    """Wait until the registration has come so far; returns its number in SLURM."""
    log = study.folder / LOG
    pattern = re.compile(rf"SLURM job (\d+).*^.*iteration {iteration},", flags=re.MULTILINE | re.DOTALL)
    study.until(lambda: log.exists() and pattern.search(log.read_text()), f"iteration {iteration}")
    found = pattern.search(log.read_text())
    assert found
    return found[1]


def test_interrupted_twice_it_gives_the_same(tmp_path: Path) -> None:
    """The early signal of the profile, then scancel: three attempts, one result."""
    study, whole = ClusterCohort(one_pair(tmp_path / "study")), one_pair(tmp_path / "whole")
    head = study.start()
    slurm("scancel", "--signal=USR1", number_after(study, 4))
    slurm("scancel", number_after(study, 12))
    assert head.end() == 0, head.text[-3000:]
    assert "USR1 after" in head.text and "SIGTERM after" in head.text
    assert json.loads((study.folder / PAIR / "status.json").read_text())["attempts"] == 3
    assert whole.snakemake(str(PAIR / "status.json")).returncode == 0
    for name in ("changes.csv", "transitions.csv", "convergence.csv"):
        assert (study.folder / PAIR / name).read_bytes() == (whole.folder / PAIR / name).read_bytes()

"""A visit that is added to a patient leaves the numbers of earlier pairs as they are, with a baseline."""

from __future__ import annotations

from pathlib import Path

from tiny import TinyCohort

TABLES = ("changes.csv", "transitions.csv")
MAPS = ("deformation.nii.gz", "reallocation.nii.gz", "warp.nii.gz", "momentum.nii.gz")


def test_earlier_numbers_stay_the_same_to_the_last_bit(tmp_path: Path) -> None:
    settings = {"spacing_mm": 8, "smoothing_mm": 4, "reference": "baseline", "max_evaluations": 4}
    cohort = TinyCohort(tmp_path, settings=settings)
    cohort.add("P1", "V1", 0, 20)
    cohort.add("P1", "V2", 90, 28, lesion=True)
    cohort.write()
    patient = "results/patients/P1"
    pair, later = tmp_path / patient / "V1__V2", tmp_path / patient / "V2__V3" / "status.json"
    assert cohort.snakemake(f"{patient}/V1__V2/status.json").returncode == 0
    before = {name: (pair / name).read_bytes() for name in (*TABLES, *MAPS)}
    made = {name: (pair / name).stat().st_mtime_ns for name in before}
    cohort.add("P1", "V3", 180, 36, lesion=True)
    cohort.write()
    run = cohort.snakemake(f"{patient}/V1__V2/status.json", f"{patient}/V2__V3/status.json")
    assert run.returncode == 0, run.stderr
    assert later.exists()
    assert all((pair / name).stat().st_mtime_ns > made[name] for name in before), "it was computed again"
    assert [name for name, content in before.items() if (pair / name).read_bytes() != content] == []

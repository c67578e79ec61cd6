"""The whole pipeline with its real steps on a tiny cohort with one truncated scan."""

from __future__ import annotations

import csv
import hashlib
import json
import os
import re
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import pytest
import tiny
from tiny import TinyCohort

from longimorph.bids.export import export
from longimorph.cli import plan
from longimorph.io.volumes import read_grid, read_scalar
from longimorph.tables import columns, read_changes, read_transitions, sweep

PAIR_FILES = (
    "momentum.nii.gz",
    "warp.nii.gz",
    "inverse_warp.nii.gz",
    "log_jacobian.nii.gz",
    "final_simplex.nii.gz",
    "deformation.nii.gz",
    "reallocation.nii.gz",
    "convergence.csv",
    "status.json",
    "changes.csv",
    "transitions.csv",
    "overview.png",
)
DONE = (("P001", "V1", "V2"), ("P002", "V1", "V2"), ("P004", "V1", "V2"))

OFFLINE = Path(__file__).parent / "offline"

Run = tuple[TinyCohort, subprocess.CompletedProcess[str]]


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Run:
    """Widening ventricles; oedema, then a scan that is cut off; one visit; twice the same visit.

    Without a network, and with a folder of its own for temporary files, as on the node of a cluster.
    """
    cohort = tiny.study(tmp_path_factory.mktemp("study"))
    cohort.add("P004", "V1", 0, 24)
    cohort.add("P004", "V2", 100, 24)
    cohort.write(max_evaluations=8)
    scan = cohort.folder / "scans" / "P002" / "V3_regions.nii.gz"
    scan.write_bytes(scan.read_bytes()[:60])
    (cohort.folder / "node").mkdir()
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv(
            "PYTHONPATH", os.pathsep.join(filter(None, [str(OFFLINE), os.environ.get("PYTHONPATH")]))
        )
        patch.setenv("OFFLINE_NOTES", str(cohort.folder / "network.txt"))
        patch.setenv("TMPDIR", str(cohort.folder / "node"))
        return cohort, cohort.snakemake()


@pytest.fixture
def results(run: Run) -> Path:
    """The folder of the results."""
    return run[0].folder / "results"


def test_the_failure_ends_the_run_with_an_error_after_all_else_is_made(run: Run, results: Path) -> None:
    text = run[1].stdout + run[1].stderr
    assert run[1].returncode != 0
    assert "3 of 4 pairs done, 1 failed." in text, text
    changes = read_changes(results / "cohort" / "changes.csv")
    assert len(changes) == 4 * 4
    good = changes[changes["status"] == "ok"]
    assert tuple(good[["patient", "from", "to"]].drop_duplicates().itertuples(index=False, name=None)) == DONE
    failed = changes[changes["status"] != "ok"]
    assert failed[["patient", "from", "to"]].drop_duplicates().to_numpy().tolist() == [["P002", "V2", "V3"]]
    assert failed["deformation_mm3"].isna().all()
    with (results / "cohort" / "failures.csv").open(newline="") as file:
        (failure,) = csv.DictReader(file)
    assert failure["code"] == failed["status"].iloc[0]
    assert "V3_regions.nii.gz" in failure["message"]
    assert (results.parent / failure["log"]).read_text().splitlines()[-1].startswith("outcome: failed")
    assert not (results / "cohort" / "complete.json").exists()


def test_no_job_needs_a_network_and_none_leaves_a_file_on_its_node(run: Run, tmp_path: Path) -> None:
    notes = (run[0].folder / "network.txt").read_text().splitlines()
    jobs = re.findall(r"^(?:local)?rule ", run[1].stdout + run[1].stderr, flags=re.MULTILINE)
    assert set(notes) == {"process"} and len(notes) > len(jobs) > 10
    assert list((run[0].folder / "node").iterdir()) == []
    for code in ("socket.create_connection(('127.0.0.1', 9))", "socket.gethostbyname('localhost')"):
        own = {"PYTHONPATH": str(OFFLINE), "OFFLINE_NOTES": str(tmp_path / "network.txt")}
        attempt = [tiny.PYTHON, "-c", f"import socket; {code}"]
        refused = subprocess.run(attempt, env={**os.environ, **own}, capture_output=True, text=True)
        assert "out of reach" in refused.stderr
    assert [line.split()[0] for line in (tmp_path / "network.txt").read_text().splitlines()] == [
        *("process", "socket.getaddrinfo"),
        *("process", "socket.gethostbyname"),
    ]


def test_every_file_of_the_contract_is_there(results: Path) -> None:
    for patient, before, after in DONE:
        folder = results / "patients" / patient
        for name in PAIR_FILES:
            assert (folder / f"{before}__{after}" / name).is_file(), name
        for visit in (before, after):
            for name in ("rigid.tfm", "simplex.nii.gz", "qc.json"):
                assert (folder / visit / name).is_file(), name


def test_the_cohorts_memory_is_told_and_drawn(results: Path) -> None:
    with (results / "cohort" / "memory.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    done = [row for row in rows if row["status"] == "ok"]
    assert [(row["patient"], row["from"], row["to"]) for row in done] == list(DONE)
    for row in done:
        assert (row["device"], row["observed_device_bytes"]) == ("cpu", "")
        assert 0 < int(row["process_bytes"]) <= int(row["observed_host_bytes"])
        assert int(row["map_bytes"]) > 0 and int(row["predicted_host_bytes"]) > int(row["map_bytes"])
    assert (results / "cohort" / "memory.png").is_file()


def test_maps_are_probabilities_with_classes_last(results: Path) -> None:
    image = nib.Nifti1Image.from_filename(results / "patients" / "P001" / "V1" / "simplex.nii.gz")
    maps = np.asarray(image.dataobj)
    assert maps.ndim == 4 and maps.shape[-1] == 4 and image.get_data_dtype() == np.float32
    assert maps.min() >= 0 and np.abs(maps.sum(-1) - 1).max() < 1e-5


def test_the_maps_of_both_ways_add_up_to_the_tables(results: Path) -> None:
    folder = results / "patients" / "P001" / "V1__V2"
    changes = read_changes(folder / "changes.csv")
    for way in ("deformation", "reallocation"):
        image = nib.Nifti1Image.from_filename(folder / f"{way}.nii.gz")
        volume = abs(np.linalg.det(image.affine[:3, :3]))
        sums = np.asarray(image.dataobj, dtype=np.float64).sum((0, 1, 2)) * volume
        assert np.allclose(sums, changes[f"{way}_mm3"], atol=1e-3 * changes["volume_from_mm3"].sum())


NAMED = {
    "Levels",
    "volumes_mm3",
    "volumes_native_mm3",
    "dice_before",
    "dice_after",
    "inputs_sha256",
    "versions",
}
SETTINGS = {"settings", "control"}


def keys(data: Any) -> Iterator[str]:
    """The keys of a JSON file, without names of classes, visits, files and packages, and of settings."""
    for key, value in data.items() if isinstance(data, dict) else ():
        yield key
        inner = value.values() if key in ("visits", "class_changes") else [value]
        for part in () if key in NAMED | SETTINGS else inner:
            yield from keys(part)


def test_every_file_column_and_key_is_described(results: Path) -> None:
    text = (tiny.REPOSITORY / "docs" / "outputs.md").read_text(encoding="utf-8")
    described = {word for span in re.findall(r"`([^`\n]+)`", text) for word in re.findall(r"[\w.]+", span)}
    files = [f for f in results.rglob("*") if f.is_file() and "logs" not in f.relative_to(results).parts]
    dictionaries = {file.with_suffix(".json") for file in files if file.suffix == ".csv"}
    assert {f.name for f in files if f not in dictionaries} - described == set()
    for file in files:
        if file.suffix == ".csv":
            with file.open(newline="") as opened:
                assert set(next(csv.reader(opened))) - described == set(), file
        if file.suffix == ".json":
            assert set(keys(json.loads(file.read_text()))) - described == set(), file


def test_every_column_that_can_be_written_is_described() -> None:
    text = (tiny.REPOSITORY / "docs" / "outputs.md").read_text(encoding="utf-8")
    tables = [value for name, value in vars(columns).items() if name.isupper() and isinstance(value, tuple)]
    assert len(tables) > 5
    assert {name for table in tables for name in table if f"`{name}`" not in text} == set()
    running = (tiny.REPOSITORY / "docs" / "running.md").read_text(encoding="utf-8")
    assert [name for name in sweep.HEALTH if f"`{name}`" not in running] == []
    planning = (tiny.REPOSITORY / "docs" / "planning.md").read_text(encoding="utf-8")
    assert [name for name in plan.COLUMNS if f"`{name}`" not in planning] == []


def test_the_columns_add_up(results: Path) -> None:
    changes = read_changes(results / "cohort" / "changes.csv").query("status == 'ok'")
    change = changes["volume_to_mm3"] - changes["volume_from_mm3"]
    parts = changes[["deformation_mm3", "reallocation_mm3", "unexplained_mm3"]].sum(axis=1)
    assert np.abs(change - parts).max() < 1e-6
    flows = read_transitions(results / "cohort" / "transitions.csv")
    assert (flows[["deformation_mm3", "reallocation_mm3"]].dropna() >= 0).all(axis=None)


def test_single_lesions_add_up_to_their_class(results: Path) -> None:
    lesions = columns.read_table(results / "cohort" / "lesions.csv")
    changes = read_changes(results / "cohort" / "changes.csv").query("`class` == 'oedema'")
    assert len(changes) == 4
    for row in changes.to_dict("records"):
        own = lesions[(lesions["patient"] == row["patient"]) & (lesions["to"] == row["to"])]
        assert set(own["status"]) == {row["status"]}
        for name in columns.VOLUMES if row["status"] == "ok" else ():
            assert own[name].sum() == pytest.approx(row[name], abs=1e-6), name
    (new,) = lesions[lesions["event"] == "new"].to_dict("records")
    assert (new["patient"], new["from"], new["to"], new["lesion"]) == ("P002", "V1", "V2", "1")
    assert (new["x_mm"], new["y_mm"], new["z_mm"]) == pytest.approx((40, 0, 0), abs=4)


def test_what_moved_is_deformation_and_what_turned_ill_is_reallocation(results: Path) -> None:
    changes = read_changes(results / "cohort" / "changes.csv").set_index(["patient", "to", "class"])
    ventricles = changes.loc[("P001", "V2", "ventricles")]  # type: ignore[index]
    assert ventricles["deformation_mm3"] > 10 * abs(ventricles["reallocation_mm3"])
    oedema = changes.loc[("P002", "V2", "oedema")]  # type: ignore[index]
    assert oedema["reallocation_mm3"] > 2 * abs(oedema["deformation_mm3"])


def test_the_same_scan_twice_gives_exact_zeros(results: Path) -> None:
    changes = read_changes(results / "patients" / "P004" / "changes.csv")
    for name in ("deformation_mm3", "reallocation_mm3", "unexplained_mm3"):
        assert (changes[name] == 0).all()


def test_visits_have_volumes_that_differ_by_the_change_since_the_first(results: Path) -> None:
    visits = columns.read_table(results / "cohort" / "visits.csv")
    assert len(visits) == (2 + 3 + 2) * 4
    failed = visits[visits["status"] != "ok"]
    assert set(zip(failed["patient"], failed["timepoint"], strict=True)) == {("P002", "V3")}
    assert failed[[*columns.SINCE_FIRST, "volume_mm3"]].isna().all(axis=None)
    good = visits[visits["status"] == "ok"]
    first = good.groupby(["patient", "class"])["volume_mm3"].transform("first")
    assert (good["not_shown_mm3"] == 0).all()
    assert (good["volume_mm3"] - first - good["change_since_first_mm3"]).abs().max() < 0.01
    changes = read_changes(results / "cohort" / "changes.csv").query("status == 'ok'")
    later = good[good["years_since_first"] > 0]
    for name in ("deformation", "reallocation", "unexplained"):
        assert later[f"{name}_since_first_mm3"].tolist() == changes[f"{name}_mm3"].tolist()


def test_nothing_is_computed_twice(run: Run) -> None:
    assert {job[0] for job in run[0].planned()} == {"cohort_complete", "everything"}


def test_one_patient_again_gives_the_same_numbers_and_touches_no_other(run: Run, results: Path) -> None:
    def state(folder: Path) -> dict[Path, tuple[str, int]]:
        files = (path for path in folder.rglob("*") if path.is_file())
        return {p: (hashlib.sha256(p.read_bytes()).hexdigest(), p.stat().st_mtime_ns) for p in files}

    others = [results / "patients" / name for name in ("P002", "P004")] + [results / "cohort"]
    before = [state(folder) for folder in others]
    table = results / "patients" / "P001" / "changes.csv"
    numbers, time = table.read_text(), table.stat().st_mtime_ns
    again = run[0].snakemake("--forceall", "patient_P001")
    assert again.returncode == 0, again.stderr
    assert [state(folder) for folder in others] == before
    assert table.read_text() == numbers and table.stat().st_mtime_ns > time
    status = json.loads((results / "patients" / "P001" / "V1__V2" / "status.json").read_text())
    assert status["status"] == "ok"


def test_the_results_are_exported_with_their_volumes(run: Run, tmp_path: Path) -> None:
    done = export(run[0].folder / "results", tmp_path / "bids")
    assert done.problems == [] and done.size == "3 patients, 6 visits, 3 pairs"
    for patient, *visits in DONE:
        for visit in visits:
            qc = json.loads((run[0].folder / "results/patients" / patient / visit / "qc.json").read_text())
            for name, volume in qc["volumes_mm3"].items():
                stem = f"sub-{patient}_ses-{visit}_space-common_label-{name}_probseg.nii.gz"
                file = tmp_path / "bids" / f"sub-{patient}" / f"ses-{visit}" / "anat" / stem
                found = read_scalar(file).sum(dtype=np.float64) * read_grid(file).voxel_volume
                assert found == pytest.approx(volume, rel=1e-5, abs=0.01)
    assert not (tmp_path / "bids" / "sub-P002" / "ses-V3").exists()

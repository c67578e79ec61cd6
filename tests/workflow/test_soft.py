"""The whole pipeline on soft segmentations: 4-D posteriors, a file per class, and labels at another visit."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
import tiny
from scipy import ndimage
from tiny import TinyCohort

from longimorph.tables import columns, read_changes

Run = tuple[TinyCohort, subprocess.CompletedProcess[str]]
VISITS = (("V1", 20.0, 0.0), ("V2", 28.0, 90.0), ("V3", 28.0, 180.0))


def soften(labels: np.ndarray, channels: int) -> np.ndarray:
    """Posteriors (i, j, k, C) of labels whose edges are uncertain."""
    parts = [ndimage.gaussian_filter((labels == n).astype(np.float32), 0.6) for n in range(channels)]
    return np.stack(parts, axis=-1) / np.sum(parts, axis=0)[..., None]


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Run:
    """A widening ventricle and a lesion; the third visit has labels. It is aligned by the labels."""
    cohort = TinyCohort(tmp_path_factory.mktemp("study"), settings={"spacing_mm": 8, "smoothing_mm": 4})
    cohort.settings |= {"control": "preset:lesion", "reference": "midspace", "max_evaluations": 6}
    for name, ventricle_mm, days in VISITS:
        cohort.add("P1", name, days, ventricle_mm, lesion=name != "V1")
    cohort.write()
    scans, table = cohort.folder / "scans" / "P1", cohort.config.parent / "cohort.tsv"
    text = table.read_text()
    for name in ("V1", "V2"):
        regions, states = (
            np.asarray(nib.Nifti1Image.from_filename(scans / f"{name}_{kind}.nii.gz").dataobj)
            for kind in ("regions", "states")
        )
        tiny.save(soften(regions, 3), scans / f"{name}_regions.nii.gz")
        (scans / f"{name}_states.nii.gz").unlink()
        tiny.save(soften(states, 2)[..., 1], scans / f"{name}_label-oedema_probseg.nii.gz")
        text = text.replace(f"{name}_states.nii.gz", f"{name}_label-*_probseg.nii.gz")
    table.write_text(text)
    return cohort, cohort.snakemake()


def test_the_run_ends_well_with_every_result(run: Run) -> None:
    cohort, made = run
    assert made.returncode == 0, made.stdout + made.stderr
    results = cohort.folder / "results"
    changes = read_changes(results / "cohort" / "changes.csv")
    assert set(changes["status"]) == {"ok"} and set(changes["class"]) == {
        "oedema",
        "WM",
        "ventricles",
        "background",
    }
    assert (results / "patients" / "P1" / "report.html").exists()


def test_maps_sum_to_one_and_keep_the_volumes_of_the_posteriors(run: Run) -> None:
    folder = run[0].folder / "results" / "patients" / "P1"
    for name, *_ in VISITS:
        maps = np.asarray(nib.Nifti1Image.from_filename(folder / name / "simplex.nii.gz").dataobj)
        np.testing.assert_allclose(maps.sum(axis=-1), 1, atol=1e-5)
        qc = json.loads((folder / name / "qc.json").read_text())
        for label in ("oedema", "WM", "ventricles"):
            assert qc["volumes_mm3"][label] == pytest.approx(qc["volumes_native_mm3"][label], rel=0.01, abs=1)


def test_the_lesion_is_found_and_matched(run: Run) -> None:
    lesions = columns.read_table(run[0].folder / "results" / "patients" / "P1" / "lesions.csv")
    own = lesions[lesions["event"].isin(["new", "stable", "enlarged", "shrunk"])]
    assert {("V1", "V2", "new")} <= set(zip(own["from"], own["to"], own["event"], strict=True))
    assert len(own[own["from"] == "V2"]) == 1


def test_a_new_file_of_a_class_is_noticed(run: Run, tmp_path: Path) -> None:
    """What a pattern matches is part of the input: nothing to do before, the patient's jobs after."""
    cohort = run[0].copy(tmp_path / "copy")
    again = [job for job in cohort.planned() if job[0] == "maps"]
    file = cohort.folder / "scans" / "P1" / "V1_label-oedema_probseg.nii.gz"
    image = nib.Nifti1Image.from_filename(file)
    half = np.asarray(image.dataobj) / 2
    nib.save(nib.Nifti1Image(half, image.affine), file)
    nib.save(nib.Nifti1Image(half, image.affine), file.with_name("V1_label-0_probseg.nii.gz"))
    assert again == [] and ("maps", "patient=P1", "timepoint=V1") in cohort.planned()

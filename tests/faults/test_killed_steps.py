"""A step that is killed at any of its writes, or runs out of disk, leaves nothing that looks whole and
is not; the same step run again gives what it gives undisturbed."""

from __future__ import annotations

import os
import random
import shutil
import tempfile
import time
from pathlib import Path

import numpy as np
import pytest
import SimpleITK as sitk
from heads import Head, Patient, around_the_head, status
from killed import files_no_larger_than, in_child, killed_at, was_killed, whole

from longimorph import tables
from longimorph.alignment import to_template
from longimorph.errors import Unusable
from longimorph.io.transforms import affine_to_itk
from longimorph.io.volumes import read_maps, write_maps, write_scalar
from longimorph.stages.align import align
from longimorph.stages.figure import figure
from longimorph.stages.group_maps import group_maps
from longimorph.stages.lesions import lesions
from longimorph.stages.maps import maps
from longimorph.stages.patient_report import patient_report
from longimorph.stages.template import template
from longimorph.stages.visits import read_json

NOT_COMPARED = ("status.json",)
LABELS = [
    {"class": name, "region": "", "state": ""} for name in ("lesion", "WM", "GM", "ventricles", "background")
]
PAIR = {"patient": "P", "from": "V1", "to": "V2", "days": 90.0, "logs": {}}


def patient_in(folder: Path) -> Patient:
    """A patient with two visits, small enough for seconds."""
    patient = Patient(folder, spacing_mm=8.0, max_evaluations=2)
    patient.add_head(Head(12))
    patient.add_head(Head(15))
    return patient


def run_stage(patient: Patient, stage: str) -> None:
    """One stage of the patient."""
    out = patient.results
    if stage == "align":
        align("P", patient.visits, patient.classes, out, patient.settings)
    elif stage == "maps":
        for visit in patient.visits:
            maps(visit, patient.classes, out / "alignment.json", out / visit["timepoint"], patient.settings)
    elif stage == "register":
        patient.register()
    elif stage == "figure":
        figure(PAIR, patient.classes, out / "V1__V2")
    elif stage == "lesions":
        lesions(patient.visits, [PAIR], patient.classes, LABELS, out / "lesions.csv")
    elif stage == "template":
        to_template.fit = unchanged  # type: ignore[assignment]  # the search takes long, and writes nothing
        template("P", ["V1", "V2"], patient.classes, [str(template_of(patient))], out, 1)
    elif stage == "group":
        cohort = Path(tempfile.mkdtemp())
        (cohort / "patients").mkdir()
        (cohort / "patients" / "P").symlink_to(out, target_is_directory=True)
        group_maps(
            {"P": [PAIR]}, patient.classes, LABELS, [str(template_of(patient))], cohort,
            out / "group", {"template_smoothing_mm": 3.0, "threads": 1},
        )  # fmt: skip
    elif stage == "tables":
        tables.patient_tables("P", [PAIR], [out / "V1__V2"], LABELS, out)
    else:
        patient_report(
            "P", {"V1": 0.0, "V2": 90.0}, [PAIR], patient.classes, "snakemake", out / "report.html"
        )


STAGES = ("align", "maps", "register", "figure", "lesions", "template", "group", "tables", "report")


@pytest.fixture(scope="module")
def before(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Patient]:
    """The patient as it is before each stage, and after the last one: never disturbed."""
    folder = tmp_path_factory.mktemp("undisturbed") / "P"
    patient = patient_in(folder)
    found = {}
    for stage in STAGES:
        found[stage] = copy(patient, tmp_path_factory.mktemp(stage) / "P")
        assert in_child(lambda stage=stage: run_stage(patient, stage)) == 0  # type: ignore[misc]
    return {**found, "end": patient}


def template_of(patient: Patient) -> Path:
    """A template in the space of the patient, beside the tables."""
    file = Path(patient.classes).parent / "template.nii.gz"  # of every copy
    if not file.exists():
        grid = around_the_head((14, 16, 13), (8.0, 8.0, 8.0))
        write_scalar(file, Head(12).labels(grid)[0].astype(np.float32), grid)
    return file


def unchanged(template: Head, patient: Head, threads: int) -> to_template.TemplateFit:
    """A registration by which every point stays where it is."""
    names = ("scale", "overlap_deformable", "mutual_information_affine", "mutual_information_deformable")
    quality = {**dict.fromkeys(names, 1.0), "folded_share": 0.0, "affine_inconsistency_mm": 0.0}
    return to_template.TemplateFit(sitk.CompositeTransform([affine_to_itk(np.eye(4))]), quality)


def copy(patient: Patient, folder: Path) -> Patient:
    """The same patient in another folder."""
    shutil.copytree(patient.folder, folder)
    made = Patient.__new__(Patient)
    made.folder, made.results, made.settings = folder, folder / "results", patient.settings
    made.visits, made.classes, made.control = patient.visits, patient.classes, patient.control
    return made


def contents(folder: Path) -> dict[str, bytes]:
    """The files below a folder that a repeated run gives again to the byte."""
    files = {str(path.relative_to(folder)): path for path in folder.rglob("*") if path.is_file()}
    return {name: path.read_bytes() for name, path in files.items() if path.name not in NOT_COMPARED}


def expected(before: dict[str, Patient], stage: str) -> dict[str, bytes]:
    """The files after a stage that was not disturbed."""
    following = [*STAGES, "end"][STAGES.index(stage) + 1]
    return contents(before[following].results)


@pytest.mark.parametrize("after", [False, True], ids=["before", "after"])
@pytest.mark.parametrize(
    "stage, writes, least",
    [
        ("align", 9, 3),
        ("maps", 9, 3),
        ("register", 3, 3),
        ("figure", 9, 1),
        ("lesions", 9, 2),
        ("template", 9, 3),
        ("group", 12, 9),
        ("tables", 9, 3),
        ("report", 9, 1),
    ],
)
def test_killed_at_each_write(
    stage: str, writes: int, least: int, after: bool, before: dict[str, Patient], tmp_path: Path
) -> None:
    patient, kills = copy(before[stage], tmp_path / "P"), 0
    for write in range(1, writes + 1):
        if not was_killed(in_child(killed_at(write, after)(lambda: run_stage(patient, stage)))):
            break
        kills += 1
        whole(patient.results)
    assert kills >= least
    assert in_child(lambda: run_stage(patient, stage)) == 0
    left = contents(patient.results)
    assert {name: data for name, data in left.items() if ".tmp-" not in name} == expected(before, stage)


@pytest.mark.long
@pytest.mark.parametrize("after", [False, True], ids=["before", "after"])
def test_killed_at_each_write_of_a_registration(
    after: bool, before: dict[str, Patient], tmp_path: Path
) -> None:
    test_killed_at_each_write("register", 60, 3, after, before, tmp_path)


@pytest.mark.long
@pytest.mark.parametrize("stage", STAGES)
def test_killed_at_random_moments(stage: str, before: dict[str, Patient], tmp_path: Path) -> None:
    began = time.monotonic()
    assert in_child(lambda: run_stage(copy(before[stage], tmp_path / "once"), stage)) == 0
    takes, patient, kills = time.monotonic() - began, copy(before[stage], tmp_path / "P"), 0
    for moment in random.Random(stage).choices(range(100), k=8):
        kills += was_killed(in_child(lambda: run_stage(patient, stage), takes * moment / 100))
        whole(patient.results)
    assert kills > 0
    assert in_child(lambda: run_stage(patient, stage)) == 0
    left = contents(patient.results)
    assert {name: data for name, data in left.items() if ".tmp-" not in name} == expected(before, stage)


@pytest.mark.parametrize("size", [0, 200, 3000])
@pytest.mark.parametrize("stage", STAGES)
def test_a_full_disk_leaves_no_part_of_a_file(
    stage: str, size: int, before: dict[str, Patient], tmp_path: Path
) -> None:
    patient = copy(before[stage], tmp_path / "P")
    earlier = contents(patient.results)

    def on_a_full_disk() -> None:
        with files_no_larger_than(size):
            try:
                run_stage(patient, stage)
            except OSError as error:
                os._exit(error.errno or 1)

    ended = in_child(on_a_full_disk)
    assert os.WIFEXITED(ended) and (os.WEXITSTATUS(ended) == 27 or (size == 3000 and ended == 0))
    kept = contents(patient.results)
    whole(patient.results)
    assert not [name for name in kept if ".tmp-" in name]
    assert {name: data for name, data in kept.items() if name in earlier} == earlier
    assert in_child(lambda: run_stage(patient, stage)) == 0
    assert contents(patient.results) == expected(before, stage)


def cut(file: Path) -> None:
    """Half of a file."""
    file.write_bytes(file.read_bytes()[: file.stat().st_size // 2])


def flipped(file: Path) -> None:
    """One byte near the end of the content, inside of the compression, changed."""
    content = bytearray(file.read_bytes())
    content[len(content) // 2] ^= 4
    file.write_bytes(bytes(content))


def emptied(file: Path) -> None:
    """Nothing left."""
    file.write_bytes(b"")


def of_another_study(file: Path) -> None:
    """Maps with fewer classes."""
    maps_there, grid = read_maps(file)
    write_maps(file, maps_there[:3], grid)


@pytest.mark.parametrize("spoil", [cut, emptied, flipped, of_another_study, Path.unlink])
def test_maps_that_are_damaged_fail_their_pair(
    spoil: object, before: dict[str, Patient], tmp_path: Path
) -> None:
    patient = copy(before["register"], tmp_path / "P")
    spoil(patient.results / "V2" / "simplex.nii.gz")  # type: ignore[operator]
    assert in_child(patient.register) == 0
    found = status(patient.results / "V1__V2")
    assert found["status"] in ("unreadable", "missing", "grid_mismatch") and found["stage"] == "register"
    assert "V2" in found["message"] and "simplex.nii.gz" in found["message"]
    assert not list((patient.results / "V1__V2").glob("*.nii.gz"))


@pytest.mark.parametrize("spoil", [cut, emptied])
def test_a_record_of_a_visit_that_is_damaged_fails_its_pair(
    spoil: object, before: dict[str, Patient], tmp_path: Path
) -> None:
    patient = copy(before["register"], tmp_path / "P")
    spoil(patient.results / "V2" / "qc.json")  # type: ignore[operator]
    assert in_child(patient.register) == 0
    found = status(patient.results / "V1__V2")
    assert (found["status"], found["stage"]) == ("unreadable", "register")
    assert "V2/qc.json" in found["message"] and "delete" in found["message"].lower()


@pytest.mark.parametrize("spoil", [cut, emptied])
def test_an_alignment_that_is_damaged_fails_its_visits(
    spoil: object, before: dict[str, Patient], tmp_path: Path
) -> None:
    patient = copy(before["maps"], tmp_path / "P")
    spoil(patient.results / "alignment.json")  # type: ignore[operator]
    run_stage(patient, "maps")
    for name in ("V1", "V2"):
        found = read_json(patient.results / name / "qc.json")
        assert (found["status"], found["stage"]) == ("unreadable", "maps")
        assert "alignment.json" in found["message"] and "delete" in found["message"].lower()


def test_one_bit_of_a_map_is_noticed(before: dict[str, Patient], tmp_path: Path) -> None:
    patient = copy(before["register"], tmp_path / "P")
    file = patient.results / "V1" / "simplex.nii.gz"
    flipped(file)
    with pytest.raises(Unusable):
        read_maps(file)

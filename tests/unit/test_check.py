"""The output of ``longimorph check``: classes, labels, wildcards, differences of visits, and its status."""

from __future__ import annotations

import csv
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
from study_files import edit, write_labels

from longimorph.cli import main

AFFINE = np.diag([10.0, 10, 10, 1])  # 1 mL a voxel
CLASSES = "class\tregions\tstates\nlesion\t*\t1\nWM\t2\t0\nventricles\t4\t0\nbackground\t0\t0\n"


def volume(**sizes: int) -> np.ndarray:
    """Labels with so many voxels of each, ``r2=5``; the others are 0."""
    data = np.zeros(12**3, np.uint8)
    place = 300
    for name, number in sizes.items():
        data[place : place + number] = int(name[1:])
        place += number
    return data.reshape(12, 12, 12)


@pytest.fixture
def study(tmp_path: Path) -> Path:
    """A patient with two visits: about 500 mL of white matter, 20 of ventricles, a lesion of 4 and 6."""
    visit(tmp_path, "P1", "m00", volume(r2=500, r4=20), volume(s1=4))
    visit(tmp_path, "P1", "m06", volume(r2=480, r4=24), volume(s1=6))
    (tmp_path / "classes.tsv").write_text(CLASSES)
    tables = "cohort: cohort.tsv\nclasses: classes.tsv\ncontrol: preset:lesion\nspacing_mm: 10\n"
    (tmp_path / "config.yaml").write_text(tables)
    return tmp_path


def visit(folder: Path, patient: str, name: str, regions: np.ndarray, states: np.ndarray | None) -> None:
    """Add a visit to the cohort table of a folder, 180 days after the one before."""
    table = folder / "cohort.tsv"
    rows = table.read_text() if table.exists() else "patient\ttimepoint\tdays\tregions\tstates\n"
    files = [f"{patient}_{name}_r.nii.gz", f"{patient}_{name}_s.nii.gz" if states is not None else ""]
    for file, data in zip(files, (regions, states), strict=True):
        if data is not None:
            write_labels(folder / file, data, AFFINE)
    days = 180 * sum(line.startswith(f"{patient}\t") for line in rows.splitlines())
    table.write_text(f"{rows}{patient}\t{name}\t{days}\t{files[0]}\t{files[1]}\n")


def told(study: Path, capsys: pytest.CaptureFixture[str], *options: str, status: int = 0) -> str:
    """What the check prints, after a look at its status."""
    assert main(["check", str(study / "config.yaml"), *options]) == status
    return capsys.readouterr().out


def test_each_class_stands_with_its_labels_and_its_volume_at_each_visit(
    study: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    lines = told(study, capsys).splitlines()
    start = next(number for number, line in enumerate(lines) if line.startswith("class "))
    assert [line.split() for line in lines[start : start + 5]] == [
        ["class", "labels", "found", "mL", "at", "each", "visit,", "first", "to", "last"],
        ["lesion", "state", "1", "in", "2", "4.0", "6.0"],
        ["WM", "2", "496.0", "474.0"],
        ["ventricles", "4", "20.0", "24.0"],
        ["background", "0", "1208.0", "1224.0"],
    ]
    assert lines[-1] == "2 visits, 1 pair of 1 patient can run."
    assert "differs" not in "\n".join(lines) and "wildcard" not in "\n".join(lines)


def test_a_visit_without_states_or_that_cannot_be_read_keeps_its_place(
    study: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    visit(study, "P1", "m12", volume(r2=480, r4=24), None)
    (study / "P1_m00_r.nii.gz").write_bytes(b"")
    lines = told(study, capsys, status=1).splitlines()
    start = next(number for number, line in enumerate(lines) if line.startswith("class "))
    assert lines[start + 1].split() == ["lesion", "state", "1", "in", "2", "-", "6.0", "0.0"]
    assert lines[start + 2].split() == ["WM", "2", "-", "474.0", "480.0"]


def test_the_folder_of_a_study_will_do(study: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for folder in (study, study.parent / "new"):
        if folder != study:
            folder.mkdir()
            study.rename(folder / "config")
        assert main(["check", str(folder)]) == 0
        assert "1 pair of 1 patient can run" in capsys.readouterr().out


def test_labels_that_only_a_wildcard_took_are_listed(study: Path, capsys: pytest.CaptureFixture[str]) -> None:
    visit(study, "P1", "m12", volume(r2=480, r4=24, r9=7), volume(s1=6))
    edit(study / "classes.tsv", "background\t0\t0", "background\t*\t*")
    text = told(study, capsys)
    part = text.split("Labels that no row names, matched only by a wildcard (*):\n")[1]
    assert part.startswith("  'background' matches by * in regions: regions 0 (")
    assert "9 (7 voxels, 7.0 mL)" in part.splitlines()[0]


def test_what_differs_between_visits_is_told(study: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """An empty mask cell, a volume that doubles and one that is halved, labels at one visit only."""
    edit(study / "classes.tsv", "WM\t2\t", "WM\t2,7,9\t")
    visit(study, "P1", "m12", volume(r2=480, r4=50, r9=7), volume(s1=13))
    visit(study, "P1", "m18", volume(r2=480, r4=24, r7=3), None)
    text = told(study, capsys)
    assert "note: P1 m18: has no states, although m12 before it has" in text
    part = text.split("Differences between the visits of a patient:\n")[1].split("\n\n")[0]
    assert part.splitlines() == [
        "  P1: 'lesion' has 6.0 mL at m06 and 13.0 mL at m12, a factor of 2.2",
        "  P1: 'ventricles' has 24.0 mL at m06 and 50.0 mL at m12, a factor of 2.1",
        "  P1: 'ventricles' has 50.0 mL at m12 and 24.0 mL at m18, a factor of 0.48",
        "  P1: m00 lacks regions 9 (7.0 mL), 7 (3.0 mL), which another visit has",
        "  P1: m06 lacks regions 9 (7.0 mL), 7 (3.0 mL), which another visit has",
        "  P1: m18 lacks region 9 (7.0 mL), which another visit has",
        "  P1: m12 lacks region 7 (3.0 mL), which another visit has",
    ]


def test_a_first_visit_without_states_is_no_slip_to_remark_on(
    study: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    edit(study / "cohort.tsv", "P1_m00_s.nii.gz", "")
    text = told(study, capsys)
    assert "  P1: 'states' is empty for m00 and given for m06. An empty cell means that the visit" in text
    assert "has no states" not in text


@pytest.mark.parametrize(
    "icv, remarked", [("1500000", False), ("1500", True), ("1.5e9", True), ("n/a", False)]
)
def test_an_intracranial_volume_of_no_head_is_told(
    icv: str, remarked: bool, study: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    lines = (study / "cohort.tsv").read_text().splitlines()
    cells = ["icv_mm3", icv, icv]
    text = "".join(f"{line}\t{cell}\n" for line, cell in zip(lines, cells, strict=True))
    (study / "cohort.tsv").write_text(text)
    assert ("Give the intracranial volume in mm³" in told(study, capsys)) == remarked


def test_a_mask_that_is_empty_at_one_visit_is_told(study: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write_labels(study / "P1_m06_s.nii.gz", volume(), AFFINE)
    assert "  P1: m06 lacks state 1 (4.0 mL), which another visit has\n" in told(study, capsys)


def test_visits_labelled_by_different_tools_are_told(study: Path, capsys: pytest.CaptureFixture[str]) -> None:
    brain = {"r2": 200, "r41": 200, "r4": 10, "r43": 10, "r31": 2, "r63": 2, "r77": 2}
    write_labels(study / "P1_m00_r.nii.gz", volume(**brain), AFFINE)
    write_labels(study / "P1_m06_r.nii.gz", volume(r2=200, r41=200, r4=10, r43=10), AFFINE)
    edit(study / "classes.tsv", "WM\t2\t", "WM\t2,41,43,31,63,77\t")
    text = told(study, capsys)
    assert (
        "P1: the visits were labelled by different tools: m00 FreeSurfer or FastSurfer, m06 SynthSeg" in text
    )


@pytest.mark.parametrize("command", ["check", "plan"])
def test_only_the_own_table_is_overwritten(
    command: str, study: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    config, out = study / "config.yaml", study / "new.csv"
    assert [main([command, str(config), "--csv", str(out)]) for _ in range(2)] == [0, 0]
    before = config.read_bytes()
    for other, words in ((config, "was not written by this command"), (study, "is a folder")):
        assert main([command, str(config), "--csv", str(other)]) == 1
        assert words in " ".join(capsys.readouterr().err.split())
    assert config.read_bytes() == before


def test_a_large_cohort_stays_readable_and_everything_is_in_a_file(
    study: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for number in range(2, 31):
        visit(study, f"P{number}", "m00", volume(r2=500, r4=20), volume(s1=4))
        visit(study, f"P{number}", "m06", volume(r2=500, r4=50), volume(s1=4))
    text = told(study, capsys, "--csv", str(study / "labels.csv"))
    assert len([line for line in text.splitlines() if not line.startswith("note: ")]) < 45
    assert "lesion      state 1 in 2  60 of 60  4.0 to 6.0\n" in text
    assert "and 27 more patients: --all shows all, --csv FILE has every label" in text
    assert "and 19 more: --all shows all of them" in text
    assert "60 visits, 30 pairs of 30 patients can run." in text
    with (study / "labels.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == 60 * 4
    assert rows[0] == {
        "patient": "P1", "timepoint": "m00", "days": "0", "class": "background", "region": "0", "state": "0",
        "voxels": "1208", "ml": "1208", "by_wildcard": "",
    }  # fmt: skip
    whole = told(study, capsys, "--all")
    assert whole.count("a factor of 2.5") == 29 and "--all" not in whole


def test_a_pair_that_cannot_run_is_named_and_the_status_tells(
    study: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    visit(study, "P1", "m12", volume(r2=480, r4=24), volume(s1=6))
    (study / "P1_m12_r.nii.gz").write_bytes(b"<html>404</html>" * 9)
    text = told(study, capsys, status=1)
    assert text.endswith(
        "3 visits, 1 of 2 pairs can run. These will fail unless the input changes:\n"
        "  P1 m06 to m12: m12 cannot be used (maps: unreadable)\n"
    )
    assert main(["doctor", str(study / "config.yaml")]) == 1
    assert (
        "PROBLEM P1 m06 to m12: m12 cannot be used (maps: unreadable): this pair will fail"
        in capsys.readouterr().out
    )


def test_with_a_baseline_that_cannot_be_used_no_pair_of_the_patient_can_run(
    study: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    visit(study, "P1", "m12", volume(r2=480, r4=24), volume(s1=6))
    (study / "P1_m00_r.nii.gz").write_bytes(b"")
    assert "1 of 2 pairs can run" in told(study, capsys, status=1)
    (study / "config.yaml").write_text((study / "config.yaml").read_text() + "reference: baseline\n")
    assert "0 of 2 pairs can run" in told(study, capsys, status=1)


def test_no_pair_at_all_is_no_success(study: Path, capsys: pytest.CaptureFixture[str]) -> None:
    edit(study / "cohort.tsv", "P1\tm06", "P2\tm06")
    assert "2 visits, no pair: nothing can run. A pair needs two visits" in told(study, capsys, status=1)
    assert main(["plan", str(study / "config.yaml")]) == 1


def test_a_patient_without_a_pair_beside_others_is_a_note(
    study: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    visit(study, "P2", "m00", volume(r2=500, r4=20), volume(s1=4))
    assert "note: P2 is left out: it has only one visit" in told(study, capsys)


def test_an_image_that_is_cut_off_is_found_before_the_run(
    study: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Its header is whole; only reading its voxels shows it."""
    for name in ("m00", "m06"):
        data = np.random.default_rng(1).random((12, 12, 12)).astype(np.float32)
        nib.save(nib.Nifti1Image(data, AFFINE), study / f"{name}_T1.nii.gz")
    lines = (study / "cohort.tsv").read_text().splitlines()
    rows = [lines[0] + "\timage", lines[1] + "\tm00_T1.nii.gz", lines[2] + "\tm06_T1.nii.gz"]
    (study / "cohort.tsv").write_text("\n".join(rows) + "\n")
    assert "1 pair of 1 patient can run." in told(study, capsys)
    image = study / "m06_T1.nii.gz"
    image.write_bytes(image.read_bytes()[:2000])
    assert "P1 m00 to m06: m06 cannot be used (align: unreadable)" in told(study, capsys, status=1)


@pytest.mark.parametrize("kept, status", [(11, 0), (7, 0), (4, 1)])
def test_a_field_of_view_that_leaves_too_little_to_compare_is_foretold(
    study: Path, capsys: pytest.CaptureFixture[str], kept: int, status: int
) -> None:
    """The second visit shows the lower part of a brain of ten slices."""
    brain = np.zeros((12, 12, 12), np.uint8)
    brain[1:11, 1:11, 1:11] = 2
    write_labels(study / "P1_m00_r.nii.gz", brain, AFFINE)
    write_labels(study / "P1_m06_r.nii.gz", brain[:, :, :kept], AFFINE)
    for name in ("m00", "m06"):
        edit(study / "cohort.tsv", f"P1_{name}_s.nii.gz", "")
    if status == 0:
        (study / "config.yaml").write_text((study / "config.yaml").read_text() + "compared_min: 0.6\n")
    text = told(study, capsys, status=status)
    found = (
        "P1 m00 to m06: m06 shows only 300 of 1000 mL of the brain; at least 75% must be comparable" in text
    )
    assert found == bool(status)

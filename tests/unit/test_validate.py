"""Everything is checked before anything runs: all problems of all files at once, bad scans as warnings."""

from __future__ import annotations

import json
import os
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
from spaces import storage_orders
from study_files import edit, regions, write_labels, write_study

from longimorph.errors import InputError, Unusable
from longimorph.geometry.grid import Grid
from longimorph.stages import visits
from longimorph.study import scans, study, validate
from longimorph.study.classes import ClassTable
from longimorph.study.scans import ScanWarning
from longimorph.study.table import Visit


@pytest.fixture
def config(tmp_path: Path) -> Path:
    """The configuration of a whole study."""
    return write_study(tmp_path)


def warnings_of(config: Path) -> list[ScanWarning]:
    """The warnings of a study that can run."""
    return list(validate.validate(config, threads=1).warnings)


def test_a_whole_study_has_nothing_to_say(config: Path) -> None:
    validated = validate.validate(config, threads=1)
    assert validated.warnings == () and validated.notes == ()
    assert [pair.name for pair in validated.study.plan.pairs] == ["m0__m6", "m0__m6"]
    assert validated.study.control.shape == (4, 4)


def test_problems_of_every_file_at_once(config: Path) -> None:
    folder = config.parent
    config.write_text(config.read_text() + "spacing: 2\npatients: [P1, P22]\n")
    edit(folder / "cohort.tsv", "labels/P1_m6", "labels/P1_m66")
    edit(folder / "classes.tsv", "#eeddcc", "beige")
    edit(folder / "control.tsv", "0.9", "9")
    with pytest.raises(InputError) as error:
        validate.validate(config)
    text = str(error.value)
    assert text.startswith("5 problems found, nothing was run:")
    for part in (
        "config.yaml, line 4, 'spacing': unknown key. Did you mean 'spacing_mm'?",
        "config.yaml, line 5, 'patients': is not a patient of the cohort table; found 'P22'. Did you mean",
        "cohort.tsv, line 3, 'regions': file not found; found 'labels/P1_m66.nii.gz'. Did you mean",
        "classes.tsv, line 3, 'color': is not a colour",
        "control.tsv, line 3, 'WM': the entry from 'WM' to 'WM' is outside [0, 1]; found '9'",
    ):
        assert part in text, text


def test_settings_read_elsewhere_keep_their_lines(config: Path) -> None:
    config.write_text(config.read_text() + "spacing: 2\n")
    settings = {"cohort": "cohort.tsv", "classes": "classes.tsv", "control": "preset:lesion", "spacing": 2}
    with pytest.raises(InputError, match=r"config.yaml, line 4, 'spacing': unknown key"):
        study.load_study(settings, config.parent, config)
    del settings["spacing"]
    assert study.load_study(settings, config.parent).cohort.patients() == ("P1", "P2")


def test_unknown_labels_stop_with_their_voxels(config: Path) -> None:
    data = regions()
    data[:2, 0, 0], data[3, 3, :3] = 77, 1001
    write_labels(config.parent / "labels" / "P2_m6.nii.gz", data)
    write_labels(config.parent / "states" / "P2_m6.nii.gz", np.zeros_like(data))
    with pytest.raises(InputError) as error:
        validate.validate(config)
    problem, tool = error.value.problems
    assert "follow the numbering of FreeSurfer" in tool.message and "does not name 77, 1001." in tool.message
    assert problem.row == 5 and problem.column == "regions"
    assert (
        "labels 1001 with state 0 (3 voxels, 0.003 mL), 77 with state 0 (2 voxels, 0.002 mL), found in "
        in problem.message
    )


@pytest.mark.parametrize("number", [255, 300, 3])
def test_a_lesion_number_that_no_row_names_stops_with_its_voxels(config: Path, number: int) -> None:
    """Masks of 0 and 255, numbered lesions, another numbering at the second visit; healthy rows say ``*``."""
    states = np.zeros((6, 7, 8), np.uint16)
    states[1:3, 2, 4] = number
    write_labels(config.parent / "states" / "P2_m6.nii.gz", states, np.diag([5.0, 5, 5, 1]))
    write_labels(config.parent / "labels" / "P2_m6.nii.gz", regions(), np.diag([5.0, 5, 5, 1]))
    with pytest.raises(InputError) as error:
        validate.validate(config)
    (problem,) = error.value.problems
    assert (problem.row, problem.column) == (5, "states")
    assert f"state {number} (2 voxels, 0.25 mL), found in " in problem.message
    assert problem.message.endswith("P2_m6.nii.gz") and "no row of" in problem.message
    assert problem.hint is not None and "the column 'states' of 'oedema'" in problem.hint


def bad_not_whole(folder: Path) -> None:
    write_labels(folder / "labels" / "P1_m6.nii.gz", regions().astype(np.float32) + 0.25)


def bad_not_finite(folder: Path) -> None:
    data = regions().astype(np.float32)
    data[0, 0, 0] = np.nan
    write_labels(folder / "labels" / "P1_m6.nii.gz", data)


def bad_negative(folder: Path) -> None:
    write_labels(folder / "states" / "P1_m6.nii.gz", -regions())


def bad_cut_off(folder: Path) -> None:
    file = folder / "labels" / "P1_m6.nii.gz"
    file.write_bytes(file.read_bytes()[:60])


def bad_empty_image(folder: Path) -> None:
    (folder / "images" / "P1_m6.nii.gz").write_bytes(b"")


def bad_shape(folder: Path) -> None:
    write_labels(folder / "states" / "P1_m6.nii.gz", np.zeros((6, 7, 9), np.uint8))


def bad_affine(folder: Path) -> None:
    write_labels(folder / "states" / "P1_m6.nii.gz", np.zeros((6, 7, 8), np.uint8), np.diag([2.0, 1, 1, 1]))


@pytest.mark.parametrize(
    "spoil, stage, code, words",
    [
        (bad_not_whole, "maps", "non_integer", "336 voxels with a label that is not a whole number"),
        (bad_not_finite, "maps", "not_finite", "1 voxel without a finite number"),
        (bad_negative, "maps", "negative", "negative"),
        (bad_cut_off, "maps", "unreadable", "cannot be read"),
        (bad_empty_image, "align", "unreadable", "cannot be read"),
        (
            bad_shape,
            "maps",
            "grid_mismatch",
            "affine [1 0 0 0; 0 1 0 0; 0 0 1 0] and shape 6×7×9",
        ),
        (bad_affine, "maps", "grid_mismatch", "and shape 6×7×8, affine [2 0 0 0; 0 1 0 0; 0 0 1 0]"),
    ],
)
def test_a_bad_scan_is_a_warning_and_fails_alone(
    config: Path, spoil: object, stage: str, code: str, words: str
) -> None:
    spoil(config.parent)  # type: ignore[operator]
    (warning,) = warnings_of(config)
    assert (warning.patient, warning.timepoint) == ("P1", "m6")
    assert (warning.stage, warning.code) == (stage, code)
    assert words in warning.message
    visit = study.load_study(config).cohort.visit("P1", "m6")
    if stage == "maps":
        with pytest.raises(Unusable) as failure:
            scans.read_visit(visit)
        assert (failure.value.code, failure.value.message) == (code, warning.message)


def test_every_defect_of_a_visit_is_listed(config: Path) -> None:
    bad_not_whole(config.parent)
    bad_negative(config.parent)
    bad_empty_image(config.parent)
    assert {warning.code for warning in warnings_of(config)} == {"non_integer", "negative", "unreadable"}


def test_rounding_of_a_header_is_no_other_grid(config: Path) -> None:
    affine = np.eye(4)
    affine[:3, 3] = 1e-4
    write_labels(config.parent / "states" / "P1_m6.nii.gz", np.zeros((6, 7, 8), np.uint8), affine)
    assert warnings_of(config) == []


def test_a_mask_with_the_same_voxels_in_another_order_is_read(config: Path) -> None:
    """Each of the 48 orders of storage, as tools write them, says the same as that of the regions."""
    affine = np.diag([1.0, 2.0, 3.0, 1.0])
    labels, states = regions(1), (regions(2) == 2).astype(np.uint8)
    write_labels(config.parent / "labels" / "P1_m6.nii.gz", labels, affine)
    expected = None
    for stored, grid in storage_orders(states, Grid((6, 7, 8), affine)):
        write_labels(config.parent / "states" / "P1_m6.nii.gz", stored, grid.affine)
        visit = study.load_study(config).cohort.visit("P1", "m6")
        read, found, _ = scans.read_visit(visit)
        assert found is not None and np.array_equal(found, states) and np.array_equal(read, labels)
        report = scans.examine_visit(visit)
        assert report.defects == () and report.counts is not None and report.counts.states is not None
        table = [report.counts.regions.tolist(), report.counts.states.tolist(), report.counts.voxels.tolist()]
        expected = expected or table
        assert table == expected


def test_left_out_patients_and_idle_classes_are_noted(tmp_path: Path) -> None:
    config = write_study(tmp_path, (("P1", "m0", 0), ("P1", "m6", 180), ("P2", "m0", 0)))
    edit(tmp_path / "classes.tsv", "background\t0", "GM\t3\t*\tGM\thealthy\t\nbackground\t0")
    edit(tmp_path / "config.yaml", "control.tsv", "preset:atrophy")
    notes = validate.validate(config).notes
    assert notes == (
        "P2 is left out: it has only one visit, 'm0'; a pair needs two",
        "No voxel of any scan belongs to GM; check that this is intended",
    )


def test_only_chosen_patients_are_read(config: Path) -> None:
    (config.parent / "labels" / "P2_m0.nii.gz").write_bytes(b"junk")
    config.write_text(config.read_text() + "patients: [P1]\n")
    validated = validate.validate(config)
    assert validated.warnings == () and validated.study.cohort.patients() == ("P1",)


class Counter:
    """Counts the visits that are read."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.read: list[str] = []
        examine = scans.examine

        def counted(visit: Visit, classes: ClassTable) -> scans.ScanReport:
            self.read.append(f"{visit.patient}_{visit.timepoint}")
            return examine(visit, classes)

        monkeypatch.setattr(validate, "examine", counted)


def test_unchanged_scans_are_not_read_again(config: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    cache, counter = config.parent / "cache" / "scans.json", Counter(monkeypatch)
    bad_shape(config.parent)
    first = validate.validate(config, cache=cache)
    assert sorted(counter.read) == ["P1_m0", "P1_m6", "P2_m0", "P2_m6"]
    counter.read.clear()
    assert validate.validate(config, cache=cache).warnings == first.warnings
    assert counter.read == []
    edit(config.parent / "classes.tsv", "2,41", "2")
    with pytest.raises(InputError, match=r"no row of .* matches label"):
        validate.validate(config, cache=cache)
    assert counter.read == [], "another class table needs no scan read again"
    os.utime(config.parent / "states" / "P2_m0.nii.gz", ns=(1, 1))
    with pytest.raises(InputError):
        validate.validate(config, cache=cache)
    assert counter.read == ["P2_m0"]


@pytest.mark.parametrize(
    "content",
    ["", "[]", '{"version": 1}', '{"version": 1, "visits": {"a": 3}}', '{"version": 9, "visits": {}}'],
)
def test_a_broken_cache_is_made_anew(config: Path, content: str, monkeypatch: pytest.MonkeyPatch) -> None:
    cache, counter = config.parent / "scans.json", Counter(monkeypatch)
    cache.write_text(content)
    validate.validate(config, cache=cache)
    assert len(counter.read) == 4
    assert sum("regions=" in key for key in json.loads(cache.read_text())["visits"]) == 4


def test_a_cache_that_cannot_be_written_is_no_error(config: Path) -> None:
    blocked = config.parent / "file"
    blocked.write_text("")
    assert validate.validate(config, cache=blocked / "scans.json").warnings == ()


def test_image_header_alone_is_read(config: Path) -> None:
    file = config.parent / "images" / "P1_m6.nii.gz"
    nib.save(nib.Nifti1Image(np.zeros((3, 3), np.float32), np.eye(4)), file)
    (warning,) = warnings_of(config)
    assert (warning.stage, warning.code) == ("align", "dimension")


def test_a_step_tells_and_refuses_as_the_check_does(config: Path, caplog: pytest.LogCaptureFixture) -> None:
    """What only wildcards take is one sentence in the check and in the log; a strange state stops both."""
    edit(config.parent / "classes.tsv", "background\t0\t*", "background\t*\t*")
    data = regions(1)
    data[:2, 0, 0] = 77
    write_labels(config.parent / "labels" / "P1_m6.nii.gz", data)
    write_labels(config.parent / "states" / "P1_m6.nii.gz", np.zeros_like(data))
    config.write_text(config.read_text() + "patients: [P1]\n")
    checked = validate.validate(config)
    assert set(checked.by_wildcards) <= set(checked.notes)
    assert checked.by_wildcards[0].startswith("'background' matches by * in regions: regions 0 (")
    assert checked.by_wildcards[0].endswith(", 77 (2 voxels, 0.002 mL)")
    visit = checked.study.cohort.visit("P1", "m6")
    visits.classes_of(visit, checked.study.classes)
    assert "P1 m6: 'background' matches by * in regions: regions" in caplog.text
    assert ", 77 (2 voxels, 0.002 mL)" in caplog.text
    data[:, :, :] = 5
    write_labels(config.parent / "states" / "P1_m6.nii.gz", data)
    with pytest.raises(InputError, match=r"no row of .* matches state 5 \(336 voxels, 0.34 mL\), found in "):
        validate.validate(config)
    with pytest.raises(Unusable, match=r"no row of .* matches state 5 \(336 voxels, 0.34 mL\)") as failure:
        visits.classes_of(visit, checked.study.classes)
    assert failure.value.code == "unknown_label"


def test_what_is_true_of_several_files_of_a_visit_is_said_once(config: Path) -> None:
    affine = np.diag([1.0, 1.0, 6.5, 1.0])
    for folder in ("labels", "states"):
        file = config.parent / folder / "P1_m6.nii.gz"
        data = np.asarray(nib.Nifti1Image.from_filename(file).dataobj)
        nib.save(nib.Nifti1Image(data, affine), file)
    (config.parent / "labels" / "P1_m6.nii.gz").rename(config.parent / "labels" / "other.nii.gz")
    edit(config.parent / "cohort.tsv", "labels/P1_m6", "labels/other")
    told = [remark.message for remark in validate.validate(config).remarks]
    thick = [message for message in told if "thick" in message]
    assert len(thick) == 1 and thick[0].startswith("other.nii.gz, P1_m6.nii.gz: voxels of 1 × 1 × 6.5 mm:")

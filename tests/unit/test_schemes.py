"""The shipped class tables, and recognition of the tool that made a segmentation."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from real_data import scan
from study_files import edit, write_labels, write_study

from longimorph import paths
from longimorph.errors import InputError
from longimorph.io.volumes import read_labels
from longimorph.study import classes, schemes, validate
from longimorph.study.classes import ClassTable
from longimorph.study.labels import count
from longimorph.study.scans import ScanReport

BY_TABLE = {scheme.table: scheme for scheme in schemes.SCHEMES}
CORTEX = (*range(1001, 1004), *range(1005, 1036), *range(2001, 2004), *range(2005, 2036))
DKT = tuple(label for label in CORTEX if label % 1000 not in (1, 32, 33))
SYNTHSEG = (2, 3, 4, 5, 7, 8, *range(10, 19), 24, 26, 28, 41, 42, 43, 44, 46, 47, *range(49, 55), 58, 60)
ASEG = (*SYNTHSEG, 30, 31, 62, 63, 77, 85, *range(251, 256))
SCANS = {
    "FreeSurfer or FastSurfer": [ASEG, (*ASEG, *CORTEX), tuple(set(ASEG) - {3, 42, 24, 62} | set(DKT))],
    "SynthSeg": [SYNTHSEG, tuple(set(SYNTHSEG) - {24}), (*SYNTHSEG, *CORTEX)],
    "SAMSEG": [(*SYNTHSEG, 30, 31, 62, 63, 77, 80, 85, 165, 258, 259), (*SYNTHSEG, 77, 165, 258, 99)],
    "FSL FAST or Atropos with three tissues": [(1, 2, 3)],
    "ANTs with six tissues": [(1, 2, 3, 4, 5, 6)],
}


def table(name: str) -> ClassTable:
    """A shipped table."""
    return classes.load_classes(paths.repository() / "config" / "examples" / name)


def report(regions: object, states: object = None) -> ScanReport:
    """A visit with these labels, one voxel each."""
    return ScanReport(count(np.array(regions), None if states is None else np.array(states)))


def class_of(name: str, label: int, state: int = 0) -> str | None:
    """The class that a shipped table gives a label."""
    made = table(name)
    index = int(made.classify(np.array([label]), np.array([state]))[0])
    return made.names[index] if index >= 0 else None


def test_every_ready_table_belongs_to_a_tool() -> None:
    folder = paths.repository() / "config" / "examples"
    assert {file.name for file in folder.glob("*_classes.tsv")} == set(BY_TABLE)
    for name, scheme in BY_TABLE.items():
        assert schemes.of_table(table(name), scheme.column) == scheme


@pytest.mark.parametrize(
    "name, labels", [(name, labels) for name, scans in SCANS.items() for labels in scans]
)
def test_a_scan_is_known_by_its_labels(name: str, labels: tuple[int, ...]) -> None:
    found = schemes.recognise({0, *labels}, "regions")
    assert found is not None and found.name == name


def test_labels_of_no_tool_are_of_none() -> None:
    for labels in (set(), {0}, {0, 1}, {1, 2}, {0, 5, 7, 9}, set(range(1, 50)), set(range(2, 900, 7))):
        assert schemes.recognise(labels, "regions") is None
    assert schemes.recognise({0, 3}, "states") is None, "a mask of one number is anybody's"


def test_real_segmentations_are_known_and_their_table_names_every_label() -> None:
    labels, _ = read_labels(scan("ixi_dlmuse_2mm/IXI012-HH-1211-T1_ds_DLMUSE.nii.gz"))
    found = schemes.recognise(set(np.unique(labels).tolist()), "regions")
    assert found is not None and found.name == "MUSE"
    assert (table(found.table).classify(np.unique(labels)) >= 0).all()


def test_brats_is_known_by_the_number_of_its_enhancing_tumour() -> None:
    for states, name in (({1, 2, 4}, "BraTS up to 2021"), ({1, 2, 3}, "BraTS since 2023")):
        found = schemes.recognise({0, *states}, "states")
        assert found is not None and found.name == name
    assert schemes.recognise({1, 2, 3, 4}, "states") is None, "both, or a resection cavity"
    assert class_of("brats2020_classes.tsv", 2, 4) == class_of("brats2023_classes.tsv", 2, 3) == "enhancing"
    assert class_of("brats2020_classes.tsv", 2, 3) is class_of("brats2023_classes.tsv", 2, 4) is None


def test_the_tables_mean_what_the_tools_say() -> None:
    """Some structures of each tool, by its own documentation."""
    for name in ("freesurfer_classes.tsv", "synthseg_classes.tsv", "samseg_classes.tsv"):
        expected = {2: "WM", 42: "cortex", 10: "thalamus", 43: "ventricles", 51: "deep GM", 16: "brainstem"}
        assert {label: class_of(name, label) for label in expected} == expected
    expected = {
        59: "thalamus",
        51: "ventricles",
        4: "ventricles",
        11: "ventricles",
        57: "deep GM",
        35: "brainstem",
    }
    expected |= {95: "WM", 40: "WM", 38: "cortex", 207: "cortex", 48: "deep GM", 31: "deep GM", 46: "CSF"}
    assert {label: class_of("muse_classes.tsv", label) for label in expected} == expected
    for name in ("fast_classes.tsv", "atropos_classes.tsv"):
        assert [class_of(name, label) for label in (1, 2, 3)] == ["CSF", "GM", "WM"]
    six = [class_of("atropos_classes.tsv", label) for label in (4, 5, 6)]
    assert six == ["deep GM", "brainstem", "cerebellum"]


def test_lesions_of_samseg_need_their_mask() -> None:
    """Label 99 without a state is refused, with it it is a lesion, and head and skull are background."""
    assert class_of("samseg_classes.tsv", 99) is None
    assert class_of("samseg_classes.tsv", 99, 1) == "lesion"
    assert class_of("samseg_classes.tsv", 258) == "background"


def test_a_table_for_another_tool_is_named_with_the_right_one() -> None:
    muse = report([0, 4, 11, 51, 52, 59, 60, 81, 82, 100, 101])
    (text,) = schemes.mismatches(table("freesurfer_classes.tsv"), [muse, muse, report([0, 2, 41, 4, 43])])
    assert text == (
        "the regions of 2 visits follow the numbering of MUSE; the table was written for FreeSurfer or "
        "FastSurfer and does not name 59, 100, 101. The table for MUSE is config/examples/muse_classes.tsv"
    )
    assert schemes.mismatches(table("muse_classes.tsv"), [muse]) == []
    assert schemes.mismatches(table("freesurfer_classes.tsv"), [report([0, *SYNTHSEG])]) == []


def test_the_check_says_so_where_labels_are_refused_and_where_a_wildcard_takes_them(tmp_path: Path) -> None:
    """Both numberings of BraTS in one cohort; and a catch-all on labels of MUSE."""
    config = write_study(tmp_path)
    edit(tmp_path / "classes.tsv", "oedema\t*\t1\t", "tumour\t*\t1,2,4\t")
    edit(tmp_path / "config.yaml", "control.tsv", "preset:lesion")
    for name, numbers in (("P1_m0", [0, 1, 2, 4]), ("P1_m6", [0, 1, 2, 3])):
        states = np.resize(np.array(numbers, np.uint8), (6, 7, 8))
        write_labels(tmp_path / "states" / f"{name}.nii.gz", states)
    with pytest.raises(InputError) as error:
        validate.validate(config)
    strange, tool = map(str, error.value.problems)
    assert "matches state 3 (84 voxels" in strange
    assert (
        "the states of 1 visit follow the numbering of BraTS since 2023; the table was written for BraTS up"
        in tool
    )
    assert "config/examples/brats2023_classes.tsv" in tool

    edit(tmp_path / "classes.tsv", "background\t0\t*", "background\t*\t*")
    for name in ("P1_m0", "P1_m6", "P2_m0", "P2_m6"):
        labels = np.resize(np.array([0, 4, 11, 51, 52, 59, 60, 81, 82, 100], np.int16), (6, 7, 8))
        write_labels(tmp_path / "labels" / f"{name}.nii.gz", labels)
        write_labels(tmp_path / "states" / f"{name}.nii.gz", np.zeros((6, 7, 8), np.uint8))
    notes = validate.validate(config).notes
    assert any("the regions of 4 visits follow the numbering of MUSE" in note for note in notes)
    assert any("'background' matches by * in regions: regions" in note for note in notes)

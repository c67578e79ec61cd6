"""Each option that ``longimorph index`` offers works, and an unused file stops nothing."""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import Any

import pytest
from bids_trees import SEGMENTATION, dated, table, tree, volume

from longimorph.bids.days import day_of_name
from longimorph.bids.index import IndexOptions, Undecided, index
from longimorph.bids.rows import Index
from longimorph.cli import main

SESSIONS = ("ses-20200101", "ses-20210101")


def told(root: Path, **wishes: Any) -> str:
    with pytest.raises(Undecided) as error:
        index(root, IndexOptions(days_from="names", **wishes))
    return str(error.value)


def found(root: Path, **patterns: Any) -> Index:
    given: Any = patterns
    return index(root, IndexOptions(patterns=given, days_from="names"))


def offered(text: str, role: str) -> list[str]:
    """The patterns that a message offers."""
    return re.findall(rf"--{role} ([\w./+-]*\w)", text)


def column(rows: Index, role: Any) -> list[str]:
    return [row.files[role].name if role in row.files else "" for row in rows.rows]


def unfetched(root: Path, session: str, name: str) -> None:
    """A link of git-annex whose content is not here."""
    folder = root / "sub-01" / session / "anat"
    folder.mkdir(parents=True, exist_ok=True)
    os.symlink("../../../.git/annex/objects/aa/x.nii.gz", folder / f"sub-01_{session}_{name}.nii.gz")


def test_links_without_content_matter_only_where_they_would_be_chosen(tmp_path: Path) -> None:
    for session in SESSIONS:
        volume(tmp_path / SEGMENTATION, f"sub-01/{session}", "dseg.nii.gz")
        for name in ("T1w", "T2w", "label-lesion_mask"):
            unfetched(tmp_path, session, name)
    assert len(found(tmp_path, image=None, states=None).rows) == 2
    text = told(tmp_path)
    assert text.startswith("2 problems found") and "T2w" not in text
    for role, name in (("states", "label-lesion_mask"), ("image", "T1w")):
        assert f"_{name}.nii.gz are links whose content is missing, chosen for '{role}'" in text
    assert "get the content first, or use --no-image" in text and ", or use --no-states" in text


def test_a_misnamed_file_that_no_role_wants_is_only_mentioned(tmp_path: Path) -> None:
    for session in SESSIONS:
        volume(tmp_path, f"sub-01/{session}", "dseg.nii.gz")
    own = tmp_path / "sub-01" / SESSIONS[0] / "anat"
    (own / "sub-02_ses-20200101_PDw.nii.gz").write_bytes(b"")
    (own / "sub-02_ses-20200101_dseg.nii.gz").write_bytes(b"")
    rows = found(tmp_path)
    assert column(rows, "regions")[0] == "sub-01_ses-20200101_dseg.nii.gz"
    assert any(remark.startswith("2 files named after a visit other") for remark in rows.remarks)
    (own / "sub-01_ses-20200101_dseg.nii.gz").unlink()
    assert "gives another visit than its folder sub-01/ses-20200101" in told(tmp_path)


def test_segmentations_of_no_session_are_explained_and_not_offered(tmp_path: Path) -> None:
    for session in SESSIONS:
        volume(tmp_path, f"sub-01/{session}", "T1w.nii.gz")
    for name in ("desc-aseg_dseg.nii.gz", "dseg.nii.gz"):
        volume(tmp_path / "derivatives/fmriprep", "sub-01", name)
    text = told(tmp_path)
    assert "there are only 2 files without a session, although the patient has sessions" in text
    assert "segment each visit separately" in text and not offered(text, "regions")
    text = told(tmp_path, patterns={"regions": ["desc-aseg_dseg"]})
    assert "'desc-aseg_dseg' matches only 1 file without a session" in text and not offered(text, "regions")


def test_a_space_of_another_name_is_offered_and_states_and_image_follow(tmp_path: Path) -> None:
    for session in SESSIONS:
        for name in ("desc-aseg_dseg", "desc-preproc_T1w", "label-lesion_mask"):
            volume(tmp_path / "derivatives/qsiprep", f"sub-01/{session}", f"space-ACPC_{name}.nii.gz")
        volume(tmp_path, f"sub-01/{session}", "T1w.nii.gz")
        volume(tmp_path, f"sub-01/{session}", "label-lesion_mask.nii.gz")
    for text in (told(tmp_path), told(tmp_path, patterns={"regions": ["desc-aseg_dseg"]})):
        assert "It is not known whether the space ACPC is the scan's own" in text
        (offer,) = offered(text, "regions")
        rows = found(tmp_path, regions=[offer])
        assert column(rows, "image") == [f"sub-01_{s}_space-ACPC_desc-preproc_T1w.nii.gz" for s in SESSIONS]
        assert column(rows, "states") == [f"sub-01_{s}_space-ACPC_label-lesion_mask.nii.gz" for s in SESSIONS]


@pytest.mark.parametrize("single", ["", "run-3_"])
def test_a_run_that_one_visit_has_does_not_drop_the_others(tmp_path: Path, single: str) -> None:
    volume(tmp_path, f"sub-01/{SESSIONS[0]}", f"{single}dseg.nii.gz")
    for run in ("run-1_", "run-2_"):
        volume(tmp_path, f"sub-01/{SESSIONS[1]}", f"{run}dseg.nii.gz")
        volume(tmp_path, f"sub-01/{SESSIONS[1]}", f"{run}T1w.nii.gz")
    volume(tmp_path, f"sub-01/{SESSIONS[0]}", f"{single}T1w.nii.gz")
    text = told(tmp_path)
    assert offered(text, "regions") == ["run-1_dseg", "run-2_dseg"]
    for offer in offered(text, "regions"):
        images = offered(told(tmp_path, patterns={"regions": [offer]}), "image")
        assert images == ["run-1_T1w", "run-2_T1w"]
        rows = found(tmp_path, regions=[offer], image=[images[0]])
        first = f"sub-01_{SESSIONS[0]}_{single}"
        assert column(rows, "regions") == [f"{first}dseg.nii.gz", f"sub-01_{SESSIONS[1]}_{offer}.nii.gz"]
        assert column(rows, "image")[0] == f"{first}T1w.nii.gz"


def test_two_other_runs_are_still_asked_about(tmp_path: Path) -> None:
    for session, runs in zip(SESSIONS, ((1, 2), (3, 4)), strict=True):
        for run in runs:
            volume(tmp_path, f"sub-01/{session}", f"run-{run}_dseg.nii.gz")
    rows = found(tmp_path, regions=["run-1_dseg", "run-4_dseg"])
    assert [name[-16:] for name in column(rows, "regions")] == [
        "run-1_dseg.nii.gz"[-16:],
        "run-4_dseg.nii.gz"[-16:],
    ]
    assert len(found(tmp_path, regions=["run-1_dseg"]).rows) == 1, "which of 3 and 4 is not guessed"


def test_masks_of_several_compartments_are_asked_about(tmp_path: Path) -> None:
    for session in SESSIONS:
        volume(tmp_path, f"sub-01/{session}", "dseg.nii.gz")
        for label in ("oedema", "necrosis", "core2", "WM", "brain"):
            volume(tmp_path / "derivatives/tumour", f"sub-01/{session}", f"label-{label}_mask.nii.gz")
    text = told(tmp_path)
    assert sorted(offered(text, "states")) == ["label-core2_mask", "label-necrosis_mask", "label-oedema_mask"]
    assert "Combine masks of several compartments into one label volume first" in text
    for offer in offered(text, "states"):
        assert column(found(tmp_path, states=[offer]), "states")[0].endswith(f"_{offer}.nii.gz")


def test_masks_that_no_name_calls_a_lesion_are_mentioned(tmp_path: Path) -> None:
    for session in SESSIONS:
        volume(tmp_path, f"sub-01/{session}", "dseg.nii.gz")
        volume(tmp_path, f"sub-01/{session}", "label-roi1_mask.nii.gz")
    rows = found(tmp_path)
    assert column(rows, "states") == ["", ""]
    (remark,) = (text for text in rows.remarks if "would use the masks found" in text)
    assert column(found(tmp_path, states=offered(remark, "states")), "states") != ["", ""]


def test_the_remarks_are_told_beside_the_problems(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for session in SESSIONS:
        volume(tmp_path, f"sub-01/{session}", "T1w.nii.gz")
    volume(tmp_path, "sub-01", "dseg.nii.gz")
    assert main(["index", str(tmp_path), "--out", str(tmp_path / "cohort.tsv")]) == 2
    shown = capsys.readouterr()
    assert "note: 1 segmentation without a session" in shown.out and "1 problem found" in shown.err
    assert not (tmp_path / "cohort.tsv").exists()


def test_a_visit_before_the_baseline_keeps_its_sign(tmp_path: Path) -> None:
    root = tree(tmp_path)
    for subject, days in (("sub-01", ("-30", "0")), ("sub-02", ("12", "40"))):
        rows = zip(("ses-a", "ses-b"), days, strict=True)
        table(root / subject / f"{subject}_sessions.tsv", ("session_id", "days"), *rows)
    assert [row.days for row in index(root).rows] == [-30, 0, 0, 28]
    assert day_of_name("ses-d-30") == -30 and day_of_name("ses-M+6") == day_of_name("ses-M06")
    for session in ("ses-m-1", "ses-bl", "ses-m6"):
        volume(tmp_path / "names", f"sub-1/{session}", "dseg.nii.gz")
    named = found(tmp_path / "names")
    assert [(row.timepoint, row.days) for row in named.rows] == [
        ("ses-m-1", -30.4375),
        ("ses-bl", 0),
        ("ses-m6", 182.625),
    ]


def test_the_date_that_is_missing_is_named(tmp_path: Path) -> None:
    root = tree(tmp_path)
    dated(root, "sub-02", {"ses-a": "2019-01-01", "ses-b": "n/a"})
    with pytest.raises(Undecided) as error:
        index(root)
    text = "the days of the visits of 1 patient (sub-02) are unknown: no date for sub-02 ses-b in "
    assert text + "sub-02/sub-02_sessions.tsv" in str(error.value)
    volume(tmp_path / "names", "sub-1/ses-M6", "dseg.nii.gz")
    volume(tmp_path / "names", "sub-1/ses-late", "dseg.nii.gz")
    assert "some session names of sub-1 do not give a day: ses-late" in told(tmp_path / "names")

"""A cohort table from a BIDS tree: which files are used, what the user must decide, no overwriting."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from bids_trees import SEGMENTATION, dated, table, tree, volume
from study_files import CLASSES, CONFIG, CONTROL

from longimorph.bids.days import day_of_date, day_of_name
from longimorph.bids.index import IndexOptions, index
from longimorph.bids.rows import Index
from longimorph.cli import main
from longimorph.errors import InputError
from longimorph.study import table as cohorts


def told(root: Path, **wishes: Any) -> str:
    """The message of an index that cannot be made."""
    with pytest.raises(InputError) as error:
        index(root, IndexOptions(**wishes))
    return str(error.value)


def column(found: Index, role: Any) -> list[str]:
    """The names of the files of one column."""
    return [row.files[role].name if role in row.files else "" for row in found.rows]


def test_a_tree_becomes_a_table_that_passes_the_check(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    tree(tmp_path / "my data", lesions=True)
    monkeypatch.chdir(tmp_path)
    assert main(["index", "my data", "--out", "study/cohort.tsv"]) == 0
    out = capsys.readouterr().out
    assert "regions: synthseg/dseg for 4 visits" in out and "states: experts/label-lesion_mask for 4" in out
    assert "study/cohort.tsv: 4 visits of 2 patients." in out
    for name, text in (("classes.tsv", CLASSES), ("control.tsv", CONTROL), ("config.yaml", CONFIG)):
        (tmp_path / "study" / name).write_text(text)
    assert main(["check", "study/config.yaml"]) == 0
    assert "4 visits, 2 pairs of 2 patients can run." in capsys.readouterr().out
    visits = cohorts.load_cohort(tmp_path / "study" / "cohort.tsv").visits
    assert [(v.patient, v.timepoint, v.days) for v in visits[:2]] == [
        ("sub-01", "ses-a", 0),
        ("sub-01", "ses-b", 30.5),
    ]
    assert visits[0].image is not None and visits[0].image.name == "sub-01_ses-a_T1w.nii.gz"


def test_an_earlier_table_stays_unless_forced(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    root, out = tree(tmp_path / "bids"), tmp_path / "cohort.tsv"
    out.write_text("mine")
    assert main(["index", str(root), "--out", str(out)]) == 1
    assert "already exists; --force replaces it" in capsys.readouterr().err and out.read_text() == "mine"
    assert main(["index", str(root), "--out", str(out), "--force"]) == 0
    assert len(cohorts.load_cohort(out).visits) == 4
    volume(root / SEGMENTATION, "sub-01/ses-a", "desc-aseg_dseg.nii.gz")
    before = out.read_bytes()
    assert main(["index", str(root), "--out", str(out), "--force"]) == 2
    assert out.read_bytes() == before and [p.name for p in tmp_path.iterdir() if p.name[:1] == "."] == []


def test_several_candidates_are_listed_with_the_options_that_decide(tmp_path: Path) -> None:
    root = tree(tmp_path)
    for visit in ("sub-01/ses-a", "sub-02/ses-b"):
        volume(root / "derivatives/fmriprep", visit, "desc-aseg_dseg.nii.gz")
        volume(root, visit, "acq-mprage_T1w.nii.gz")
    text = told(root)
    assert text.startswith("1 problem found")
    assert "2 visits (sub-01 ses-a, sub-02 ses-b) with more than one candidate file for 'regions'" in text
    assert "--regions synthseg/desc-none_dseg   (2 visits" in text
    assert "--regions fmriprep/desc-aseg_dseg   (2 visits" in text
    assert "--image acq-none_T1w " not in text  # the image is asked for once the regions are known
    found = told(root, patterns={"regions": ["synthseg/desc-none_dseg"]})
    assert "--image acq-none_T1w " in found and "--image acq-mprage_T1w " in found
    patterns: Any = {"regions": ["desc-aseg_dseg", "dseg"], "image": ["acq-mprage_T1w", "acq-none_T1w"]}
    chosen = index(root, IndexOptions(patterns=patterns))
    assert column(chosen, "regions")[:2] == ["sub-01_ses-a_desc-aseg_dseg.nii.gz", "sub-01_ses-b_dseg.nii.gz"]
    assert column(chosen, "image")[:2] == ["sub-01_ses-a_acq-mprage_T1w.nii.gz", "sub-01_ses-b_T1w.nii.gz"]


def test_what_is_offered_decides(tmp_path: Path) -> None:
    """Runs, copies that differ in compression only, and maps in two spaces of the scan."""
    root = tree(tmp_path)
    for name in ("dseg.nii", "run-2_dseg.nii.gz", "space-T1w_dseg.nii.gz"):
        volume(root / SEGMENTATION, "sub-01/ses-a", name)
    text = told(root)
    offers = [
        line.split("--regions ")[1].split("   ")[0] for line in text.splitlines() if "--regions" in line
    ]
    assert len(offers) == 4 and len(set(offers)) == 4
    names = {
        column(index(root, IndexOptions(patterns={"regions": [o, "dseg"]})), "regions")[0] for o in offers
    }
    assert len(names) == 4


def test_maps_in_a_template_and_masks_of_the_brain_are_no_candidates(tmp_path: Path) -> None:
    root = tree(tmp_path)
    for name in (
        "space-MNI152NLin2009cAsym_dseg.nii.gz",
        "desc-brain_mask.nii.gz",
        "label-GM_probseg.nii.gz",
    ):
        volume(root / SEGMENTATION, "sub-01/ses-a", name)
    found = index(root)
    assert column(found, "regions")[0] == "sub-01_ses-a_dseg.nii.gz" and "states" not in found.rows[0].files
    patterns: Any = {"regions": ["space-MNI152NLin2009cAsym_dseg", "dseg"]}
    assert "space-MNI" in column(index(root, IndexOptions(patterns=patterns)), "regions")[0]


def test_a_preprocessed_image_beside_the_regions_is_preferred_to_the_raw_one(tmp_path: Path) -> None:
    root = tree(tmp_path)
    volume(root / SEGMENTATION, "sub-01/ses-a", "desc-preproc_T1w.nii.gz")
    assert column(index(root), "image")[:2] == [
        "sub-01_ses-a_desc-preproc_T1w.nii.gz",
        "sub-01_ses-b_T1w.nii.gz",
    ]
    assert column(index(root, IndexOptions(patterns={"image": None})), "image") == ["", "", "", ""]


def test_a_missing_mask_is_not_taken_for_health(tmp_path: Path) -> None:
    root = tree(tmp_path, lesions=True)
    (root / "derivatives/experts/sub-02/ses-b/anat/sub-02_ses-b_label-lesion_mask.nii.gz").unlink()
    text = told(root)
    assert "1 visit without states, although others have them (sub-02 ses-b)" in text
    assert "--missing-states healthy" in text
    healthy = index(root, IndexOptions(missing_states="healthy"))
    assert column(healthy, "states")[-1] == "" and any("treated as healthy" in r for r in healthy.remarks)
    assert len(index(root, IndexOptions(missing_states="skip")).rows) == 3
    assert column(index(root, IndexOptions(patterns={"states": None})), "states") == [""] * 4


def test_days_come_from_the_first_source_that_knows_all_of_a_patients(tmp_path: Path) -> None:
    root = tree(tmp_path)
    (root / "sub-01/sub-01_sessions.tsv").unlink()
    dated(root, "sub-02", {"ses-a": "2019-01-01", "ses-b": "n/a"})
    text = told(root)
    assert "the days of the visits of 2 patients (sub-01, sub-02) are unknown" in text
    assert "sub-01/sub-01_sessions.tsv with session_id and 'acq_time'" in text and "--days-from order" in text
    for session, time in (("ses-a", "1925-01-01T08:30:00"), ("ses-b", "1925-01-11T08:30:00.000000Z")):
        rows = [("func/x.nii.gz", "1900-01-01T00:00:00"), (f"anat/sub-01_{session}_T1w.nii.gz", time)]
        table(root / f"sub-01/{session}/sub-01_{session}_scans.tsv", ("filename", "acq_time"), *rows)
    ages = [("sub-01", "a", "0"), ("sub-02", "a", "50"), ("sub-02", "b", "51.5")]
    table(root / "participants.tsv", ("participant_id", "session_id", "age"), *ages)
    wishes = IndexOptions(days_column="age", days_unit="years", days_from="participants")
    assert "(sub-01)" in told(root, days_column="age", days_from="participants")
    table(root / "participants.tsv", ("participant_id", "session_id", "age"), *ages, ("01", "ses-b", "1"))
    assert [row.days for row in index(root, wishes).rows] == [0, 365.25, 0, round(1.5 * 365.25, 4)]
    table(root / "participants.tsv", ("participant_id", "session_id", "days"), *ages)
    assert [row.days for row in index(root).rows] == [0, 10, 0, 1.5]


def sessions(root: Path, subject: str, *rows: tuple[str, ...]) -> None:
    """Write a subject's sessions.tsv; the first row are its columns."""
    table(root / subject / f"{subject}_sessions.tsv", *rows)


@pytest.mark.parametrize("column", ["days", "days_since_baseline", "scan_date", "acq_time"])
def test_a_date_without_hyphens_is_a_date(column: str, tmp_path: Path) -> None:
    root = tree(tmp_path)
    rows = ("session_id", column), ("ses-a", "20240131"), ("ses-b", "20250131")
    sessions(root, "sub-01", *rows)
    sessions(root, "sub-02", *rows)
    wishes = IndexOptions(days_column=column) if column == "scan_date" else IndexOptions()
    assert [row.days for row in index(root, wishes).rows] == [0, 366, 0, 366]


def test_numbers_that_are_no_time_are_refused(tmp_path: Path) -> None:
    root = tree(tmp_path)
    sessions(root, "sub-01", ("session_id", "days"), ("ses-a", "0"), ("ses-b", "1706659200"))
    assert "sub-01_sessions.tsv, line 3, 'days': is not a number of days; found '1706659200'" in told(root)
    assert day_of_name("ses-d99999") is None


def test_columns_that_contradict_each_other_are_asked_about(tmp_path: Path) -> None:
    root = tree(tmp_path)
    head = "session_id", "days", "acq_time"
    sessions(root, "sub-01", head, ("ses-a", "0", "2024-01-31"), ("ses-b", "1", "2024-02-01T23:00:00"))
    assert [row.days for row in index(root).rows][:2] == [0, 1]
    sessions(root, "sub-01", head, ("ses-a", "0", "2024-01-31"), ("ses-b", "30", "2025-01-31"))
    text = told(root)
    assert "the columns 'days' and 'acq_time' contradict each other on the days between visits" in text
    assert "--days-column days or --days-column acq_time" in text
    sessions(root, "sub-02", head, ("ses-a", "0", "2024-01-31"), ("ses-b", "30", "2025-01-31"))
    for column, day in (("days", 30), ("acq_time", 366)):
        assert [row.days for row in index(root, IndexOptions(days_column=column)).rows] == [0, day, 0, day]


def test_a_day_of_the_month_does_not_date_a_visit(tmp_path: Path) -> None:
    root = tree(tmp_path)
    head = "session_id", "acq_time", "day"
    sessions(root, "sub-01", head, ("ses-a", "2024-01-31", "31"), ("ses-b", "2025-02-12", "12"))
    found = [(row.timepoint, row.days) for row in index(root).rows][:2]
    assert found == [("ses-a", 0), ("ses-b", 378)]


def test_a_session_with_two_days_is_asked_about(tmp_path: Path) -> None:
    root = tree(tmp_path)
    sessions(root, "sub-01", ("session_id", "days"), ("a", "0"), ("b", "180"), ("ses-b", "365"))
    assert "line 4, 'days': is not the day that an earlier row gives to ses-b; found '365'" in told(root)
    times = ("a", "2024-01-01"), ("b", "2024-01-31T09:00:00"), ("b", "2024-01-31T10:00:00")
    sessions(root, "sub-01", ("session_id", "acq_time"), *times)
    assert index(root).rows[1].days == 30.375


def test_days_of_scans_come_from_one_column_for_all_sessions(tmp_path: Path) -> None:
    root = tree(tmp_path)
    (root / "sub-01/sub-01_sessions.tsv").unlink()
    for session, time, day in (("ses-a", "2024-01-31", "0"), ("ses-b", "2025-01-31", "n/a")):
        row = f"anat/sub-01_{session}_T1w.nii.gz", time, day
        file = root / f"sub-01/{session}/sub-01_{session}_scans.tsv"
        table(file, ("filename", "acq_time", "days"), row)
    assert [row.days for row in index(root).rows][:2] == [0, 366]


def test_days_by_name_and_by_order_are_taken_only_when_asked_for(tmp_path: Path) -> None:
    for session in ("ses-M12", "ses-M06", "ses-bl"):
        volume(tmp_path, f"sub-1/{session}", "dseg.nii.gz")
    assert "days of the visits of 1 patient (sub-1)" in told(tmp_path)
    found = index(tmp_path, IndexOptions(days_from="names"))
    assert [(row.timepoint, row.days) for row in found.rows] == [
        ("ses-bl", 0),
        ("ses-M06", 182.625),
        ("ses-M12", 365.25),
    ]
    volume(tmp_path, "sub-1/ses-followup", "dseg.nii.gz")
    assert "some session names of sub-1 do not give a day" in told(tmp_path, days_from="names")
    ordered = index(tmp_path, IndexOptions(days_from="order"))
    assert [row.days for row in ordered.rows] == [0, 1, 2, 3]
    assert any("rates per year are meaningless" in remark for remark in ordered.remarks)


@pytest.mark.parametrize(
    "name, day",
    [("ses-d90", 90), ("ses-90d", 90), ("ses-W2", 14), ("ses-6mo", 182.625), ("ses-year1", 365.25),
     ("ses-01", None), ("ses-V1", None), ("ses-m6d", None), ("ses-20191301", None)],
)  # fmt: skip
def test_the_days_that_names_say(name: str, day: float | None) -> None:
    assert day_of_name(name) == day


def test_dates_in_names_and_in_tables_count_alike() -> None:
    assert day_of_name("ses-20190203") == day_of_date("2019-02-03")
    assert day_of_date("soon") is None and day_of_date("n/a") is None


def test_two_visits_on_one_day_and_everything_else_at_once(tmp_path: Path) -> None:
    root = tree(tmp_path)
    dated(root, "sub-01", {"ses-a": "2019-01-01", "ses-b": "2019-01-01"})
    (root / "sub-02/sub-02_sessions.tsv").write_text("session_id,acq_time\nses-a,2019\n")
    wrong = volume(root / SEGMENTATION, "sub-03/ses-a", "dseg.nii.gz")
    os.rename(wrong, wrong.with_name("sub-02_ses-a_dseg.nii.gz"))
    (root / SEGMENTATION / "sub-04/anat").mkdir(parents=True)
    (root / SEGMENTATION / "sub-04/anat/sub-04_dseg.nii.gz").symlink_to(tmp_path / "annex")
    text = told(root)
    for part in (
        "sub-01: ses-a, ses-b are on the same day (0)",
        "columns are separated by commas",
        "the days of the visits of 1 patient (sub-02) are unknown",
        "gives another visit than its folder sub-03/ses-a",
        "is a link whose content is missing",
    ):
        assert part in text, text


def test_visits_without_regions_and_maps_of_no_session_are_said(tmp_path: Path) -> None:
    root = tree(tmp_path)
    (root / SEGMENTATION / "sub-02/ses-b/anat/sub-02_ses-b_dseg.nii.gz").unlink()
    volume(root / SEGMENTATION, "sub-01", "dseg.nii.gz")
    volume(root / SEGMENTATION, "sub-03", "dseg.nii.gz")
    found = index(root)
    assert [(row.patient, row.timepoint) for row in found.rows[2:]] == [
        ("sub-02", "ses-a"),
        ("sub-03", "single"),
    ]
    remarks = " ".join(found.remarks)
    assert "1 visit left out for lack of regions: sub-02 ses-b" in remarks
    assert "1 segmentation without a session, although the patient has some" in remarks


@pytest.mark.parametrize(
    "wishes, words",
    [
        ({"regions": ["desc-"]}, "--regions 'desc-' is not a valid pattern"),
        ({"regions": ["/dseg"]}, "is not a valid pattern"),
        ({"image": ["T2w"]}, "--image 'T2w' matches no file"),
        ({"states": ["sub-01_mask"]}, "is not a valid pattern"),
    ],
)
def test_patterns_that_mean_nothing(tmp_path: Path, wishes: dict[str, list[str]], words: str) -> None:
    assert words in told(tree(tmp_path), patterns=wishes)


def test_no_tree_and_no_regions(tmp_path: Path) -> None:
    assert "is not a folder" in told(tmp_path / "none")
    assert "contains no folder 'sub-*'" in told(tmp_path)
    volume(tmp_path, "sub-1", "T1w.nii.gz")
    assert "no visit has a label volume for regions" in told(tmp_path)
    volume(tmp_path / "elsewhere/seg", "sub-1", "desc-aseg_dseg.nii")
    assert index(tmp_path, IndexOptions(derivatives=(tmp_path / "elsewhere/seg",))).rows[0].patient == "sub-1"


def cells(found: Index) -> list[dict[str, str]]:
    """The further cells of each row by column."""
    return [dict(zip(found.further, row.further, strict=True)) for row in found.rows]


def test_columns_of_participants_and_sessions_are_carried_over(tmp_path: Path) -> None:
    root = tree(tmp_path)
    people = [("sub-01", "50", "f", "a"), ("02", "60", "", "b")]
    table(root / "participants.tsv", ("participant_id", "age", "sex", "class"), *people)
    rows = [("ses-a", "2019-02-03", "50.1", "A"), ("b", "2019-03-05", "n/a", "B")]
    table(root / "sub-01/sub-01_sessions.tsv", ("session_id", "acq_time", "age", "scanner"), *rows)
    found = index(root)
    assert found.further == ("sex", "bids_class", "age", "scanner")
    assert cells(found)[:2] == [
        {"sex": "f", "bids_class": "a", "age": "50.1", "scanner": "A"},
        {"sex": "f", "bids_class": "a", "age": "n/a", "scanner": "B"},
    ]
    assert cells(found)[2] == {"sex": "n/a", "bids_class": "b", "age": "n/a", "scanner": "n/a"}
    remarks = " ".join(found.remarks)
    assert "taken from the latter: age" in remarks and "since these names are taken: class" in remarks
    (tmp_path / "cohort.tsv").write_text(found.text(tmp_path))
    made = cohorts.load_cohort(tmp_path / "cohort.tsv")
    assert made.further == found.further and made.visits[1].further == ("f", "a", "n/a", "B")


def test_repeated_scans_keep_their_meaning_and_may_share_a_day(tmp_path: Path) -> None:
    root = tree(tmp_path)
    rows = [("ses-a", "2019-02-03", "n/a"), ("b", "2019-02-03", "a")]
    table(root / "sub-01/sub-01_sessions.tsv", ("session_id", "acq_time", "repeat_of"), *rows)
    found = index(root)
    assert [cell["repeat_of"] for cell in cells(found)[:3]] == ["", found.rows[0].timepoint, ""]
    (tmp_path / "cohort.tsv").write_text(found.text(tmp_path))
    made = cohorts.load_cohort(tmp_path / "cohort.tsv")
    assert [visit.repeat_of for visit in made.scans_of("sub-01")] == ["", "ses-a"]
    assert "repeats by repeat_of of sessions.tsv: sub-01 " in " ".join(found.remarks)
    lost = [("ses-a", "2019-02-03", "N/A"), ("b", "2019-03-03", "ses-none")]
    table(root / "sub-01/sub-01_sessions.tsv", ("session_id", "acq_time", "repeat_of"), *lost)
    found = index(root)
    assert cells(found)[0]["repeat_of"] == "" and "sub-01 ses-b of ses-none" in " ".join(found.remarks)
    same = [("ses-a", "2019-02-03", "n/a"), ("b", "2019-02-03", "n/a")]
    table(root / "sub-01/sub-01_sessions.tsv", ("session_id", "acq_time", "repeat_of"), *same)
    assert "are on the same day" in told(root)


def test_a_column_repeat_of_of_participants_means_no_repeat(tmp_path: Path) -> None:
    root = tree(tmp_path)
    table(
        root / "participants.tsv", ("participant_id", "repeat_of"), ("sub-01", "sub-00"), ("sub-02", "sub-01")
    )
    found = index(root)
    assert found.further == ("bids_repeat_of",) and cells(found)[0] == {"bids_repeat_of": "sub-00"}


def test_participants_with_a_row_for_each_session_and_tables_that_cannot_be_read(tmp_path: Path) -> None:
    root = tree(tmp_path)
    rows = [
        ("sub-01", "ses-a", "50", "f"),
        ("sub-01", "b", "51", "f"),
        ("sub-02", "", "60", "m"),
        ("sub-02", "", "61", "m"),
    ]
    table(root / "participants.tsv", ("participant_id", "session_id", "age", "sex"), *rows)
    assert [list(own.values()) for own in cells(index(root))] == [
        ["50", "f"],
        ["51", "f"],
        ["n/a", "m"],  # rows that disagree
        ["n/a", "m"],
    ]
    (root / "participants.tsv").write_text("participant_id,age\nsub-01,50\n")
    found = index(root)
    assert found.further == () and "columns are separated by commas" in " ".join(found.remarks)
    table(root / "participants.tsv", ("subject", "age"), ("sub-01", "50"))
    assert "it has no column participant_id" in " ".join(index(root).remarks)


def soft(root: Path, visit: str, names: tuple[str, ...], pipeline: str = "derivatives/fmriprep") -> None:
    """Posteriors of a visit, a file per label."""
    for name in names:
        share = np.full((6, 7, 8), 1 / len(names), np.float32)
        volume(root / pipeline, visit, f"label-{name}_probseg.nii.gz", share)


def test_posteriors_are_used_where_there_are_no_labels(tmp_path: Path) -> None:
    for session, day in (("ses-a", "2019-02-03"), ("ses-b", "2019-03-05"), ("ses-c", "2019-04-05")):
        visit = f"sub-01/{session}"
        volume(tmp_path, visit, "T1w.nii.gz")
        soft(tmp_path, visit, ("GM", "WM", "CSF"))
        soft(tmp_path, visit, ("lesion",), "derivatives/lst")
        dated(tmp_path, "sub-01", {"ses-a": "2019-02-03", "ses-b": "2019-03-05", "ses-c": day})
    volume(tmp_path / "derivatives/fmriprep", "sub-01/ses-c", "dseg.nii.gz")
    found = index(tmp_path)
    pattern = "sub-01_ses-{}_label-*_probseg.nii.gz"
    assert column(found, "regions") == [pattern.format("a"), pattern.format("b"), "sub-01_ses-c_dseg.nii.gz"]
    assert column(found, "states") == [pattern.format(name) for name in "abc"]
    assert {row.files["states"].parts[-5] for row in found.rows} == {"lst"}
    assert any("fmriprep/label-*_probseg for 2 visits" in remark for remark in found.remarks)
    everywhere = index(tmp_path, IndexOptions(patterns={"regions": ["fmriprep/probseg"]}))
    assert column(everywhere, "regions") == [pattern.format(name) for name in "abc"]
    out = tmp_path / "cohort.tsv"
    out.write_text(everywhere.text(tmp_path))
    assert len(cohorts.load_cohort(out).visits[0].all_files()) == 3 + 1 + 1


def test_posteriors_of_tissues_and_lesions_in_one_folder_are_told(tmp_path: Path) -> None:
    for session in ("ses-a", "ses-b"):
        soft(tmp_path, f"sub-01/{session}", ("GM", "WM", "lesion"))
    dated(tmp_path, "sub-01", {"ses-a": "2019-02-03", "ses-b": "2019-03-05"})
    said = told(tmp_path)
    assert "label-*_probseg.nii.gz would also match posteriors of another kind: lesion" in said
    assert "another kind: GM, WM" in said and "Move either" in said

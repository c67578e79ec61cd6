"""The cohort table: its content, and one message for each mistake."""

from __future__ import annotations

from pathlib import Path

import pytest
from study_files import edit, write_study

from longimorph import paths
from longimorph.errors import InputError
from longimorph.study import pairs, table


@pytest.fixture
def cohort(tmp_path: Path) -> Path:
    """The cohort table of a whole study."""
    write_study(tmp_path)
    return tmp_path / "cohort.tsv"


def problems_of(file: Path) -> list[str]:
    """The problems of a cohort table."""
    with pytest.raises(InputError) as error:
        table.load_cohort(file)
    return [str(problem) for problem in error.value.problems]


def test_reads_visits_in_order(cohort: Path) -> None:
    made = table.load_cohort(cohort)
    assert made.patients() == ("P1", "P2")
    assert [visit.timepoint for visit in made.visits_of("P2")] == ["m0", "m6"]
    visit = made.visit("P2", "m6")
    assert (visit.days, visit.line) == (170.5, 5)
    assert visit.regions == cohort.parent / "labels" / "P2_m6.nii.gz"
    assert list(visit.files()) == ["image", "regions", "states"]
    assert made.select(["P2"]).patients() == ("P2",)


def test_optional_columns_and_cells(cohort: Path) -> None:
    rows = [line.split("\t") for line in cohort.read_text().splitlines()]
    cohort.write_text("".join(f"{r[0]}\t{r[1]}\t{r[2]}\t{r[4]}\n" for r in rows))
    visit = table.load_cohort(cohort).visits[0]
    assert visit.image is None and visit.states is None
    cohort.write_text("\n".join("\t".join([*r[:3], "" if i else r[3], r[4]]) for i, r in enumerate(rows)))
    assert table.load_cohort(cohort).visits[0].image is None


@pytest.mark.parametrize(
    "dress",
    [
        lambda text: "\ufeff" + text,
        lambda text: text.replace("\n", "\r\n"),
        lambda text: text.replace("\n", "\r"),
        lambda text: "# a remark\n\n" + text + "\n\n",
        lambda text: text.replace("P1\t", '"P1"\t'),
        lambda text: text.replace("\t", " \t "),
        lambda text: text.replace("\n", "\t\t\n"),
        lambda text: "\n".join("\t".join(reversed(line.split("\t"))) for line in text.splitlines()),
    ],
    ids=["utf-8 mark", "windows", "old mac", "remarks", "quotes", "spaces", "trailing tabs", "other order"],
)
def test_harmless_differences_change_nothing(cohort: Path, dress: object) -> None:
    plain = table.load_cohort(cohort)
    cohort.write_bytes(dress(cohort.read_text()).encode())  # type: ignore[operator]
    assert table.load_cohort(cohort).visits == plain.visits


@pytest.mark.parametrize(
    "text, expected",
    [
        ("a.nii", "/data/a.nii"),
        ("/b/a.nii", "/b/a.nii"),
        ("~/a.nii", "/home/me/a.nii"),
        ("./~/a.nii", "/data/~/a.nii"),
        ("~nobody-of-that-name/a.nii", "/data/~nobody-of-that-name/a.nii"),
    ],
)
def test_a_tilde_is_a_home_folder_only_at_the_beginning(
    text: str, expected: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HOME", "/home/me")
    assert paths.resolve(text, Path("/data")) == Path(expected)


def test_a_missing_column_does_not_hide_what_is_wrong_in_the_others(cohort: Path) -> None:
    cohort.write_text(cohort.read_text().replace("regions", "region", 1).replace("P1\tm6", "../P1\tm6"))
    with pytest.raises(InputError) as error:
        table.load_cohort(cohort)
    assert "'regions': column is missing. Is it the column 'region'?" in str(error.value)
    assert "line 3, 'patient': is not a valid name" in str(error.value)


@pytest.mark.parametrize(
    "old, new, expected",
    [
        ("labels/P1_m6", "labels/P1_m06", "line 3, 'regions': file not found; found 'labels/P1_m06.nii.gz'"),
        ("labels/P1_m6", "labels/P1_m06", "Did you mean 'labels/P1_m6.nii.gz'? Paths are relative to "),
        ("labels/P1_m6", "labls/P1_m6", "Did you mean 'labels/P1_m6.nii.gz'?"),
        ("labels/P1_m6", "labels\\P1_m6", "Separate folders by '/'"),
        ("labels/P1_m6.nii.gz", "labels", "'regions': is a folder, not a file"),
        ("labels/P1_m6.nii.gz", "cohort.tsv", "expected a name ending in .nii or .nii.gz"),
        ("labels/P1_m6.nii.gz", "", "line 3, 'regions': is empty; expected the path"),
        ("P1\tm6", "../P1\tm6", "line 3, 'patient': is not a valid name; found '../P1'; expected letters"),
        ("P1\tm6", "P1\tm 6", "line 3, 'timepoint': is not a valid name; found 'm 6'"),
        ("P1\tm6", "\tm6", "line 3, 'patient': is empty"),
        ("P1\tm6", "P1\tm0", "line 3, 'timepoint': patient 'P1', timepoint 'm0' is already on line 2"),
        ("\t180\t", "\thalf a year\t", "line 3, 'days': is not a number; found 'half a year'"),
        ("\t180\t", "\t180,5\t", "Use '.' as the decimal point"),
        ("\t180\t", "\tnan\t", "line 3, 'days': is not a number; found 'nan'"),
        ("\t180\t", "\t0\t", "line 3, 'days': is also the day of 'm0' on line 2; found '0'"),
        ("\t180\t", "\t-1\t", "line 3, 'days': is before the day of 'm0' on line 2 (0); found '-1'"),
        ("\tdays\t", "\tday\t", "line 1, 'days': column is missing. Is it the column 'day'?"),
        ("\tstates", "\tstate", "line 1, 'state': unknown column. Did you mean 'states'?"),
        ("\tstates", "\tregions", "line 1, 'regions': column occurs twice"),
        ("P1\tm6\t180\t", "P1 m6 180 ", "line 3, 'days': is not a number"),
    ],
)
def test_each_mistake_gets_its_sentence(cohort: Path, old: str, new: str, expected: str) -> None:
    edit(cohort, old, new)
    found = problems_of(cohort)
    assert any(expected in text for text in found), found


@pytest.mark.parametrize(
    "separator, word", [(",", "commas"), (";", "semicolons"), (" ", "spaces"), ("|", "vertical bars")]
)
def test_wrong_separator_is_named(cohort: Path, separator: str, word: str) -> None:
    cohort.write_text(cohort.read_text().replace("\t", separator))
    (problem,) = problems_of(cohort)
    assert f"columns are separated by {word}; expected tabs" in problem


def test_one_row_with_spaces_instead_of_tabs(cohort: Path) -> None:
    lines = cohort.read_text().splitlines()
    lines[2] = lines[2].replace("\t", "  ")
    cohort.write_text("\n".join(lines))
    assert "line 3: has one cell, but the header has 6 columns" in problems_of(cohort)[0]


@pytest.mark.parametrize(
    "content, expected",
    [
        (b"", "is empty; expected a header with the columns patient, timepoint"),
        (b"patient\ttimepoint\tdays\tregions\n", "has a header but no data rows"),
        ("patient\ttimepoint".encode("utf-16"), "is UTF-16 text (according to its byte-order mark)"),
        (b"patient\ttimepoint\nMichaut\xe9\t1\n", "line 2: is not UTF-8 text (byte 0xe9)"),
        (b"PK\x03\x04zip", "is a spreadsheet workbook"),
    ],
)
def test_files_that_are_no_table(tmp_path: Path, content: bytes, expected: str) -> None:
    (tmp_path / "cohort.tsv").write_bytes(content)
    assert any(expected in text for text in problems_of(tmp_path / "cohort.tsv"))


def test_missing_table_names_its_neighbour(tmp_path: Path) -> None:
    (tmp_path / "cohort.tsv").write_text("")
    assert "Did you mean 'cohort.tsv'?" in problems_of(tmp_path / "cohorts.tsv")[0]


def test_two_results_may_not_share_a_folder(tmp_path: Path) -> None:
    write_study(tmp_path, (("P", "a", 0), ("P", "a__b", 1), ("P", "b__c", 2), ("P", "c", 3)))
    found = problems_of(tmp_path / "cohort.tsv")
    assert any("would share the folder 'a__b__c'" in text for text in found)
    write_study(tmp_path, (("P", "a_b", 0), ("P", "_c", 1), ("P", "d__e", 2)))
    assert len(table.load_cohort(tmp_path / "cohort.tsv").visits) == 3


def test_the_same_file_may_serve_two_visits(cohort: Path) -> None:
    edit(cohort, "labels/P1_m6", "labels/P1_m0")
    visits = table.load_cohort(cohort).visits_of("P1")
    assert visits[0].regions == visits[1].regions


def test_pairs_of_each_mode(tmp_path: Path) -> None:
    write_study(tmp_path, (("P", "a", 0), ("P", "b", 10), ("P", "c", 30), ("Q", "a", 5)))
    cohort = table.load_cohort(tmp_path / "cohort.tsv")
    modes: tuple[pairs.Mode, ...] = ("consecutive", "baseline", "all")
    names = {mode: [pair.name for pair in pairs.plan_pairs(cohort, mode).pairs] for mode in modes}
    assert names == {
        "consecutive": ["a__b", "b__c"],
        "baseline": ["a__b", "a__c"],
        "all": ["a__b", "a__c", "b__c"],
    }
    plan = pairs.plan_pairs(cohort)
    assert [pair.days for pair in plan.pairs] == [10, 20]
    assert [(out.patient, out.reason) for out in plan.left_out] == [
        ("Q", "has only one visit, 'a'; a pair needs two")
    ]
    assert plan.patients() == ("P",) and plan.of("Q") == ()


def with_columns(cohort: Path, *further: tuple[str, ...]) -> None:
    """Add columns, each its name and the cells from the top."""
    lines = cohort.read_text().splitlines()
    cohort.write_text(
        "\n".join("\t".join([line, *cells]) for line, *cells in zip(lines, *further, strict=True))
    )


def test_further_columns_are_kept_as_text_and_in_order(cohort: Path) -> None:
    before = table.load_cohort(cohort)
    assert (before.further, before.gives_icv, before.visits[0].further) == ((), False, ())
    with_columns(cohort, ("site", "01", "", "03", "04"), ("age", "50.10", "51", "n/a", "?"))
    made = table.load_cohort(cohort)
    assert made.further == ("site", "age") and made.select(["P2"]).further == made.further
    assert [visit.further for visit in made.visits] == [
        ("01", "50.10"),
        ("", "51"),
        ("03", "n/a"),
        ("04", "?"),
    ]
    assert made.visits == before.visits  # no scan is read again for it


def test_further_columns_that_visits_csv_has_itself_are_refused_all_at_once(cohort: Path) -> None:
    with_columns(cohort, ("class", *"abcd"), ("volume_mm3", *"1234"), ("sex", *"fmfm"))
    first, second = problems_of(cohort)
    assert "line 1, 'class': visits.csv of the results has a column of this name" in first
    assert "Rename it, for instance 'class_own'" in first and "'volume_mm3'" in second


def test_age_and_site_are_no_misspelt_image_and_states(cohort: Path) -> None:
    rows = [line.split("\t") for line in cohort.read_text().splitlines()]
    cohort.write_text("\n".join("\t".join([*row[:3], row[4]]) for row in rows))
    with_columns(cohort, ("age", *"1234"), ("site", *"abcd"), ("stage", *"abcd"))
    assert table.load_cohort(cohort).further == ("age", "site", "stage")


def test_intracranial_volumes_are_positive_numbers_or_not_known(cohort: Path) -> None:
    with_columns(cohort, ("icv_mm3", "1500000.5", "", "n/a", "1e6"))
    made = table.load_cohort(cohort)
    assert made.gives_icv and made.further == ()
    assert [visit.icv_mm3 for visit in made.visits] == [1500000.5, None, None, 1e6]
    for wrong in ("0", "-3", "1,5", "big", "nan0", "inf"):
        text = cohort.read_text()
        cohort.write_text(text.replace("1500000.5", wrong))
        (problem,) = problems_of(cohort)
        assert f"line 2, 'icv_mm3': is not a positive number; found '{wrong}'" in problem
        assert "expected the intracranial volume in mm³" in problem
        cohort.write_text(text)

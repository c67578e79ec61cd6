"""``longimorph export``: a BIDS derivatives data set that has what the results have, and nothing else."""

from __future__ import annotations

import csv
import errno
import json
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import finished_results
import numpy as np
import pytest
from finished_results import NAMES, write_cohort, write_patient

from longimorph.bids import record, visit_files
from longimorph.bids.export import export
from longimorph.cli import main
from longimorph.io import atomic
from longimorph.io.atomic import write_json
from longimorph.io.volumes import read_labels, read_maps, read_scalar

VALIDATOR = Path(sys.executable).with_name("bids-validator-deno")
DAYS = {"V1": 0.0, "V-2": 100.5, "V3": 200.0}
FURTHER = ("sex", "age", "participant_id", "sub group")


@pytest.fixture(scope="module", autouse=True)
def quick() -> Iterator[None]:
    """Do not wait for the disk, which takes most of the time of a small export."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(atomic, "_flush", lambda path: None)
        yield


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Patients without a failure, with a failed last visit, with no good visit, and one left out."""
    results = tmp_path_factory.mktemp("study") / "results"
    write_patient(results / "patients" / "P1", DAYS, seed=1)
    write_patient(results / "patients" / "P_1", {"a": 0.0, "b": 50.0, "c": 90.0}, failed=["c"], seed=2)
    write_patient(results / "patients" / "sub-7", {"x": 0.0, "y": 9.0}, failed=["x", "y"], seed=3)
    cells = {
        "P1": {name: ["F", age, "17", "a b"] for name, age in zip(DAYS, ("91", "92", "92"), strict=True)},
        "P_1": {name: ["M", "40", "18", ""] for name in "abc"},
        "sub-7": {name: ["0", "x", "19", ""] for name in "xy"},
    }
    write_cohort(results, FURTHER, cells, {"P9": "has only one visit"})
    return results


@pytest.fixture
def results(made: Path, tmp_path: Path) -> Path:
    """A copy to change."""
    return Path(shutil.copytree(made, tmp_path / "study" / "results"))


@pytest.fixture(scope="module")
def exported(made: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The data set of the unchanged study."""
    root = tmp_path_factory.mktemp("bids") / "derivatives"
    done = export(made, root)
    assert done.problems == []
    return root


def label(root: Path, patient: str) -> str:
    rows = {row["patient"]: row["participant_id"] for row in rows_of(root / "participants.tsv")}
    return rows[patient]


def rows_of(file: Path) -> list[dict[str, str]]:
    with file.open(encoding="utf-8", newline="") as opened:
        return list(csv.DictReader(opened, delimiter="\t", quoting=csv.QUOTE_NONE))


def tree(root: Path) -> dict[str, bytes]:
    """Every file but the records, whose stamps differ from copy to copy."""
    files = (path for path in root.rglob("*") if path.is_file())
    return {p.relative_to(root).as_posix(): p.read_bytes() for p in files if record.FOLDER not in p.parts}


def names_of(root: Path, subject: str) -> set[str]:
    return {path.name.removeprefix(f"{subject}_") for path in (root / subject).rglob("*") if path.is_file()}


def test_a_patient_has_every_file_and_no_other(exported: Path) -> None:
    classes = ("oedema", "WM", "background")
    visit = [f"space-common_label-{name}_probseg.nii.gz" for name in classes]
    visit += ["space-common_dseg.nii.gz", "space-common_dseg.tsv", "space-common_desc-aligned_T1w.nii.gz"]
    visit += [f"from-{a}_mode-image_xfm.txt" for a in ("orig_to-common", "common_to-orig")]
    wanted = {f"ses-{session}_{name}" for session in ("V1", "V2", "V3") for name in visit}
    for a, b in (("V1", "V2"), ("V2", "V3")):
        start = f"ses-{b}_from-{a}_to-{b}_space-common"
        wanted |= {
            f"{start}_label-{c}_desc-{d}_map.nii.gz" for c in classes for d in ("deformation", "reallocation")
        }
        wanted |= {f"{start}_desc-logJacobian_map.nii.gz", f"{start}_mode-image_xfm.nii.gz"}
        wanted |= {f"ses-{b}_from-{b}_to-{a}_space-common_mode-image_xfm.nii.gz"}
    described = {f"{name.split('.')[0]}.json" for name in wanted}
    assert names_of(exported, label(exported, "P1")) == wanted | described | {"sessions.tsv"}


def test_probabilities_and_the_most_probable_class_are_those_of_the_results(
    made: Path, exported: Path
) -> None:
    for patient, visit, session in (("P1", "V-2", "V2"), ("P_1", "a", "a")):
        maps, grid = read_maps(made / "patients" / patient / visit / "simplex.nii.gz")
        subject = label(exported, patient)
        stem = exported / subject / f"ses-{session}" / "anat" / f"{subject}_ses-{session}_space-common"
        found = [
            read_scalar(f"{stem}_label-{name}_probseg.nii.gz") for name in ("oedema", "WM", "background")
        ]
        assert np.array_equal(found, maps)
        values, own = read_labels(f"{stem}_dseg.nii.gz")
        rows = rows_of(Path(f"{stem}_dseg.tsv"))
        assert {int(row["index"]): row["name"] for row in rows} == dict(zip((1, 2, 0), NAMES, strict=True))
        assert np.array_equal(np.array([1, 2, 0])[maps.argmax(axis=0)], values)
        assert np.allclose(own.affine, grid.affine, atol=1e-5)


def test_maps_of_change_are_those_of_the_results(made: Path, exported: Path) -> None:
    pair, subject = made / "patients" / "P1" / "V1__V-2", label(exported, "P1")
    stem = exported / subject / "ses-V2" / "anat" / f"{subject}_ses-V2_from-V1_to-V2_space-common"
    for kind in ("deformation", "reallocation"):
        maps, _ = read_maps(pair / f"{kind}.nii.gz")
        for name, own in zip(("oedema", "WM", "background"), maps, strict=True):
            assert np.array_equal(read_scalar(f"{stem}_label-{name}_desc-{kind}_map.nii.gz"), own)
    whole = Path(f"{stem}_desc-logJacobian_map.nii.gz")
    assert whole.read_bytes() == (pair / "log_jacobian.nii.gz").read_bytes()


def test_names_are_mapped_and_further_columns_carried(exported: Path) -> None:
    rows = rows_of(exported / "participants.tsv")
    assert [row["patient"] for row in rows] == ["P1", "P_1", "sub-7"]
    assert rows[0]["participant_id"] == "sub-P1" and rows[2]["participant_id"] == "sub-7"
    assert re.fullmatch("sub-P1[0-9a-f]{6}", rows[1]["participant_id"])
    own = [{name: row[name] for name in row if name not in ("participant_id", "patient")} for row in rows]
    assert own[0] == {"sex": "F", "cohort_participant_id": "17", "sub group": "a b"}
    assert own[1]["sub group"] == "n/a" and own[2]["sex"] == "0"
    sessions = rows_of(exported / "sub-P1" / "sub-P1_sessions.tsv")
    assert [tuple(row.values()) for row in sessions] == [
        ("ses-V1", "V1", "0", "ok", "91"),
        ("ses-V2", "V-2", "100.5", "ok", "92"),
        ("ses-V3", "V3", "200", "ok", "92"),
    ]
    for file, header in (("participants", rows[0]), ("sessions", sessions[0])):
        said = json.loads((exported / f"{file}.json").read_text())
        assert list(said) == list(header) and all(meaning["Description"] for meaning in said.values())


def test_tables_have_the_numbers_of_the_results_and_a_description_of_each_column(
    made: Path, exported: Path
) -> None:
    for name in ("visits", "changes", "transitions", "verdicts", "failures", "marginals_by_state"):
        rows, own = rows_of(exported / "tables" / f"{name}.tsv"), []
        for patient in ("P1", "P_1", "sub-7"):
            with (made / "patients" / patient / f"{name}.csv").open(newline="") as opened:
                own += list(csv.DictReader(opened))
        assert len(rows) == len(own) > 1, name
        same = set(rows[0]) - {"participant_id", "session_id", "from", "to"}
        assert same and set(own[0]) - same <= {"patient", "timepoint", "from", "to", "message", "log"}
        assert [[row[k] for k in same] for row in rows] == [[row[k] or "n/a" for k in same] for row in own]
        assert list(json.loads((exported / "tables" / f"{name}.json").read_text())) == list(rows[0])
    changes = rows_of(exported / "tables" / "changes.tsv")
    assert {(row["participant_id"], row["from"], row["to"]) for row in changes} >= {
        ("sub-P1", "ses-V1", "ses-V2"),
        ("sub-7", "ses-x", "ses-y"),
    }


def test_what_failed_has_no_file_and_is_named(exported: Path, made: Path) -> None:
    subject, text = label(exported, "P_1"), (exported / "README.md").read_text()
    assert not (exported / subject / "ses-c").exists()
    assert names_of(exported, "sub-7") == {"sessions.tsv"}
    for line in (
        f"- {subject} ses-c: the visit failed (unreadable)",
        f"- {subject} ses-b to ses-c: the pair failed (unreadable)",
        "- sub-7 ses-x to ses-y: the pair failed (unreadable)",
        "- patient P9 of the study has only one visit",
    ):
        assert line + "\n" in text
    statuses = [row["status"] for row in rows_of(exported / subject / f"{subject}_sessions.tsv")]
    assert statuses == ["ok", "ok", "unreadable"]
    assert "scans/" not in "".join(c.decode() for n, c in tree(exported).items() if not n.endswith("gz"))
    assert all(path.stat().st_size for path in exported.rglob("*") if path.is_file())


def test_a_failure_of_a_whole_patient_names_no_visit(results: Path, tmp_path: Path) -> None:
    with (results / "patients" / "P1" / "failures.csv").open("a") as failures:
        failures.write("P1,,,template,template_overlap,the brains do not overlap,x.log\n")
    export(results, tmp_path / "out")
    rows = rows_of(tmp_path / "out" / "tables" / "failures.tsv")
    own = [list(row.values()) for row in rows if row["stage"] == "template"]
    assert len(own) == 1 and own[0][1:] == ["n/a", "n/a", "template", "template_overlap"]


def test_the_kind_of_scan_is_that_of_its_name(results: Path, tmp_path: Path) -> None:
    file = results / "patients" / "P1" / "V1" / "qc.json"
    write_json(file, json.loads(file.read_text()) | {"inputs_sha256": {"scans/P1_V1_T2w.nii.gz": "0"}})
    export(results, tmp_path / "out", suffix="FLAIR")
    assert len(list((tmp_path / "out").glob("sub-P1/ses-V1/anat/*_desc-aligned_T2w.nii.gz"))) == 1
    assert len(list((tmp_path / "out").glob("sub-P1/ses-V2/anat/*_desc-aligned_FLAIR.nii.gz"))) == 1
    assert not list((tmp_path / "out").rglob("*_T1w.*"))
    export(results, tmp_path / "out")
    assert len(list((tmp_path / "out").glob("sub-P1/ses-V2/anat/*_desc-aligned_T1w.*"))) == 2
    assert not list((tmp_path / "out").rglob("*_FLAIR.*"))


def test_a_scan_is_stripped_where_nearly_nothing_lies_outside_the_brain() -> None:
    chance = np.random.default_rng(0)
    background = np.repeat([0.0, 1.0], 500)
    scan = chance.uniform(1, 2, 1000)
    assert not visit_files.is_stripped(scan, background)
    assert visit_files.is_stripped(np.where(background == 1, 0, scan), background)
    assert not visit_files.is_stripped(np.where(background == 1, 0, scan), background * 0.5)


def test_the_data_set_names_its_sources_and_the_versions_that_made_it(results: Path, tmp_path: Path) -> None:
    write_json(
        results.parent / "scans" / "dataset_description.json", {"Name": "raw", "DatasetDOI": "doi:10.1/x"}
    )
    export(results, tmp_path / "out")
    found = json.loads((tmp_path / "out" / "dataset_description.json").read_text())
    assert found["SourceDatasets"] == [{"DOI": "doi:10.1/x"}]
    assert {one["Version"] for one in found["GeneratedBy"]} > {"0.0.9"}


@pytest.mark.skipif(not VALIDATOR.exists(), reason="needs bids-validator-deno (make test-bids)")
def test_the_validator_of_bids_finds_no_error(exported: Path, tmp_path: Path) -> None:
    def codes(root: Path) -> set[str]:
        run = subprocess.run([VALIDATOR, "--format", "json", root], capture_output=True, text=True)
        found = json.loads(run.stdout)["issues"]["issues"]
        return {issue["code"] for issue in found if issue["severity"] == "error"}

    assert codes(exported) == set()
    broken = Path(shutil.copytree(exported, tmp_path / "broken"))
    (broken / ".bidsignore").write_text("tables\n")
    assert codes(broken) == {"NOT_INCLUDED"}
    next(broken.rglob("*_dseg.json")).unlink()
    assert "SIDECAR_KEY_REQUIRED" in codes(broken)


def test_a_second_export_writes_nothing_and_a_changed_pair_alone_is_written_again(
    results: Path, tmp_path: Path
) -> None:
    root = tmp_path / "out"
    assert export(results, root).written > 100
    before = {path: path.stat().st_mtime_ns for path in root.rglob("*") if path.is_file()}
    assert export(results, root).written == 0
    assert {path: path.stat().st_mtime_ns for path in before} == before
    pair = results / "patients" / "P1" / "V1__V-2"
    shutil.copy(pair / "inverse_warp.nii.gz", pair / "warp.nii.gz")
    assert export(results, root).written == 18
    again = [p.name for p in before if p.stat().st_mtime_ns != before[p] and record.FOLDER not in p.parts]
    assert len(again) == 18 and all(re.search("from-V1_to-V2|from-V2_to-V1", name) for name in again)
    victim = next(root.glob("sub-P1/ses-V3/anat/*_dseg.nii.gz"))
    victim.unlink()
    export(results, root)
    assert victim.exists()


def test_files_of_what_is_gone_are_removed_and_those_of_others_stay(results: Path, tmp_path: Path) -> None:
    root, patients = tmp_path / "out", results / "patients"
    export(results, root)
    mine = root / "sub-P1" / "ses-V3" / "anat" / "notes.txt"
    mine.write_text("mine")
    shutil.rmtree(patients)
    write_patient(patients / "P1", DAYS, failed=["V3"], seed=1)
    write_cohort(results)
    done = export(results, root)
    assert done.removed > 0 and mine.read_text() == "mine"
    assert [path.name for path in (root / "sub-P1" / "ses-V3").rglob("*") if path.is_file()] == ["notes.txt"]
    mine.unlink()
    mine.parent.rmdir()
    mine.parent.parent.rmdir()
    export(results, tmp_path / "new")
    assert tree(root) == tree(tmp_path / "new")
    assert [path.name for path in root.glob("sub-*")] == ["sub-P1"]


@pytest.mark.parametrize("error", [OSError(errno.ENOSPC, "No space left on device"), KeyboardInterrupt()])
def test_an_interrupted_export_leaves_no_half_file_and_goes_on(
    error: BaseException, results: Path, exported: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    root, wanted, count = tmp_path / "out", tree(exported), 0

    def full(path: Path) -> None:
        nonlocal count
        count += path.is_file()
        if count in (3, 60, 150):
            count += 1
            raise error

    monkeypatch.setattr(atomic, "_flush", full)
    for _ in range(3):
        with pytest.raises(type(error)):
            export(results, root)
        found = tree(root)
        assert not [name for name in found if ".tmp-" in name]
        assert {name: wanted[name] for name in found} == found
    assert export(results, root).written < len(wanted) - 60
    assert tree(root) == wanted
    left = next(root.rglob("*_dseg.nii.gz"))
    (left.parent / f".tmp-1-abcd-{left.name}").write_bytes(b"half")
    left.unlink()
    export(results, root)
    assert not list(root.rglob(".tmp-*")) and tree(root) == wanted


def test_one_patient_alone(results: Path, exported: Path, tmp_path: Path) -> None:
    root, whole = tmp_path / "out", tree(exported)
    assert main(["export", str(results.parent), "--bids", str(root), "--patient", "P_1"]) == 0
    assert [row["patient"] for row in rows_of(root / "participants.tsv")] == ["P_1"]
    assert "- patient P1 of the study is not exported yet\n" in (root / "README.md").read_text()
    subject = label(exported, "P_1")
    assert names_of(root, subject) == names_of(exported, subject)
    export(results, root)
    assert tree(root) == whole


def test_names_that_the_results_do_not_have_are_listed_at_once(
    results: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (results / "patients" / "P5").mkdir()
    (results / "cohort" / "pairs.csv").write_text(
        (results / "cohort" / "pairs.csv").read_text() + "P5,a,b,1,\n"
    )
    words = ["export", str(results.parent), "--bids", str(tmp_path / "out")]
    assert main([*words, "--patient", "P11", "--patient", "P9", "--patient", "P5"]) == 2
    text = capsys.readouterr().err
    assert "3 problems" in text and "no patient 'P11'" in text and "P1" in text
    assert "patient 'P9', who has only one visit" in text and "Run patient_P5" in text
    assert not (tmp_path / "out").exists()
    assert main(words) == 1
    assert "missing: patient P5: the run has not ended" in capsys.readouterr().out


def test_damaged_and_missing_results_are_named_and_the_rest_is_exported(
    results: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = results / "patients" / "P1"
    (folder / "V1" / "simplex.nii.gz").write_bytes((folder / "V1" / "simplex.nii.gz").read_bytes()[:200])
    (folder / "V1__V-2" / "warp.nii.gz").unlink()
    (results / "patients" / "sub-7" / "x" / "qc.json").write_text("{")
    assert main(["export", str(results.parent), "--bids", str(tmp_path / "out")]) == 1
    lines = [line for line in capsys.readouterr().out.splitlines() if line.startswith("missing: ")]
    assert any("P1, visit V1" in line and "simplex.nii.gz" in line for line in lines)
    assert any("P1, pair V1__V-2" in line and "warp.nii.gz is missing" in line for line in lines)
    assert any("patient sub-7" in line and "damaged" in line for line in lines)
    assert next((tmp_path / "out").glob("sub-P1/ses-V3/anat/*_dseg.nii.gz"))
    text = (tmp_path / "out" / "README.md").read_text()
    assert "- sub-P1, V1: incomplete\n- sub-P1, V1__V-2: incomplete\n" in text
    assert "- patient sub-7 of the study is not exported yet\n" in text


def test_a_folder_that_is_not_an_export_of_this_study_is_refused(
    results: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    mine = tmp_path / "mine"
    mine.mkdir()
    (mine / "notes.txt").write_text("mine")
    other = tmp_path / "other" / "results"
    shutil.copytree(results, other)
    export(other, tmp_path / "theirs")
    before = tree(tmp_path / "theirs")
    (tmp_path / "file").write_text("")
    for place, said in (("mine", "is not empty"), ("theirs", "another folder"), ("file", "is not a folder")):
        assert main(["export", str(results.parent), "--bids", str(tmp_path / place)]) == 1
        assert said in capsys.readouterr().err
    assert tree(tmp_path / "theirs") == before and tree(mine) == {"notes.txt": b"mine"}
    (tmp_path / "empty").mkdir()
    assert main(["export", str(results.parent), "--bids", str(tmp_path / "empty")]) == 0


@pytest.mark.parametrize("text", ["[]", "{}", "{", "null"])
def test_a_damaged_record_of_a_visit_is_named(
    results: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], text: str
) -> None:
    file = next(iter(sorted(results.glob("patients/*/*/qc.json"))))
    file.write_text(text)
    assert main(["export", str(results.parent), "--bids", str(tmp_path / "bids")]) == 1
    assert f"{file.parent.name}/qc.json is damaged; run the patient again" in "".join(capsys.readouterr())


def test_the_results_are_not_exported_into_themselves(
    results: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    before = tree(results)
    assert main(["export", str(results.parent), "--bids", str(results / "patients" / "bids")]) == 1
    assert "lies in the results" in capsys.readouterr().err
    assert tree(results) == before


def test_without_results_it_says_what_to_do(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = ["--bids", str(tmp_path / "out")]
    assert main(["export", str(tmp_path), *out]) == 1
    (tmp_path / "results" / "patients").mkdir(parents=True)
    assert main(["export", str(tmp_path), *out]) == 1
    with pytest.raises(SystemExit, match="2"):
        main(["export", str(tmp_path), *out, "--scan-suffix", "bold"])
    text = capsys.readouterr().err
    assert "no run in" in text and "no finished patient" in text and "invalid choice" in text
    assert not (tmp_path / "out").exists()


def test_the_export_is_read_back(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Exported, indexed and checked: the classes have the volumes of the most probable class."""
    results, root = tmp_path / "study" / "results", tmp_path / "study" / "bids"
    write_patient(results / "patients" / "P1", DAYS, seed=5)
    folder = results / "patients" / "P1"
    counts = {}
    for place, name in enumerate(DAYS):
        maps, grid = finished_results.head(place)
        finished_results.write_visit(folder / name, maps, grid, np.random.default_rng(place))
        counts[name] = np.bincount(maps.argmax(axis=0).ravel(), minlength=3) * grid.voxel_volume
    write_cohort(results, ("age",), {"P1": {name: [str(place)] for place, name in enumerate(DAYS)}})
    export(results, root)
    cohort = tmp_path / "study" / "cohort.tsv"
    words = ["index", str(root), "--out", str(cohort), "--regions", "space-common_dseg"]
    assert main(words) == 0
    rows = rows_of(cohort)
    assert [(row["patient"], row["timepoint"], row["days"], row["age"]) for row in rows] == [
        ("sub-P1", "ses-V1", "0", "0"),
        ("sub-P1", "ses-V2", "100.5", "1"),
        ("sub-P1", "ses-V3", "200", "2"),
    ]
    assert all(row["image"].endswith("_space-common_desc-aligned_T1w.nii.gz") for row in rows)
    classes = "".join(
        f"{row['name']}\t{row['index']}\t*\n" for row in rows_of(next(root.rglob("*ses-V1*_dseg.tsv")))
    ).replace("+/-", "")
    (tmp_path / "study" / "classes.tsv").write_text("class\tregions\tstates\n" + classes)
    config = tmp_path / "study" / "config.yaml"
    config.write_text("cohort: cohort.tsv\nclasses: classes.tsv\ncontrol: preset:atrophy\nreference: none\n")
    labels = tmp_path / "labels.csv"
    assert main(["check", str(config), "--csv", str(labels)]) == 0, capsys.readouterr().out
    with labels.open(newline="") as opened:
        found = list(csv.DictReader(opened))
    for visit, session in (("V1", "ses-V1"), ("V-2", "ses-V2"), ("V3", "ses-V3")):
        own = {row["class"].strip(): float(row["ml"]) for row in found if row["timepoint"] == session}
        assert own == pytest.approx(
            dict(zip(("oedema", "WM", "background"), counts[visit] / 1000, strict=True)), abs=0.01
        )

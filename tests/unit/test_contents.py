"""File contents, and patients whose scans differ from those that their results were made from."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import time
from pathlib import Path

import numpy as np
import pytest
from study_files import write_labels, write_study

from longimorph.io import contents as io_contents
from longimorph.io.contents import Content, content, parts, stamp
from longimorph.orchestration import contents
from longimorph.orchestration import log as job_logs
from longimorph.orchestration.parameters import Jobs, files
from longimorph.study import study as studies

OLD_S = 1.6e9


def jobs(folder: Path) -> Jobs:
    return Jobs(studies.load_study(folder / "config.yaml"))


def finish(folder: Path, patient: str) -> None:
    """Write the results of a patient, as far as they say what they were made from."""
    own, visits = folder / "results" / "patients" / patient, jobs(folder).visits_of(patient)
    logs = folder / "results" / "logs" / patient
    for place in (own, logs):
        place.mkdir(parents=True, exist_ok=True)
    begun = [f"input: {name} (1.2 MB){job_logs._stamp(name)}" for name in files(visits)]
    (logs / "align.log").write_text("\n".join(["longimorph", *begun, "input: a.json (1 MB)", "outcome: ok"]))
    held = io_contents.hashes(Path(name) for name in files(visits))
    (own / "alignment.json").write_text(json.dumps({"inputs_sha256": held}))
    for visit in visits:
        hashes = {name: held[name] for name in files([visit])}
        (own / visit.timepoint).mkdir(exist_ok=True)
        (own / visit.timepoint / "qc.json").write_text(json.dumps({"inputs_sha256": hashes}))


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A finished study of two patients, and its working folder; the scans are a day old."""
    write_study(tmp_path)
    monkeypatch.chdir(tmp_path)
    for patient in ("P1", "P2"):
        finish(tmp_path, patient)
    assert contents.notice(jobs(tmp_path)) == [] and not contents.MARKS.exists()
    return tmp_path


def replace(file: Path, seconds: float | None = OLD_S) -> None:
    """Put another byte into the end of a file, which keeps its size, and date it."""
    data = bytearray(file.read_bytes())
    data[-1] ^= 1
    file.write_bytes(bytes(data))
    if seconds is not None:
        os.utime(file, (seconds, seconds))


def told(folder: Path) -> list[str]:
    return [sentence.partition(":")[0] for sentence in contents.notice(jobs(folder))]


@pytest.mark.parametrize("kind", ["images", "labels", "states"])
@pytest.mark.parametrize("seconds", [OLD_S, None])
def test_other_content_is_noticed_whatever_its_date(folder: Path, kind: str, seconds: float | None) -> None:
    replace(folder / kind / "P1_m6.nii.gz", seconds)
    (sentence,) = contents.notice(jobs(folder))
    assert sentence.startswith(f"P1: {kind}/P1_m6.nii.gz has changed since the results were made")
    assert contents.marks("P1") and not contents.marks("P2")
    made = folder / "results/patients/P1/alignment.json"
    assert contents.mark("P1").stat().st_mtime_ns > made.stat().st_mtime_ns


def test_a_file_that_is_gone_is_not_called_changed(folder: Path) -> None:
    table = folder / "cohort.tsv"
    for name in ("labels/P1_m6.nii.gz", "images/P1_m6.nii.gz"):
        (folder / name).rename(folder / name.replace("P1", "1"))
        table.write_text(table.read_text().replace(name, name.replace("P1", "1")))
    replace(folder / "states" / "P1_m6.nii.gz")
    (sentence,) = contents.notice(jobs(folder))
    assert sentence == (
        "P1: images/P1_m6.nii.gz, labels/P1_m6.nii.gz no longer exist; states/P1_m6.nii.gz has changed "
        "since the results were made. The patient's stages run again"
    )


def test_a_file_in_place_with_its_size_and_date_is_noticed(folder: Path) -> None:
    file = folder / "states" / "P2_m0.nii.gz"
    os.utime(file, (OLD_S, OLD_S))
    finish(folder, "P2")
    assert told(folder) == []
    replace(file)
    assert told(folder) == ["P2"]


def test_another_folder_behind_a_link_is_noticed(folder: Path) -> None:
    shutil.copytree(folder / "labels", folder / "other")
    replace(folder / "other" / "P1_m0.nii.gz")
    os.rename(folder / "labels", folder / "one")
    (folder / "labels").symlink_to("one")
    assert told(folder) == []
    (folder / "labels").unlink()
    (folder / "labels").symlink_to("other")
    assert told(folder) == ["P1"]


def test_the_same_content_of_another_date_or_copy_is_no_change(folder: Path) -> None:
    for file in (folder / "labels").iterdir():
        shutil.copyfile(file, file.with_suffix(".new"))
        os.replace(file.with_suffix(".new"), file)
    assert told(folder) == [] and not contents.marks("P1")


def test_content_that_is_back_takes_the_mark_away_or_brings_the_earlier_one_back(folder: Path) -> None:
    scan, kept = folder / "labels" / "P1_m0.nii.gz", folder / "kept"
    shutil.copy2(scan, kept)
    replace(scan)
    assert told(folder) == ["P1"] and told(folder) == ["P1"]
    shutil.copy2(kept, scan)
    assert told(folder) == [] and contents.marks("P1") == []
    replace(scan)
    assert told(folder) == ["P1"]
    os.utime(contents.mark("P1"), (OLD_S, OLD_S))  # noticed before the results below are made
    finish(folder, "P1")
    first = contents.mark("P1").read_bytes()
    shutil.copy2(kept, scan)
    assert told(folder) == ["P1"] and contents.mark("P1").read_bytes() != first
    replace(scan)
    assert told(folder) == [] and contents.mark("P1").read_bytes() == first


def test_a_mark_is_newer_than_results_of_a_clock_ahead(folder: Path) -> None:
    made = folder / "results/patients/P1/alignment.json"
    ahead = made.stat().st_mtime + 30
    os.utime(made, (ahead, ahead))
    replace(folder / "labels" / "P1_m0.nii.gz")
    assert told(folder) == ["P1"]
    assert contents.mark("P1").stat().st_mtime > ahead


def test_a_scan_that_changed_between_alignment_and_maps_is_noticed(folder: Path) -> None:
    qc = folder / "results/patients/P1/m0/qc.json"
    record = json.loads(qc.read_text())
    record["inputs_sha256"]["labels/P1_m0.nii.gz"] = "0" * 64
    qc.write_text(json.dumps(record))
    assert told(folder) == ["P1"]


def test_results_of_earlier_versions_are_held_against_what_their_maps_say_else_against_the_date(
    folder: Path,
) -> None:
    own = folder / "results/patients/P1"
    (own / "alignment.json").write_text("{}")
    assert told(folder) == []
    (own / "m6" / "qc.json").write_text('{"status": "unreadable"}')
    assert told(folder) == []
    replace(folder / "labels" / "P1_m6.nii.gz")
    assert told(folder) == [], "nothing says what it was, and its date is older"
    later = (own / "alignment.json").stat().st_mtime + 5
    os.utime(folder / "labels" / "P1_m6.nii.gz", (later, later))
    assert told(folder) == ["P1"]
    replace(folder / "labels" / "P1_m0.nii.gz")
    assert "labels/P1_m0.nii.gz" in contents.notice(jobs(folder))[0]


def test_a_new_visit_is_no_change_of_what_results_were_made_from(folder: Path) -> None:
    for kind in ("images", "labels", "states"):
        shutil.copyfile(folder / kind / "P1_m0.nii.gz", folder / kind / "P1_m9.nii.gz")
        later = time.time() + 5
        os.utime(folder / kind / "P1_m9.nii.gz", (later, later))
    row = "P1\tm9\t270\timages/P1_m9.nii.gz\tlabels/P1_m9.nii.gz\tstates/P1_m9.nii.gz\n"
    lines = (folder / "cohort.tsv").read_text().splitlines(keepends=True)
    (folder / "cohort.tsv").write_text("".join([*lines[:3], row, *lines[3:]]))
    assert len(jobs(folder).visits_of("P1")) == 3 and told(folder) == []


def test_an_unchanged_cohort_is_not_read_again(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    day_old = 86400
    now = 2e9
    for kind in ("images", "labels", "states"):
        for file in (folder / kind).iterdir():
            os.utime(file, (OLD_S, OLD_S))
    monkeypatch.setattr(io_contents.time, "time", lambda: now + day_old)  # type: ignore[attr-defined]
    assert told(folder) == []
    monkeypatch.setattr(contents, "content", None)
    assert told(folder) == []
    for patient in ("P1", "P2"):
        finish(folder, patient)
    contents.CACHE.unlink()
    assert told(folder) == [], "what the jobs read is not read again either"


def test_a_broken_cache_is_made_anew(folder: Path) -> None:
    replace(folder / "labels" / "P1_m0.nii.gz")
    for text in ("", "[]", '{"version": 1}', '{"version": 1, "files": {"a": 3}, "results": {}}'):
        contents.CACHE.write_text(text)
        assert told(folder) == ["P1"]


def test_the_hash_is_that_of_other_tools_and_a_young_file_has_no_stamp(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "a"
    file.write_bytes(b"content")
    assert content(file) == Content(hashlib.sha256(b"content").hexdigest(), None)
    monkeypatch.setattr(io_contents, "SETTLED_S", -10)
    found = content(file)
    assert found.stamp == stamp(file) == io_contents.as_stamp(" ".join(map(str, found.stamp)).split())


def test_no_file_and_a_pipe_have_no_content(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    assert content(tmp_path / "none") == content(tmp_path / "pipe") == content(tmp_path) == Content(None)


@pytest.mark.parametrize(
    "name, header, expected",
    [
        ("a.mhd", "NDims = 3\nElementDataFile = a b.raw\n", ["a b.raw"]),
        ("a.mhd", "ElementDataFile = LOCAL\n", []),
        ("a.mhd", "ElementDataFile = LIST\n1.raw\n2.raw\n", ["1.raw", "2.raw"]),
        ("a.mhd", "ElementDataFile = s%02d.raw 1 3 2\n", ["s01.raw", "s03.raw"]),
        ("a.nhdr", "NRRD0004\n# data file: no\ndata file: a.raw.gz\n", ["a.raw.gz"]),
        ("a.nhdr", "NRRD0004\ndatafile: LIST\na.raw\n", ["a.raw"]),
        ("a.nrrd", "data file: a.raw\n", []),
        ("a.nii.gz", "ElementDataFile = a.raw\n", []),
    ],
)
def test_a_header_names_the_files_that_hold_the_voxels(
    tmp_path: Path, name: str, header: str, expected: list[str]
) -> None:
    file = tmp_path / name
    file.write_bytes(header.encode())
    assert parts(file) == [file, *(tmp_path / one for one in expected)]


def test_voxels_beside_a_header_are_content_too(tmp_path: Path) -> None:
    sitk = pytest.importorskip("SimpleITK")
    labels = write_labels(tmp_path / "a.nii.gz", np.ones((3, 4, 5), np.uint8))
    sitk.WriteImage(sitk.ReadImage(str(labels)), str(tmp_path / "a.mhd"))
    before = contents_of(tmp_path / "a.mhd")
    replace(tmp_path / "a.raw")
    after = contents_of(tmp_path / "a.mhd")
    assert before[str(tmp_path / "a.mhd")] == after[str(tmp_path / "a.mhd")]
    assert before[str(tmp_path / "a.raw")] != after[str(tmp_path / "a.raw")]


def contents_of(file: Path) -> dict[str, str | None]:
    return io_contents.hashes([file])

"""The commands: what they print and the status that they end with."""

from __future__ import annotations

import json
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest

from longimorph import __version__
from longimorph.cli import main


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A working folder with a study of two visits."""
    config = tmp_path / "config"
    config.mkdir()
    (config / "classes.tsv").write_text("class\tregions\tstates\nWM\t1\t*\nbackground\t0\t*\n")
    (config / "control.tsv").write_text("from\tWM\tbackground\nWM\t1\t1\nbackground\t1\t1\n")
    rows = "P1\tA\t0\ta.nii.gz\nP1\tB\t10\ta.nii.gz\nP2\tA\t0\ta.nii.gz\n"
    (config / "cohort.tsv").write_text(f"patient\ttimepoint\tdays\tregions\n{rows}")
    tables = "cohort: cohort.tsv\nclasses: classes.tsv\ncontrol: control.tsv\n"
    (config / "config.yaml").write_text(tables)
    labels = np.zeros((20, 20, 20), np.uint8)
    labels[5:15, 5:15, 5:15] = 1
    nib.save(nib.Nifti1Image(labels, np.eye(4) * 4), config / "a.nii.gz")
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_version(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as end:
        main(["--version"])
    assert end.value.code == 0
    assert capsys.readouterr().out == f"longimorph {__version__}\n"


def test_check_counts_what_can_run(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["check"]) == 0
    out = capsys.readouterr().out
    assert "3 visits, 1 pairs of 1 patients can run." in out
    assert "P2 is left out" in out


def test_input_errors_are_listed_without_a_traceback(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (folder / "config" / "control.tsv").write_text("from\tWM\tbackground\nWM\t1\t3\nbackground\t1\t-1\n")
    assert main(["check"]) == 2
    error = capsys.readouterr().err
    assert "2 problems found, nothing was run" in error and "Traceback" not in error


def test_plan_has_a_line_per_pair_and_the_patients_left_out(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["plan", "config/config.yaml"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].split()[:6] == ["patient", "from", "to", "days", "voxels", "classes"]
    assert lines[1].split()[:6] == ["P1", "A", "B", "10", str(40**3), "2"]
    assert lines[2].startswith("P2 is left out")
    assert "1 registrations of 1 patients" in lines[4]


def test_status_of_a_folder_without_a_run_is_a_sentence(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["status"]) == 1
    assert "There is no run in" in capsys.readouterr().err


def test_status_shows_failures(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    pair = folder / "results" / "patients" / "P1" / "A__B"
    pair.mkdir(parents=True)
    failure = {"status": "overlap", "stage": "align", "message": "The visits share too little."}
    (pair / "status.json").write_text(json.dumps(failure))
    assert main(["status", str(folder)]) == 0
    out = capsys.readouterr().out
    assert "P1 A to B: align: overlap: The visits share too little." in out
    assert "0 of 1 pairs done, 1 failed." in out


def test_doctor_finds_the_packages_and_names_what_is_missing(
    folder: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", str(folder))
    assert main(["doctor"]) == 1
    out = capsys.readouterr().out
    assert "PROBLEM the command snakemake is not on the PATH" in out
    assert out.count("PROBLEM") == 1
    (folder / "snakemake").write_text("#!/bin/sh\n")
    (folder / "snakemake").chmod(0o755)
    assert main(["doctor"]) == 0


def test_profiles_are_found_by_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """The links are made once, lead to the repository, and can be taken away."""
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path))
    for expected in ("is now a link to", "is a link to"):
        assert main(["profiles"]) == 0
        lines = capsys.readouterr().out.splitlines()
        assert {line.split(":")[0] for line in lines} >= {"snakemake --profile slurm"}
        assert all(expected in line for line in lines)
    assert (tmp_path / "snakemake" / "slurm" / "config.yaml").is_file()
    assert main(["profiles", "--unlink"]) == 0
    assert list((tmp_path / "snakemake").iterdir()) == []


def test_a_profile_of_the_user_is_left_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """What stands in a link's place stays, unless it leads nowhere."""
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path))
    own = tmp_path / "snakemake" / "slurm"
    own.mkdir(parents=True)
    (own / "config.yaml").write_text("jobs: 1\n")
    (tmp_path / "snakemake" / "slurm-gpus").symlink_to(tmp_path / "gone")
    assert main(["profiles"]) == 0
    lines = {
        Path(line.split(": ")[1].split(" is ")[0]).name: line for line in capsys.readouterr().out.splitlines()
    }
    assert lines["slurm"].startswith("NOT linked") and "snakemake --profile /" in lines["slurm"]
    assert (own / "config.yaml").read_text() == "jobs: 1\n"
    assert (tmp_path / "snakemake" / "slurm-gpus" / "config.yaml").is_file()
    assert main(["profiles", "--unlink"]) == 0
    assert own.is_dir()

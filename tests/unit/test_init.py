"""``longimorph init``: a study is written completely or not at all, and users' files stay untouched."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from longimorph import paths
from longimorph.cli import init, main

WRITTEN = {*init.TEMPLATES, "examples"}


def tree(folder: Path) -> dict[str, bytes]:
    """Return every file below a folder with its bytes."""
    return {str(p.relative_to(folder)): p.read_bytes() for p in folder.rglob("*") if p.is_file()}


def test_a_new_study_has_the_templates_and_the_next_step_is_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    assert main(["init", "studies/mine"]) == 0
    config = tmp_path / "studies" / "mine" / "config"
    assert {path.name for path in config.iterdir()} == WRITTEN
    shipped = paths.repository() / "config"
    assert all(content == (shipped / name).read_bytes() for name, content in tree(config).items())
    assert list((config / "examples").iterdir())
    said = capsys.readouterr().out
    assert "cd studies/mine" in said and said.endswith("longimorph check\n  longimorph run\n")


def test_the_present_folder_can_become_a_study_and_keeps_what_it_has(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "scan.nii.gz").write_bytes(b"mine")
    monkeypatch.chdir(tmp_path)
    assert main(["init", "."]) == 0
    assert (tmp_path / "scan.nii.gz").read_bytes() == b"mine"
    assert {path.name for path in tmp_path.iterdir()} == {"scan.nii.gz", "config"}
    assert "cd " not in capsys.readouterr().out


def test_every_template_is_one_and_every_one_is_a_template() -> None:
    config = paths.repository() / "config"
    tables = {path.name for path in config.iterdir() if path.is_file()}
    assert tables == set(init.TEMPLATES)


@pytest.mark.parametrize("taken", ["config/config.yaml", "config/notes.txt", "config", "config.yaml"])
def test_what_is_there_is_left_alone(tmp_path: Path, capsys: pytest.CaptureFixture[str], taken: str) -> None:
    (tmp_path / taken).parent.mkdir(exist_ok=True)
    (tmp_path / taken).write_text("mine")
    before = tree(tmp_path)
    assert main(["init", str(tmp_path)]) == 1
    assert tree(tmp_path) == before
    error = capsys.readouterr().err
    assert "already exists" in error and "Choose another folder" in error


def test_a_file_in_the_place_of_the_folder_is_left_alone(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "file").write_text("mine")
    assert main(["init", str(tmp_path / "file")]) == 1
    assert "exists and is not a folder" in capsys.readouterr().err
    assert main(["init", str(tmp_path / "file" / "below")]) == 1
    assert capsys.readouterr().err.startswith("longimorph: ")
    assert tree(tmp_path) == {"file": b"mine"}


def test_nothing_is_left_when_the_disk_is_full_half_way(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    copy, copied = shutil.copyfile, []  # type: ignore[var-annotated]

    def full(source: Path, target: Path) -> None:
        if len(copied) == 3:
            raise OSError(28, "No space left on device", str(target))
        copied.append(copy(source, target))

    monkeypatch.setattr(init.shutil, "copyfile", full)  # type: ignore[attr-defined]
    assert main(["init", str(tmp_path / "a" / "study")]) == 1
    assert "No space left on device" in capsys.readouterr().err
    assert len(copied) == 3 and list(tmp_path.iterdir()) == []


def test_a_study_that_appears_meanwhile_is_left_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    rename = init.os.rename  # type: ignore[attr-defined]

    def late(source: Path, target: Path) -> None:
        target.mkdir()
        (target / "config.yaml").write_text("mine")
        rename(source, target)

    monkeypatch.setattr(init.os, "rename", late)  # type: ignore[attr-defined]
    assert main(["init", str(tmp_path)]) == 1
    assert "already exists" in capsys.readouterr().err
    assert tree(tmp_path) == {"config/config.yaml": b"mine"}

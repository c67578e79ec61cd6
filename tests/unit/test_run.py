"""``longimorph run``: the arguments of Snakemake, and the messages if it is not started."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

import longimorph
from longimorph import paths
from longimorph.cli import main, profiles, run
from longimorph.orchestration import deploy

ENTRY = ["--snakefile", str(paths.repository() / "Snakefile")]


@pytest.fixture
def study(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with the settings of a study, which is the present one."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("SNAKEMAKE_PROFILE", raising=False)
    (tmp_path / "config").mkdir()
    (tmp_path / "config" / "config.yaml").write_text("cohort: cohort.tsv\n")
    return tmp_path


@pytest.fixture
def became(monkeypatch: pytest.MonkeyPatch) -> list[list[str]]:
    """What would have taken the place of this process."""
    calls: list[list[str]] = []
    monkeypatch.setattr(run.os, "execv", lambda program, words: calls.append([program, *words]))  # type: ignore[attr-defined]
    return calls


def given(became: list[list[str]]) -> list[str]:
    """The arguments of the one Snakemake that was started."""
    (words,) = became
    assert words[:4] == [sys.executable, sys.executable, "-m", "snakemake"]
    return words[4:]


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ([], ["--cores", "all"]),
        (["--cores", "2", "patient_P001"], ["--cores", "2", "patient_P001"]),
        (["patient_P001", "--", "--dry-run"], ["--cores", "all", "patient_P001", "--dry-run"]),
        (["--", "-c2", "sweep"], ["-c2", "sweep"]),
        (["--", "--jobs=3"], ["--jobs=3"]),
        (["--", "-e", "slurm", "-j", "9"], ["-e", "slurm", "-j", "9"]),
        (["--", "--profile", "/a/profile"], ["--profile", "/a/profile"]),
        (["--", "--forcerun", "align", "--", "x"], ["--cores", "all", "--forcerun", "align", "--", "x"]),
    ],
)
def test_targets_and_options_are_handed_on(
    study: Path, became: list[list[str]], line: list[str], expected: list[str]
) -> None:
    main(["run", *line])
    assert given(became) == [*ENTRY, *expected]


def test_a_profile_by_the_environment_says_how_many_jobs(
    study: Path, became: list[list[str]], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SNAKEMAKE_PROFILE", "mine")
    main(["run"])
    assert given(became) == ENTRY


def test_a_study_elsewhere_and_one_laid_out_by_hand(study: Path, became: list[list[str]]) -> None:
    (study / "hand").mkdir()
    (study / "hand" / "config.yaml").write_text("cohort: cohort.tsv\n")
    main(["run", "--directory", "hand", "--cores", "1"])
    config = study / "hand" / "config.yaml"
    assert given(became) == [*ENTRY, "--directory=hand", f"--configfile={config}", "--cores", "1"]


@pytest.mark.parametrize("options", [["--configfile", "a.yaml"], ["--directory=a"], ["-d", "a"]])
def test_a_study_that_snakemakes_options_name_is_not_looked_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, became: list[list[str]], options: list[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    main(["run", "--", *options])
    assert given(became) == [*ENTRY, "--cores", "all", *options]


def test_a_folder_without_a_study_is_a_sentence_with_the_next_step(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    assert main(["run"]) == 1
    assert "no study in this folder" in capsys.readouterr().err
    assert main(["run", "--directory", "away"]) == 1
    error = capsys.readouterr().err
    assert "no study in away" in error and "longimorph init" in error


def test_settings_that_would_run_code_are_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "config.yaml").write_text("__use_yte__: true\n")
    assert main(["run"]) == 2
    assert "would run code" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("line", "right"),
    [
        (["patient_P001", "--dry-run"], "longimorph run patient_P001 -- --dry-run\n"),
        (["--set-threads", "register=4"], "longimorph run -- --set-threads register=4\n"),
    ],
)
def test_an_option_of_snakemake_in_the_wrong_place_is_told_the_right_one(
    study: Path, capsys: pytest.CaptureFixture[str], line: list[str], right: str
) -> None:
    with pytest.raises(SystemExit) as end:
        main(["run", *line])
    assert end.value.code == 2
    assert capsys.readouterr().err.endswith(right)


def test_without_snakemake_there_is_a_sentence(
    study: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(run, "find_spec", lambda name: None)
    assert main(["run"]) == 1
    assert "Snakemake is not installed" in capsys.readouterr().err


def test_a_ready_made_profile_stands_in_for_one_that_snakemake_does_not_know(
    study: Path, became: list[list[str]], monkeypatch: pytest.MonkeyPatch
) -> None:
    folders = [study / "user", study / "site"]
    monkeypatch.setattr(profiles, "snakemake_folders", lambda: folders)
    shipped = str(paths.repository() / "profiles" / "slurm")
    assert run.command([], ["--profile", "slurm", "-n"], None, Path())[2:] == ["--profile", shipped, "-n"]
    assert run.command([], ["--profile=slurm"], None, Path())[2:] == [f"--profile={shipped}"]
    assert run.command([], ["--profile", "other"], None, Path())[2:] == ["--profile", "other"]
    (study / "site" / "slurm").mkdir(parents=True)
    assert run.command([], ["--profile", "slurm"], None, Path())[2:] == ["--profile", "slurm"]
    (study / "local").mkdir()
    assert run.command([], ["--profile", "local"], None, Path())[2:] == ["--profile", "local"]


def test_snakemake_is_asked_for_the_folders_of_its_profiles(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path))
    user, site = profiles.snakemake_folders()
    assert user == tmp_path / "snakemake" and site.name == "snakemake" and site != user


def test_the_snakefile_is_printed_and_nothing_else(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["snakefile"]) == 0
    assert Path(capsys.readouterr().out.removesuffix("\n")).samefile(ENTRY[1])


def test_a_new_environment_gets_this_package_and_keeps_one_of_its_own(tmp_path: Path) -> None:
    package = Path(longimorph.__file__).parent
    assert "is now a link" in deploy.install(tmp_path)
    assert (tmp_path / "longimorph").resolve() == package
    assert "is now" not in deploy.install(tmp_path)
    (tmp_path / "longimorph").unlink()
    (tmp_path / "longimorph").symlink_to(tmp_path / "gone")
    deploy.install(tmp_path)
    assert (tmp_path / "longimorph").resolve() == package
    own = tmp_path / "other" / "longimorph"
    own.mkdir(parents=True)
    assert "not changed" in deploy.install(own.parent) and not own.is_symlink()


@pytest.mark.parametrize("kind", ["cpu", "gpu"])
def test_the_script_of_an_environment_installs_and_says_what_it_misses(kind: str, tmp_path: Path) -> None:
    script = paths.repository() / "envs" / f"{kind}.post-deploy.sh"
    run_ = subprocess.run(["sh", str(script)], env={"PATH": "/usr/bin:/bin"}, capture_output=True, text=True)
    assert run_.returncode != 0 and "run Snakemake, not this script" in run_.stderr
    made = tmp_path / "python"
    made.write_text(f'#!/bin/sh\necho "$@" > {tmp_path}/asked\n')
    made.chmod(0o755)
    package = str(Path(longimorph.__file__).parent)
    environment = {"PATH": f"{tmp_path}:/usr/bin:/bin", deploy.PACKAGE: package}
    subprocess.run(["sh", str(script)], env=environment, check=True)
    assert (tmp_path / "asked").read_text() == f"-I {package}/orchestration/deploy.py\n"


def test_environments_are_made_anew_for_each_version() -> None:
    """Conda's are known to Snakemake by their files: the script has the version."""
    text = (paths.repository() / "pyproject.toml").read_text()
    version = text.split('\nversion = "')[1].split('"')[0]
    scripts = [paths.repository() / "envs" / f"{kind}.post-deploy.sh" for kind in ("cpu", "gpu")]
    assert len({script.read_text() for script in scripts}) == 1
    assert f"longimorph {version}:" in scripts[0].read_text()

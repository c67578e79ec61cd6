"""A wheel in its own environment does everything that the repository does, without the repository."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import time
import zipfile
from pathlib import Path

import pytest
from installed import REPOSITORY, Installed, build, copy_of_repository, install, unpacked
from tiny import TinyCohort

pytestmark = pytest.mark.long


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The wheel that the source distribution builds."""
    folder = tmp_path_factory.mktemp("wheel")
    sdist = build(copy_of_repository(folder / "repository"), folder / "sdist", "sdist")
    return build(unpacked(sdist, folder / "unpacked"), folder / "wheel", "wheel")


@pytest.fixture(scope="module")
def installed(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Installed:
    """An environment with the wheel."""
    return install(wheel, tmp_path_factory.mktemp("environment") / "venv")


@pytest.fixture
def study(installed: Installed, tmp_path: Path) -> Path:
    """A study that ``longimorph init`` began, with a patient of two visits."""
    run = installed.shell("longimorph init mystudy", tmp_path)
    assert run.returncode == 0, run.stderr
    cohort = TinyCohort(tmp_path / "mystudy", settings={"spacing_mm": 8, "smoothing_mm": 4})
    cohort.add("P001", "V1", 0, 20)
    cohort.add("P001", "V2", 61, 28)
    cohort.write(reference="none", max_evaluations=3)
    return cohort.folder


def contents(wheel: Path) -> dict[str, int]:
    """Return the files in a wheel with their checksums."""
    with zipfile.ZipFile(wheel) as archive:
        return {entry.filename: entry.CRC for entry in archive.infolist()}


def test_repository_and_source_distribution_build_the_same_wheel(wheel: Path, tmp_path: Path) -> None:
    direct = build(copy_of_repository(tmp_path / "repository"), tmp_path / "wheel", "wheel")
    assert contents(direct) == contents(wheel)


def test_the_wheel_has_the_files_around_the_package_and_no_others(wheel: Path) -> None:
    """Every one of the repository's, so that a new kind of file is not forgotten."""
    listed = subprocess.run(
        ["git", "ls-files", "Snakefile", "workflow", "config", "profiles", "envs"],
        cwd=REPOSITORY, capture_output=True, text=True,
    )  # fmt: skip
    if listed.returncode:
        pytest.skip("this copy of the repository has no history")
    place = "longimorph/shipped/"
    carried = {name.removeprefix(place) for name in contents(wheel) if name.startswith(place)}
    assert carried == set(listed.stdout.splitlines())


def test_what_a_user_keeps_in_the_repository_is_not_in_its_wheel(tmp_path: Path) -> None:
    source = copy_of_repository(tmp_path / "repository")
    for name in ("config/data/P001/scan.nii.gz", "config/patients.tsv", "profiles/local/notes.txt"):
        (source / name).parent.mkdir(parents=True, exist_ok=True)
        (source / name).write_text("mine")
    found = contents(build(source, tmp_path / "wheel", "wheel"))
    assert "longimorph/shipped/config/cohort.tsv" in found
    assert [name for name in found if "patients.tsv" in name or "scan.nii" in name or "notes" in name] == []


def test_a_study_is_begun_checked_run_and_packed(installed: Installed, study: Path) -> None:
    for command in ("longimorph check", "longimorph plan", "longimorph doctor; true"):
        run = installed.shell(command, study)
        assert run.returncode == 0, run.stdout + run.stderr
    run = installed.shell("longimorph run --cores 2", study)
    assert run.returncode == 0, run.stdout + run.stderr
    again = installed.shell("longimorph run", study)
    assert again.returncode == 0 and "Nothing to be done" in again.stdout + again.stderr
    assert (study / "results" / "cohort" / "report.html").is_file()
    for command in ("longimorph status", "longimorph pack"):
        run = installed.shell(command, study)
        assert run.returncode == 0, run.stdout + run.stderr
    log = (study / "results" / "logs" / "P001" / "align.log").read_text()
    assert str(installed.packages / "longimorph" / "shipped" / "Snakefile") in log
    where = installed.shell("python -c 'import longimorph; print(longimorph.__file__)'", study)
    assert Path(where.stdout.strip()).is_relative_to(installed.packages)
    assert installed.opened() == []


def test_snakemake_itself_is_given_the_snakefile(installed: Installed, study: Path) -> None:
    run = installed.shell('snakemake -s "$(longimorph snakefile)" --cores 1 --dry-run', study)
    assert run.returncode == 0, run.stdout + run.stderr
    assert "register" in run.stdout


@pytest.mark.parametrize("profile", ["local", "slurm"])
def test_a_ready_made_profile_is_found_by_its_name(installed: Installed, study: Path, profile: str) -> None:
    run = installed.shell(f"longimorph run -- --profile {profile} --dry-run", study)
    assert run.returncode == 0, run.stdout + run.stderr
    assert f"{installed.packages / 'longimorph' / 'shipped' / 'profiles' / profile}" in run.stderr


def test_a_presets_name_and_an_example_are_found(installed: Installed, study: Path) -> None:
    config = study / "config" / "config.yaml"
    config.write_text(config.read_text().replace("control: control.tsv", "control: preset:lesion"))
    assert installed.shell("longimorph check", study).returncode == 0
    shutil.copyfile(study / "config" / "examples" / "fast_classes.tsv", study / "config" / "classes.tsv")
    run = installed.shell("longimorph check", study)
    assert run.returncode == 0 and "\nGM " in run.stdout, run.stdout + run.stderr


def test_a_failed_run_has_the_status_of_snakemake(installed: Installed, study: Path) -> None:
    scan = study / "scans" / "P001" / "V2_regions.nii.gz"
    scan.write_bytes(scan.read_bytes()[:90])
    run = installed.shell("longimorph run --cores 2", study, stub=True)
    assert run.returncode == 1 and "Traceback" not in run.stderr
    assert (study / "results" / "cohort" / "failures.csv").is_file()


def test_ctrl_c_ends_it_as_it_ends_snakemake(installed: Installed, study: Path) -> None:
    """With a message, a status that is not 0, no lock left behind, and nothing that goes on."""
    ends = []
    for command in ("longimorph run --cores 1", 'snakemake -s "$(longimorph snakefile)" --cores 1'):
        shutil.rmtree(study / "results", ignore_errors=True)
        process = subprocess.Popen(
            ["bash", "-c", f"exec {command}"],
            cwd=study,
            env=installed.environment(),
            stderr=subprocess.PIPE,
            text=True,
            start_new_session=True,
            preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),  # a shell's & ignores it
        )
        limit = time.monotonic() + 120
        while not list((study / "results").glob("logs/P001/align.log")):
            assert process.poll() is None and time.monotonic() < limit
            time.sleep(0.05)
        os.killpg(process.pid, signal.SIGINT)
        said = process.communicate(timeout=120)[1]
        assert not list((study / ".snakemake").glob("locks/*"))
        ends.append((process.returncode, "Terminating processes on user request" in said))
    assert ends[0] == ends[1] and ends[0][0] != 0

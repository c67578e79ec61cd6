"""The commands: their output and their exit status."""

from __future__ import annotations

import importlib
import json
import os
import re
import subprocess
import sys
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest

from longimorph import __version__
from longimorph.cli import main, plan
from longimorph.cli.screen import fitted


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
    assert "3 visits, 1 pair of 1 patient can run." in out
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
    assert "1 registration of 1 patient;" in lines[4]


@pytest.mark.parametrize(
    ("minutes", "words"),
    [(0.0, "< 1 min"), (0.2, "< 1 min"), (1.0, "1 min"), (90.0, "90 min"), (150.0, "2.5 h")],
)
def test_a_plan_never_says_that_something_takes_no_time(minutes: float, words: str) -> None:
    assert plan._hours(minutes) == words
    assert plan._gb(0) == plan._gb(49) == "< 0.1" and plan._gb(2000) == "2.0"


def test_the_plan_of_a_tiny_study_says_no_zero(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["plan", "config/config.yaml"]) == 0
    said = capsys.readouterr().out
    assert "< 1 min" in said and " 0 min" not in said and " 0.0 GB" not in said


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
    assert main(["status", str(folder)]) == 1
    out = capsys.readouterr().out
    assert "P1 A to B: align: overlap: The visits share too little." in out
    assert "0 of 1 pair done, 1 failed." in out
    assert main(["status", str(folder), "--patient", "P1"]) == 1
    (pair / "status.json").write_text(json.dumps({"status": "ok"}))
    assert main(["status", str(folder)]) == 0


def test_status_of_a_job_that_was_killed_is_no_success(folder: Path) -> None:
    """One that lives and one that waits are none of its concern."""
    log = folder / "results" / "logs" / "P1" / "align.log"
    log.parent.mkdir(parents=True)
    log.write_text("longimorph: align\nmachine: node07, process 4242\n")
    (folder / "results" / "patients" / "P1" / "A__B").mkdir(parents=True)
    assert main(["status", str(folder)]) == 0
    os.utime(log, (0, 0))
    assert main(["status", str(folder)]) == 1


def test_doctor_finds_the_packages_and_names_what_is_missing(
    folder: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", str(folder))
    assert main(["doctor"]) == 1
    out = capsys.readouterr().out
    assert "PROBLEM snakemake is not on the PATH" in out
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
    assert main(["profiles"]) == 1, "a link could not be made"
    lines = {
        Path(line.split(": ")[1].split(" ")[0]).name: line for line in capsys.readouterr().out.splitlines()
    }
    assert lines["slurm"].startswith("NOT linked") and "snakemake --profile /" in lines["slurm"]
    assert (own / "config.yaml").read_text() == "jobs: 1\n"
    assert (tmp_path / "snakemake" / "slurm-gpus" / "config.yaml").is_file()
    assert main(["profiles", "--unlink"]) == 0
    assert own.is_dir()


SLOW = (
    "numpy",
    "torch",
    "numba",
    "pandas",
    "scipy",
    "SimpleITK",
    "nibabel",
    "matplotlib",
    "snakemake",
    "jsonschema",
)


@pytest.mark.parametrize(
    ("arguments", "needless"),
    [
        (["--help"], SLOW),
        (["status"], SLOW),
        (["check"], ("torch", "numba", "matplotlib", "snakemake", "pandas")),
        (["plan"], ("torch", "numba", "matplotlib", "snakemake", "pandas")),
    ],
    ids=lambda value: value[0],
)
def test_a_command_imports_nothing_slow_that_it_does_not_need(
    folder: Path, arguments: list[str], needless: tuple[str, ...]
) -> None:
    (folder / "results").mkdir()
    code = (
        "import sys; from longimorph.cli import main\n"
        f"try: main({arguments!r})\nexcept SystemExit: pass\n"
        f"assert not set({needless!r}) & set(sys.modules)"
    )
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=folder)
    assert run.returncode == 0, run.stderr
    assert run.stdout


@pytest.fixture
def terminal(monkeypatch: pytest.MonkeyPatch) -> Callable[[int], None]:
    """Make the output a terminal of so many columns."""

    def of(columns: int) -> None:
        monkeypatch.setattr(sys.stdout, "isatty", lambda: True, raising=False)
        monkeypatch.setenv("COLUMNS", str(columns))

    return of


@pytest.mark.parametrize("columns", [80, 100])
@pytest.mark.parametrize("command", ["--help", "check", "plan", "status"])
def test_lines_fit_a_terminal(
    folder: Path,
    terminal: Callable[[int], None],
    capsys: pytest.CaptureFixture[str],
    command: str,
    columns: int,
) -> None:
    (folder / "results").mkdir()
    terminal(columns)
    with suppress(SystemExit):
        main([command])
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) > 2 and max(map(len, lines)) <= columns


def test_a_narrow_terminal_says_that_columns_are_missing_and_a_pipe_has_all(
    folder: Path, terminal: Callable[[int], None], capsys: pytest.CaptureFixture[str]
) -> None:
    main(["plan"])
    piped = capsys.readouterr().out
    assert "strategy" in piped.splitlines()[0] and "disk GB" in piped.splitlines()[0]
    terminal(72)
    main(["plan"])
    narrow = capsys.readouterr().out
    assert "disk GB" not in narrow.splitlines()[0] and "--csv FILE writes all of them" in narrow


def test_what_is_broken_is_indented_and_words_stay_whole() -> None:
    text = f"  note: {'word ' * 30}/a/path/that/is/longer/than/any/line/of/the/terminal"
    lines = fitted(text, 40).splitlines()
    assert lines[0].startswith("  note") and all(line.startswith("    ") for line in lines[1:])
    assert " ".join(" ".join(lines).split()) == " ".join(text.split())
    assert fitted(text, None) == text


ASCII = {
    "of the locale": {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"},
    "of the stream": {"PYTHONIOENCODING": "ascii"},
}
BAD = {"cohort.tsv": "patient\ttimepoint\tdays\tregions\nP1\tä × ²\t0\tgröße.nii.gz\n"}
COMMANDS = {
    "check": (0, [b"cm2", b"mm"]),
    "check config/bad.yaml": (2, [b"nothing was run", b"\\xe4 x 2"]),
    "check config/grids.yaml": (1, [b"20x20x20", b"grid_mismatch"]),
    "plan": (0, [b"registration"]),
    "status": (1, [b"shapes 6x7x9 +- 1, \\u4e2d, \\udce9"]),
    "status --patient P1": (1, [b"failed"]),
    "doctor config/config.yaml": (0, [b"cm2"]),
    "profiles": (0, [b"link"]),
    "memory predict --shape 20 20 20 --classes 3": (0, [b"GB"]),
    "--help": (0, [b"Separates longitudinal change"]),
    **{f"{name} --help": (0, [b"usage"]) for name in ("check", "plan", "status", "doctor", "index", "demo")},
    **{f"{name} --help": (0, [b"usage"]) for name in ("memory", "memory fit", "memory predict", "profiles")},
}


@pytest.fixture
def odd_study(folder: Path) -> Path:
    """A study with much to say that ASCII cannot: areas, shapes, names; and a finished run with a failure."""
    config = folder / "config"
    labels = np.ones((20, 20, 20), np.uint8)
    nib.save(nib.Nifti1Image(labels, np.diag([8.0, 8, 8, 1])), config / "a.nii.gz")
    nib.save(nib.Nifti1Image(0 * labels, np.diag([8.0, 8, 9, 1])), config / "s.nii.gz")
    tables = "cohort: COHORT.tsv\nclasses: classes.tsv\ncontrol: control.tsv\n"
    rows = "patient\ttimepoint\tdays\tregions\tstates\n"
    rows += "P1\tA\t0\ta.nii.gz\ts.nii.gz\nP1\tB\t9\ta.nii.gz\ts.nii.gz\n"
    for name, text in (("bad", BAD["cohort.tsv"]), ("grids", rows)):
        (config / f"{name}.tsv").write_text(text, encoding="utf-8")
        (config / f"{name}.yaml").write_text(tables.replace("COHORT", name))
    pair = folder / "results" / "patients" / "P1" / "A__B"
    pair.mkdir(parents=True)
    failure = {"status": "overlap", "stage": "align", "message": "shapes 6×7×9 ± 1, \u4e2d, \udce9"}
    (pair / "status.json").write_text(json.dumps(failure))
    (folder / "snakemake").write_text("#!/bin/sh\n")
    (folder / "snakemake").chmod(0o755)
    return folder


_ALL = """
import sys
from longimorph.cli import main
for command in sys.argv[1:]:
    try:
        status = main(command.split())
    except SystemExit as end:
        status = end.code
    print(f"== {command}: {status}", flush=True)
"""


@pytest.mark.parametrize("environment", ASCII.values(), ids=ASCII)
def test_no_command_ends_in_an_error_of_encoding(odd_study: Path, environment: dict[str, str]) -> None:
    """What ASCII lacks is spelled out, on standard output and on standard error, in a pipe."""
    places = {"PATH": str(odd_study), "XDG_CONFIG_HOME": str(odd_study / "home")}
    run = subprocess.run(
        [sys.executable, "-c", _ALL, *COMMANDS],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        cwd=odd_study,
        env={**os.environ, **places, **environment},
    )
    told = run.stdout
    assert b"Traceback" not in told and b"UnicodeEncodeError" not in told and run.returncode == 0, told
    assert told.isascii()
    parts = dict(re.findall(rb"(.*?)^== (.*?)$", told, re.MULTILINE | re.DOTALL))
    by_command = {name.rpartition(b": ")[0].decode(): (name, text) for text, name in parts.items()}
    assert list(by_command) == list(COMMANDS)
    for command, (status, words) in COMMANDS.items():
        name, text = by_command[command]
        assert name.endswith(f": {status}".encode()), (name, text)
        assert [word for word in words if word not in text] == [], text


def test_a_reader_that_goes_away_and_a_disk_that_is_full_are_no_traceback(odd_study: Path) -> None:
    code = "import sys; from longimorph.cli import main; sys.exit(main(['check']))"
    command = f'{sys.executable} -c "{code}"'
    run = subprocess.run(["bash", "-c", f"{command} | true; echo ${{PIPESTATUS[0]}}"], capture_output=True)
    assert (run.stdout, run.stderr) == (b"0\n", b"")
    if Path("/dev/full").exists():
        run = subprocess.run(["bash", "-c", f"{command} > /dev/full"], capture_output=True)
        assert (run.returncode, run.stderr) == (1, b"longimorph: the output: No space left on device\n")


def test_ctrl_c_and_numbers_below_one_have_their_status(
    folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["memory", "predict", "--shape", "9", "9", "9", "--classes", "0"]) == 2
    assert "--classes: is below 1; found 0" in capsys.readouterr().err

    def stopped(*arguments: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("longimorph.study.validate.validate", stopped)
    assert main(["check"]) == 130


def test_every_command_has_its_row_of_exit_statuses() -> None:
    """In the one table of the documentation."""
    page = (Path(__file__).parents[2] / "docs" / "running.md").read_text(encoding="utf-8")
    rows = re.findall(r"^\| `(\w+)` \|", page.split("### Exit status")[1].split("\n### ")[0], re.MULTILINE)
    parser = importlib.import_module("longimorph.cli.main")._parser()
    (commands,) = [action.choices for action in parser._actions if isinstance(action.choices, dict)]
    assert set(rows) == set(commands)


def test_a_file_that_cannot_be_written_is_a_sentence(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (folder / "file").write_text("")
    assert main(["check", "--csv", "file/labels.csv"]) == 1
    assert capsys.readouterr().err.startswith("longimorph: file: ")

"""Every command of README and docs runs here on a tiny study, or is listed with the test that runs it."""

from __future__ import annotations

import json
import os
import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import tiny
import yaml
from documented_commands import PAGES, PROGRAMS, REPOSITORY, Command, found
from finished_results import write_patient
from tiny import TinyCohort

from longimorph.cli import main

COMMANDS = found()
STUDY = "--configfile mystudy/config.yaml --directory mystudy"
SHELL = ("source", "mkdir", "cp", "cd", "export", "git")

ELSEWHERE = {
    # A pattern of commands: why they are not run here, the test that runs them or what they call.
    r"longimorph memory fit": (
        "minutes of registrations",
        "tests/unit/test_memory_model.py::test_the_command_fits_writes_and_keeps_what_it_did_not_fit",
    ),
    r"longimorph memory fit --from results": (
        "needs more pairs than the tiny study has",
        "tests/unit/test_memory_refit.py::test_the_command_writes_a_model_that_planning_then_uses",
    ),
    r"longimorph demo other": (
        "minutes; its workflow is replaced there, and `make demo` runs it whole",
        "tests/unit/test_demo.py::test_a_good_measurement_ends_with_status_0",
    ),
    r"git clone https://\S+ data": (
        "needs the network",
        "tests/workflow/test_tutorial.py::test_its_commands_run_on_its_data",
    ),
    r"python ms/(segment|expert)\.py .*": (
        "needs the data",
        "tests/workflow/test_tutorial.py::test_its_commands_run_on_its_data",
    ),
    r"longimorph run -- --sdm conda": (
        "needs Conda; a stand-in takes its place there",
        "tests/install/test_conda.py::test_jobs_run_in_an_environment_that_has_longimorph",
    ),
    r"longimorph run(?! -- --sdm).*": (
        "becomes Snakemake",
        "tests/workflow/test_documented_commands.py::test_commands_that_run_a_study",
    ),
    r"pip (install|wheel) (?!-e).*": (
        "changes the environment; builds and installs a wheel there",
        "tests/install/test_wheel.py::test_a_study_is_begun_checked_run_and_packed",
    ),
    r"(docker|apptainer) .*": (
        "needs these programs; the steps of their recipes are run there",
        "tests/install/test_containers.py::test_the_steps_of_the_recipes_work_in_a_bare_debian",
    ),
    r"(squeue|sinfo|scancel|scontrol|export SLURM_CONF=).*": (
        "needs a cluster",
        "tests/slurm/test_documented.py::test_what_the_pages_say_of_slurm",
    ),
    r"sudo tests/slurm/cluster.sh (up|down)": (
        "needs root; `make test-slurm` starts and stops the cluster with it",
        "tests/slurm/test_documented.py::test_what_the_pages_say_of_slurm",
    ),
    r"python \.ci/release_check\.py v\S+": (
        "refuses what is no release; the check is made on one there",
        "tests/unit/test_contributing.py::test_a_release_whose_files_agree_is_let_through",
    ),
    r"git (commit -am|tag -a|push --follow-tags).*": (
        "publishes a release; what must be true before is checked there",
        "tests/unit/test_contributing.py::test_a_release_whose_files_agree_is_let_through",
    ),
    r"python -m pytest tests/\S+( -k \w+)?": (
        "runs tests; the page's folders and files are looked for there",
        "tests/unit/test_contributing.py::test_the_pages_name_paths_that_exist",
    ),
    r"sbatch --constraint": (
        "an option that the plugin gives for a job, not a command to type",
        "tests/slurm/test_whole_runs.py::test_jobs_share_the_cards_of_a_node",
    ),
}


def kind(command: Command) -> str:
    """How a command is run: ``elsewhere``, or by which of the tests below."""
    if any(re.fullmatch(pattern, command.text) for pattern in ELSEWHERE):
        return "elsewhere"
    return "shell" if command.program in SHELL else command.program


def of_kind(name: str) -> list[str]:
    """The commands of a kind, each once."""
    return list(dict.fromkeys(command.text for command in COMMANDS if kind(command) == name))


def test_the_pages_have_commands_and_each_is_run_or_listed() -> None:
    assert {command.page for command in COMMANDS} >= {"README.md", "docs/cluster.md", "docs/tutorial.md"}
    known = {"elsewhere", "shell", "longimorph", "snakemake", "make", "pip", "pgrep", "nohup"}
    assert [command for command in COMMANDS if kind(command) not in known] == []


def test_a_shell_block_holds_commands_and_nothing_else() -> None:
    assert [command for command in COMMANDS if command.program not in PROGRAMS] == []


@pytest.mark.parametrize("pattern", ELSEWHERE)
def test_what_is_run_elsewhere_is_on_a_page_and_its_test_exists(pattern: str) -> None:
    assert any(re.fullmatch(pattern, command.text) for command in COMMANDS)
    file, name = ELSEWHERE[pattern][1].split("::")
    assert f"\ndef {name}(" in (REPOSITORY / file).read_text(encoding="utf-8")


@pytest.fixture(scope="module")
def desk(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a finished tiny study in each place where the pages have one, and a BIDS tree."""
    folder = tmp_path_factory.mktemp("desk")
    cohort = TinyCohort(folder, settings={"spacing_mm": 8, "smoothing_mm": 4, "reference": "none"}, stub=True)
    for patient in ("P001", "P003"):
        cohort.add(patient, "V1", 0, 20)
        cohort.add(patient, "V2", 61, 24)
    cohort.write(sweep={"pairs": ["P001/V1__V2"], "settings": {"kernel_mm": [[24], [48]]}})
    table = cohort.config.parent / "cohort.tsv"
    table.write_text(table.read_text().replace("../scans", str(folder / "scans")))
    run = cohort.snakemake()
    assert run.returncode == 0, run.stderr
    for place in ("mystudy", "ms", "path/to"):
        shutil.copytree(cohort.config.parent, folder / place)
        for kept in ("results", ".snakemake"):
            shutil.copytree(folder / kept, folder / place / kept, symlinks=True)
    visit = folder / "bids" / "sub-01" / "ses-m00" / "anat"
    shutil.copytree(folder / "scans" / "P001", visit)
    (visit / "V1_regions.nii.gz").rename(visit / "sub-01_ses-m00_dseg.nii.gz")
    return folder


def in_place(text: str) -> str:
    """A command with what the pages leave open filled in."""
    text = text.replace("$(longimorph snakefile)", str(REPOSITORY / "Snakefile"))
    return text.replace("REPO/", f"{REPOSITORY}/").replace("WORK", "mystudy").replace("…", STUDY)


@pytest.mark.parametrize("text", of_kind("longimorph"))
def test_commands_of_longimorph(
    text: str, desk: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(desk)
    monkeypatch.setenv("XDG_CONFIG_HOME", str(desk / "home"))
    words = shlex.split(in_place(text))[1:]
    if words[0] == "init":
        words = ["init", str(desk / "new" / str(len(list((desk / "new").glob("*")))))]
    if words[0] == "index":
        words = ["index", str(desk / "bids"), "--out", str(desk / "cohort.tsv"), "--force"]
    if words[0] == "export":  # what stands in for the stages writes no maps
        words[1] = str(desk / "finished")
        if not (desk / "finished").exists():
            write_patient(desk / "finished" / "results" / "patients" / "P001", {"V1": 0.0, "V2": 61.0})
    good = {0, 1} if words[0] == "doctor" else {0}  # 1: where a part of this machine is missing
    try:
        status: object = main(words)
    except SystemExit as end:  # of --help, and of arguments that are refused
        status = end.code
    assert status in good
    assert capsys.readouterr().out


def test_the_command_is_installed() -> None:
    script = Path(sys.executable).with_name("longimorph")
    run = subprocess.run([str(script), "--version"], capture_output=True, text=True, check=True)
    assert run.stdout.startswith("longimorph ")


@pytest.mark.parametrize(
    "text",
    list(dict.fromkeys(c.text for c in COMMANDS if re.match("longimorph run(?! -- --sdm)", c.text))),
)
def test_commands_that_run_a_study(text: str, desk: Path) -> None:
    """For a dry run, in the folder of a study."""
    words = shlex.split(in_place(text))[1:]
    dry = [] if "--dry-run" in words else ["--dry-run"] if "--" in words else ["--", "--dry-run"]
    environment = {**os.environ, "XDG_CONFIG_HOME": str(desk / "none"), "OMP_NUM_THREADS": "1"}
    stub = str(Path(tiny.__file__).parent / "stub")
    environment["PYTHONPATH"] = os.pathsep.join(filter(None, [stub, os.environ.get("PYTHONPATH")]))
    script = Path(sys.executable).with_name("longimorph")
    run = subprocess.run([script, *words, *dry], cwd=desk, env=environment, capture_output=True, text=True)
    assert run.returncode == 0, run.stdout + run.stderr


def arguments_of(text: str) -> tuple[str, list[str]]:
    """The folder and arguments of a command of Snakemake, for a dry run where it would run jobs."""
    words = shlex.split(in_place(text.removeprefix("nohup ").split(" > ")[0]))[1:]
    folder = "mystudy" if "--configfile config.yaml" in text else "."
    entry = [] if "-s" in words else ["-s", str(REPOSITORY / "Snakefile")]
    dry = [] if {"--dry-run", "--unlock", "--report"} & set(words) else ["--dry-run"]
    cores = ["--cores", "1"] if {"--unlock", "--report"} & set(words) and "--profile" not in words else []
    return folder, [*entry, *words, *dry, *cores]


def test_commands_of_snakemake(desk: Path) -> None:
    texts = of_kind("snakemake") + of_kind("nohup")
    targeted = [text for text in texts if "--configfile" in text and text.endswith("--cores 2")]
    texts += [f"{text} patient_P001" for text in targeted]  # "at the end", README says
    environment = {**os.environ, "XDG_CONFIG_HOME": str(desk / "home"), "OMP_NUM_THREADS": "1"}
    stub = str(Path(tiny.__file__).parent / "stub")
    environment["PYTHONPATH"] = os.pathsep.join(filter(None, [stub, os.environ.get("PYTHONPATH")]))
    script = Path(sys.executable).with_name("longimorph")
    subprocess.run([script, "profiles"], env=environment, check=True, capture_output=True)
    jobs = [(str(desk / folder), words) for folder, words in map(arguments_of, texts)]
    run = subprocess.run(
        [sys.executable, str(Path(__file__).with_name("snakemakes.py"))],
        input=json.dumps(jobs), env=environment, capture_output=True, text=True, timeout=500,
    )  # fmt: skip
    assert run.returncode == 0, run.stderr
    ends = zip(texts, json.loads(run.stdout), strict=True)
    assert [(text, said[-1500:]) for text, (status, said) in ends if status != 0] == []
    assert len(texts) > 10


@pytest.mark.parametrize("text", of_kind("make"))
def test_targets_of_make(text: str) -> None:
    words = shlex.split(text.replace("/path/to/python3.12", sys.executable))
    run = subprocess.run([words[0], "-n", *words[1:]], cwd=REPOSITORY, capture_output=True, text=True)
    assert run.returncode == 0, run.stderr


@pytest.mark.parametrize("page", sorted({c.page for c in COMMANDS if kind(c) == "shell"}))
def test_commands_of_the_shell(page: str, tmp_path: Path) -> None:
    """One after the other, in a folder like the repository."""
    for name in ("config", "profiles", "docs", "tests"):
        (tmp_path / name).symlink_to(REPOSITORY / name)
    (tmp_path / ".venv").symlink_to(sys.prefix)
    lines = [command.text for command in COMMANDS if command.page == page and kind(command) == "shell"]
    for place, line in enumerate(lines):
        if line.startswith("git clone REPOSITORY"):
            if not (REPOSITORY / ".git").exists():
                pytest.skip("this copy of the repository has no history to clone")
            lines[place] = line.replace("REPOSITORY", shlex.quote(str(REPOSITORY))) + " --quiet --depth 1"
        if line == "cd longimorph":
            lines[place] = "(cd longimorph)"
        if line.startswith("source") and not (Path(sys.prefix) / "bin" / "activate").exists():
            lines[place] = "true"  # an environment without such a script
    script = "set -e\n" + "\n".join(lines)
    run = subprocess.run(["bash", "-c", script], cwd=tmp_path, capture_output=True, text=True)
    assert run.returncode == 0, run.stderr


def test_pip_and_pgrep_know_their_options() -> None:
    assert "pip install -e ." in of_kind("pip") and set(of_kind("pgrep")) == {"pgrep -af snakemake"}
    text = subprocess.run(
        [sys.executable, "-m", "pip", "install", "--help"], capture_output=True, text=True, check=True
    ).stdout
    assert "-e, --editable" in text
    if shutil.which("pgrep"):
        assert subprocess.run(["pgrep", "-af", "snakemake"], capture_output=True).returncode in (0, 1)


def test_scripts_in_python_on_the_pages_run(tmp_path: Path) -> None:
    """The blocks in Python, with two small files in the place of the user's."""
    text = "\n".join(page.read_text(encoding="utf-8") for page in PAGES)
    blocks = re.findall(r"^```python\n(.*?)^```", text, flags=re.MULTILINE | re.DOTALL)
    (block,) = (one for one in blocks if "lesions_on_regions" in one)  # test_warp_recipes.py has others
    for name in ("regions", "lesions"):
        tiny.save(tiny.head(20, True)[0], tmp_path / f"{name}.nii.gz")
    subprocess.run([sys.executable, "-c", block], cwd=tmp_path, check=True)
    assert (tmp_path / "lesions_on_regions.nii.gz").is_file()


def test_settings_in_yaml_on_the_pages_are_settings(desk: Path) -> None:
    """The sweep of running.md in the tiny study, which has other patients and no third table."""
    text = (REPOSITORY / "docs" / "running.md").read_text(encoding="utf-8")
    (block,) = re.findall(r"^```yaml\n(.*?)^```", text, flags=re.MULTILINE | re.DOTALL)
    block = block.replace("P007", "P003").replace("mine.tsv", "control.tsv")
    config = desk / "config" / "sweep.yaml"
    settings = yaml.safe_load((desk / "config" / "config.yaml").read_text()) | yaml.safe_load(block)
    config.write_text(yaml.safe_dump(settings))
    assert main(["check", str(config)]) == 0

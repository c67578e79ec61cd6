"""A wheel of this repository, and a Python that has it installed without access to the repository."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import sysconfig
import tarfile
from dataclasses import dataclass
from pathlib import Path

REPOSITORY = Path(__file__).parents[2]
PARTS = ("setup.py", "pyproject.toml", "README.md", "LICENSE", "Snakefile")
STUB = REPOSITORY / "tests" / "workflow" / "stub"
FOLDERS = ("src", "workflow", "config", "profiles", "envs")

WATCH = """\
import os, sys
def _watch(event, arguments, root={root!r}, apart={apart!r}, record={record!r}):
    if event == "open" and isinstance(arguments[0], str):
        path = os.path.abspath(arguments[0])
        if path.startswith(root) and not path.startswith(apart):
            with open(record, "a") as file:
                file.write(path + chr(10))
sys.addaudithook(_watch)
"""
"""A module that records what is opened below ``root``, in every Python of an environment."""


def copy_of_repository(folder: Path) -> Path:
    """Copy what a distribution is built from, without what earlier builds left in it."""
    folder.mkdir(parents=True)
    for name in PARTS:
        shutil.copyfile(REPOSITORY / name, folder / name)
    for name in FOLDERS:
        left = shutil.ignore_patterns("__pycache__", "*.egg-info", ".*")
        shutil.copytree(REPOSITORY / name, folder / name, ignore=left)
    return folder


def build(source: Path, out: Path, kind: str) -> Path:
    """Build a distribution, ``sdist`` or ``wheel``, from ``source``."""
    code = f"import sys; from setuptools import build_meta; print(build_meta.build_{kind}(sys.argv[1]))"
    out.mkdir(parents=True, exist_ok=True)
    run = subprocess.run([sys.executable, "-c", code, str(out)], cwd=source, capture_output=True, text=True)
    assert run.returncode == 0, run.stderr
    return out / run.stdout.splitlines()[-1]


def unpacked(archive: Path, folder: Path) -> Path:
    """Unpack a source distribution; returns its root."""
    with tarfile.open(archive) as file:
        file.extractall(folder, filter="data")
    (root,) = folder.iterdir()
    return root


@dataclass(frozen=True)
class Installed:
    """An environment that has longimorph from a wheel, and the rest from this Python's own packages."""

    folder: Path

    @property
    def python(self) -> Path:
        """Its interpreter."""
        return self.folder / "bin" / "python"

    @property
    def packages(self) -> Path:
        """Where it has longimorph."""
        return Path(sysconfig.get_path("purelib", vars={"base": str(self.folder)}))

    def opened(self) -> list[str]:
        """Return the files of the repository that any process of it has opened."""
        record = self.folder / "opened.txt"
        return record.read_text().splitlines() if record.exists() else []

    def environment(self) -> dict[str, str]:
        """Return the variables of a user who has activated it."""
        left = {key: value for key, value in os.environ.items() if key not in ("PYTHONPATH", "VIRTUAL_ENV")}
        path = f"{self.folder / 'bin'}{os.pathsep}{os.environ['PATH']}"
        home = {"XDG_CONFIG_HOME": str(self.folder / "home")}
        return {**left, **home, "PATH": path, "OMP_NUM_THREADS": "1"}

    def shell(self, command: str, folder: Path, stub: bool = False) -> subprocess.CompletedProcess[str]:
        """Run a command line as that user, in ``folder``; with ``stub`` the steps only write their files."""
        environment = self.environment() | ({"PYTHONPATH": str(STUB)} if stub else {})
        return subprocess.run(
            ["bash", "-c", command], cwd=folder, env=environment, capture_output=True, text=True
        )


def install(wheel: Path, folder: Path) -> Installed:
    """Make an environment that has ``wheel`` and, by their place alone, the packages of this Python."""
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", str(folder)], check=True)
    made = Installed(folder)
    pip = [sys.executable, "-m", "pip", "--python", str(made.python), "install", "--no-deps", "--no-index"]
    subprocess.run([*pip, "--quiet", str(wheel)], check=True)
    others = {sysconfig.get_path("purelib"), sysconfig.get_path("platlib")}
    (made.packages / "others.pth").write_text("".join(f"{path}\n" for path in sorted(others)))
    watched = {"root": f"{REPOSITORY}{os.sep}", "apart": f"{Path(sys.prefix)}{os.sep}"}
    text = WATCH.format(**watched, record=str(folder / "opened.txt"))
    (made.packages / "watch_repository.py").write_text(text)
    (made.packages / "watch.pth").write_text("import watch_repository\n")
    script = made.folder / "bin" / "snakemake"
    script.write_text(f"#!{made.python}\nimport sys\nfrom snakemake.cli import main\nsys.exit(main())\n")
    script.chmod(0o755)
    return made

"""Isolated environments for the programs with which longimorph is compared, under ``.bench/NAME``.

    python -m benchmarks.environments [NAME ...]

creates them. A complete environment is kept; one whose package list has changed is recreated.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import subprocess
import sys
import venv
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
FOLDER = ROOT / ".bench"
STAMP = "installed.json"
LONGEST_INSTALL_S = 900


class Unavailable(Exception):
    """A program cannot be installed or run here; the message says why."""


@dataclass(frozen=True)
class Environment:
    """What to install: ``packages`` with their dependencies, ``bare`` without; ``imports`` must then work.

    ``constrained``: whether constraints.txt applies; antspyx requires older versions of numpy and SciPy.
    """

    name: str
    packages: tuple[str, ...]
    bare: tuple[str, ...] = ()
    imports: str = ""
    constrained: bool = True

    @property
    def folder(self) -> Path:
        """The location of the environment."""
        return FOLDER / self.name

    @property
    def python(self) -> Path:
        """The environment's interpreter."""
        return self.folder / ("Scripts/python.exe" if os.name == "nt" else "bin/python")


ENVIRONMENTS = {
    environment.name: environment
    for environment in (
        Environment(
            "demeter",
            (
                "torch",
                "numpy",
                "matplotlib",
                "packaging",
                "icecream",
                "appdirs",
                "python-dotenv",
                "dask[array]",
            ),
            ("kornia==0.7.1", "demeter-metamorphosis==0.2.11"),
            "demeter.metamorphosis",
        ),
        Environment("ants", ("antspyx==0.6.3",), (), "ants", constrained=False),
        Environment("greedy", ("picsl-greedy==1.4.0.3", "SimpleITK", "numpy"), (), "picsl_greedy"),
    )
}


def python(name: str) -> Path:
    """The interpreter of an environment, which is created if necessary. Raises ``Unavailable``."""
    environment = ENVIRONMENTS[name]
    wanted = {"packages": [*environment.packages, *environment.bare], "python": sys.version}
    if environment.python.exists() and _stamp(environment) == wanted:
        return environment.python
    shutil.rmtree(environment.folder, ignore_errors=True)
    _say(f"Making the environment {environment.folder.relative_to(ROOT)}")
    try:
        venv.create(environment.folder, with_pip=True)
        limits = ["-c", str(ROOT / "constraints.txt")] if environment.constrained else []
        _install(environment, [*limits, *environment.packages])
        if environment.bare:
            _install(environment, ["--no-deps", *environment.bare])
        _run(
            [str(environment.python), "-c", f"import {environment.imports}"], surroundings(environment.folder)
        )
    except (OSError, subprocess.SubprocessError) as error:
        raise Unavailable(f"{name} cannot be installed: {reason(error)}") from error
    (environment.folder / STAMP).write_text(json.dumps(wanted), encoding="utf-8")
    return environment.python


def surroundings(folder: Path, threads: int = 1) -> dict[str, str]:
    """The environment variables of a program under test: its number of threads, and where it may write."""
    count = str(threads)
    libraries = ("OMP", "MKL", "OPENBLAS")
    names = [f"{library}_NUM_THREADS" for library in libraries]
    names.append("ITK_GLOBAL_DEFAULT_NUMBER_OF_THREADS")
    places = {"MPLBACKEND": "Agg", "MPLCONFIGDIR": str(folder / "matplotlib")}
    places["DEMETER_OPTIM_SAVE_DIR"] = str(folder / "demeter")
    return {**os.environ, **dict.fromkeys(names, count), **places}


def reason(error: BaseException) -> str:
    """Why a program failed, in one line: the last line of its error stream."""
    if isinstance(error, subprocess.TimeoutExpired):
        return f"it took more than {error.timeout:.0f} s"
    written = getattr(error, "stderr", None) or ""
    lines = [line.strip() for line in str(written).splitlines() if line.strip()]
    wrong = [line for line in lines if line.startswith("ERROR")]
    return (wrong[:1] or lines[-1:] or [str(error)])[0][:300]


def _stamp(environment: Environment) -> object:
    try:
        return json.loads((environment.folder / STAMP).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None


def _install(environment: Environment, arguments: list[str]) -> None:
    command = [str(environment.python), "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
    _run([*command, *arguments], dict(os.environ))


def _run(command: list[str], variables: dict[str, str]) -> None:
    subprocess.run(
        command, check=True, env=variables, capture_output=True, text=True, timeout=LONGEST_INSTALL_S
    )


def _say(text: str) -> None:
    sys.stderr.write(text + "\n")
    sys.stderr.flush()


def main() -> int:
    """Create the named environments, or all; 1 when one cannot be created."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument(
        "names", nargs="*", metavar="NAME", help=f"among {', '.join(ENVIRONMENTS)}; all when none"
    )
    names = parser.parse_args().names or list(ENVIRONMENTS)
    missing = 0
    for name in names:
        if name not in ENVIRONMENTS:
            parser.error(f"there is no environment {name!r}; there are {', '.join(ENVIRONMENTS)}")
        try:
            _say(f"{name}: {python(name).relative_to(ROOT)}")
        except Unavailable as error:
            _say(str(error))
            missing = 1
    return missing


if __name__ == "__main__":
    sys.exit(main())

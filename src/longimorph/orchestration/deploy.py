"""Installs longimorph itself in an environment created by Snakemake (``--sdm conda``).

Such an environment holds the dependencies of longimorph, from ``envs/*.yaml``. The script beside that file
(``envs/*.post-deploy.sh``) then runs this file with the environment's Python, by its path, so this file uses
the standard library only. A link makes the package that plans the run available there, so that jobs never run
another version.
"""

from __future__ import annotations

import os
import sys
import sysconfig
from pathlib import Path

PACKAGE = "LONGIMORPH_PACKAGE"
"""The variable that tells the script the location of the package."""

_HERE = Path(__file__).resolve().parents[1]


def offer() -> None:
    """Tell the scripts that Snakemake runs in new environments where this package is."""
    os.environ[PACKAGE] = str(_HERE)


def install(packages: Path) -> str:
    """Link this package into ``packages``, a folder of another Python's import path; return what was done.

    An earlier link is replaced. An actual installation of the package is left alone.
    """
    link = packages / _HERE.name
    if link.resolve() == _HERE:
        return f"{link} is {_HERE}"
    if link.exists() and not link.is_symlink():
        return f"{link} was not changed: longimorph is installed there"
    link.unlink(missing_ok=True)
    link.symlink_to(_HERE, target_is_directory=True)
    return f"{link} is now a link to {_HERE}"


if __name__ == "__main__":
    sys.stdout.write(install(Path(sysconfig.get_path("purelib"))) + "\n")

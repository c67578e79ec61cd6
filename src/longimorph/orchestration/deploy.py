"""longimorph itself in an environment that Snakemake makes (``--sdm conda``).

Such an environment has what longimorph needs, by ``envs/*.yaml``. The script beside that file
(``envs/*.post-deploy.sh``) then runs this file with the environment's Python, by its path: it uses the
standard library alone. A link puts the very package there that plans the run, so that jobs never run another
version.
"""

from __future__ import annotations

import os
import sys
import sysconfig
from pathlib import Path

PACKAGE = "LONGIMORPH_PACKAGE"
"""The variable that tells the script where the package is."""

_HERE = Path(__file__).resolve().parents[1]


def offer() -> None:
    """Tell the scripts that Snakemake runs in new environments where this package is."""
    os.environ[PACKAGE] = str(_HERE)


def install(packages: Path) -> str:
    """Link this package into ``packages``, a folder that another Python imports from; returns what was done.

    An earlier link is replaced, a package that is there in earnest is left alone.
    """
    link = packages / _HERE.name
    if link.resolve() == _HERE:
        return f"{link} is {_HERE}"
    if link.exists() and not link.is_symlink():
        return f"{link} was left alone: a longimorph is installed there"
    link.unlink(missing_ok=True)
    link.symlink_to(_HERE, target_is_directory=True)
    return f"{link} is now a link to {_HERE}"


if __name__ == "__main__":
    sys.stdout.write(install(Path(sysconfig.get_path("purelib"))) + "\n")

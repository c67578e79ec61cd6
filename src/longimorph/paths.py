"""Locations of the files that accompany the package, and how paths are shown to the user.

Workflow, study templates, presets and profiles lie in the repository, where an editable installation (``pip
install -e``) reads them. A wheel carries them in a folder of the package.
"""

from __future__ import annotations

import os
from pathlib import Path

from longimorph.errors import LongimorphError

_ROOT = Path(__file__).resolve().parents[2]
_SHIPPED = Path(__file__).resolve().parent / "shipped"
"""Their location in a wheel; see setup.py."""


def repository() -> Path:
    """Return the folder that holds ``workflow`` and ``config``: the repository, or its copy in a wheel."""
    for folder in (_SHIPPED, _ROOT):
        if (folder / "workflow" / "schemas").is_dir():
            return folder
    raise LongimorphError(
        f"The folders 'workflow' and 'config' of longimorph are not at {_ROOT}. "
        "Install longimorph again, with pip, from its repository or from a wheel."
    )


def snakefile() -> Path:
    """Return the file that Snakemake runs."""
    return repository() / "Snakefile"


def schema(name: str) -> Path:
    """Return the file of the schema called ``name``, for instance ``config``."""
    return repository() / "workflow" / "schemas" / f"{name}.schema.yaml"


def presets() -> Path:
    """Return the folder of the control presets, one YAML file each."""
    return repository() / "config" / "presets"


def resolve(text: str, folder: Path) -> Path:
    """Return the path that ``text`` names: from ``folder`` where it is relative, from a home folder where it
    begins with ``~`` (``./~`` is a folder of that name).
    """
    return folder / os.path.expanduser(text)


def display(path: Path | str) -> str:
    """Return ``path`` as a message should show it: relative to the working folder when inside it."""
    absolute = os.path.abspath(path)
    inside = os.path.relpath(absolute)
    return absolute if inside.startswith("..") else inside

"""Where the repository's own files are, and how paths are shown to the user.

The configuration schema and the control presets live beside the package, in the repository that it was
installed from (``pip install -e``), so that users can read and edit them.
"""

from __future__ import annotations

import os
from pathlib import Path

from longimorph.errors import LongimorphError

_ROOT = Path(__file__).resolve().parents[2]


def repository() -> Path:
    """Return the repository's root folder, the one that holds ``workflow`` and ``config``."""
    if not (_ROOT / "workflow" / "schemas").is_dir():
        raise LongimorphError(
            f"The folders 'workflow' and 'config' of longimorph are not at {_ROOT}. "
            "Install longimorph from its repository with 'pip install -e .', so that they are found."
        )
    return _ROOT


def schema(name: str) -> Path:
    """Return the file of the schema called ``name``, for instance ``config``."""
    return repository() / "workflow" / "schemas" / f"{name}.schema.yaml"


def presets() -> Path:
    """Return the folder of the control presets, one YAML file each."""
    return repository() / "config" / "presets"


def display(path: Path | str) -> str:
    """Return ``path`` as a message should show it: relative to the working folder when inside it."""
    absolute = os.path.abspath(path)
    inside = os.path.relpath(absolute)
    return absolute if inside.startswith("..") else inside

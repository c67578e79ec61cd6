"""Real scans that exist beside the repository on some machines; tests that need them skip elsewhere."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

DATA = Path(__file__).resolve().parents[2] / ".." / "shared" / "data"

CLASSES = ("WM", "cortex", "thalamus", "ventricles", "other", "background")
BACKGROUND = 5

_FREESURFER = {
    0: (2, 41, 7, 46, 77, 251, 252, 253, 254, 255),
    1: (3, 42, 8, 47),
    2: (10, 49),
    3: (4, 43, 5, 44, 14, 15),
}
_MUSE = {0: tuple(range(81, 96)), 1: tuple(range(100, 208)), 2: (59, 60), 3: (51, 52, 49, 50, 4, 11)}


def scan(name: str) -> Path:
    """The path of a file of the data, or a skip."""
    path = DATA / name
    if not path.exists():
        pytest.skip(f"{name} is not on this machine")
    return path


def freesurfer_classes(labels: np.ndarray) -> np.ndarray:
    """Class indices of a FreeSurfer-numbered volume; skull, skin and outer fluid are background."""
    classes = _classes(labels, _FREESURFER)
    classes[(labels == 0) | (labels == 24) | (labels >= 500)] = BACKGROUND
    return classes


def muse_classes(labels: np.ndarray) -> np.ndarray:
    """Class indices of a MUSE-numbered volume."""
    classes = _classes(labels, _MUSE)
    classes[labels == 0] = BACKGROUND
    return classes


def _classes(labels: np.ndarray, table: dict[int, tuple[int, ...]]) -> np.ndarray:
    classes = np.full(labels.shape, CLASSES.index("other"))
    for index, numbers in table.items():
        classes[np.isin(labels, numbers)] = index
    return classes

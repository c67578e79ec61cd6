"""A small valid study on disk, in which tests then break one thing."""

from __future__ import annotations

from pathlib import Path

import nibabel as nib
import numpy as np

CLASSES = """class\tregions\tstates\tregion\tstate\tcolor
oedema\t*\t1\twhite matter\toedema\t#e15759
WM\t2,41\t*\twhite matter\thealthy\t#eeddcc
ventricles\t4,5,43-44\t*\tCSF\thealthy\t#4e79a7
background\t0\t*\tbackground\thealthy\t#000000
"""
CONTROL = """from\toedema\tWM\tventricles\tbackground
oedema\t0.0001\t0.0001\t0.0001\t0.0001
WM\t0.0001\t0.9\t0.8\t0.7
ventricles\t0.0001\t0.6\t0.5\t0.4
background\t0.0001\t0.3\t0.2\t0.1
"""
CONFIG = "cohort: cohort.tsv\nclasses: classes.tsv\ncontrol: control.tsv\n"


def write_labels(path: Path, data: np.ndarray, affine: np.ndarray | None = None) -> Path:
    """Write a label volume in the array's own type."""
    path.parent.mkdir(parents=True, exist_ok=True)
    nib.save(nib.Nifti1Image(data, np.eye(4) if affine is None else affine), path)
    return path


def regions(seed: int = 0) -> np.ndarray:
    """A random volume of the labels that the class table knows."""
    return np.random.default_rng(seed).choice([0, 2, 41, 4, 43], (6, 7, 8)).astype(np.int16)


def write_study(folder: Path, visits: tuple[tuple[str, str, float], ...] | None = None) -> Path:
    """Write configuration, tables and scans below ``folder``; return the configuration file."""
    visits = visits or (("P1", "m0", 0), ("P1", "m6", 180), ("P2", "m0", 0), ("P2", "m6", 170.5))
    rows = ["patient\ttimepoint\tdays\timage\tregions\tstates"]
    for number, (patient, timepoint, days) in enumerate(visits):
        stem = f"{patient}_{timepoint}"
        write_labels(folder / "labels" / f"{stem}.nii.gz", regions(number))
        write_labels(folder / "states" / f"{stem}.nii.gz", (regions(number + 50) == 2).astype(np.uint8))
        write_labels(folder / "images" / f"{stem}.nii.gz", regions(number).astype(np.float32))
        files = [f"{kind}/{stem}.nii.gz" for kind in ("images", "labels", "states")]
        rows.append("\t".join([patient, timepoint, f"{days:g}", *files]))
    (folder / "cohort.tsv").write_text("\n".join(rows) + "\n")
    (folder / "classes.tsv").write_text(CLASSES)
    (folder / "control.tsv").write_text(CONTROL)
    (folder / "config.yaml").write_text(CONFIG)
    return folder / "config.yaml"


def edit(path: Path, old: str, new: str) -> None:
    """Replace the first ``old`` of a text file; fails when there is none."""
    text = path.read_text()
    assert old in text, f"{old!r} is not in {path}"
    path.write_text(text.replace(old, new, 1))

"""Small BIDS trees on disk."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from study_files import regions, write_labels

SEGMENTATION = "derivatives/synthseg"


def volume(root: Path, visit: str, name: str, data: np.ndarray | None = None) -> Path:
    """Write ``name`` (without the visit's entities) of ``sub-1/ses-2`` or ``sub-1`` below ``root``."""
    folder = root / visit / "anat"
    return write_labels(folder / f"{visit.replace('/', '_')}_{name}", regions() if data is None else data)


def table(file: Path, *rows: tuple[str, ...]) -> None:
    """Write a tab-separated table."""
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text("".join("\t".join(row) + "\n" for row in rows))


def dated(root: Path, subject: str, days: dict[str, str]) -> None:
    """Write a subject's sessions.tsv with acq_time."""
    table(root / subject / f"{subject}_sessions.tsv", ("session_id", "acq_time"), *days.items())


def tree(root: Path, lesions: bool = False) -> Path:
    """Two subjects with two visits, raw T1w, segmentations by one pipeline, dates."""
    for subject in ("sub-01", "sub-02"):
        dated(root, subject, {"ses-a": "2019-02-03T10:00:00", "ses-b": "2019-03-05T22:00:00"})
        for session in ("ses-a", "ses-b"):
            visit = f"{subject}/{session}"
            volume(root, visit, "T1w.nii.gz", regions().astype(np.float32))
            volume(root / SEGMENTATION, visit, "dseg.nii.gz")
            if lesions:
                mask = (regions() == 2).astype(np.uint8)
                volume(root / "derivatives/experts", visit, "label-lesion_mask.nii.gz", mask)
    return root

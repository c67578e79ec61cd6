"""Names of the exported files of one patient, and the descriptions beside them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from longimorph.bids.labels import labels
from longimorph.bids.record import Write
from longimorph.bids.results import PatientResults
from longimorph.io.atomic import write_json
from longimorph.study.classes import BACKGROUND

SPACE = "common"
"""The space of all maps of a patient: the study's common space."""
ORIGINAL = "orig"
"""The space of a visit's own scan."""


@dataclass(frozen=True)
class Named:
    """A patient and the labels of patient, visits and classes; ``suffix``: of scans whose names tell none."""

    patient: PatientResults
    label: str
    visits: Mapping[str, str]
    classes: Mapping[str, str]
    suffix: str

    @classmethod
    def of(cls, patient: PatientResults, label: str, kept: Mapping[str, str], suffix: str) -> Named:
        """Give labels to the visits, of which those ``kept`` have one already, and to the classes."""
        names = [visit.name for visit in patient.visits]
        known = {name: own for name, own in kept.items() if name in names}
        return cls(patient, label, labels(names, "ses-", known), labels(patient.classes), suffix)

    def stem(self, visit: str) -> str:
        """Return the beginning of the paths of a visit's files, below the root."""
        subject, session = f"sub-{self.label}", f"ses-{self.visits[visit]}"
        return f"{subject}/{session}/anat/{subject}_{session}"

    def segmentation(self, visit: str) -> str:
        """Return the path of a visit's segmentation, without extension."""
        return f"{self.stem(visit)}_space-{SPACE}_dseg"

    def values(self) -> dict[str, int]:
        """Return the value of each class in a segmentation: 0 for the background, 1 and up for the others."""
        others = [name for name in self.patient.classes if name != BACKGROUND]
        return dict.fromkeys(self.patient.classes, 0) | {name: i for i, name in enumerate(others, 1)}

    def said(self, description: str, **further: Any) -> Write:
        """Return what writes a description, with the image that defines the common space."""
        first = next(visit.name for visit in self.patient.visits if visit.ok)
        reference = {"SpatialReference": f"bids::{self.segmentation(first)}.nii.gz"}
        return described({"Description": description, **reference, **further})


def described(content: Mapping[str, Any]) -> Write:
    """Return what writes a JSON file."""

    def write(path: Path) -> None:
        write_json(path, content)

    return write

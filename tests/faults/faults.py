"""The definition of a fault, and the small study that each fault breaks.

Of the study's two patients only P001 is ever broken, at its second visit; P002 must come out as before.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import tiny
from tiny import TinyCohort

PATIENT, VISIT = "P001", "V2"
FINE = "ok"


@dataclass(frozen=True)
class Place:
    """A study on disk, whole until a fault is made in it."""

    folder: Path

    @property
    def config(self) -> Path:
        """The configuration."""
        return self.folder / "config" / "config.yaml"

    def table(self, name: str) -> Path:
        """A table by its name: cohort, classes or control."""
        return self.folder / "config" / f"{name}.tsv"

    def scan(self, kind: str = "regions") -> Path:
        """A file of the visit that is broken: regions, states or image."""
        return self.folder / "scans" / PATIENT / f"{VISIT}_{kind}.nii.gz"

    def edit(self, file: Path, old: str, new: str) -> None:
        """Replace the first ``old`` of a text; it has to be there."""
        text = file.read_text()
        assert old in text, f"{old!r} is not in {file}"
        file.write_text(text.replace(old, new, 1))

    def point(self, kind: str, path: str) -> None:
        """Let the table name another file for the visit that is broken."""
        self.edit(self.table("cohort"), f"../scans/{PATIENT}/{VISIT}_{kind}.nii.gz", path)


@dataclass(frozen=True)
class Fault:
    """One bad input.

    ``words`` is what must be told. ``code`` is how the broken visit's pair must fail; None: the input is
    refused and nothing runs; FINE: nothing is wrong after all.
    """

    name: str
    spoil: Callable[[Place], object]
    words: tuple[str, ...] = ()
    code: str | None = None

    @property
    def status(self) -> int:
        """How ``longimorph check`` has to end."""
        return 2 if self.code is None else int(self.fails)

    @property
    def fails(self) -> bool:
        """Whether the broken visit's pair fails, while the study runs."""
        return self.code not in (None, FINE)


def write_study(folder: Path) -> Place:
    """Two patients with two visits each, one of them with an image."""
    cohort = TinyCohort(folder, settings={"spacing_mm": 8, "smoothing_mm": 4, "reference": "none"})
    for patient, ventricle in ((PATIENT, 20), ("P002", 24)):
        cohort.add(patient, "V1", 0, ventricle)
        cohort.add(patient, VISIT, 90, ventricle + 6, lesion=True)
    cohort.write()
    place = Place(folder)
    regions, _ = tiny.head(26, lesion=True)
    tiny.save(np.where(regions == 1, 100.0, 10.0 * regions).astype(np.float32), place.scan("image"))
    lines = place.table("cohort").read_text().splitlines()
    named = {f"{PATIENT}\t{VISIT}": f"../scans/{PATIENT}/{VISIT}_image.nii.gz", "patient\ttimepoint": "image"}
    with_image = [line + "\t" + named.get("\t".join(line.split("\t")[:2]), "") for line in lines]
    place.table("cohort").write_text("\n".join(with_image) + "\n")
    return place


def copy(place: Place, folder: Path) -> Place:
    """The same study in another folder."""
    shutil.copytree(place.folder, folder)
    return Place(folder)

"""The exported files of one visit: aligned scan, maps and segmentation, rigid transforms."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np

from longimorph.bids.copies import Maps, copy_of
from longimorph.bids.named import ORIGINAL, SPACE, Named
from longimorph.bids.record import Write
from longimorph.bids.results import VisitResults
from longimorph.bids.suffixes import SUFFIXES
from longimorph.geometry.poses import inverse
from longimorph.io.atomic import write_json, write_text
from longimorph.io.transforms import read_rigid, write_affine
from longimorph.io.volumes import read_scalar
from longimorph.study.classes import BACKGROUND

SOURCES = ("qc.json", "simplex.nii.gz", "image.nii.gz", "rigid.tfm")

_NAMED = re.compile(rf"(?:^|_)({'|'.join(SUFFIXES)})\.")
_OUTSIDE, _ZERO = 0.99, 0.9
"""A voxel is outside the brain from this probability of background; a scan is stripped where this share of
them is 0."""


def scan_suffix(visit: VisitResults, otherwise: str) -> str:
    """Return the suffix of the visit's scan: that of the scan's own name, if it has one of BIDS."""
    files = list(visit.record.get("inputs_sha256") or ())
    match = _NAMED.search(Path(files[0]).name) if files else None
    return match[1] if match else otherwise


def visit_files(named: Named, visit: VisitResults) -> dict[str, Write]:
    """Return what writes each file of a visit that has maps, by path below the root."""
    maps = Maps(visit.folder / "simplex.nii.gz", len(named.patient.classes))
    files = _segmentation(named, visit, maps) | _probabilities(named, visit, maps)
    if (visit.folder / "image.nii.gz").is_file():
        files |= _scan(named, visit, maps)
    if (visit.folder / "rigid.tfm").is_file():
        files |= _rigid(named, visit)
    return files


def _segmentation(named: Named, visit: VisitResults, maps: Maps) -> dict[str, Write]:
    name, values = named.segmentation(visit.name), named.values()
    text = "The most probable class of each voxel; volumes are to be taken from the probabilities"
    rows = sorted((value, own) for own, value in values.items())
    lines = ["index\tname\tabbreviation", *(f"{value}\t{own}\t{named.classes[own]}" for value, own in rows)]
    return {
        f"{name}.nii.gz": maps.most_probable(list(values.values())),
        f"{name}.json": named.said(text),
        f"{name}.tsv": lambda path: write_text(path, "\n".join(lines) + "\n"),
    }


def _probabilities(named: Named, visit: VisitResults, maps: Maps) -> dict[str, Write]:
    files: dict[str, Write] = {}
    for place, name in enumerate(named.patient.classes):
        stem = f"{named.stem(visit.name)}_space-{SPACE}_label-{named.classes[name]}_probseg"
        text = f"Share of each voxel that the class {name} fills, after smoothing"
        files[f"{stem}.nii.gz"] = maps.one(place)
        files[f"{stem}.json"] = named.said(text)
    return files


def _scan(named: Named, visit: VisitResults, maps: Maps) -> dict[str, Write]:
    suffix, file = scan_suffix(visit, named.suffix), visit.folder / "image.nii.gz"
    stem = f"{named.stem(visit.name)}_space-{SPACE}_desc-aligned_{suffix}"
    classes = named.patient.classes
    background = classes.index(BACKGROUND) if BACKGROUND in classes else None

    def said(path: Path) -> None:
        stripped = background is not None and is_stripped(read_scalar(file), maps.values[background])
        named.said("The scan, resampled rigidly onto the common grid", SkullStripped=stripped)(path)

    return {f"{stem}.nii.gz": copy_of(file), f"{stem}.json": said}


def is_stripped(image: np.ndarray, background: np.ndarray) -> bool:
    """Return whether nearly all voxels outside the brain, by the probability of background, are 0."""
    outside = image[background >= _OUTSIDE]
    return bool(outside.size and np.mean(outside == 0) >= _ZERO)


def _rigid(named: Named, visit: VisitResults) -> dict[str, Write]:
    file, stem = visit.folder / "rigid.tfm", named.stem(visit.name)
    forward = f"{stem}_from-{ORIGINAL}_to-{SPACE}_mode-image_xfm"
    backward = f"{stem}_from-{SPACE}_to-{ORIGINAL}_mode-image_xfm"
    text = "ITK transform, rigid: resamples {0} onto {1}, and maps points of {1} to {0}"
    scan, common = "the visit's own scan", "the common space"
    return {
        f"{forward}.txt": lambda path: write_affine(path, read_rigid(file)),
        f"{forward}.json": lambda path: write_json(path, {"Description": text.format(scan, common)}),
        f"{backward}.txt": lambda path: write_affine(path, inverse(read_rigid(file))),
        f"{backward}.json": lambda path: write_json(path, {"Description": text.format(common, scan)}),
    }

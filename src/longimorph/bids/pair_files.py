"""The exported files of one pair: maps of what moved and what changed class, and warps both ways."""

from __future__ import annotations

from longimorph.bids.copies import Maps, copy_of
from longimorph.bids.named import SPACE, Named
from longimorph.bids.record import Write
from longimorph.bids.results import PairResults

SOURCES = (
    "status.json", "deformation.nii.gz", "reallocation.nii.gz", "log_jacobian.nii.gz", "compared.nii.gz",
    "warp.nii.gz", "inverse_warp.nii.gz",
)  # fmt: skip

_MOVED = "Change of the share of class {} in each voxel by tissue that moved, stretched or shrank"
_CHANGED = "Change of the share of class {} in each voxel by tissue that changed class in place"
_WHOLE = {
    "log_jacobian.nii.gz": ("logJacobian", "Logarithm of the local change of volume; + is expansion"),
    "compared.nii.gz": ("compared", "Share of each voxel that was compared: both visits show it"),
}
_WARP = (
    "ITK displacement field in mm: resamples session {0} onto session {1}, both as aligned in the common "
    "space, and maps points of {1} to {0}"
)


def pair_files(named: Named, pair: PairResults) -> dict[str, Write]:
    """Return what writes each file of a pair that is done, by path below the root.

    They lie with those of the later visit.
    """
    source, target = named.visits[pair.source], named.visits[pair.target]
    stem = f"{named.stem(pair.target)}_from-{source}_to-{target}_space-{SPACE}"
    files = _changes(named, pair, stem)
    for name, (desc, text) in _WHOLE.items():
        if name != "compared.nii.gz" or (pair.folder / name).is_file():
            files[f"{stem}_desc-{desc}_map.nii.gz"] = copy_of(pair.folder / name)
            files[f"{stem}_desc-{desc}_map.json"] = named.said(f"{text}; from {source} to {target}")
    return files | _warps(named, pair)


def _changes(named: Named, pair: PairResults, stem: str) -> dict[str, Write]:
    files: dict[str, Write] = {}
    for desc, text in (("deformation", _MOVED), ("reallocation", _CHANGED)):
        maps = Maps(pair.folder / f"{desc}.nii.gz", len(named.patient.classes))
        for place, name in enumerate(named.patient.classes):
            own = f"{stem}_label-{named.classes[name]}_desc-{desc}_map"
            files[f"{own}.nii.gz"] = maps.one(place)
            files[f"{own}.json"] = named.said(f"{text.format(name)}; + is growth of the class")
    return files


def _warps(named: Named, pair: PairResults) -> dict[str, Write]:
    source, target = named.visits[pair.source], named.visits[pair.target]
    files: dict[str, Write] = {}
    for name, start, end in (("warp.nii.gz", source, target), ("inverse_warp.nii.gz", target, source)):
        stem = f"{named.stem(pair.target)}_from-{start}_to-{end}_space-{SPACE}_mode-image_xfm"
        files[f"{stem}.nii.gz"] = copy_of(pair.folder / name)
        files[f"{stem}.json"] = named.said(_WARP.format(start, end), Units="mm")
    return files

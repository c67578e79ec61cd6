"""The literal statements of a file's header: voxel sizes, the unit of length, an orientation.

The libraries that read volumes silently correct or ignore invalid values: a voxel size of zero becomes 1 mm,
a negative one mirrors the volume, a unit other than mm is ignored. The header is therefore read again here.
"""

from __future__ import annotations

import math
import re
import zlib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from nibabel.freesurfer.mghformat import MGHHeader
from nibabel.nifti1 import Nifti1Header
from nibabel.nifti2 import Nifti2Header
from nibabel.openers import ImageOpener
from nibabel.wrapstruct import WrapStructError

NIFTI, MGH, META, NRRD = (".nii", ".nii.gz"), (".mgh", ".mgz"), (".mha", ".mhd"), (".nrrd", ".nhdr")

_HEADER_BYTES = 1 << 16
_NIFTI_UNITS = {1: "metres", 3: "micrometres"}  # NIfTI's codes; 2 is mm, 0 unknown
_MILLIMETRES = {"", "mm", "millimeter", "millimetre", "millimeters", "millimetres", "?", "???"}
_WHITE = re.compile(r"[\s,()]+")
_ANATOMICAL = re.compile(
    r"([RL][AP][SI]|(right|left)-(anterior|posterior)-(superior|inferior))(T|-time)?", re.IGNORECASE
)
_FIELD: dict[tuple[str, ...], re.Pattern[str]] = {
    META: re.compile(r"\s*(\w+)\s*=\s*(.*?)\s*"),
    NRRD: re.compile(r"([^:#]+?)\s*:=?\s*(.*?)\s*"),
}


@dataclass(frozen=True)
class Declared:
    """The statements of a header.

    ``sizes``: the voxel sizes as written, None if none are stated. ``used``: the volume is positioned by
    these sizes and not by a matrix that also states sizes. ``unit``: of length, None for mm and if none is
    stated. ``oriented``: the directions of the axes are stated. ``letters``: MetaImage's names of the axes.
    """

    sizes: tuple[float, ...] | None
    used: bool = True
    unit: str | None = None
    oriented: bool = True
    letters: str | None = None

    @property
    def impossible(self) -> bool:
        """Whether the volume is positioned by sizes that are not positive numbers."""
        return self.used and self.sizes is not None and not all(0 < size < math.inf for size in self.sizes)


def read_declared(path: Path) -> Declared | None:
    """Read the statements of the header of ``path``; None if it cannot be read."""
    name = path.name.lower()
    try:
        if name.endswith(NIFTI):
            return _nifti(path)
        if name.endswith(MGH):
            return _mgh(path)
        fields = _fields(path, META if name.endswith(META) else NRRD)
        return _meta(fields) if name.endswith(META) else _nrrd(fields)
    except (OSError, EOFError, ValueError, LookupError, WrapStructError, zlib.error):
        return None


def _start(path: Path, size: int) -> bytes:
    """Return the first bytes of a file, decompressed if it is compressed."""
    with ImageOpener(str(path)) as stream:
        return bytes(stream.read(size))


def _nifti(path: Path) -> Declared:
    start = _start(path, Nifti2Header.sizeof_hdr)
    second = int.from_bytes(start[:4], "little") == 540 or int.from_bytes(start[:4], "big") == 540
    kind: Any = Nifti2Header if second else Nifti1Header
    header = kind(start[: kind.sizeof_hdr], check=False)
    sform, qform = header["sform_code"] > 0, header["qform_code"] > 0
    unit = _NIFTI_UNITS.get(int(header["xyzt_units"]) & 7)
    return Declared(tuple(map(float, header["pixdim"][1:4])), not sform, unit, bool(sform or qform))


def _mgh(path: Path) -> Declared:
    start = np.frombuffer(_start(path, MGHHeader.template_dtype.itemsize), MGHHeader.template_dtype)[0]
    if not start["goodRASFlag"]:
        return Declared(None, oriented=False)
    return Declared(tuple(map(float, start["delta"])))


def _fields(path: Path, kind: tuple[str, ...]) -> dict[str, str]:
    """Return the fields of a text header by their lower-case names."""
    with path.open("rb") as stream:
        text = stream.read(_HEADER_BYTES).decode("latin-1")
    fields: dict[str, str] = {}
    for line in text.splitlines():
        found = _FIELD[kind].fullmatch(line)
        if found is not None:
            fields.setdefault(found[1].strip().lower(), found[2])
        if (kind is NRRD and not line.strip()) or "elementdatafile" in fields:
            break
    return fields


def _meta(fields: Mapping[str, str]) -> Declared:
    sizes = fields.get("elementspacing") or fields.get("elementsize")
    oriented = any(name in fields for name in ("transformmatrix", "rotation", "orientation"))
    letters = fields.get("anatomicalorientation", "").upper()
    known = letters if re.fullmatch("[RLAPSI]{3}", letters) else None
    return Declared(
        _numbers(sizes), unit=_unit(fields.get("distanceunits", "")), oriented=oriented, letters=known
    )


def _nrrd(fields: Mapping[str, str]) -> Declared:
    space, directions = fields.get("space", ""), fields.get("space directions")
    unit = _unit(fields.get("space units") or ("" if directions else fields.get("units", "")))
    if directions is None:
        return Declared(_numbers(fields.get("spacings")), unit=unit, oriented=False)
    vectors = [np.array(_numbers(found) or (0.0,)) for found in re.findall(r"\(([^)]*)\)", directions)]
    sizes = tuple(float(np.linalg.norm(vector)) for vector in vectors[:3])
    return Declared(sizes, unit=unit, oriented=_ANATOMICAL.fullmatch(space) is not None)


def _unit(text: str) -> str | None:
    """Return the first unit other than the millimetre."""
    words = re.findall(r'"([^"]*)"', text) or text.split()
    return next((word for word in words[:3] if word.strip().lower() not in _MILLIMETRES), None)


def _numbers(text: str | None) -> tuple[float, ...] | None:
    """Return the first three numbers of a field."""
    return tuple(float(word) for word in _WHITE.split(text.strip()) if word)[:3] if text else None

"""Invalid scans: how each is made, what the message says, and how its pair fails."""

from __future__ import annotations

import gzip
import os
import time
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import SimpleITK as sitk
import tiny
from faults import FINE, Fault, Place

NIFTI_HEADER = 348
SURPLUS = 40 << 20


def labels() -> np.ndarray:
    """The good labels."""
    return tiny.head(26, lesion=True)[0]


def raw(file: Path) -> bytearray:
    """A compressed file's content."""
    return bytearray(gzip.decompress(file.read_bytes()))


def bytes_put(kind: str, change: Callable[[bytes], bytes]) -> Callable[[Place], None]:
    """Change the bytes of a file as they lie on the disk."""

    def spoil(place: Place) -> None:
        file = place.scan(kind)
        file.write_bytes(change(file.read_bytes()))

    return spoil


def voxels(change: Callable[[np.ndarray], np.ndarray], kind: str = "regions") -> Callable[[Place], None]:
    """Write other voxels with the same header."""

    def spoil(place: Place) -> None:
        data = np.asarray(nib.load(place.scan(kind)).dataobj)  # type: ignore[attr-defined]
        tiny.save(change(data), place.scan(kind))

    return spoil


def some(value: Any, dtype: type) -> Callable[[np.ndarray], np.ndarray]:
    """Put ``value`` into two voxels of an array of type ``dtype``."""

    def change(data: np.ndarray) -> np.ndarray:
        changed: np.ndarray = data.astype(dtype)
        changed[10, 10, 9:11] = value
        return changed

    return change


def header(place_of: int, value: bytes, kind: str = "regions") -> Callable[[Place], None]:
    """Overwrite bytes of the header, as the standard lays it out."""

    def spoil(place: Place) -> None:
        content = raw(place.scan(kind))
        content[place_of : place_of + len(value)] = value
        place.scan(kind).write_bytes(gzip.compress(bytes(content), 1))

    return spoil


def sizes(*shape: int) -> bytes:
    """The header's field of sizes."""
    return np.array([len(shape), *shape, *[1] * (7 - len(shape))], "<i2").tobytes()


def floats(*values: float) -> bytes:
    """Numbers as the header holds them."""
    return np.array(values, "<f4").tobytes()


def affine(matrix: np.ndarray) -> Callable[[Place], None]:
    """Put a position into the sform, unchecked."""
    return header(280, floats(*matrix[:3].ravel()))


def of_type(dtype: Any) -> Callable[[np.ndarray], np.ndarray]:
    """The same voxels in another type."""
    return lambda data: data.astype(dtype)


def colours(data: np.ndarray) -> np.ndarray:
    """Labels as red, green and blue."""
    made = np.zeros(data.shape, [("R", "u1"), ("G", "u1"), ("B", "u1")])
    made["R"] = data
    return made


def instead(make: Callable[[Path], object], suffix: str = ".nii.gz") -> Callable[[Place], None]:
    """Put something else in the place of the regions."""

    def spoil(place: Place) -> None:
        file = place.scan().with_name(f"{place.scan().name.removesuffix('.nii.gz')}{suffix}")
        place.scan().unlink()
        make(file)
        if suffix != ".nii.gz":
            place.point("regions", str(file))

    return spoil


def nifti2(file: Path) -> None:
    """A file of NIfTI-2, whose header can claim 10^12 voxels."""
    image = nib.Nifti2Image(labels(), np.diag([8.0, 8, 8, 1]))
    content = bytearray(image.to_bytes())
    content[16:80] = np.array([3, 10_000, 10_000, 10_000, 1, 1, 1, 1], "<i8").tobytes()
    file.write_bytes(gzip.compress(bytes(content), 1))


def metaimage(change: Callable[[bytes], bytes]) -> Callable[[Path], object]:
    """A MetaImage with changed bytes."""

    def make(file: Path) -> None:
        sitk.WriteImage(sitk.GetImageFromArray(labels()), str(file))
        file.write_bytes(change(file.read_bytes()))

    return make


def loop(file: Path) -> None:
    """A link that leads to itself through another."""
    other = file.with_name("other.nii.gz")
    file.symlink_to(other)
    other.symlink_to(file)


def goes_on(content: bytes) -> bytes:
    """A compressed file with much more in it than its header says."""
    return gzip.compress(gzip.decompress(content) + bytes(SURPLUS), 1)


def other_bit(content: bytes) -> bytes:
    """A compressed file of which one voxel differs from what its checksum says."""
    whole = bytearray(gzip.decompress(content))
    checked = zlib.crc32(bytes(whole)).to_bytes(4, "little")
    whole[-100] ^= 1
    return gzip.compress(bytes(whole), 1)[:-8] + checked + len(whole).to_bytes(4, "little")


def annexed(file: Path) -> None:
    """A link of a data set of DataLad whose content was not fetched."""
    file.symlink_to("../.git/annex/objects/x4/7M/SHA256E-s9--ab.nii.gz/SHA256E-s9--ab.nii.gz")


LFS = "version https://git-lfs.github.com/spec/v1\noid sha256:4d7a214614ab2935c943f9e0\nsize 9\n"


def of_tomorrow(place: Place) -> None:
    """A scan that a wrong clock has dated."""
    tomorrow = time.time() + 86_400
    os.utime(place.scan(), (tomorrow, tomorrow))


def braces(place: Place) -> None:
    """A name that a template would fill in."""
    place.scan().rename(place.scan().with_name("{patient}.nii.gz"))
    place.point("regions", f"../scans/{place.scan().parent.name}/{{patient}}.nii.gz")


def empty_brain(place: Place) -> None:
    """Nothing but background, and no oedema either."""
    for kind in ("regions", "states"):
        tiny.save(np.zeros_like(labels()), place.scan(kind))


def other_states(place: Place) -> None:
    """States that the classes do not name."""
    place.edit(place.table("classes"), "ventricles\t2\t*", "ventricles\t2\t0-1")
    tiny.save(np.full_like(labels(), 5), place.scan("states"))


NAMED = ("P001 V2", "V2_regions.nii.gz")
FAULTS = (
    Fault("half of the file", bytes_put("regions", lambda b: b[: len(b) // 2]), NAMED, "unreadable"),
    Fault("end of the file missing", bytes_put("regions", lambda b: b[:-9]), NAMED, "unreadable"),
    Fault("sixty bytes", bytes_put("regions", lambda b: b[:60]), NAMED, "unreadable"),
    Fault("zero bytes", bytes_put("regions", lambda b: b""), NAMED, "unreadable"),
    Fault("text", bytes_put("regions", lambda b: b"<html>404</html>" * 50), NAMED, "unreadable"),
    Fault(
        "text, compressed", bytes_put("regions", lambda b: gzip.compress(b"no" * 999)), NAMED, "unreadable"
    ),
    Fault("not compressed but called so", bytes_put("regions", gzip.decompress), NAMED, "unreadable"),
    Fault("one bit off its checksum", bytes_put("regions", other_bit), NAMED, "unreadable"),
    Fault("40 MB more than the header says", bytes_put("regions", goes_on), NAMED, "header"),
    Fault("NaN", voxels(some(np.nan, np.float32)), (*NAMED, "2 voxels"), "not_finite"),
    Fault("infinities", voxels(some(-np.inf, np.float64)), (*NAMED, "2 voxels"), "not_finite"),
    Fault("negative labels", voxels(some(-1, np.int16)), (*NAMED, "-1 in 2"), "negative"),
    Fault("labels of 2^40", voxels(some(1 << 40, np.int64)), ("too large",), "negative"),
    Fault("labels of 1e30", voxels(some(1e30, np.float64)), ("too large",), "negative"),
    Fault("labels and a half", voxels(some(1.5, np.float32)), (*NAMED, "1.5 in 2"), "non_integer"),
    Fault("an image as labels", voxels(lambda d: d * 7.3), ("not a whole number",), "non_integer"),
    Fault(
        "labels of no class",
        voxels(some(77, np.int16)),
        ("no row of", "matches label", "77", "2 voxels", "line 3"),
    ),
    Fault(
        "states of no class",
        other_states,
        ("no row of", "matches state 5 (8,000 voxels, 4096.0 mL)", "line 3", "'oedema'"),
    ),
    Fault("negative states", voxels(some(-3, np.int16), "states"), ("V2_states",), "negative"),
    Fault(
        "states of another size", voxels(lambda d: d[:-1], "states"), ("different grids",), "grid_mismatch"
    ),
    Fault(
        "several volumes", voxels(lambda d: np.stack([d, d], -1)), ("2 channels", "three axes"), "channels"
    ),
    Fault("one slice", voxels(lambda d: d[..., 0]), ("three axes",), "dimension"),
    Fault("ten thousand by three", header(40, sizes(10_000, 10_000, 10_000)), NAMED, "header"),
    Fault("10^12 voxels in NIfTI-2", instead(nifti2), ("10000, 10000, 10000",), "header"),
    Fault("more voxels than bytes", header(40, sizes(900, 900, 900)), ("truncated",), "header"),
    Fault("negative sizes", header(40, sizes(-20, 20, 20)), NAMED, "dimension"),
    Fault("an affine of NaN", affine(np.full((4, 4), np.nan)), ("affine",), "affine"),
    Fault("a singular affine", affine(np.diag([8.0, 8, 0, 1])), ("singular",), "affine"),
    Fault("an affine of 10^30 mm", affine(np.diag([1e30, 1e30, 1e30, 1])), NAMED, "affine"),
    Fault("a quaternion that is none", header(252, b"\1\0\1\0" + floats(2, 2, 2)), ("qform",), FINE),
    Fault(
        "a quaternion that is none, alone", header(252, b"\1\0\0\0" + floats(2, 2, 2)), NAMED, "unreadable"
    ),
    Fault("colours", voxels(colours), ("colours",), "type"),
    Fault("complex numbers", voxels(of_type(np.complex64)), ("complex",), "type"),
    Fault("an unknown type", header(70, b"\x77\x03"), NAMED, "unreadable"),
    Fault("no type", header(70, b"\0\0"), NAMED, "unreadable"),
    Fault("bits", header(70, b"\1\0"), NAMED, "unreadable"),
    Fault("an intercept that is infinite", header(112, floats(2, np.inf)), NAMED, "unreadable"),
    Fault("voxels that begin nowhere", header(108, floats(np.inf)), NAMED, "unreadable"),
    Fault("voxels that begin too late", header(108, floats(1e9)), NAMED, "unreadable"),
    Fault("only background", empty_brain, ("background",), "no_brain"),
    Fault("an image with one value", voxels(np.ones_like, "image"), ("same value",), "empty"),
    Fault("an image of NaN", voxels(lambda d: d * np.nan, "image"), ("same value",), "empty"),
    Fault("an image of text", bytes_put("image", lambda b: b"scan"), ("V2_image",), "unreadable"),
    Fault("an image of 10^12 voxels", header(40, sizes(10_000, 10_000, 10_000), "image"), (), "header"),
    Fault("a MetaImage cut off", instead(metaimage(lambda b: b[:-50]), ".mha"), (".mha",), "unreadable"),
    Fault(
        "a MetaImage that claims more voxels than it can have",
        instead(metaimage(lambda b: b.replace(b"DimSize = 20 20 20", b"DimSize = 900 900 900")), ".mha"),
        ("truncated",),
        "header",
    ),
    Fault("an NRRD of text", instead(lambda f: f.write_text("NRRD0004\nnothing"), ".nrrd"), (), "unreadable"),
    Fault("a scan of tomorrow", of_tomorrow, ("has a timestamp in the future", "line 3", "clock")),
    Fault("braces in a name", braces, ("braces", "line 3")),
    Fault("a folder", instead(Path.mkdir), ("is a folder", "line 3", "regions")),
    Fault("nothing", instead(lambda f: None), ("file not found", "line 3", "regions")),
    Fault("a link that goes round", instead(loop), ("link", "line 3")),
    Fault("a link to nothing", instead(lambda f: f.symlink_to("gone.nii.gz")), ("link", "line 3")),
    Fault("a link of git-annex", instead(annexed), ("git-annex", "datalad get '", "V2_regions", "line 3")),
    Fault(
        "a pointer of git-annex",
        instead(lambda f: f.write_text("/annex/objects/MD5E-s348--d41d8c.nii.gz\n")),
        ("a pointer of git-annex", "git annex get '", "line 3"),
    ),
    Fault(
        "a pointer of Git LFS", instead(lambda f: f.write_text(LFS)), ("Git LFS", "git lfs pull", "line 3")
    ),
    Fault("a pipe", instead(os.mkfifo), ("neither a file nor a folder", "line 3")),
    Fault("an endless device", instead(lambda f: f.symlink_to("/dev/zero")), ("neither a file", "line 3")),
    Fault("another kind of file", instead(lambda f: f.write_bytes(b"\xff\xd8"), ".jpg"), ("NIfTI", "line 3")),
)

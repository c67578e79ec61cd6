"""``longimorph pack``: pages, tables and figures of a run in a single portable file."""

from __future__ import annotations

import argparse
import zipfile
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from longimorph.cli import screen
from longimorph.cli.output import refuse_to_overwrite
from longimorph.errors import LongimorphError
from longimorph.text import counted

START = "index.html"
_SMALL = (".html", ".csv", ".json", ".png", ".tfm", ".tsv", ".log")
_NIFTI = (".nii", ".nii.gz")
_STORED = (".png", ".gz")
"""Suffixes of files that are already compressed."""
_PAGE = """\
<!DOCTYPE html>
<html lang="en"><head><meta charset="utf-8"><title>longimorph</title>
<meta http-equiv="refresh" content="0; url=results/cohort/report.html"></head>
<body><p><a href="results/cohort/report.html">The cohort</a></p></body></html>
"""


def register(commands: Any) -> None:
    """Register the command."""
    text = "write pages, tables and pictures of a run to one zip file that opens anywhere"
    sub = commands.add_parser("pack", help=text, description=text)
    sub.add_argument("directory", nargs="?", type=Path, default=Path(), help="working folder of the run")
    sub.add_argument(
        "--out", type=Path, metavar="FILE", help="output file (default report.zip in the working folder)"
    )
    sub.add_argument("--volumes", action="store_true", help="include the maps and warps (.nii.gz)")
    sub.set_defaults(command=pack)


def pack(options: argparse.Namespace) -> int:
    """Write the zip file and report what it contains and what it omits."""
    results = options.directory / "results"
    if not (results / "cohort" / "report.html").is_file():
        hint = "Finish the run first; longimorph status shows its progress."
        raise LongimorphError(f"{results / 'cohort'} has no cohort page (report.html) yet. {hint}")
    out = options.out or options.directory / "report.zip"
    refuse_to_overwrite(out, b"PK\x03\x04")
    files = sorted(_files(results))
    taken = [file for file in files if options.volumes or not _is_volume(file)]
    write_pack(out, options.directory, taken)
    what = f"{out}: {counted(len(taken), 'file')}, {_megabytes([out])}"
    screen.say(f"{what}. Unpack it and open {out.stem}/{START} in a browser.")
    left = [file for file in files if _is_volume(file)]
    if left and not options.volumes:
        volumes = f"{counted(len(left), 'volume')} ({_megabytes(left)})"
        screen.say(f"Not included: {volumes}; --volumes adds them.")
    return 0


def write_pack(out: Path, folder: Path, files: Iterable[Path]) -> None:
    """Write the zip file ``out`` of ``files`` below ``folder``, atomically.

    All files are in one folder named like the zip file, with their relative paths.
    """
    from longimorph.io.atomic import atomic_path

    with (
        atomic_path(out) as temporary,
        zipfile.ZipFile(temporary, "w", zipfile.ZIP_DEFLATED, strict_timestamps=False) as archive,
    ):
        archive.writestr(f"{out.stem}/{START}", _PAGE)
        for file in files:
            kind = zipfile.ZIP_STORED if file.suffix in _STORED else zipfile.ZIP_DEFLATED
            archive.write(file, f"{out.stem}/{file.relative_to(folder).as_posix()}", kind)


def _files(results: Path) -> Iterator[Path]:
    """Pages, tables, pictures, records, transforms, logs and volumes of a run.

    Hidden files, files of other types and saved states of registrations are left out.
    """
    for part in ("cohort", "patients", "sweep", "logs"):
        for file in (results / part).rglob("*"):
            wanted = not file.name.startswith(".") and (file.suffix in _SMALL or _is_volume(file))
            if wanted and file.is_file() and "resume" not in file.relative_to(results).parts:
                yield file


def _is_volume(file: Path) -> bool:
    return file.name.endswith(_NIFTI)


def _megabytes(files: Iterable[Path]) -> str:
    size = sum(file.stat().st_size for file in files) / 1e6
    return f"{size / 1000:.1f} GB" if size >= 1000 else f"{max(size, 0.1):.1f} MB"

"""What an export has written, so that the next one writes only what changed and removes what is gone.

The hidden folder ``.longimorph`` of the data set has a file for the data set and one for each patient. A
unit, which is one visit or one pair, is current while the stamps of the results that it was made from, and
the sizes of its own files, are those in the record.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

from longimorph.errors import LongimorphError
from longimorph.io.atomic import write_json, write_text
from longimorph.io.contents import stamp
from longimorph.paths import display

FOLDER = ".longimorph"
FORMAT = 1
"""Raise this number when the same results give other files: every unit is then written again."""

Write = Callable[[Path], None]
"""Writes one file at the path that it is given."""


class Target:
    """A folder to export to: new, empty, or written by an earlier export of the same study."""

    def __init__(self, root: Path, results: Path) -> None:
        if root.resolve().is_relative_to(results.resolve()):
            raise LongimorphError(
                f"{display(root)} lies in the results, which are not changed. Give another folder."
            )
        self.root, self._file = root, root / FOLDER / "export.json"
        self._study = hashlib.sha256(str(results.resolve()).encode()).hexdigest()
        known = self._known()
        self.labels: dict[str, str] = known.get("labels", {})

    def _known(self) -> dict[str, Any]:
        if not self.root.exists():
            return {}
        if not self.root.is_dir():
            raise LongimorphError(f"{display(self.root)} is not a folder. Give another one.")
        known = _read(self._file)
        if not known and any(self.root.iterdir()):
            raise LongimorphError(
                f"{display(self.root)} is not empty and was not written by longimorph export; nothing was "
                "written. Give another folder, or empty this one."
            )
        if known and known.get("study") != self._study:
            raise LongimorphError(
                f"{display(self.root)} was exported from the results of another folder; nothing was written. "
                "Give another folder, or delete this one first."
            )
        return known

    def save(self) -> None:
        """Write the record of the data set, which also marks the folder as an export."""
        content = {"study": self._study, "labels": dict(sorted(self.labels.items()))}
        write_changed(self._file, content)

    def patient(self, label: str) -> PatientRecord:
        """Return the record of one patient."""
        return PatientRecord(self.root, label)

    def exported(self) -> set[str]:
        """Return the names of the patients that have a record."""
        return {name for name, label in self.labels.items() if _file_of(self.root, label).exists()}


class PatientRecord:
    """The units of one patient: what each was made from, and its files with their sizes."""

    def __init__(self, root: Path, label: str) -> None:
        self.root, self._file = root, _file_of(root, label)
        known = _read(self._file)
        self.labels: dict[str, str] = known.get("labels", {})
        self._units: dict[str, dict[str, Any]] = known.get("units", {})

    def update(self, unit: str, key: Mapping[str, Any], files: Mapping[str, Write]) -> int:
        """Write the ``files`` of a unit, by path below the root, unless they are current; return how many.

        Files that the unit had and has no longer are removed afterwards.
        """
        text = json.dumps({"format": FORMAT, **key}, sort_keys=True)
        if self._current(unit, text, files):
            return 0
        old = set(self._units.get(unit, {}).get("files", {}))
        self._units[unit] = {"key": "", "files": dict.fromkeys(sorted(old | set(files)), -1)}
        self.save()
        for name, write in files.items():
            clean(self.root / name)
            write(self.root / name)
        self._remove(old - set(files))
        sizes = {name: (self.root / name).stat().st_size for name in files}
        self._units[unit] = {"key": text, "files": sizes}
        self.save()
        return len(files)

    @property
    def unfinished(self) -> list[str]:
        """The units that an export began and did not finish."""
        return [unit for unit, known in self._units.items() if not known["key"]]

    def keep(self, units: Iterable[str]) -> int:
        """Remove the files of all units but these; return the number of files removed."""
        gone = set(self._units) - set(units)
        names = [name for unit in gone for name in self._units[unit]["files"]]
        self._remove(names)
        self._units = {unit: known for unit, known in self._units.items() if unit not in gone}
        if gone:
            self.save()
        return len(names)

    def forget(self) -> None:
        """Remove the record itself, of a patient who is no longer exported."""
        self._file.unlink(missing_ok=True)

    def save(self) -> None:
        """Write the record."""
        write_json(self._file, {"labels": self.labels, "units": self._units})

    def _current(self, unit: str, text: str, files: Mapping[str, Write]) -> bool:
        known = self._units.get(unit, {})
        if known.get("key") != text or set(known["files"]) != set(files):
            return False
        return all(_size(self.root / name) == size for name, size in known["files"].items())

    def _remove(self, names: Iterable[str]) -> None:
        for name in names:
            path = self.root / name
            path.unlink(missing_ok=True)
            for folder in list(path.parents)[: len(Path(name).parents) - 1]:
                with suppress(OSError):  # not empty
                    folder.rmdir()


def stamps(files: Iterable[Path]) -> dict[str, Any]:
    """Return the stamp of each file by its name; None for one that is missing."""
    return {file.name: stamp(file) for file in files}


def write_changed(path: Path, content: str | Mapping[str, Any]) -> int:
    """Write text, or JSON, unless the file has it already; return the number of files written."""
    if not isinstance(content, str):
        content = json.dumps(content, indent=2, ensure_ascii=False) + "\n"
    with suppress(OSError, UnicodeDecodeError):
        if path.read_text(encoding="utf-8") == content:
            return 0
    write_text(path, content)
    return 1


def clean(path: Path) -> None:
    """Remove what a killed export left of ``path``."""
    for left in path.parent.glob(f".tmp-*-{path.name}"):
        left.unlink(missing_ok=True)


def _file_of(root: Path, label: str) -> Path:
    return root / FOLDER / f"sub-{label}.json"


def _size(path: Path) -> int | None:
    return path.stat().st_size if path.is_file() else None


def _read(file: Path) -> dict[str, Any]:
    """Read a record; an empty one if there is none, or it is damaged."""
    try:
        found = json.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return found if isinstance(found, dict) else {}

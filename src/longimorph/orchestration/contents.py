"""Detect scans whose content differs from what finished results were made from, whatever their dates.

Results record their inputs: the SHA-256 of each file (``alignment.json``, ``qc.json``). Before jobs are
planned, each file is compared with this record: by its stamp, so that an unchanged cohort costs only one
look-up of file metadata per file, and by its content where the stamp differs. For a patient with changed
content a mark is written. This small file becomes an input of the patient's alignment and is newer than it,
so that Snakemake repeats the alignment and all later steps.
"""

from __future__ import annotations

import json
import logging
import os
import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from multiprocessing.pool import ThreadPool
from pathlib import Path
from typing import Any

from longimorph.io.atomic import write_json, write_text
from longimorph.io.contents import Content, Stamp, as_stamp, content, stamp
from longimorph.orchestration.log import stamps
from longimorph.orchestration.parameters import LOGS, Jobs, files
from longimorph.study.table import Visit
from longimorph.text import counted

log = logging.getLogger(__name__)

FOLDER = Path(".snakemake", "longimorph")
CACHE, MARKS = FOLDER / "contents.json", FOLDER / "changed"

_VERSION = 1
_READERS = 8
_MANY_BYTES = 2e9
_SHOWN = 3
Hashes = dict[str, str | None]


@dataclass
class Known:
    """What was read in earlier runs: contents of files by path, and the recorded inputs of results.

    Both are valid while the stamp of the file, or of the result, stays the same.
    """

    files: dict[str, Content] = field(default_factory=dict)
    results: dict[str, tuple[Stamp, dict[str, Content]]] = field(default_factory=dict)
    changed: bool = False

    def made_from(self, result: Path, log_file: Path) -> dict[str, Content]:
        """Return the inputs of a result, as recorded in it and in its job's log."""
        found = stamp(result)
        if found is None:
            return {}
        held = self.results.get(str(result))
        if held is None or held[0] != found:
            held = self.results[str(result)] = (found, _made_from(result, log_file))
            self.changed = True
        return held[1]

    def put(self, name: str, found: Content) -> None:
        """Store the content of a file that was read."""
        if self.files.get(name) != found:
            self.files[name] = found
            self.changed = True


@dataclass(frozen=True)
class Look:
    """One patient: the recorded inputs of each result, the files to compare, and files without record.

    The last are the files of visits whose results do not record their inputs.
    """

    patient: str
    made_from: tuple[Mapping[str, Content], ...]
    files: tuple[str, ...]
    unspoken: tuple[str, ...]


def mark(patient: str) -> Path:
    """Return the path of the mark of a patient with changed scans."""
    return MARKS / f"{patient}.json"


def marks(patient: str) -> list[str]:
    """Return the mark of a patient, if there is one, as inputs of the alignment."""
    return [str(mark(patient))] if mark(patient).exists() else []


def notice(jobs: Jobs) -> list[str]:
    """Mark the patients whose scans differ from the recorded inputs of their results; return which."""
    known = _read()
    with ThreadPool(_READERS) as readers:
        looks = readers.map(lambda patient: _look(patient, jobs.scans_of(patient), known), jobs.aligned)
        current = _current(looks, known, readers)
    _keep(known)
    told = []
    for look in looks:
        changed = _changed(look, current)
        _set_mark(look.patient, changed)
        if changed:
            told.append(_sentence(look.patient, changed, current))
    return told


def _look(patient: str, visits: Sequence[Visit], known: Known) -> Look:
    folder = Path("results", "patients", patient)
    alignment = folder / "alignment.json"
    if not alignment.exists():
        return Look(patient, (), (), ())
    logs = Path(LOGS, patient)
    first = known.made_from(alignment, logs / "align.log")
    made_from, unspoken = [first], list[str]()
    for visit in visits:
        qc = folder / visit.timepoint / "qc.json"
        made = known.made_from(qc, logs / f"maps_{visit.timepoint}.log")
        made_from.append(made)
        if not first and not made and qc.exists():
            unspoken += files([visit])
    spoken = dict.fromkeys(name for made in made_from for name in made)
    return Look(patient, tuple(made_from), tuple(spoken), tuple(unspoken))


def _made_from(result: Path, log_file: Path) -> dict[str, Content]:
    """Return the inputs recorded in ``alignment.json`` or ``qc.json``, with the stamps from the job's log.

    Returns nothing where the file is damaged or predates such records.
    """
    held = stamps(log_file)
    try:
        inputs = json.loads(result.read_bytes())["inputs_sha256"]
        return {str(name): Content(sha256, held.get(name)) for name, sha256 in inputs.items()}
    except (OSError, ValueError, TypeError, KeyError, AttributeError):
        return {}


def _current(looks: Iterable[Look], known: Known, readers: Any) -> Hashes:
    """Return the current hash of each file; only files without a known stamp are read."""
    found: Hashes = {}
    unknown: list[str] = []
    wanted = {name: look for look in looks for name in look.files}
    for name, now in zip(wanted, readers.imap(stamp, wanted, chunksize=64), strict=True):
        held = (*(made[name] for made in wanted[name].made_from if name in made), known.files.get(name))
        same = next((one for one in held if one and now and one.stamp == now), None)
        if same is not None:
            found[name] = same.sha256
        elif now is None:
            found[name] = None
        else:
            unknown.append(name)
    _tell_reading(unknown)
    for name, read in zip(unknown, readers.imap(content, unknown), strict=True):
        found[name] = read.sha256
        known.put(name, read)
    return found


def _tell_reading(names: Sequence[str]) -> None:
    size = sum((stamp(name) or (0,))[0] for name in names)
    if size > _MANY_BYTES:
        text = "Reading %s (%.0f GB) that may have changed since the results were made; needed only once"
        log.warning(text, counted(len(names), "scan"), size / 1e9)


def _changed(look: Look, current: Hashes) -> list[str]:
    """Return the files of a patient whose content differs from the recorded inputs of some result.

    Without a record, as for a visit that failed in an earlier version, the modification date decides.
    """
    changed = dict.fromkeys(
        name for made in look.made_from for name, held in made.items() if held.sha256 != current[name]
    )
    alignment = Path("results", "patients", look.patient, "alignment.json")
    made = stamp(alignment)
    newer = [name for name in look.unspoken if made and (now := stamp(name)) and now[1] > made[1]]
    return [*changed, *newer]


def _set_mark(patient: str, changed: Sequence[str]) -> None:
    """Write the mark of a patient unless one is already pending.

    If a pending mark is obsolete because the earlier content is back, restore the previous mark, or none.
    """
    own, alignment = mark(patient), Path("results", "patients", patient, "alignment.json")
    earlier = own.with_suffix(".earlier")
    made, marked = stamp(alignment), stamp(own)
    waits = made is not None and marked is not None and marked[1] > made[1]
    if changed and not waits and made is not None:
        if marked is not None:
            os.replace(own, earlier)
        write_json(own, {"noticed": time.time(), "changed": list(changed)})
        if os.stat(own).st_mtime_ns <= made[1]:  # a clock that lags behind that of the disk
            os.utime(own, ns=(made[1] + 10**9,) * 2)
    elif waits and not changed:
        own.unlink()
        if earlier.exists():
            os.replace(earlier, own)


def _sentence(patient: str, changed: Sequence[str], current: Mapping[str, str | None]) -> str:
    gone = [name for name in changed if name in current and current[name] is None]
    other = [name for name in changed if name not in gone]
    said = [
        f"{_listed(names)} {text[len(names) > 1]}"
        for names, text in (
            (gone, ("no longer exists", "no longer exist")),
            (other, ("has changed since the results were made", "have changed since the results were made")),
        )
        if names
    ]
    return f"{patient}: {'; '.join(said)}. The patient's stages run again"


def _listed(names: Sequence[str]) -> str:
    more = f" and {counted(len(names) - _SHOWN, 'more file')}" if len(names) > _SHOWN else ""
    return ", ".join(names[:_SHOWN]) + more


def _read() -> Known:
    try:
        data = json.loads(CACHE.read_text(encoding="utf-8"))
        if data["version"] != _VERSION:
            return Known()
        results = {
            name: (as_stamp(made), _contents_of(held)) for name, (made, held) in data["results"].items()
        }
        return Known(_contents_of(data["files"]), results)
    except (OSError, ValueError, TypeError, KeyError, AttributeError, RecursionError):
        return Known()


def _keep(known: Known) -> None:
    """Write what was read, if anything is new; a failure to write is not an error."""
    if not known.changed:
        return
    results = {name: (made, _plain(held)) for name, (made, held) in known.results.items()}
    data = {"version": _VERSION, "files": _plain(known.files), "results": results}
    try:
        write_text(CACHE, json.dumps(data, separators=(",", ":")) + "\n")
    except (OSError, ValueError) as error:
        log.debug("The contents of the scans are not kept: %s", error)


def _plain(held: Mapping[str, Content]) -> dict[str, Any]:
    return {name: [one.sha256, one.stamp] for name, one in held.items()}


def _contents_of(plain: Mapping[str, Any]) -> dict[str, Content]:
    return {
        str(name): Content(sha256, None if held is None else as_stamp(held))
        for name, (sha256, held) in plain.items()
    }

"""Reports on scans, cached between runs so that unchanged files are not read again.

A report is valid while the path and the stamp of each of the visit's files stay the same. The cache is
optional: when it cannot be read or written, the scans are read again.
"""

from __future__ import annotations

import json
import logging
from pathlib import Path
from typing import Any

from longimorph.io.atomic import write_text
from longimorph.io.contents import parts, stamp
from longimorph.study.scans import ScanReport, from_dict, to_dict
from longimorph.study.table import Visit

log = logging.getLogger(__name__)

_VERSION = 4
_MOST_LABELS = 5000


class ScanCache:
    """The reports of a cohort's visits, read from ``file`` and written back by ``save``.

    ``channels`` is a text that differs where the labels of channels may: reports on posteriors depend on it.
    """

    def __init__(self, file: Path | None, channels: str = "") -> None:
        self.file, self.channels = file, channels
        self._entries: dict[str, Any] = _read(file) if file is not None else {}
        self._changed = False

    def get(self, visit: Visit) -> ScanReport | None:
        """Return the visit's report if none of its files has changed since."""
        entry = self._entries.get(_key(visit))
        try:
            if entry is not None and entry["files"] == _signature(visit):
                report = from_dict(entry["report"])
                return report if entry["channels"] == (self.channels if report.soft else "") else None
        except (OSError, ValueError, TypeError, KeyError):
            pass
        return None

    def put(self, visit: Visit, report: ScanReport) -> None:
        """Store the visit's report, unless it is unusually large."""
        if report.counts is not None and len(report.counts) > _MOST_LABELS:
            return
        try:
            of_channels = self.channels if report.soft else ""
            entry = {"files": _signature(visit), "channels": of_channels, "report": to_dict(report)}
            self._entries[_key(visit)] = entry
        except (OSError, ValueError, TypeError):
            return
        self._changed = True

    def save(self) -> None:
        """Write the reports if there are new ones; a failure to write is not an error."""
        if self.file is None or not self._changed:
            return
        try:
            text = json.dumps({"version": _VERSION, "visits": self._entries}, separators=(",", ":"))
            write_text(self.file, text + "\n")
        except (OSError, ValueError) as error:
            log.debug("The reports on the scans are not kept: %s", error)


def _read(file: Path) -> dict[str, Any]:
    try:
        data = json.loads(file.read_text(encoding="utf-8"))
        visits = data["visits"] if data["version"] == _VERSION else {}
    except (OSError, ValueError, TypeError, KeyError, RecursionError):
        return {}
    return visits if isinstance(visits, dict) else {}


def _key(visit: Visit) -> str:
    return "|".join(f"{column}={path}" for column, path in visit.files().items())


def _signature(visit: Visit) -> list[list[int]]:
    """Return the stamp of each of the visit's files; raises TypeError if one is missing."""
    files = (part for path in visit.files().values() for part in parts(path))
    return [list(stamp(file)) for file in files]  # type: ignore[arg-type]

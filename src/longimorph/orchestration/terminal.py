"""Terminal output of a run: one line per job and the progress, unless details are requested.

Snakemake's own log, below ``.snakemake/log``, is complete. Snakemake's objects are used untyped.
"""

from __future__ import annotations

import logging
import time
from typing import Any

_LOGGER, _HANDLER = "snakemake.logging", "DefaultStreamHandler"
_HIDDEN = frozenset({"JOB_STARTED", "JOB_FINISHED", "SHELLCMD"})
_CHATTER = "Select jobs to execute..."


def be_brief(settings: Any) -> None:
    """Reduce the terminal output from now on.

    Nothing changes when ``settings``, Snakemake's own output settings, request details (``--printshellcmds``
    or ``--verbose``), choose what to omit (``--quiet``), or belong to a dry run.
    """
    own = ("verbose", "printshellcmds", "dryrun", "debug_dag")
    if settings is None or settings.quiet or any(getattr(settings, name, False) for name in own):
        return
    for handler in logging.getLogger(_LOGGER).handlers:
        if handler.name == _HANDLER:
            handler.addFilter(_worth_saying)
            handler.setFormatter(Brief(handler.formatter or logging.Formatter()))


def _event(record: logging.LogRecord) -> str:
    return str(getattr(getattr(record, "event", None), "name", ""))


def _worth_saying(record: logging.LogRecord) -> bool:
    return _event(record) not in _HIDDEN and record.getMessage() != _CHATTER


class Brief(logging.Formatter):
    """Reports a starting job in one line, and leaves everything else to another formatter."""

    def __init__(self, others: logging.Formatter) -> None:
        super().__init__()
        self._others = others

    def format(self, record: logging.LogRecord) -> str:
        """Format a record as text."""
        if _event(record) != "JOB_INFO":
            return self._others.format(record)
        wildcards = getattr(record, "wildcards", None) or {}
        names = ", ".join(f"{name}={value}" for name, value in wildcards.items())
        began = time.strftime("%H:%M:%S", time.localtime(record.created))
        return f"rule {getattr(record, 'rule_name', '')}: {names} ({began})".replace("  (", " (")

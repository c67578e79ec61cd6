"""The settings of a study that sets nothing, for tests that call one part directly."""

from __future__ import annotations

from dataclasses import asdict, replace
from typing import Any

from longimorph.alignment.align import AlignSettings
from longimorph.stages.align import align_settings as settings_of
from longimorph.study.config import defaults


def align_settings(**changes: Any) -> AlignSettings:
    """The defaults of the alignment on one thread, with some changed."""
    return replace(settings_of({**asdict(defaults()), "threads": 1}), **changes)

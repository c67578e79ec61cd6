"""Possible sources of the visits' days, and the units of time."""

from __future__ import annotations

from typing import Literal

Source = Literal["auto", "sessions", "scans", "participants", "names", "order"]
SOURCES: tuple[Source, ...] = ("auto", "sessions", "scans", "participants", "names", "order")
"""``auto`` tries the three tables; names and order are used only on request."""

DAYS_OF = {"days": 1.0, "weeks": 7.0, "months": 365.25 / 12, "years": 365.25}

"""What may say when a visit was, and the units that it may say it in."""

from __future__ import annotations

from typing import Literal

Source = Literal["auto", "sessions", "scans", "participants", "names", "order"]
SOURCES: tuple[Source, ...] = ("auto", "sessions", "scans", "participants", "names", "order")
"""``auto`` tries the three tables; names and order are taken only when they are asked for."""

DAYS_OF = {"days": 1.0, "weeks": 7.0, "months": 365.25 / 12, "years": 365.25}

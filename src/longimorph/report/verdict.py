"""The verdict on a pair with its reasons, the most important first, without repetitions.

Results contain the verdict in ``status.json`` (``verdict``, ``verdict_reasons``). Those of older versions
only contain warnings, from which the verdict is derived here.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from longimorph.report.pairs import Amount, PairResults
from longimorph.report.svg import signed
from longimorph.tables import columns
from longimorph.text import counted
from longimorph.verdict.status import PairStatus
from longimorph.verdict.trust import DISTRUST, LOOK, TRUST

NO_RESULT = "no result"
LEVELS = (NO_RESULT, DISTRUST, LOOK, TRUST)
"""Worst first."""

ADVICE = {
    NO_RESULT: "This pair has no numbers.",
    DISTRUST: "Do not use the numbers of this pair until you have found the reason.",
    LOOK: "Look at the pictures below before you use the numbers of this pair.",
    TRUST: "No check found a problem with this pair.",
}

_MATTERS_ML = 0.5
_UNCERTAIN, _UNEXPLAINED = 0.5, 0.25
_REPEATABLE = 0.01
"""Share of a class's volume by which two segmentations of the same brain differ in any case."""

_PLAIN_WORDS = (
    (
        r"H drifts by ([\d.]+) %.*",
        r"The energy of the fitted change should stay constant but drifts by \1 %, so the split into "
        "deformation and reallocation is less certain; set more steps.",
    ),
    (r"The warp folds in 0\.000 % of the voxels\.", ""),
)
"""Current wording of warnings of older versions; a warning with empty text is omitted."""


@dataclass(frozen=True)
class ReasonShown:
    """A reason not simply to trust a pair: its severity, and a sentence."""

    severity: str
    sentence: str


@dataclass(frozen=True)
class Verdict:
    """One of `LEVELS`, and the reasons."""

    level: str
    reasons: tuple[ReasonShown, ...] = ()

    @property
    def rank(self) -> int:
        """0 for the worst verdict."""
        return LEVELS.index(self.level)

    @property
    def style(self) -> str:
        """The class name of the verdict in the style sheet."""
        return self.level.replace(" ", "-")

    @property
    def advice(self) -> str:
        """The action that the verdict suggests."""
        return ADVICE[self.level]

    @property
    def words(self) -> str:
        """All reasons as one text."""
        return " ".join(reason.sentence for reason in self.reasons)

    @property
    def first(self) -> str:
        """The most important reason, and the number of further ones."""
        more = len(self.reasons) - 1
        tail = f" (and {counted(more, 'more reason')})" if more > 0 else ""
        return f"{self.reasons[0].sentence}{tail}" if self.reasons else ""


def of(pair: PairResults) -> Verdict:
    """The verdict on a pair; for a failed one with the reason of the failure."""
    if not pair.ok:
        return Verdict(NO_RESULT, (ReasonShown(NO_RESULT, _sentence(_failure(pair.status))),))
    level = pair.status.verdict
    if level in (DISTRUST, LOOK, TRUST):
        return Verdict(level, _once(_given(pair.status.verdict_reasons or ())))
    warnings = [_plain(str(warning)) for warning in pair.status.warnings or ()]
    warnings += [*_uncertain(pair.inner), *_unexplained(pair.inner)]
    reasons = _once(ReasonShown(LOOK, sentence) for sentence in warnings)
    return Verdict(LOOK if reasons else TRUST, reasons)


def remarks(pair: PairResults) -> list[str]:
    """Remarks on a pair that do not affect the trust in its numbers."""
    if not pair.ok:
        return []
    said = {reason.sentence for reason in of(pair).reasons}
    return [text for text in map(str, pair.status.warnings or ()) if text not in said]


def listed(table: Path) -> dict[tuple[str, str, str], PairStatus]:
    """The entries of the cohort's ``verdicts.csv`` by pair, in the form of a status.

    Empty if there is no such table.
    """
    if not table.exists():
        return {}
    rows = columns.read_table(table).to_dict("records")
    return {
        (str(row["patient"]), str(row["from"]), str(row["to"])): PairStatus(
            verdict=row["verdict"],
            verdict_reasons=[{"severity": row["verdict"], "sentence": row["sentences"]}],
        )
        for row in rows
        if row["verdict"]
    }


def _given(reasons: Sequence[Mapping[str, Any]]) -> list[ReasonShown]:
    return [ReasonShown(str(r.get("severity", LOOK)), str(r.get("sentence", ""))) for r in reasons]


def _once(reasons: Iterable[ReasonShown]) -> tuple[ReasonShown, ...]:
    """The reasons as sentences, without empty ones and repetitions."""
    found: dict[str, ReasonShown] = {}
    for reason in reasons:
        said = _sentence(reason.sentence.strip())
        if said:
            found.setdefault(said.casefold(), ReasonShown(reason.severity, said))
    return tuple(found.values())


def _failure(status: PairStatus) -> str:
    where = f" in the stage {status.stage}" if status.stage else ""
    code, reason = status.status or "unknown", status.message or "See its log for the reason."
    return f"This pair failed{where} ({code}): {reason}"


def _plain(warning: str) -> str:
    for pattern, words in _PLAIN_WORDS:
        if re.fullmatch(pattern, warning):
            return re.sub(pattern, words, warning)
    return warning


def _uncertain(amounts: Sequence[Amount]) -> list[str]:
    """One sentence on numbers that exceed their uncertainty only slightly; those within it are no change."""
    found = [
        f"{amount.name}, {words}, {signed(value)} ± {uncertainty:.1f} mL"
        for amount in amounts
        for value, uncertainty, words in (
            (amount.moved, amount.moved_uncertainty, "deformation"),
            (amount.changed, amount.changed_uncertainty, "reallocation"),
        )
        if abs(value) >= _MATTERS_ML and _UNCERTAIN * abs(value) < uncertainty < abs(value)
    ]
    return [f"The uncertainty is more than half of the change: {'; '.join(found)}."] if found else []


def _unexplained(amounts: Sequence[Amount]) -> list[str]:
    """One sentence on classes with a large unexplained change, beyond the variability of segmentations."""
    found = [
        f"{a.name}, {signed(a.rest)} mL of a change of {signed(a.total)} mL"
        for a in amounts
        if abs(a.rest) >= max(_MATTERS_ML, _REPEATABLE * a.before)
        and abs(a.rest) > _UNEXPLAINED * (abs(a.moved) + abs(a.changed))
    ]
    return [f"Much of the change is unexplained: {'; '.join(found)}."] if found else []


def _sentence(text: str) -> str:
    return text if not text or text.endswith((".", "!", "?")) else f"{text}."

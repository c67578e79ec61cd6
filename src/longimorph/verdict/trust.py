"""The verdict on a pair: whether its numbers can be trusted, and why, from the contents of ``status.json``.

Nothing is read or measured here. Every limit is defined below with the measurement or source behind it;
docs/benchmarks/identity.md has the tables.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

import numpy as np

from longimorph.text import names_fluid
from longimorph.verdict.status import PairStatus

TRUST, LOOK, DISTRUST = "trust", "look", "do not trust"
SEVERITIES = (DISTRUST, LOOK)
"""Most severe first."""

DAYS_PER_YEAR = 365.25
ML = 1000.0
"""mm³ in a millilitre."""

# --- One person or two: docs/benchmarks/identity.md ---------------------------------------------------
SAME_CORRELATION, OTHER_CORRELATION = 0.55, 0.48
SAME_KAPPA, OTHER_KAPPA = 0.65, 0.40

# --- Volumes -----------------------------------------------------------------------------------------
LIMITS = {
    "brain": {LOOK: (3.0, 5.0), DISTRUST: (10.0, 10.0)},
    "tissue": {LOOK: (10.0, 10.0), DISTRUST: (20.0, 20.0)},
    "fluid": {LOOK: (25.0, 30.0), DISTRUST: (60.0, 60.0)},
}
"""Change of volume in percent of the mean of both visits: the difference of two segmentations at any distance
in time, and the allowance per year. Wide on purpose; docs/outputs.md has the sources.
"""
_OF_MEAN = "in % of the mean volume of both visits"
SMALLEST_ML = 2.0
"""Classes and changes smaller than this are ignored, since their percentage is noise, mL."""

# --- The fit -----------------------------------------------------------------------------------------
POOR_DRIFT = 0.05
FOLDED_SHARE = 1e-4
NOT_COMPARED_SHARE = 0.02
UNEXPLAINED_SHARE, UNEXPLAINED_ML, UNEXPLAINED_OF_CLASS = 0.25, 0.5, 0.01
LEFT_TO_GAIN = 0.02
"""Fits that converge by the default tolerance leave up to 0.01 of what they explain. Of two glioblastomas at
6 mm, one stopped at 0.013 has every number within its uncertainty of the converged fit's; the other, stopped
at 0.18, reaches half of the deformation.
"""
WARP_LOSS = 0.02
"""Two visits with multiple sclerosis at 4 mm: if both are segmented by the same rule, the correlation rises
from 0.971 to 0.980; if by different rules, it falls from 0.979 to 0.917.
"""

TISSUE, FLUID, PATHOLOGY, OUTSIDE = "tissue", "fluid", "pathology", "background"
_SHOWN = 3


@dataclass(frozen=True)
class Reason:
    """A reason not to trust a pair: a ``code`` for programs, LOOK or DISTRUST, a ``sentence`` for people."""

    code: str
    severity: str
    sentence: str


def judged(status: PairStatus, days: float | None = None) -> PairStatus:
    """The status with ``verdict`` and ``verdict_reasons`` of a pair that is done; a failed one has none.

    ``days`` between the visits: without them no change is compared with a limit per year.
    """
    if not status.ok:
        return status
    return _with_verdict(status, [asdict(reason) for reason in reasons(status, days)])


def _with_verdict(status: PairStatus, found: Sequence[Mapping[str, str]]) -> PairStatus:
    return replace(status, verdict=found[0]["severity"] if found else TRUST, verdict_reasons=found)


def dated(status: PairStatus, days: float) -> PairStatus:
    """The status, its verdict extended by what follows from the days between the visits."""
    if status.verdict_reasons is None:
        return judged(status, days)
    given = list(status.verdict_reasons)
    first = [reason for reason in given if reason["code"] == "person"]
    volumes = [asdict(reason) for reason in _volumes(status, abs(days))]
    rest = [reason for reason in given if reason["code"] not in ("person", "volume")]
    found = sorted([*first, *volumes, *rest], key=lambda reason: SEVERITIES.index(reason["severity"]))
    return _with_verdict(status, found)


def reasons(status: PairStatus, days: float | None = None) -> list[Reason]:
    """All reasons, the most severe first; within a severity in the order of the checks."""
    found = _person(status) + (_volumes(status, abs(days)) if days is not None else [])
    found += [reason for check in _CHECKS for reason in check(status)]
    return sorted(found, key=lambda reason: SEVERITIES.index(reason.severity))


# --- One person or two ---


def _person(status: PairStatus) -> list[Reason]:
    """The joint evidence of scans and labels on identity.

    The scans take precedence, since the agreement of one person's labels depends on the number of classes and
    on the tool.
    """
    known = status.likeness or {}
    correlation, kappa = known.get("correlation"), known.get("kappa")
    if correlation is None:
        if kappa is None or kappa >= OTHER_KAPPA:
            return []
        return [Reason("person", LOOK, f"{_WHO}: {_labels_say(kappa)}.")]
    if correlation >= SAME_CORRELATION:
        return []
    labels_agree = kappa is not None and kappa >= SAME_KAPPA
    labels = f"; {_labels_say(kappa)}" if kappa is not None and not labels_agree else ""
    sure = correlation < OTHER_CORRELATION and not labels_agree
    kind = ", or not the same kind of scan" if labels_agree else ""
    return [Reason("person", DISTRUST if sure else LOOK, f"{_WHO}{kind}: {_scans_say(correlation)}{labels}.")]


_WHO = "The visits may not show the same person"


def _scans_say(correlation: float) -> str:
    return (
        f"inside the brain, the correlation of the aligned scans is {correlation:.2f} (same person: "
        f"{SAME_CORRELATION:g} or more, different people: below {OTHER_CORRELATION:g})"
    )


def _labels_say(kappa: float) -> str:
    return (
        f"the classes of the aligned brains agree by {kappa:.2f} beyond chance (same person: {SAME_KAPPA:g} "
        f"or more, different people: often below {OTHER_KAPPA:g})"
    )


# --- Volumes ---


def kind_of(name: str, pathological: bool, background: bool) -> str:
    """How a class may change: TISSUE, FLUID (by its name), PATHOLOGY or OUTSIDE."""
    if background:
        return OUTSIDE
    if pathological:
        return PATHOLOGY
    return FLUID if names_fluid(name) else TISSUE


def class_changes(
    names: Sequence[str], kinds: Sequence[str], volumes: Sequence[np.ndarray], flows: np.ndarray
) -> dict[str, dict[str, Any]]:
    """Per class the values compared with the limits, in mm³, for ``status.json``.

    ``volumes``: before, after, deformation and reallocation, (C,) each. ``flows`` (C, C) from row to column,
    of both kinds. ``own_mm3`` is the change without exchange with pathological classes.
    """
    before, after, moved, changed = volumes
    ill = np.array([kind == PATHOLOGY for kind in kinds])
    exchanged = flows[ill].sum(axis=0) - flows[:, ill].sum(axis=1)
    rest = after - before - moved - changed
    own = np.where(ill, 0.0, _toward_zero(after - before - exchanged, np.abs(rest[ill]).sum()))
    rows = zip(kinds, before, after, own, rest, np.abs(moved) + np.abs(changed), strict=True)
    keys = ("kind", "before_mm3", "after_mm3", "own_mm3", "unexplained_mm3", "explained_mm3")
    return {
        name: {key: value if isinstance(value, str) else float(value)
               for key, value in zip(keys, row, strict=True)}
        for name, row in zip(names, rows, strict=True)
    }  # fmt: skip


def _toward_zero(values: np.ndarray, by: float) -> np.ndarray:
    """Shrink values towards zero: the unexplained change of pathological classes may belong to any class."""
    return np.asarray(np.sign(values) * np.maximum(np.abs(values) - by, 0.0))


def _volumes(status: PairStatus, days: float) -> list[Reason]:
    classes = status.class_changes or {}
    brain = [c for c in classes.values() if c["kind"] in (TISSUE, PATHOLOGY)]
    grown = sum(c["after_mm3"] - c["before_mm3"] for c in brain if c["kind"] == PATHOLOGY)
    total = {key: sum(c[key] for c in brain) for key in ("before_mm3", "after_mm3")}
    change = total["after_mm3"] - total["before_mm3"]
    total["own_mm3"] = float(_toward_zero(np.array(change), abs(grown)))
    rows: dict[str, tuple[str, Mapping[str, Any]]] = {"the brain as a whole": ("brain", total)}
    rows |= {name: (c["kind"], c) for name, c in classes.items() if c["kind"] in (TISSUE, FLUID)}
    found = [_beyond(name, kind, row, days) for name, (kind, row) in rows.items()]
    known = sorted((one for one in found if one is not None), key=lambda one: -one[1])
    if not known:
        return []
    worst = DISTRUST if any(severity == DISTRUST for severity, _, _ in known) else LOOK
    said = "; ".join(clause for _, _, clause in known[:_SHOWN])
    more = f"; and {len(known) - _SHOWN} more" if len(known) > _SHOWN else ""
    return [Reason("volume", worst, f"Implausible change in {days:g} days ({_OF_MEAN}): {said}{more}.")]


def _beyond(name: str, kind: str, row: Mapping[str, Any], days: float) -> tuple[str, float, str] | None:
    """Severity, multiple of the limit and clause for a change beyond its limit."""
    change, mean = row["own_mm3"], (row["before_mm3"] + row["after_mm3"]) / 2
    if min(abs(change), mean) < SMALLEST_ML * ML:
        return None
    percent = 100 * change / mean
    for severity in SEVERITIES:
        fixed, yearly = LIMITS[kind][severity]
        limit = fixed + yearly * days / DAYS_PER_YEAR
        if abs(percent) > limit:
            clause = f"{name} {_signed(change / ML)} mL, {_signed(percent)} % (limit: {limit:.0f} %)"
            return severity, abs(percent) / limit, clause
    return None


def _signed(value: float) -> str:
    return f"{value:+.1f}".replace("-", "\u2212")


# --- Scans and labels, the fit, the field of view ---


def _label_noise(status: PairStatus) -> list[Reason]:
    known = status.warp_check
    if not known or known["before"] - known["after"] < WARP_LOSS:
        return []
    return [
        Reason(
            "label_noise", LOOK,
            "The change may be segmentation noise: where classes changed, the fitted warp makes the first "
            f"scan less similar to the second (correlation {known['before']:.2f} before and "
            f"{known['after']:.2f} after).",
        )
    ]  # fmt: skip


def _unexplained(status: PairStatus) -> list[Reason]:
    found = []
    for name, c in (status.class_changes or {}).items():
        rest, mean = abs(c["unexplained_mm3"]), (c["before_mm3"] + c["after_mm3"]) / 2
        least = max(UNEXPLAINED_ML * ML, UNEXPLAINED_OF_CLASS * mean if c["kind"] != PATHOLOGY else 0.0)
        if c["kind"] != OUTSIDE and rest > max(least, UNEXPLAINED_SHARE * c["explained_mm3"]):
            change = _signed((c["after_mm3"] - c["before_mm3"]) / ML)
            found.append((rest, f"{name}, {_signed(c['unexplained_mm3'] / ML)} mL of {change} mL"))
    if not found:
        return []
    said = "; ".join(clause for _, clause in sorted(found, reverse=True)[:_SHOWN])
    more = f"; and {len(found) - _SHOWN} more classes" if len(found) > _SHOWN else ""
    return [Reason("unexplained", LOOK, f"A large part of the change is unexplained: {said}{more}.")]


def _not_compared(status: PairStatus) -> list[Reason]:
    share = status.compared_share
    if share is None or 1 - share < NOT_COMPARED_SHARE:
        return []
    sentence = not_compared(share, status.not_compared_mm3 or 0.0, status.not_shown_mm3 or {})
    return [Reason("not_compared", LOOK, sentence)]


def not_compared(share: float, lost_mm3: float, lacking_mm3: Mapping[str, float]) -> str:
    """The sentence on brain that is not compared; ``lacking_mm3`` is the volume outside each visit's view."""
    where = " and ".join(f"{name} ({mm3 / ML:.1f} mL)" for name, mm3 in lacking_mm3.items() if mm3 > 0)
    return (
        f"{lost_mm3 / ML:.1f} mL of the brain, {1 - share:.1%}, lie beyond or at the edge of the field of "
        f"view of {where or 'a visit'} and are not compared: no change is reported there."
    )


def _unfinished(status: PairStatus) -> list[Reason]:
    left = status.left_to_gain or 0.0
    if status.converged is not False or left < LEFT_TO_GAIN:
        return []
    return [
        Reason(
            "unfinished", LOOK,
            f"The fit was still improving when it ended after {status.evaluations} evaluations: about "
            f"{100 * left:.0f} % of what it explains may be missing. Raise max_evaluations.",
        )
    ]  # fmt: skip


def left_to_gain(gains: Sequence[float], before: float, after: float) -> float:
    """Expected further cost reduction, as a share of the reduction from ``before`` to ``after``.

    It extrapolates the last ``gains`` of accepted steps as a geometric series. The ratio is that of the last
    steps, limited to LEAST_RATIO to MOST_RATIO. The cost cannot become negative; with too few steps to
    estimate the ratio, the whole cost may remain to be gained.
    """
    last = [max(float(gain), 0.0) for gain in gains[-_LAST_GAINS:]]
    if before <= after:
        return 1.0
    most = min(after / (before - after), 1.0)
    if len(last) < 2:
        return most
    fall = (last[-1] / last[0]) ** (1 / (len(last) - 1)) if last[0] > 0 else 0.0
    ratio = min(max(fall, LEAST_RATIO), MOST_RATIO)
    return min(last[-1] * ratio / (1 - ratio) / (before - after), most)


LEAST_RATIO, MOST_RATIO, _LAST_GAINS = 0.8, 0.9, 4
"""For five pairs of the demo, stopped after 6 to 15 steps, this predicted 0.8 to 4 times the true gain."""


def _coarse_path(status: PairStatus) -> list[Reason]:
    drift = abs(status.drift or 0.0)
    if drift <= POOR_DRIFT:
        return []
    return [
        Reason(
            "drift", LOOK,
            "The fitted change was computed too coarsely in time: its energy, which should stay constant, "
            f"changes by {100 * drift:.1f} %, so the split is less certain. Set steps above "
            f"{status.steps or 0}.",
        )
    ]  # fmt: skip


def _folds(status: PairStatus) -> list[Reason]:
    folded = status.folded_share or 0.0
    if folded < FOLDED_SHARE:
        return []
    return [
        Reason(
            "folds", LOOK,
            f"The fitted warp folds over itself in {100 * folded:.2f} % of the voxels: do not resample with "
            "it there. A common cause is a control preset that does not suit the pair.",
        )
    ]  # fmt: skip


_CHECKS: tuple[Callable[[PairStatus], list[Reason]], ...] = (
    _label_noise,
    _unexplained,
    _not_compared,
    _unfinished,
    _coarse_path,
    _folds,
)

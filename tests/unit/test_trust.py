"""The verdict: its reasons, the most severe first, in plain words, once each."""

from __future__ import annotations

import copy
import json
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from longimorph.verdict import trust
from longimorph.verdict.status import PairStatus

GOOD: dict[str, Any] = {
    "status": "ok",
    "converged": True,
    "drift": 0.004,
    "steps": 20,
    "evaluations": 25,
    "folded_share": 0.0,
    "compared_share": 1.0,
    "not_compared_mm3": 0.0,
    "left_to_gain": 0.0,
    "likeness": {"correlation": 0.95, "brain_dice": 0.98, "kappa": 0.8},
    "warp_check": {"before": 0.88, "after": 0.90, "volume_ml": 40.0},
    "class_changes": {},
}
KINDS = {"GM": trust.TISSUE, "WM": trust.TISSUE, "ventricles": trust.FLUID, "lesion": trust.PATHOLOGY,
         "background": trust.OUTSIDE}  # fmt: skip


def status(**changes: Any) -> PairStatus:
    return PairStatus.of(copy.deepcopy(GOOD) | changes)


def volumes(**ml: tuple[float, float]) -> dict[str, dict[str, Any]]:
    """``class_changes`` of classes with a volume before and after, in mL, all of it deformation."""
    names = list(ml)
    before, after = np.array(list(ml.values())).T * 1000
    none = np.zeros(len(names))
    found = (before, after, after - before, none)
    return trust.class_changes(names, [KINDS[n] for n in names], found, np.zeros((len(names),) * 2))


def codes(told: PairStatus, days: float | None = 365.25) -> list[str]:
    return [reason.code for reason in trust.reasons(told, days)]


BRAIN = {"GM": (600.0, 598.0), "WM": (500.0, 501.0), "ventricles": (30.0, 31.0), "lesion": (5.0, 9.0)}
BAD: dict[str, dict[str, Any]] = {
    "person": {"likeness": {"correlation": 0.3, "brain_dice": 0.9, "kappa": 0.3}},
    "volume": {"class_changes": volumes(**BRAIN | {"GM": (600.0, 436.0)})},
    "label_noise": {"warp_check": {"before": 0.893, "after": 0.849, "volume_ml": 50.0}},
    "not_compared": {
        "compared_share": 0.9,
        "not_compared_mm3": 1.2e5,
        "not_shown_mm3": {"V1": 1.2e5, "V2": 0},
    },
    "unfinished": {"converged": False, "left_to_gain": 0.2},
    "drift": {"drift": 0.07},
    "folds": {"folded_share": 0.003},
}


def test_a_good_pair_is_trusted() -> None:
    told = status(class_changes=volumes(**BRAIN))
    found = trust.judged(told, 365)
    assert (found.verdict, found.verdict_reasons) == ("trust", [])


@pytest.mark.parametrize("code", BAD)
def test_each_fault_is_a_reason_once_in_plain_words(code: str) -> None:
    (reason,) = trust.reasons(status(**BAD[code]), 100)
    assert reason.code == code
    assert re.fullmatch(r"[A-Z0-9].*\.", reason.sentence)
    assert not re.search(r"\bH\b|kappa|nan|None", reason.sentence)


def test_the_gravest_come_first_and_the_form_is_fixed() -> None:
    told = status(**{k: v for bad in BAD.values() for k, v in bad.items()})
    found = trust.judged(told, 100)
    severities = [reason["severity"] for reason in found.verdict_reasons]
    assert found.verdict == "do not trust" == severities[0]
    assert severities == sorted(severities, key=["do not trust", "look"].index)
    names = [reason["code"] for reason in found.verdict_reasons]
    assert names[:2] == ["person", "volume"] and len(names) == len(set(names))
    assert all(set(reason) == {"code", "severity", "sentence"} for reason in found.verdict_reasons)
    assert json.loads(json.dumps(found.verdict_reasons)) == found.verdict_reasons


def test_a_pair_that_failed_and_one_of_which_nothing_is_known() -> None:
    assert trust.judged(PairStatus(status="fov"), 100) == PairStatus(status="fov")
    assert trust.judged(PairStatus(status="ok"), 100).verdict == "trust"
    assert trust.judged(PairStatus(status="ok", likeness={}, warp_check=None), 100).verdict == "trust"


def test_two_people_in_a_hundred_days() -> None:
    told = status(class_changes=volumes(GM=(600.0, 436.0)))
    assert trust.judged(told).verdict == "trust"  # no limit per year without dates
    found = trust.judged(told, 100)
    assert found.verdict == "do not trust"
    (reason,) = found.verdict_reasons
    assert reason["sentence"].startswith("Implausible change in 100 days (")
    assert "GM \u2212164.0 mL" in reason["sentence"]


@pytest.mark.parametrize("sign", [1, -1])
@pytest.mark.parametrize("name, plausible, look, never", [
    ("GM", 0.05, 0.25, 0.7),
    ("ventricles", 0.3, 0.7, 1.5),
])  # fmt: skip
def test_limits_hold_both_ways(name: str, plausible: float, look: float, never: float, sign: int) -> None:
    for share, expected in ((plausible, "trust"), (look, "look"), (never, "do not trust")):
        low, high = 100 * (1 - share / 2), 100 * (1 + share / 2)
        told = status(class_changes=volumes(**{name: (low, high)[::sign], "WM": (2000.0, 2000.0)}))  # type: ignore[arg-type]
        assert trust.judged(told, 365.25).verdict == expected


def test_more_time_allows_more_change() -> None:
    told = status(class_changes=volumes(GM=(600.0, 500.0), WM=(3000.0, 3000.0)))
    assert [trust.judged(told, days).verdict for days in (30, 5 * 365)] == ["look", "trust"]


def test_small_classes_lesions_and_background_have_no_limit() -> None:
    told = volumes(GM=(600.0, 600.0), WM=(0.5, 2.9), lesion=(1.0, 20.0), background=(900.0, 1800.0))
    assert codes(status(class_changes=told)) == []


def test_tissue_that_a_lesion_takes_is_not_held_against_it() -> None:
    """White matter loses 100 of 500 mL to oedema, and 100 mL of oedema go back."""
    names, kinds = ["WM", "GM", "lesion"], [trust.TISSUE, trust.TISSUE, trust.PATHOLOGY]
    before, after = np.array([5e5, 6e5, 1e4]), np.array([3.5e5, 6e5, 1.6e5])
    flows = np.zeros((3, 3))
    flows[0, 2] = 1.5e5
    for one, other, way in ((before, after, flows), (after, before, flows.T)):
        found = trust.class_changes(names, kinds, (one, other, np.zeros(3), other - one), way)
        assert found["WM"]["own_mm3"] == pytest.approx(0)
        assert codes(status(class_changes=found), 60) == []
    healthy = (before[:2], after[:2], np.zeros(2), after[:2] - before[:2])
    alone = trust.class_changes(names[:2], kinds[:2], healthy, np.zeros((2, 2)))
    assert codes(status(class_changes=alone), 60)[0] == "volume"


def rest(mean_ml: float, explained_ml: float, unexplained_ml: float, kind: str = trust.TISSUE) -> PairStatus:
    half = (explained_ml + unexplained_ml) / 2
    row = {"kind": kind, "before_mm3": 1e3 * (mean_ml - half), "after_mm3": 1e3 * (mean_ml + half)}
    row |= {"own_mm3": 0.0, "unexplained_mm3": 1e3 * unexplained_ml, "explained_mm3": 1e3 * explained_ml}
    return status(class_changes={"X": row} | volumes(WM=(2000.0, 2000.0)))


def test_what_stays_unexplained_is_told_beyond_the_noise() -> None:
    assert codes(rest(600, 4, 2)) == []  # 0.3 % of the class: within what any segmentation differs by
    assert codes(rest(600, 20, 12)) == ["unexplained"]
    assert codes(rest(600, 60, 12)) == []  # a fifth of what is explained
    assert codes(rest(10, 4, 2, trust.PATHOLOGY)) == ["unexplained"]
    assert codes(rest(900, 1, 99, trust.OUTSIDE)) == []


SAME, OTHER = trust.SAME_CORRELATION + 0.01, trust.OTHER_CORRELATION - 0.01
BETWEEN = (SAME + OTHER) / 2


@pytest.mark.parametrize("scans, labels, verdict", [
    (SAME, 0.8, "trust"), (SAME, 0.2, "trust"), (BETWEEN, 0.8, "look"), (BETWEEN, 0.2, "look"),
    (OTHER, 0.8, "look"), (OTHER, 0.2, "do not trust"), (OTHER, None, "do not trust"),
    (None, 0.8, "trust"), (None, 0.2, "look"), (None, None, "trust"),
])  # fmt: skip
def test_scans_and_labels_together_say_whether_it_is_one_person(
    scans: Any, labels: Any, verdict: str
) -> None:
    told = status(likeness={"correlation": scans, "brain_dice": 0.9, "kappa": labels})
    assert trust.judged(told).verdict == verdict


def test_classes_by_kind() -> None:
    assert trust.kind_of("lateral ventricles", False, False) == trust.FLUID
    assert trust.kind_of("csf", False, False) == trust.FLUID
    assert trust.kind_of("thalamus", False, False) == trust.TISSUE
    assert trust.kind_of("ventricle lesion", True, False) == trust.PATHOLOGY
    assert trust.kind_of("background", False, True) == trust.OUTSIDE


def test_what_is_left_to_gain_follows_the_last_steps() -> None:
    """A geometric series of ratio 0.85 has 0.85 / 0.15 of its last term still to come."""
    gains = [1000 * 0.85**n for n in range(8)]
    left = gains[-1] * 0.85 / 0.15
    assert trust.left_to_gain(gains, 1.1e5, 1e4) == pytest.approx(left / 1e5)
    assert trust.left_to_gain([5, 4, 3, 0.0], 1.1e5, 1e4) == 0


def test_no_more_is_left_to_gain_than_there_is() -> None:
    assert trust.left_to_gain([100, 100, 100], 1100, 100) == pytest.approx(0.1)  # all that it still costs
    assert trust.left_to_gain([100], 1100, 100) == pytest.approx(0.1)
    assert trust.left_to_gain([], 1000, 1000) == 1
    assert trust.left_to_gain([1, 1], 1000, 990) == pytest.approx(0.9)


def test_a_cap_that_is_met_is_told_only_when_it_matters() -> None:
    for left, expected in ((0.001, []), (0.3, ["unfinished"])):
        assert codes(status(converged=False, left_to_gain=left)) == expected
        assert codes(status(converged=True, left_to_gain=left)) == []


def test_the_documented_limits_are_those_of_the_code() -> None:
    text = (Path(__file__).parents[2] / "docs" / "outputs.md").read_text(encoding="utf-8")
    rows = {"brain": "the brain", "tissue": "a class of tissue", "fluid": "a class of fluid"}
    for kind, words in rows.items():
        known = [trust.LIMITS[kind][severity] for severity in ("look", "do not trust")]
        limits = [f"{fixed:g} % + {yearly:g} % a year" for fixed, yearly in known]
        (line,) = [line for line in text.splitlines() if line.startswith(f"| {words}")]
        assert line.endswith(f"| {' | '.join(limits)} |")
    part = text.split("### The verdict")[1].split("### Field of view")[0]
    same, other = f"{trust.SAME_CORRELATION:.2f}", f"{trust.OTHER_CORRELATION:.2f}"
    assert f"correlate by less than {other}" in part and f"correlate by less than {same}" in part
    assert f"(kappa {trust.SAME_KAPPA:.2f})" in part and f"less than kappa {trust.OTHER_KAPPA:.2f}" in part
    assert f"lower by {trust.WARP_LOSS:g} or more" in part
    assert f"explained {100 * trust.LEFT_TO_GAIN:g} % more" in part
    assert f"by more than {100 * trust.POOR_DRIFT:g} %" in part
    assert f"folds in {100 * trust.FOLDED_SHARE:g} % of" in part
    assert f"{100 * trust.NOT_COMPARED_SHARE:g} % of the brain or more" in part


@pytest.mark.parametrize("name", ["periventricular_wm", "Periventricular white matter", "insular sulcus"])
def test_tissue_beside_fluid_is_tissue(name):
    assert trust.kind_of(name, False, False) == trust.TISSUE


@pytest.mark.parametrize(
    "name", ["ventricles", "lateral_ventricle", "CSF", "cerebrospinal fluid", "cisterns"]
)
def test_fluid_is_known_by_its_name(name):
    assert trust.kind_of(name, False, False) == trust.FLUID


def test_with_dates_the_verdict_of_the_registration_gets_what_dates_say() -> None:
    """The same as if all had been judged at once."""
    for file_status in ({"drift": 0.2}, {"likeness": {"correlation": 0.3, "kappa": 0.3}, "drift": 0.2}):
        told = PairStatus.of({"status": "ok", **file_status, "class_changes": CHANGES})
        assert trust.dated(trust.judged(told), 100) == trust.judged(told, 100)
    assert trust.dated(PairStatus(status="fov"), 100).verdict is None


CHANGES = {
    "gm": {
        "kind": "tissue", "before_mm3": 6e5, "after_mm3": 3e5, "own_mm3": -3e5,
        "unexplained_mm3": 0.0, "explained_mm3": 3e5,
    }
}  # fmt: skip

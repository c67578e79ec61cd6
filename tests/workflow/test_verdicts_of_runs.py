"""The real steps on small heads: the verdict in the status of a pair."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from heads import Head, Patient, around_the_head, moved, status
from scipy import ndimage

from longimorph.verdict import trust

GRID = around_the_head((30, 36, 28), (3.0, 3.0, 3.0))


def folded(head: Head, person: int, visit: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Regions, states and image of a head whose grey matter is folded in a way of the person's own."""
    regions, states = head.labels(GRID)
    folds = ndimage.gaussian_filter(np.random.default_rng(person).normal(size=GRID.shape), 1.5)
    regions = np.where((regions == 1) & (folds > 0.3 * folds.std()), 2, regions)
    noise = np.random.default_rng(100 + visit).normal(0, 4, GRID.shape)
    image = np.array([5.0, 110, 70, 25])[regions] + 25 * states + noise
    return regions.astype(np.int16), states, image.astype(np.float32)


def visits(
    folder: Path, *people: int, heads: tuple[Head, ...] = (Head(12), Head(13)), **settings: Any
) -> Patient:
    usual: dict[str, Any] = {"reference": "none", "max_evaluations": 8}
    patient = Patient(folder, **usual | settings)
    for number, (person, head) in enumerate(zip(people, heads, strict=True)):
        regions, states, image = folded(head, person, number)
        patient.add(regions, states, GRID, image)
    return patient


def test_the_status_holds_a_verdict_and_the_numbers_behind_it(tmp_path: Path) -> None:
    told = status(visits(tmp_path, 1, 1).run())
    assert told["status"] == "ok"
    assert told["likeness"]["correlation"] > trust.SAME_CORRELATION
    assert "person" not in {reason["code"] for reason in told["verdict_reasons"]}
    assert told["class_changes"]["ventricles"]["kind"] == trust.FLUID
    assert told["class_changes"]["lesion"]["kind"] == trust.PATHOLOGY
    changed = {name: row["after_mm3"] - row["before_mm3"] for name, row in told["class_changes"].items()}
    assert changed["ventricles"] > 1000
    assert sum(changed.values()) == pytest.approx(0, abs=1)


def test_two_people_entered_as_one_patient_are_told_first(tmp_path: Path) -> None:
    told = status(visits(tmp_path, 1, 2).run())
    assert told["verdict"] == "do not trust"
    assert told["verdict_reasons"][0]["code"] == "person"
    assert told["verdict_reasons"][0]["sentence"] == told["warnings"][0]
    assert told["warnings"][0].startswith("The visits may not show the same person: ")


def test_a_pair_that_failed_has_no_verdict(tmp_path: Path) -> None:
    patient = visits(tmp_path, 1, heads=(Head(12),))
    patient.add(np.zeros(GRID.shape, np.int16), np.zeros(GRID.shape, np.uint8), GRID)
    told = status(patient.run())
    assert told["status"] == "no_brain"
    assert "verdict" not in told and "verdict_reasons" not in told


@pytest.mark.parametrize("cap, matters", [(1, True), (30, False)])
def test_the_cap_is_a_reason_only_where_it_matters(tmp_path: Path, cap: int, matters: bool) -> None:
    """No step is small enough to converge: the cap ends the fit, early or long after it has settled."""
    patient = Patient(tmp_path, reference="none", max_evaluations=cap, tolerance=1e-12, steps=5)
    for head in (Head(12), Head(14)):
        patient.add_head(head)
    told = status(patient.run())
    assert not told["converged"] and f"cap of {cap} evaluations" in told["stop_reason"]
    assert ("unfinished" in {reason["code"] for reason in told["verdict_reasons"]}) == matters
    assert any("max_evaluations" in sentence for sentence in told["warnings"]) == matters


def test_a_head_that_was_aligned_again_is_one_person(tmp_path: Path) -> None:
    patient = Patient(tmp_path, reference="midspace", max_evaluations=4)
    patient.add_head(Head(12), image=True)
    patient.add_head(Head(12, pose=moved([4, -6, 5], [5, -3, 4])), image=True)
    told = status(patient.run())
    assert "person" not in {reason["code"] for reason in told["verdict_reasons"]}

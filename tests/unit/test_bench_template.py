"""The benchmark of the registration to a template: overlaps and centres under a known transform, its page."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import pytest
import SimpleITK as sitk

REPOSITORY = Path(__file__).parents[2]
sys.path.insert(0, str(REPOSITORY))

from benchmarks import template as bench  # noqa: E402
from longimorph.alignment import to_template  # noqa: E402
from longimorph.alignment.to_template import TemplateFit  # noqa: E402
from longimorph.geometry.grid import Grid  # noqa: E402

PAGE = REPOSITORY / "docs" / "benchmarks" / "template.md"
SHIFT_MM = np.array([4.0, -2.0, 6.0])


def brain(offset: np.ndarray) -> bench.Brain:
    """Three blocks of labels, the third too small to count; ``offset`` moves them in RAS mm."""
    labels = np.zeros((16, 17, 18), dtype=np.int64)
    labels[2:6, 3:7, 4:8], labels[8:12, 9:13, 9:14], labels[13, 2, 3] = 1, 2, 3
    affine = np.diag([2.0, 2.0, 2.0, 1.0])
    affine[:3, 3] = offset
    return bench.Brain(labels.astype(float), labels, Grid(labels.shape, affine))


def moving(offset: np.ndarray) -> sitk.CompositeTransform:
    """Translations, the world of the template to that of the other in LPS mm: two that stand for the affine
    step, and one of 2 mm between them for the B-spline, which the offset includes.
    """
    bent = np.array([2.0, 0.0, 0.0])
    affine = offset - bent
    steps = (0.75 * affine, bent, 0.25 * affine)
    return sitk.CompositeTransform([sitk.TranslationTransform(3, (s * [-1, -1, 1]).tolist()) for s in steps])


def test_a_known_shift_is_measured(monkeypatch: pytest.MonkeyPatch) -> None:
    for error in (np.zeros(3), np.array([2.0, 0.0, 0.0])):
        found = TemplateFit(moving(SHIFT_MM + error), {})
        monkeypatch.setattr(to_template, "fit", lambda *_, found=found: found)
        fit = bench.measured(brain(np.zeros(3)), brain(SHIFT_MM), 1)
        np.testing.assert_allclose(fit.distances, [np.linalg.norm(error)] * 2, atol=1e-9)
        np.testing.assert_allclose(fit.dice, [0.75 if error.any() else 1.0] * 2)
        np.testing.assert_allclose(fit.affine_dice, [1.0 if error.any() else 0.75] * 2)


def test_what_leaves_the_other_brain_overlaps_with_nothing() -> None:
    fit = bench.overlaps(brain(np.zeros(3)), brain(np.zeros(3)), moving(np.full(3, 500.0)), np.array([1, 2]))
    np.testing.assert_array_equal(fit, [0.0, 0.0])


def test_without_scans_it_says_what_is_missing(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert bench.main(["--data", str(tmp_path), "--out", str(tmp_path / "page.md")]) == 1
    assert "--data names their folder" in "".join(capsys.readouterr())
    assert not (tmp_path / "page.md").exists()


def test_the_table_has_a_row_per_brain() -> None:
    fit = bench.Fit(np.arange(11.0), np.array([0.5, 0.7]), np.array([0.4, 0.5]))
    assert bench.table({"IXI1-X": fit}).splitlines()[2:] == ["| IXI1 | 11 | 5.0 | 9.0 | 10.0 | 0.60 | 0.45 |"]


def test_the_page_is_of_this_benchmark() -> None:
    text = PAGE.read_text(encoding="utf-8")
    assert "make bench-template" in text
    assert bench.TEXT.split("{template}")[0].split("registered")[0] in text
    assert len([line for line in text.splitlines() if line.startswith("| IXI")]) == 4

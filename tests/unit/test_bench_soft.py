"""The benchmark of soft segmentations: its simulated segmenter, its tables and its page."""

from __future__ import annotations

import re
import sys
from pathlib import Path

import numpy as np
import pytest
from scipy import ndimage

REPOSITORY = Path(__file__).parents[2]
sys.path.insert(0, str(REPOSITORY))

from benchmarks import soft as bench  # noqa: E402
from benchmarks import soft_texts  # noqa: E402
from benchmarks.phantoms import labels, maps  # noqa: E402
from benchmarks.soft import FLIPPED, LABELS, SOFT, SoftRun  # noqa: E402

PAGE = REPOSITORY / "docs" / "benchmarks" / "soft.md"


def shares(seed: int) -> np.ndarray:
    """Random blobs of three classes, (3, i, j, k), each voxel of one class."""
    rng = np.random.default_rng(seed)
    fields = [ndimage.gaussian_filter(rng.normal(size=(24, 22, 20)), 3) for _ in range(3)]
    return np.eye(3, dtype=np.float32)[np.argmax(fields, axis=0)].transpose(3, 0, 1, 2)


@pytest.mark.parametrize("seed", range(3))
def test_the_segmenter_keeps_volumes_without_noise_and_errs_with_it(seed: int) -> None:
    whole = shares(seed)
    quiet = labels.posteriors(whole, 0.0, np.random.default_rng(seed))
    np.testing.assert_allclose(quiet.sum(axis=0), 1, atol=1e-5)
    np.testing.assert_allclose(quiet.sum(axis=(1, 2, 3)), whole.sum(axis=(1, 2, 3)), rtol=1e-3)
    wrong = []
    for noise in (0.0, 0.2, 0.4):
        noisy = labels.posteriors(whole, noise, np.random.default_rng(9))
        wrong.append(labels.flipped_share(quiet.argmax(axis=0), noisy.argmax(axis=0)))
    assert wrong[0] == 0 < wrong[1] < wrong[2] < 0.5


def test_both_kinds_of_input_come_from_the_same_posteriors() -> None:
    """On the demo's anatomy: alike but for mixed voxels, volumes within a percent, as noisy as truth.md."""
    hard, soft, wrong = maps.make_segmented("oedema15", 4, 0)
    assert abs(wrong - maps.FLIPPED_SHARE) < 0.01
    for one, other in ((hard.source, soft.source), (hard.target, soft.target)):
        np.testing.assert_allclose(other.sum(axis=0), 1, atol=1e-4)
        assert np.abs(one - other).max() > 0.1 and np.abs(one - other).mean() < 0.02
    expected = soft.truth.volume_to
    found = soft.target.sum(axis=(1, 2, 3), dtype=np.float64) * soft.grid.voxel_volume
    big = expected > 1000
    np.testing.assert_allclose(found[big][:-1], expected[big][:-1], rtol=0.01)


def run(kind: str, error: float, noisy: bool = True, width: float = 1.0) -> SoftRun:
    return SoftRun("both", kind, noisy, width, error, 2 * error, 3 * error, 5.0 if noisy else 0.0)


def test_the_tables_show_medians_and_ranges() -> None:
    runs = [run(SOFT, error) for error in (1.0, 3.0, 2.0)] + [run(LABELS, 9.0, noisy=False)]
    table = bench.inputs(runs)
    assert f"| both | {SOFT} | 5.0 % | 2.0 % (1.0 to 3.0) | 4.0 % | 6.0 % |" in table
    assert f"| both | {LABELS} | 0.0 % | 9.0 % (9.0 to 9.0) | 18.0 % | 27.0 % |" in table
    runs += [run(SOFT, 0.5, width=0.0), run(FLIPPED, 8.0, width=0.0)]
    assert "| both | 0.5 % (0.5 to 0.5) | 2.0 % (1.0 to 3.0) |" in bench.widths(runs)


def test_the_page_is_what_the_program_writes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The page in the repository has the texts of the program, every case, and as many rows."""
    noisy = [(FLIPPED, 1.0), (LABELS, 1.0), (SOFT, 0.0), (SOFT, 0.5), (SOFT, 1.0)]

    def measured(case: str, seeds: int) -> list[SoftRun]:
        runs = [SoftRun(case, kind, True, width, 1.0, 1.0, 1.0, 5.0) for kind, width in noisy]
        return runs + [SoftRun(case, kind, False, 1.0, 1.0, 1.0, 1.0, 0.0) for kind in (LABELS, SOFT)]

    monkeypatch.setattr(bench, "measured", measured)
    assert bench.main(["--out", str(tmp_path / "soft.md")]) == 0
    made, kept = (tmp_path / "soft.md").read_text(), PAGE.read_text(encoding="utf-8")

    def form(text: str) -> str:
        return re.sub(r"\d+(\.\d+)?", "N", text.split("\n", 4)[4])

    assert form(made) == form(kept)
    assert soft_texts.WIDTHS in kept and all(f"| {case} | {SOFT} |" in kept for case in bench.CASES)

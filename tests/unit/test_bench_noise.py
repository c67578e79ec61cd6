"""The benchmark of the noise floor: its random cases, its tables and its page."""

from __future__ import annotations

import re
import sys
from pathlib import Path

import numpy as np

REPOSITORY = Path(__file__).parents[2]
sys.path.insert(0, str(REPOSITORY))

from benchmarks import noise as bench  # noqa: E402
from benchmarks import noise_texts  # noqa: E402
from benchmarks.noise import ALL, USUAL, NoisyRun  # noqa: E402
from benchmarks.phantoms import cases  # noqa: E402

PAGE = REPOSITORY / "docs" / "benchmarks" / "noise.md"


def run(anatomy: str, case: str, held: list[bool], kind: str = USUAL, error: float = 3.0) -> NoisyRun:
    """A run of two classes; the reallocation of the second has no noise."""
    errors, noise = np.full((2, 2), error), np.array([[4.0, 4.0], [4.0, 0.5]])
    return NoisyRun(anatomy, case, kind, errors, noise, np.array([held[:2], held[2:]]), 2 * errors)


def test_coverage_counts_only_numbers_that_noise_can_change() -> None:
    runs = [run("a", "null", [True, False, True, False]), run("b", "both", [True] * 4)]
    runs.append(run("b", "both", [False] * 4, "flipped 10 %"))
    assert bench.coverage(runs, ["a", "b"]).splitlines()[2:] == [
        f"| null | {USUAL} | 67 % |  | 67 % | 3 |",
        f"| both | {USUAL} |  | 100 % | 100 % | 3 |",
        "| both | flipped 10 % |  | 0 % | 0 % | 3 |",
        f"| {ALL} | {USUAL} | 67 % | 100 % | 83 % | 6 |",
    ]


def test_spreads_compare_what_was_measured_with_its_estimate() -> None:
    runs = [
        run("a", "null", [True] * 4),
        run("a", "null", [True] * 4, error=9.0),
        run("a", "both", [True] * 4),
    ]
    lines = bench.spreads(runs).splitlines()[2:]
    assert lines == [f"| a | {USUAL} | {np.sqrt(90):.0f} | {np.sqrt(32):.0f} | 50 % |"]


def test_errors_stand_beside_those_of_the_matrix_alone() -> None:
    runs = [run("a", "both", [True] * 4, error=3.0), run("b", "both", [True] * 4, error=4.0)]
    (line,) = bench.sizes(runs).splitlines()[2:]
    own = np.sqrt((9 + 16) / 2)
    assert line == f"| both | {USUAL} | {own:.0f} | {2 * own:.0f} |"


def test_random_cases_are_drawn_by_their_number() -> None:
    assert cases.named("random3") == cases.named("random3") != cases.named("random4")
    for seed in range(20):
        case = cases.drawn(seed)
        assert 1 <= case.ventricles <= 1.4 and case.oedema_ml is not None and max(case.oedema_ml) <= 20


def test_the_page_is_that_of_the_program() -> None:
    page = PAGE.read_text(encoding="utf-8")
    for text in (noise_texts.COVERAGE.format(least=bench.LEAST_MM3), noise_texts.ERRORS, noise_texts.FLOORS):
        assert text in page
    assert re.search(rf"\| \*\*all\*\* \| {re.escape(USUAL)} \|", page)

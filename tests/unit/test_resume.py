"""A registration interrupted at any moment continues to bitwise the same result, from complete files."""

from __future__ import annotations

import json
import os
import re
import signal
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from small_problems import ball_maps, random_maps, settings

from longimorph.errors import Interrupted
from longimorph.numerics import solve
from longimorph.numerics.journal import OptimiserState
from longimorph.numerics.memory_strategies import BY_NAME, Ladder
from longimorph.numerics.objective import evaluate
from longimorph.numerics.register import Registration, register
from longimorph.numerics.run import Run
from longimorph.resuming import resumable_run
from longimorph.resuming.resumable_run import ResumableRun
from longimorph.resuming.state import NAME, fingerprint

Evaluate = Callable[..., Any]


def balls() -> tuple[torch.Tensor, ...]:
    """Far apart, so that the run takes more steps on its way; two levels, three dimensions, float64."""
    places = ((6.0, 7.2, 4.8), (11.0, 7.2, 4.8))
    source, target = (ball_maps((20, 12, 8), (1.0, 1.2, 1.2), [(centre, 3.0)]) for centre in places)
    return source, target, torch.full((2, 2), 0.999, dtype=torch.float64)


def noise() -> tuple[torch.Tensor, ...]:
    """Random maps of four classes in three dimensions, float32."""
    generator = torch.Generator().manual_seed(4)
    source, other = (random_maps(generator, 4, (9, 8, 10)).float() for _ in range(2))
    control = 0.05 + 0.9 * torch.rand(4, 4, generator=generator)
    return source, 0.7 * source + 0.3 * other, control


@dataclass
class Problem:
    """A registration that can be broken off at its k-th evaluation of a gradient; ``rows`` as in a step."""

    maps: tuple[torch.Tensor, ...]
    spacing: tuple[float, ...]
    chosen: solve.Settings
    strategy: str = "checkpoint"
    rows: list[dict[str, float]] = field(default_factory=list)
    evaluations: int = 0

    def run(self, journal: ResumableRun | None = None) -> Registration:
        """One attempt, in a process of its own as far as its rows are concerned."""

        def report(spacing: float, iteration: Any) -> None:
            said = (spacing, iteration.number, iteration.evaluations, iteration.evaluation.cost)
            self.rows.append(dict(zip(("spacing", "number", "evaluations", "cost"), said, strict=True)))

        ladder = Ladder([BY_NAME[self.strategy]])
        if journal is None:
            return register(*self.maps, self.spacing, self.chosen, Run(report, ladder))  # type: ignore[arg-type, call-arg]
        with journal:
            return register(*self.maps, self.spacing, self.chosen, Run(report, ladder, journal))  # type: ignore[arg-type, call-arg]


PROBLEMS = {
    "more steps on the way": lambda: Problem(
        balls(), (1.0, 1.2, 1.2), settings(steps=None, max_evaluations=10, tolerance=1e-9)
    ),
    "float32, vectors on the host": lambda: Problem(
        noise(), (1.0, 1.0, 1.0), settings(kernel_mm=(1.2,), max_evaluations=12, tolerance=1e-9), "nested"
    ),
    "it converges": lambda: Problem(noise(), (1.0, 1.0, 1.0), settings(kernel_mm=(1.2,), tolerance=0.2)),
}


STRIDE = dict.fromkeys(PROBLEMS, 1) | {"more steps on the way": 3}
"""Of the evaluations at which each is broken off: the first has some twenty, and they take longest."""


@pytest.fixture
def break_off(
    monkeypatch: pytest.MonkeyPatch,
) -> Iterator[Callable[[Problem, int, BaseException | int], None]]:
    """Make a problem's k-th evaluation from now on raise an error, or send this process a signal."""

    def arrange(problem: Problem, at: int, how: BaseException | int) -> None:
        problem.evaluations = 0

        def evaluated(*arguments: Any) -> Any:
            problem.evaluations += 1
            if problem.evaluations == at:
                if isinstance(how, BaseException):
                    raise how
                os.kill(os.getpid(), how)
            return evaluate(*arguments)

        monkeypatch.setattr(solve, "evaluate", evaluated)

    yield arrange


def same(found: Registration, expected: Registration) -> None:
    """To the bit, in whatever a registration says."""
    assert torch.equal(found.momentum, expected.momentum)
    assert torch.equal(found.attribution.deformation, expected.attribution.deformation)
    for name in ("steps", "drift", "mismatch_after", "energy", "evaluations", "converged", "reason"):
        assert getattr(found, name) == getattr(expected, name), name


def attempt(problem: Problem, folder: Path, key: str = "key") -> tuple[Registration, ResumableRun]:
    problem.rows.clear()
    journal = ResumableRun(folder, key, problem.rows)
    return problem.run(journal), journal


@pytest.mark.parametrize("name", PROBLEMS)
def test_broken_off_at_any_evaluation_it_ends_with_the_same_bits(
    name: str, tmp_path: Path, break_off: Any
) -> None:
    problem = PROBLEMS[name]()
    break_off(problem, 0, 0)
    expected = problem.run()
    rows, count = list(problem.rows), problem.evaluations
    assert count > 6
    for at in range(1, count + 1, STRIDE[name]):
        folder = tmp_path / str(at)
        break_off(problem, at, Interrupted("stop"))
        with pytest.raises(Interrupted):
            attempt(problem, folder)
        break_off(problem, 0, 0)
        found, journal = attempt(problem, folder)
        same(found, expected)
        assert problem.rows == rows, at
        assert journal.attempts == 2
        assert problem.evaluations <= count - at + 6, "what was done is not done again"
        journal.delete()
        assert not folder.exists()


def test_broken_off_again_and_again(tmp_path: Path, break_off: Any) -> None:
    problem = PROBLEMS["more steps on the way"]()
    expected = problem.run()
    rows, attempts = list(problem.rows), 0
    while True:
        break_off(problem, 8, Interrupted("stop"))
        attempts += 1
        try:
            found, journal = attempt(problem, tmp_path / "resume")
            break
        except Interrupted:
            assert attempts < 30
    same(found, expected)
    assert problem.rows == rows
    assert journal.attempts == attempts > 2


@pytest.mark.parametrize("at", [2, 9, 20])
def test_what_is_saved_on_the_clock_outlives_a_kill(
    tmp_path: Path, break_off: Any, monkeypatch: pytest.MonkeyPatch, at: int
) -> None:
    monkeypatch.setattr(resumable_run, "SAVE_SECONDS", 0.0)
    monkeypatch.setattr(resumable_run, "SAVE_SHARE", 1e9)
    problem = PROBLEMS["more steps on the way"]()
    expected = problem.run()
    break_off(problem, at, SystemExit("killed"))
    with pytest.raises(SystemExit):
        attempt(problem, tmp_path / "resume")
    break_off(problem, 0, 0)
    found, journal = attempt(problem, tmp_path / "resume")
    same(found, expected)
    assert journal.attempts == 2
    named = re.findall(r"\d{5}\.npy", (tmp_path / "resume" / "state.json").read_text(encoding="utf-8"))
    vectors = [file.name for file in (tmp_path / "resume").glob("*.npy")]
    assert sorted(vectors) == sorted(set(named)), "vectors that no state names are deleted"


def test_between_saves_on_the_clock_nothing_is_written(tmp_path: Path, break_off: Any) -> None:
    problem = PROBLEMS["it converges"]()
    break_off(problem, 3, SystemExit("killed"))
    with pytest.raises(SystemExit):
        attempt(problem, tmp_path / "resume")
    assert not (tmp_path / "resume").exists()


def test_a_state_of_something_else_is_not_used(tmp_path: Path, break_off: Any) -> None:
    problem = PROBLEMS["it converges"]()
    expected = problem.run()
    break_off(problem, 5, Interrupted("stop"))
    with pytest.raises(Interrupted):
        attempt(problem, tmp_path / "resume", fingerprint("these inputs"))
    break_off(problem, 0, 0)
    found, journal = attempt(problem, tmp_path / "resume", fingerprint("other inputs"))
    same(found, expected)
    assert (journal.attempts, problem.evaluations) == (1, found.evaluations)


def test_a_fingerprint_is_that_of_inputs_settings_and_code(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    from longimorph import numerics

    first = fingerprint(settings(), [[0.5]], ["aa"])
    assert first == fingerprint(settings(), [[0.5]], ["aa"])
    others = [
        fingerprint(settings(tolerance=0.1), [[0.5]], ["aa"]),
        fingerprint(settings(), [[0.4]], ["aa"]),
        fingerprint(settings(), [[0.5]], ["bb"]),
    ]
    (tmp_path / "optimise.py").write_text("changed")
    monkeypatch.setattr(numerics, "__path__", [str(tmp_path)])
    others.append(fingerprint(settings(), [[0.5]], ["aa"]))
    assert len({first, *others}) == 5


@pytest.mark.parametrize("damage", ["a vector is gone", "half a file", "another file"])
def test_a_state_that_is_not_whole_is_not_used(tmp_path: Path, break_off: Any, damage: str) -> None:
    problem = PROBLEMS["it converges"]()
    expected = problem.run()
    folder = tmp_path / "resume"
    break_off(problem, 5, Interrupted("stop"))
    with pytest.raises(Interrupted):
        attempt(problem, folder)
    if damage == "a vector is gone":
        next(folder.glob("*.npy")).unlink()
    else:
        text = (folder / NAME).read_text()
        (folder / NAME).write_text(text[: len(text) // 2] if damage == "half a file" else "[]")
    break_off(problem, 0, 0)
    found, journal = attempt(problem, folder)
    same(found, expected)
    assert journal.attempts == 1


def test_a_disk_that_takes_nothing_ends_no_registration(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, break_off: Any
) -> None:
    problem = PROBLEMS["more steps on the way"]()
    expected = problem.run()
    (tmp_path / "file").write_text("")
    with caplog.at_level("WARNING"):
        found, _ = attempt(problem, tmp_path / "file" / "resume")
    same(found, expected)
    assert caplog.text.count("cannot be saved") == 1
    break_off(problem, 5, Interrupted("stop"))
    with pytest.raises(Interrupted):
        attempt(problem, tmp_path / "file" / "resume")


# --- signals -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("number", resumable_run.SIGNALS)
def test_a_signal_saves_the_state_and_is_told(tmp_path: Path, break_off: Any, number: int) -> None:
    before = signal.getsignal(number)
    problem = PROBLEMS["more steps on the way"]()
    expected = problem.run()
    break_off(problem, 7, number)
    with pytest.raises(Interrupted, match=rf"{signal.Signals(number).name} after \d iterations"):
        attempt(problem, tmp_path / "resume")
    assert signal.getsignal(number) is before
    break_off(problem, 0, 0)
    found, _ = attempt(problem, tmp_path / "resume")
    same(found, expected)


def test_a_signal_waits_until_a_step_is_noted(tmp_path: Path) -> None:
    rows: list[dict[str, float]] = []
    journal = ResumableRun(tmp_path / "resume", "key", rows)
    reached = []
    with pytest.raises(Interrupted), journal:
        with journal.uninterruptible():
            with journal.uninterruptible():
                os.kill(os.getpid(), signal.SIGUSR1)
                reached.append(1)
            reached.append(2)
        reached.append(3)
    assert reached == [1, 2]


def test_outside_of_the_registration_signals_do_what_they_did(tmp_path: Path) -> None:
    heard = []
    old = signal.signal(signal.SIGUSR1, lambda *_: heard.append(1))
    try:
        with ResumableRun(tmp_path / "resume", "key", []):
            pass
        os.kill(os.getpid(), signal.SIGUSR1)
        assert heard == [1]
    finally:
        signal.signal(signal.SIGUSR1, old)


def test_another_thread_registers_without_signals(tmp_path: Path) -> None:
    problem = PROBLEMS["it converges"]()
    expected, found = problem.run(), []
    worker = threading.Thread(target=lambda: found.append(attempt(problem, tmp_path / "resume")[0]))
    worker.start()
    worker.join()
    same(found[0], expected)


# --- size --------------------------------------------------------------------------------------------------


def test_a_state_is_as_large_as_its_vectors(tmp_path: Path) -> None:
    """Two vectors and two for each kept pair, of one map each; a second save writes what is new."""

    @dataclass(eq=False)
    class Vector:
        values: torch.Tensor

        def get(self) -> torch.Tensor:
            return self.values

        cpu = get

    def vector() -> Vector:
        return Vector(torch.randn(4, 10, 10, 10))

    pairs = [(vector(), vector(), 1.0) for _ in range(8)]
    last = evaluate_of_nothing()
    folder = tmp_path / "resume"
    journal = ResumableRun(folder, "key", [])
    journal.on_step(OptimiserState(vector(), vector(), pairs, last, 1e-3, 3e-4, 8, 9, 0, False))
    journal.save()
    one_map = 4 * 1000 * 4
    assert sum(f.stat().st_size for f in folder.iterdir()) == pytest.approx(18 * one_map, rel=0.02)
    times = {file.name: file.stat().st_mtime_ns for file in folder.glob("*.npy")}
    pairs = [*pairs[1:], (vector(), vector(), 1.0)]
    journal.on_step(OptimiserState(vector(), vector(), pairs, last, 1e-3, 3e-4, 9, 10, 0, False))
    journal.save()
    now = {file.name: file.stat().st_mtime_ns for file in folder.glob("*.npy")}
    assert len(now) == 18 and len(set(now) - set(times)) == 4
    assert all(times[name] == now[name] for name in set(now) & set(times))
    again = ResumableRun(folder, "key", [])
    known = again.begin()
    assert isinstance(known, OptimiserState) and known.number == 9
    for (s, _, _), (t, _, _) in zip(known.pairs, pairs, strict=True):
        assert torch.equal(s.get(), t.get())
    assert json.loads((folder / NAME).read_text())["key"] == "key"
    assert np.load(next(folder.glob("*.npy"))).dtype == np.float32


def evaluate_of_nothing() -> Any:
    from longimorph.numerics.objective import Evaluation

    return Evaluation(1.0, 0.5, 0.25, torch.empty(0))

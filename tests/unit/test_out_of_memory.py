"""Running out of memory costs no iteration: the next strategy, or the next attempt, continues."""

from __future__ import annotations

import errno
import random
from pathlib import Path
from typing import Any

import pytest
import torch
from small_problems import random_maps, settings
from torch.utils._python_dispatch import TorchDispatchMode

from longimorph.numerics import register as module
from longimorph.numerics.memory_strategies import CHECKPOINT, HOST, NESTED, STORE, Ladder, out_of_memory
from longimorph.numerics.register import Registration, register
from longimorph.numerics.run import Run
from longimorph.resuming.resumable_run import ResumableRun
from longimorph.resuming.state import StateFiles

SPELLINGS = [
    torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 20.00 MiB"),
    RuntimeError("CUDA error: out of memory\nCUDA kernel errors might be asynchronously reported"),
    RuntimeError("CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling `cublasCreate(handle)`"),
    RuntimeError("CUDA error: CUBLAS_STATUS_NOT_INITIALIZED when calling `cublasCreate(handle)`"),
    RuntimeError("cusolver error: CUSOLVER_STATUS_ALLOC_FAILED, when calling `cusolverDnCreate(handle)`"),
    RuntimeError("cuDNN error: CUDNN_STATUS_ALLOC_FAILED"),
    RuntimeError("cuFFT error: CUFFT_ALLOC_FAILED out of memory"),
    RuntimeError("[enforce fail at alloc_cpu.cpp:117] DefaultCPUAllocator: can't allocate memory: 8 bytes"),
    RuntimeError("cudaErrorMemoryAllocation"),
    MemoryError("Unable to allocate 3.00 GiB for an array"),
    OSError(errno.ENOMEM, "Cannot allocate memory"),
]
OTHERS = [
    RuntimeError("CUDA error: an illegal memory access was encountered"),
    RuntimeError("The size of tensor a (3) must match the size of tensor b (4)"),
    RuntimeError("CUDA error: CUBLAS_STATUS_EXECUTION_FAILED when calling `cublasSgemm(...)`"),
    OSError(errno.ENOSPC, "No space left on device"),
    ValueError("out of memory"),
    KeyError("can't allocate memory"),
]


@pytest.mark.parametrize("error", SPELLINGS, ids=str)
def test_every_spelling_is_known(error):
    assert out_of_memory(error)


@pytest.mark.parametrize("error", OTHERS, ids=str)
def test_no_other_error_is_taken_for_it(error):
    assert not out_of_memory(error)


class RunsOut(TorchDispatchMode):
    """Memory runs out at the operation of this number (once, or at it and all that follow)."""

    def __init__(self, at: int, error: Exception, for_good: bool = False) -> None:
        super().__init__()
        self.count, self._at, self._error, self._for_good = 0, at, error, for_good

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        self.count += 1
        if self.count == self._at or (self._for_good and self.count > self._at):
            raise self._error
        return func(*args, **(kwargs or {}))


def problem(steps: int | None = None) -> tuple[Any, ...]:
    """Two levels; unless it is given, the number of steps is chosen by the run."""
    generator = torch.Generator().manual_seed(4)
    source, other = (random_maps(generator, 3, (16, 15, 15)).float() for _ in range(2))
    control = 0.999 + 0.0009 * torch.rand(3, 3, generator=generator)  # not cheap: a coarser level comes first
    chosen = settings(kernel_mm=(3.0,), amplitude_mm=4.0, steps=steps, max_evaluations=4, tolerance=1e-9)
    return source, 0.6 * source + 0.4 * other, control, (1.0, 1.0, 1.0), chosen


def run(
    ladder: Ladder, told: list[tuple[float, int]], mode: Any, journal: Any = None, steps: int | None = None
) -> Registration:
    def report(spacing: float, iteration: Any) -> None:
        told.append((spacing, iteration.number))

    with mode:
        return register(*problem(steps), Run(report, ladder, journal))  # type: ignore[call-arg]


def same(found: Registration, expected: Registration) -> None:
    assert torch.equal(found.momentum, expected.momentum)
    assert torch.equal(found.attribution.deformation, expected.attribution.deformation)
    assert torch.equal(found.warps.forward, expected.warps.forward)
    assert torch.equal(found.warps.inverse, expected.warps.inverse)
    assert torch.equal(found.warps.log_jacobian, expected.warps.log_jacobian)
    assert torch.equal(found.uncertainty.deformation, expected.uncertainty.deformation)
    assert (found.drift, found.evaluations) == (expected.drift, expected.evaluations)
    assert found.mismatch_before == expected.mismatch_before
    assert found.mismatch_after == expected.mismatch_after


NEVER = 10**9


@pytest.fixture(scope="module")
def undisturbed():
    told: list[tuple[float, int]] = []
    mode = RunsOut(NEVER, SPELLINGS[0])
    found = run(Ladder([STORE]), told, mode)
    assert len({spacing for spacing, _ in told}) == 2
    return found, told, mode.count


@pytest.mark.parametrize("seed", range(8))
def test_wherever_it_runs_out_the_result_is_the_same_a_rung_lower(undisturbed, seed):
    expected, heard, operations = undisturbed
    at = random.Random(seed).randrange(1, operations + 1)
    told, downs = [], []  # type: ignore[var-annotated]
    ladder = Ladder([STORE, CHECKPOINT, HOST], lambda *rungs: downs.append(rungs))
    found = run(ladder, told, RunsOut(at, SPELLINGS[seed % len(SPELLINGS)]))
    assert downs == [(STORE, CHECKPOINT)], f"memory ran out at operation {at} of {operations}"
    assert told == heard
    same(found, expected)


@pytest.mark.parametrize("share", [0.3, 0.55, 0.8, 0.98])
def test_on_the_last_rung_the_next_attempt_goes_on_from_there(undisturbed, tmp_path: Path, share: float):
    expected, heard, operations = undisturbed
    told: list[tuple[float, int]] = []
    mode = RunsOut(int(share * operations), SPELLINGS[1], for_good=True)
    state = tmp_path / "state"
    with pytest.raises(RuntimeError, match="out of memory"), ResumableRun(state, "key", []) as journal:
        run(Ladder([NESTED]), told, mode, journal)
    first = len(told)
    assert 0 < first <= len(heard)
    with ResumableRun(state, "key", []) as journal:
        found = run(Ladder([NESTED]), told, RunsOut(NEVER, SPELLINGS[0]), journal)
    assert told == heard, f"{first} iterations before memory ran out are not made again"
    torch.testing.assert_close(found.momentum, expected.momentum, rtol=1e-4, atol=1e-6)


def test_where_nothing_can_be_saved_any_more_the_earlier_state_stays(tmp_path: Path, monkeypatch):
    """Memory may run out while the state is written, too; that is no fault of the disk."""
    told: list[tuple[float, int]] = []
    state = tmp_path / "state"
    journal = ResumableRun(state, "key", [])
    with pytest.raises(KeyboardInterrupt), journal:
        run(Ladder([NESTED]), told, RunsOut(20_000, KeyboardInterrupt()), journal)  # type: ignore[arg-type]
    journal.save()
    before = {file.name: file.read_bytes() for file in state.iterdir()}
    assert "state.json" in before
    with pytest.raises(RuntimeError, match="out of memory"), ResumableRun(state, "key", []) as journal:
        monkeypatch.setattr(StateFiles, "write", fails)
        run(Ladder([NESTED]), told, RunsOut(8_000, SPELLINGS[1], for_good=True), journal)
    after = {file.name: file.read_bytes() for file in state.iterdir()}
    assert {name: after.get(name) for name in before} == before


def fails(*_: Any) -> None:
    raise OSError(errno.ENOMEM, "Cannot allocate memory")


@pytest.mark.parametrize(
    ("name", "steps"), [("uncertainty", None), ("drift", 4), ("mismatch", None), ("attribute", None)]
)
def test_after_the_optimum_memory_may_run_out_too(monkeypatch, name, steps):
    """The drift is looked for then only where the number of steps is given."""
    heard: list[tuple[float, int]] = []
    expected = run(Ladder([STORE]), heard, RunsOut(NEVER, SPELLINGS[0]), steps=steps)
    work, calls = getattr(module, name), []

    def fails_once(*args: Any) -> Any:
        calls.append(name)
        if len(calls) == 1:
            raise SPELLINGS[2]
        return work(*args)

    monkeypatch.setattr(module, name, fails_once)
    told: list[tuple[float, int]] = []
    found = run(Ladder([STORE, CHECKPOINT]), told, RunsOut(NEVER, SPELLINGS[0]), steps=steps)
    assert len(calls) == 2 and told == heard
    same(found, expected)

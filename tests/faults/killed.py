"""Steps that are killed while they write, or whose disk fails, each in its own process."""

from __future__ import annotations

import os
import resource
import signal
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import nibabel as nib
import numpy as np

from longimorph.io.volumes import read_maps
from longimorph.stages.visits import read_json
from longimorph.tables import columns

Work = Callable[[], object]


def in_child(work: Work, kill_after: float | None = None) -> int:
    """Do the work in a child of this process and return how that ended, as ``os.waitpid`` tells it; the
    child is killed if it still runs after so many seconds."""
    child = os.fork()
    if child == 0:
        status = 1
        try:
            work()
            status = 0
        finally:
            os._exit(status)
    if kill_after is not None:
        time.sleep(kill_after)
        os.kill(child, signal.SIGKILL)  # it waits for its parent, so its number is still its own
    return os.waitpid(child, 0)[1]


def killed_at(write: int, after: bool) -> Callable[[Work], Work]:
    """Make work that dies by SIGKILL just before, or just after, its ``write``-th file takes its place."""

    def deadly(work: Work) -> Work:
        def doomed() -> None:
            real, count = os.replace, 0

            def replace(source: object, target: object) -> None:
                nonlocal count
                count += 1
                if count == write and not after:
                    os.kill(os.getpid(), signal.SIGKILL)
                real(source, target)  # type: ignore[arg-type]
                if count == write:
                    os.kill(os.getpid(), signal.SIGKILL)

            os.replace = replace  # type: ignore[assignment]
            work()

        return doomed

    return deadly


def was_killed(status: int) -> bool:
    """Whether a child ended by SIGKILL; an error of its own would be a fault of the test."""
    assert os.WIFSIGNALED(status) or os.WEXITSTATUS(status) == 0
    return os.WIFSIGNALED(status)


@contextmanager
def files_no_larger_than(size: int) -> Iterator[None]:
    """As on a disk that is nearly full: no file of this process grows beyond ``size`` bytes."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


def whole(folder: Path) -> list[str]:
    """Read every file below ``folder`` that has its final name; return the names."""
    found = []
    for file in sorted(path for path in folder.rglob("*") if path.is_file()):
        if file.name.startswith(".tmp-") or "resume" in file.parts:
            continue
        if file.name.endswith(".nii.gz"):
            if file.name == "simplex.nii.gz":
                assert np.allclose(read_maps(file)[0].sum(0), 1, atol=1e-5), file
            assert np.isfinite(np.asarray(nib.load(file).dataobj)).all(), file  # type: ignore[attr-defined]
        elif file.suffix == ".json":
            assert read_json(file), file
        elif file.suffix == ".csv":
            assert len(columns.read_table(file).columns) > 3 and file.read_text().endswith("\n"), file
        found.append(str(file.relative_to(folder)))
    return found

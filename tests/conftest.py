"""For all tests: this file's folder is put on the import path, because tests share modules in it."""

from __future__ import annotations

import importlib.util
import os
import shutil
import signal
from pathlib import Path

import pytest

NO_SLURM = Path(__file__).parent / "no_slurm"


def pytest_configure() -> None:
    """Draw the same random inputs in each run, and hide a SLURM that this machine may have, except from the
    tests that start one of their own. What the tests start hears Ctrl-C, even where they run in the
    background of a shell, which ignores it.
    """
    if signal.getsignal(signal.SIGINT) == signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)
    if importlib.util.find_spec("hypothesis"):  # the tests on a GPU do without
        from hypothesis import settings

        settings.register_profile("same", derandomize=True)
        settings.register_profile("other", settings.get_profile("default"))
        settings.load_profile(os.environ.get("LONGIMORPH_TEST_DRAWS", "same"))
    places = os.environ.get("PATH", "").split(os.pathsep)
    own_cluster = os.environ.get("LONGIMORPH_TEST_CLUSTER")
    if own_cluster is None and shutil.which("sinfo") and str(NO_SLURM) not in places:
        os.environ["PATH"] = os.pathsep.join([str(NO_SLURM), *places])


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Skip what takes minutes unless it is asked for."""
    if os.environ.get("LONGIMORPH_TEST_FAULTS"):
        return
    for item in items:
        if item.get_closest_marker("long"):
            item.add_marker(pytest.mark.skip(reason="takes minutes: make test-faults"))

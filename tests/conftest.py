"""For all tests: this file's folder is put on the import path, because tests share modules in it."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import pytest
from hypothesis import settings

settings.register_profile("same", derandomize=True)
settings.register_profile("other", settings.get_profile("default"))
settings.load_profile(os.environ.get("LONGIMORPH_TEST_DRAWS", "same"))
"""Random inputs are the same at each run, so that a run fails for what changed alone; with
LONGIMORPH_TEST_DRAWS=other they are others.
"""

NO_SLURM = Path(__file__).parent / "no_slurm"


def pytest_configure() -> None:
    """Hide a SLURM that this machine may have, except from the tests that start one of their own."""
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

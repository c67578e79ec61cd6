"""Tests on a real SLURM cluster: ``make test-slurm`` starts one and runs them."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import pytest

HERE = Path(__file__).parent
CLUSTER = os.environ.get("LONGIMORPH_TEST_CLUSTER")

sys.path.insert(0, str(HERE.parent / "workflow"))  # the tiny cohort


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Skip these tests where nobody has started a cluster for them."""
    if CLUSTER is None:
        for item in items:
            if item.path.is_relative_to(HERE):
                item.add_marker(pytest.mark.skip(reason="needs a SLURM cluster: make test-slurm"))


@pytest.fixture(scope="session", autouse=True)
def cluster() -> None:
    """Talk to the cluster of the tests, and to no other."""
    if CLUSTER is not None:
        os.environ["SLURM_CONF"] = str(Path(CLUSTER) / "slurm.conf")

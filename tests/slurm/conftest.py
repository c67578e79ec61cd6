"""Tests on a real SLURM cluster: ``make test-slurm`` starts one and runs them."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

HERE = Path(__file__).parent
CLUSTER = os.environ.get("LONGIMORPH_TEST_CLUSTER")

sys.path.insert(0, str(HERE.parent / "workflow"))  # the tiny cohort


WAITING = ("test_interruptions", "test_resumed")
"""Tests that mostly wait, for time limits and in the queue: they begin first, others use the processors."""
LONGEST = 1800
"""Seconds for a test: a hang is noticed long before, by the stillness of its folder."""


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Skip these tests where nobody has started a cluster for them."""
    for item in items:
        if item.path.is_relative_to(HERE):
            item.add_marker(pytest.mark.timeout(LONGEST))
            if CLUSTER is None:
                item.add_marker(pytest.mark.skip(reason="needs a SLURM cluster: make test-slurm"))
    if CLUSTER is not None:
        items.reverse()  # whole runs before the page's commands, which take a moment
        items.sort(key=lambda item: item.path.stem not in WAITING)


@pytest.fixture(scope="session", autouse=True)
def cluster() -> None:
    """Talk to the cluster of the tests, and to no other."""
    if CLUSTER is not None:
        os.environ["SLURM_CONF"] = str(Path(CLUSTER) / "slurm.conf")


@pytest.fixture(autouse=True)
def nothing_is_left(cluster: None) -> Iterator[None]:
    """End what a test has started, also where it fails."""
    yield
    if CLUSTER is not None:
        from on_cluster import end_all

        end_all()

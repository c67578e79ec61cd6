"""Installations: from a wheel, with Conda, in a container. They take long: ``make test-faults``."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import pytest

HERE = Path(__file__).parent
sys.path.insert(0, str(HERE.parent / "workflow"))


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Skip what takes long unless it is asked for."""
    if os.environ.get("LONGIMORPH_TEST_FAULTS"):
        return
    for item in items:
        if item.path.is_relative_to(HERE) and item.get_closest_marker("long"):
            item.add_marker(pytest.mark.skip(reason="takes minutes: make test-faults"))

"""A registration still gives its stored results (pair.py describes how to renew them).

All in float64. The tolerance is 1e-8 of the largest value of each array: inputs changed by 1e-15 of their
values change the results by 1e-13, and so does another order of summation; a change of the equations or of
the optimiser shows far above.
"""

from __future__ import annotations

import numpy as np
import pytest
from pair import STORED, computed

pytestmark = pytest.mark.filterwarnings("error")

TOLERANCE = 1e-8
STORED_NAMES = sorted(np.load(STORED).files)


@pytest.fixture(scope="module")
def again():
    return computed()


def test_the_same_results_are_stored_as_are_computed(again):
    assert sorted(again) == STORED_NAMES


@pytest.mark.parametrize("name", STORED_NAMES)
def test_a_registration_gives_what_it_gave_before(again, name):
    stored = np.load(STORED)[name]
    assert again[name].shape == stored.shape
    np.testing.assert_allclose(again[name], stored, rtol=0, atol=TOLERANCE * np.abs(stored).max())


def test_the_stored_results_show_a_growing_ball_and_a_new_one():
    stored = np.load(STORED)
    assert stored["deformation_mm3"][1] > 5 * abs(stored["reallocation_mm3"][1])
    assert stored["reallocation_mm3"][2] > 3 * abs(stored["deformation_mm3"][2])

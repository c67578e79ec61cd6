"""The stage adds its name to what makes a visit or a pair unusable."""

from __future__ import annotations

import pickle
from pathlib import Path

import pytest

from longimorph.errors import PairFailure, Unusable
from longimorph.io.volumes import read_labels
from longimorph.stages.failing import failing


def test_the_stage_that_reads_is_the_one_that_fails(tmp_path: Path) -> None:
    with pytest.raises(PairFailure) as caught, failing("register"):
        read_labels(tmp_path / "none.nii.gz")
    assert (caught.value.stage, caught.value.code, caught.value.timepoint) == ("register", "missing", None)
    assert str(tmp_path / "none.nii.gz") in caught.value.message
    assert str(caught.value) == f"register: missing: {caught.value.message}"


def test_the_failure_of_an_earlier_stage_keeps_its_name() -> None:
    earlier = PairFailure("align", "metric", "The visits do not agree.", "m6")
    with pytest.raises(PairFailure) as caught, failing("maps"):
        raise earlier
    assert caught.value is earlier


@pytest.mark.parametrize(
    "error", [Unusable("fov", "Too little."), PairFailure("maps", "fov", "Too little.", "m6")]
)
def test_a_worker_can_send_it(error: Unusable) -> None:
    sent = pickle.loads(pickle.dumps(error))
    assert type(sent) is type(error) and vars(sent) == vars(error) and str(sent) == str(error)

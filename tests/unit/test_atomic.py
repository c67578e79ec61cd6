"""A file is complete or absent, whatever happens while it is written."""

from __future__ import annotations

import json
from pathlib import Path

import nibabel as nib
import numpy as np
import pandas as pd
import pytest

from longimorph.io.atomic import atomic_path, write_csv, write_json, write_text


def test_target_appears_only_at_the_end(tmp_path: Path) -> None:
    target = tmp_path / "new" / "deep" / "a.txt"
    with atomic_path(target) as temporary:
        temporary.write_text("half")
        assert not target.exists()
        assert temporary.parent == target.parent
    assert target.read_text() == "half"
    assert [p.name for p in target.parent.iterdir()] == ["a.txt"]


@pytest.mark.parametrize("error", [ValueError, KeyboardInterrupt])
def test_failure_keeps_the_earlier_file(tmp_path: Path, error: type[BaseException]) -> None:
    target = tmp_path / "a.txt"
    write_text(target, "before")
    with pytest.raises(error), atomic_path(target) as temporary:
        temporary.write_text("broken")
        raise error
    assert target.read_text() == "before"
    assert [p.name for p in tmp_path.iterdir()] == ["a.txt"]


def test_a_writer_that_writes_nothing_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError), atomic_path(tmp_path / "a.txt"):
        pass
    assert list(tmp_path.iterdir()) == []


def test_suffix_chooses_the_format(tmp_path: Path) -> None:
    target = tmp_path / "a.nii.gz"
    with atomic_path(target) as temporary:
        nib.save(nib.Nifti1Image(np.ones((2, 2, 2), np.uint8), np.eye(4)), temporary)
    assert target.read_bytes()[:2] == b"\x1f\x8b"
    assert nib.Nifti1Image.from_filename(target).shape == (2, 2, 2)


def test_json_has_no_nan_and_keeps_order(tmp_path: Path) -> None:
    data = {"z": float("nan"), "a": np.float32(0.5), "m": [np.inf, np.arange(2)], "p": Path("x/y"), "t": (1,)}
    write_json(tmp_path / "a.json", data)
    text = (tmp_path / "a.json").read_text()
    assert "NaN" not in text and "Infinity" not in text
    read = json.loads(text)
    assert read == {"z": None, "a": 0.5, "m": [None, [0, 1]], "p": "x/y", "t": [1]}
    assert list(read) == ["z", "a", "m", "p", "t"]


def test_json_refuses_what_it_cannot_hold(tmp_path: Path) -> None:
    with pytest.raises(TypeError):
        write_json(tmp_path / "a.json", {"a": object()})
    assert list(tmp_path.iterdir()) == []


def test_csv_round_trip_is_exact(tmp_path: Path) -> None:
    table = pd.DataFrame({"class": ["WM", "a,b"], "mm3": [0.1 + 0.2, np.nan]})
    write_csv(tmp_path / "a.csv", table)
    assert (tmp_path / "a.csv").read_bytes() == b'class,mm3\nWM,0.30000000000000004\n"a,b",\n'
    pd.testing.assert_frame_equal(pd.read_csv(tmp_path / "a.csv"), table, check_exact=True)

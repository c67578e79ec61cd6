"""The status of a pair in memory, and as a file that older and newer versions read."""

from __future__ import annotations

import json
from dataclasses import fields
from pathlib import Path

import pytest

from longimorph.verdict.status import PairStatus, read_status, status_or

REPOSITORY = Path(__file__).parents[2]
FAILED = {"patient": "P", "from": "A", "to": "B", "status": "fov", "stage": "register", "message": "No.",
          "timepoint": None, "seconds": 1.0, "attempts": 1}  # fmt: skip
DONE = {"patient": "P", "from": "A", "to": "B", "compared_share": 1.0, "status": "ok", "stage": None,
        "message": "", "converged": False, "drift": 0.0, "warp_check": None, "warnings": []}  # fmt: skip


@pytest.mark.parametrize("content", [FAILED, DONE])
def test_the_file_keeps_its_keys_and_their_order(content: dict[str, object]) -> None:
    assert list(PairStatus.of(content).to_dict().items()) == list(content.items())


def test_results_of_an_older_version_lack_keys_and_have_others(tmp_path: Path) -> None:
    (tmp_path / "status.json").write_text(json.dumps({"status": "ok", "foretold": 3}))
    assert read_status(tmp_path) == PairStatus(status="ok")


@pytest.mark.parametrize("text", [None, "{", "[1]"])
def test_a_file_that_cannot_be_read_leaves_what_is_known_otherwise(tmp_path: Path, text: str | None) -> None:
    if text is not None:
        (tmp_path / "status.json").write_text(text)
    assert status_or(tmp_path, PairStatus(message="missing")).message == "missing"


def test_every_key_is_documented() -> None:
    text = (REPOSITORY / "docs" / "outputs.md").read_text(encoding="utf-8")
    keys = {"source": "from", "target": "to"}
    assert not [f.name for f in fields(PairStatus) if f"`{keys.get(f.name, f.name)}`" not in text]

"""Interpretation of SLURM's answers, and the messages if there is none."""

from __future__ import annotations

import sys
import types
from pathlib import Path

import pytest

from longimorph.orchestration import slurm

CONFIG = "Configuration data as of now\nMessageTimeout          = 10 sec\nMinJobAge               = {} sec\n"


def answering(folder: Path, command: str, text: str, status: int = 0) -> None:
    """Put a command into ``folder`` that says ``text``."""
    path = folder / command
    path.write_text(f"#!/bin/sh\necho '{text}'\nexit {status}\n")
    path.chmod(0o755)


@pytest.fixture
def commands(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder of commands, the only ones that are found."""
    folder = tmp_path / "bin"
    folder.mkdir()
    monkeypatch.setenv("PATH", str(folder))
    return folder


def test_jobs_of_a_folder_are_named_with_what_they_wait_for(tmp_path: Path) -> None:
    listing = (
        f"44|RUNNING|None|{tmp_path}|rule_register_wildcards_P001_V1__V2\n"
        f"45|PENDING|Resources|{tmp_path}/.|rule_prepare_P002_align_maps\n"
        "46|RUNNING|None|/elsewhere|rule_align_wildcards_P001\n"
        "slurm_load_jobs: a line of another kind\n"
    )
    found = slurm.of_folder(listing, tmp_path)
    assert [str(job) for job in found] == [
        "44 register P001_V1__V2: RUNNING",
        "45 prepare_P002_align_maps: PENDING (Resources)",
    ]


def test_jobs_that_may_be_waited_for_in_vain_are_told(tmp_path: Path) -> None:
    states = (
        ("1", "RUNNING", "None"),
        ("2", "PENDING", "Priority"),
        ("3", "PENDING", "JobHeldAdmin"),
        ("4", "PENDING", "launch failed requeued held"),
        ("5", "PENDING", "PartitionTimeLimit"),
        ("6", "PREEMPTED", "None"),
        ("7", "COMPLETED", "None"),
    )
    listing = "".join(f"{n}|{state}|{why}|{tmp_path}|rule_a_wildcards_P1\n" for n, state, why in states)
    found = slurm.of_folder(listing, tmp_path)
    assert [job.number for job in found if job.advice] == ["3", "4", "5", "6"]
    lines = slurm.told(found)
    assert lines[0] == "in SLURM: 1 running, 4 pending, 1 preempted"
    assert lines[1].startswith("  3 a P1: PENDING (JobHeldAdmin): held: scontrol release 3, or scancel 3")
    assert "Ctrl-C" in lines[4]


def test_no_slurm_and_no_answer_are_none(commands: Path) -> None:
    assert slurm.queued(Path.cwd()) is None
    assert slurm.min_job_age() is None
    answering(commands, "squeue", "slurm_load_jobs error: Unable to contact slurm controller", status=1)
    answering(commands, "scontrol", "", status=1)
    assert slurm.queued(Path.cwd()) is None
    assert slurm.min_job_age() is None


def test_a_slurm_that_forgets_too_soon_is_told(commands: Path) -> None:
    answering(commands, "scontrol", CONFIG.format(300))
    assert slurm.min_job_age() == 300
    assert slurm.memory_problem(300) is None
    assert "MinJobAge = 60 s" in (slurm.memory_problem(60) or "")


def test_the_plugin_asks_once(commands: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    plugin = types.ModuleType("snakemake_executor_plugin_slurm")
    plugin.__dict__["get_min_job_age"] = lambda: None
    monkeypatch.setitem(sys.modules, plugin.__name__, plugin)
    assert "scontrol ping" in (slurm.settle_plugin() or "")
    answering(commands, "scontrol", CONFIG.format(300))
    assert slurm.settle_plugin() is None
    answering(commands, "scontrol", "", status=1)
    assert plugin.get_min_job_age() == 300


def test_the_plugin_still_has_what_is_settled() -> None:
    plugin = pytest.importorskip("snakemake_executor_plugin_slurm")
    assert callable(plugin.get_min_job_age)

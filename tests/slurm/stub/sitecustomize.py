"""The stub steps of the workflow's tests, which here also write down that they ran, and fail as a test wants.

A file ``faults/RULE-PATIENT[-NAME]`` in the working folder says how a job behaves: ``wait`` until the file is
gone, which a signal ends; ``stubborn`` to wait for ever and heed no signal; ``fail``; ``memory MB`` to hold
that much for a while, and to note what was asked for. ``ran.txt`` gets a line per job that began, one per job
that ended well, and one per signal that a job got.
"""

from __future__ import annotations

import functools
import importlib.util
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any


def _workflow_stub() -> ModuleType:
    path = Path(__file__).parents[2] / "workflow" / "stub" / "sitecustomize.py"
    spec = importlib.util.spec_from_file_location("workflow_stub", path)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def _name(rule: str, subject: Any) -> str:
    if isinstance(subject, str):
        return f"{rule}-{subject}"
    visit = subject.get("timepoint") or f"{subject['from']}__{subject['to']}"
    return f"{rule}-{subject['patient']}-{visit}"


def _note(*words: object) -> None:
    with Path("ran.txt").open("a") as file:
        file.write("\t".join(map(str, words)) + "\n")


def _signalled(name: str, number: int, frame: object) -> None:
    _note("signal", name, signal.Signals(number).name)
    sys.exit(1)


def _memory() -> str:
    """Return how much memory SLURM gives this job, as SLURM writes it."""
    show = ["scontrol", "show", "job", os.environ["SLURM_JOB_ID"]]
    shown = subprocess.run(show, capture_output=True, text=True, check=True).stdout
    return shown.partition("MinMemoryNode=")[2].split()[0]


def _behave(name: str) -> None:
    fault = Path("faults", name)
    words = fault.read_text().split() if fault.exists() else []
    if words[:1] == ["wait"]:
        for number in (signal.SIGTERM, signal.SIGUSR1):
            signal.signal(number, functools.partial(_signalled, name))
        while fault.exists():
            time.sleep(0.1)
    elif words[:1] == ["stubborn"]:
        for number in (signal.SIGTERM, signal.SIGUSR1):
            signal.signal(number, signal.SIG_IGN)
        time.sleep(3600)
    elif words[:1] == ["memory"]:
        _note("asked", name, _memory())
        held = bytearray(b"x") * (int(words[1]) * 1_000_000)
        time.sleep(3)  # long enough for a cluster that looks once a second
        print("held", len(held))
    elif words[:1] == ["fail"]:
        raise RuntimeError("a fault that the test asked for")


def _noted(rule: str, step: Callable[..., None]) -> Callable[..., None]:
    def run(subject: Any, *arguments: Any, **options: Any) -> None:
        name = _name(rule, subject)
        card = os.environ.get("CUDA_VISIBLE_DEVICES", "-")
        _note("began", name, os.environ.get("SLURM_JOB_ID"), card, os.getpid())
        _behave(name)
        step(subject, *arguments, **options)
        _note("ended", name, os.environ.get("SLURM_JOB_ID"))

    return run


_stub = _workflow_stub()
for _rule in ("align", "maps", "register", "figure"):
    setattr(sys.modules[f"longimorph.stages.{_rule}"], _rule, _noted(_rule, getattr(_stub, _rule)))

"""The benchmark on a graphics card, as far as a processor can try it."""

from __future__ import annotations

from dataclasses import replace

import torch

from benchmarks import gpu, gpu_parts, gpu_problems
from benchmarks.traffic import counted
from benchmarks.truth_runs import defaults, numerical
from longimorph.numerics import passes
from longimorph.numerics.objective import evaluate

FLOAT = 4


def test_without_a_device_it_says_so_and_writes_nothing(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert gpu.main(["--out", str(tmp_path / "gpu.md")]) == 0
    assert "no CUDA device" in capsys.readouterr().out
    assert list(tmp_path.iterdir()) == []


def test_the_parts_run_on_a_processor(tmp_path):
    out = tmp_path / "gpu.md"
    assert gpu.main(["--device", "cpu", "--quick", "--parts", "agreement", "times", "--out", str(out)]) == 0
    text = out.read_text(encoding="utf-8")
    assert text.count("| reached |") == 4
    assert "| 16 × 14 × 12 × 3 | `checkpoint` |" in text


def test_the_settings_are_a_studys_defaults():
    assert numerical(defaults()) == gpu_problems.DEFAULTS


def test_traffic_of_operations():
    a, b = torch.ones(10, 20), torch.ones(20, 30)
    with counted(whole_passes=False) as meter:
        a + a
        a[2:].T.reshape(160)[:4]
    assert meter.bytes == 3 * 200 * FLOAT + 2 * 160 * FLOAT
    with counted(whole_passes=False) as meter:
        a @ b
    assert meter.bytes == (200 + 600 + 300) * FLOAT
    assert meter.flops == 2 * 10 * 20 * 30


def test_traffic_of_a_whole_pass():
    shape = (3, 6, 5, 4)
    q = p = alloc = torch.full(shape, 0.5)
    per_mm = torch.full((3, 1, 1, 1), 0.5)
    with counted(whole_passes=True) as meter:
        passes.density(q, p, alloc, per_mm)
    assert meter.bytes == (3 * 3 + 1 + 3) * 120 * FLOAT + 3 * FLOAT


def test_fused_passes_move_less_than_operations_one_by_one():
    pair = gpu_problems.random_pair((12, 10, 8), 3)
    settings = replace(gpu_problems.DEFAULTS, steps=2)
    momentum, matching = gpu_problems.posed(pair, settings, torch.device("cpu"))
    found = []
    for whole in (True, False):
        with counted(whole) as meter:
            evaluate(momentum, matching)
        found.append(meter.bytes)
    assert 2 * found[0] < found[1]


def test_a_registration_that_takes_too_long_is_said_to(monkeypatch):
    impatient = replace(gpu_parts.QUICK, patience=-1.0)
    assert "**Not finished**" in gpu_parts.registration(impatient, torch.device("cpu"))

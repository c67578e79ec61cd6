"""A graphics card: the CPU's numbers, memory, time beside what the memory's speed allows, a registration.

python -m benchmarks.gpu                         everything on the CUDA device (under 10 minutes)
python -m benchmarks.gpu --device cpu --quick    small sizes on a processor, to see that everything works

Needs torch and numpy alone: from the root, with PYTHONPATH=src where longimorph is not installed.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import torch

from benchmarks import gpu_parts, report
from benchmarks.gpu_parts import FULL, QUICK, Sizes
from longimorph.io import atomic

ROOT = Path(__file__).parents[1]
OUT = ROOT / "docs" / "benchmarks" / "gpu.md"
QUICK_OUT = ROOT / "build" / "gpu-quick.md"
METHOD = """Random smooth maps; float32. D is the size of one probability map of all classes, N the number of
steps.

"""
PARTS: dict[str, tuple[str, Callable[[Sizes, torch.device], str]]] = {
    "agreement": ("The numbers of the processor", gpu_parts.agreement),
    "times": ("One cost and gradient", gpu_parts.times),
    "profile": ("Where the time goes", gpu_parts.profile),
    "registration": ("A registration of full size", gpu_parts.registration),
    "memory": ("Memory by strategy", gpu_parts.memory),
}


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure part by part; the report is written anew after each."""
    options = _parser().parse_args(arguments)
    if options.device == "cuda" and not torch.cuda.is_available():
        report.say("PyTorch sees no CUDA device here: nothing was measured, and nothing written.")
        return 0
    torch.set_flush_denormal(True)
    device, sizes = torch.device(options.device), QUICK if options.quick else FULL
    out = options.out or (OUT if options.device == "cuda" and not options.quick else QUICK_OUT)
    text = report.heading("Graphics card", "make bench-gpu", torch.get_num_threads())
    text += f"Device: {gpu_parts.name_of(device)}. {METHOD}"
    for name in options.parts:
        title, part = PARTS[name]
        began = time.perf_counter()
        text += f"## {title}\n\n{part(sizes, device)}\n"
        out.parent.mkdir(parents=True, exist_ok=True)
        atomic.write_text(out, text)
        report.say(f"{text[text.rindex('## ') :]}({time.perf_counter() - began:.0f} s)")
    report.say(f"Report: {out}")
    return 0


def _parser() -> argparse.ArgumentParser:
    summary = (__doc__ or "").splitlines()[0]
    parser = argparse.ArgumentParser(prog="python -m benchmarks.gpu", description=summary)
    parser.add_argument("--device", choices=("cuda", "cpu"), default="cuda")
    parser.add_argument("--quick", action="store_true", help="small sizes, to see that everything works")
    parser.add_argument("--parts", nargs="+", choices=tuple(PARTS), default=tuple(PARTS), help="default: all")
    parser.add_argument("--out", type=Path, help=f"by default {OUT.relative_to(ROOT)}")
    return parser


if __name__ == "__main__":
    sys.exit(main())

"""A GPU in less than ten minutes: speed, numbers, memory, and a registration of full size.

python -m benchmarks.gpu                         everything on the CUDA device
python -m benchmarks.gpu --device cpu --quick    small sizes on a CPU, to see that everything works

The headline comes first. Each part has a budget and fails alone; each row is on the disk before the next is
measured, also in the folder that the environment variable BENCH_OUT names. Needs torch, numpy, scipy and
pytest alone: from the root, with PYTHONPATH=src where longimorph is not installed.
"""

from __future__ import annotations

import argparse
import os
import random
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from benchmarks.gpu_schedule import Part

ROOT = Path(__file__).parents[1]
OUT = ROOT / "docs" / "benchmarks" / "gpu.md"
QUICK_OUT = ROOT / "build" / "gpu-quick.md"
DEADLINE_S = 540
"""After this many seconds nothing new begins, and what is under way is cut short."""
PARTS = {
    "headline": ("Headline", "gpu_headline:headline", 50),
    "passes": ("Each pass over the volume", "gpu_passes:speeds", 15),
    "slabs": ("The size of a slab", "gpu_slabs:sweep", 30),
    "agreement": ("The same numbers", "gpu_agreement:agreement", 30),
    "memory": ("Memory by strategy", "gpu_memory:by_strategy", 60),
    "within": ("A registration within 8 GiB", "gpu_registration:within_8_gib", 60),
    "registration": ("A registration of full size", "gpu_registration:gentle", 130),
    "profile": ("Where the time goes", "gpu_profile:kernels", 10),
    "tests": ("The tests that need a GPU", "gpu_tests:tests", 35),
}
"""By name, in their order: title, where it is, and its budget in seconds; seven minutes in all.

What an H100 should take, reckoned and not measured: 26 + 6 + 20 + 12 + 15 + 40 + 45 + 6 + 25 = 195 s. Counted
with slabs of 64 MiB, one cost and gradient at full size (N = 10) has 37,000 launches and moves 3.7 TB with
`store`, 49,000 and 4.9 TB with `checkpoint`; at 5 microseconds a launch and 3 TB/s that is 1.4 and 1.9 s.
"""


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure part by part; 1 when a part failed."""
    began, options = time.monotonic(), _parser().parse_args(arguments)
    import torch

    from benchmarks import gpu_card, report
    from benchmarks.gpu_record import Record
    from benchmarks.gpu_schedule import run_all
    from benchmarks.gpu_sizes import FULL, QUICK

    if options.device == "cuda" and not torch.cuda.is_available():
        report.say("PyTorch sees no CUDA device here: nothing was measured, and nothing written.")
        return 0
    torch.set_flush_denormal(True)
    device = torch.device(options.device, 0)  # the limit on a GPU's memory asks for a number
    sizes = QUICK if options.quick else FULL
    record = Record(_paths(options), options.seed)
    record.write(report.heading("GPU", "make bench-gpu", torch.get_num_threads()))
    record.write(f"Device: {gpu_card.name_of(device)}. Float32 unless said otherwise.\n\n")
    with gpu_card.by_the_formulas():
        failed = run_all(_parts(options), record, sizes, device, began + options.deadline)
    record.write(f"{time.monotonic() - began:.0f} s in all; failed: {', '.join(failed) or 'none'}.\n")
    report.say(f"Report: {', '.join(map(str, record.paths))}")
    return 1 if failed else 0


def _paths(options: argparse.Namespace) -> list[Path]:
    """The report files: its usual place and the caller's folder."""
    whole = options.device == "cuda" and not options.quick and set(options.parts) == set(PARTS)
    usual = OUT if whole else QUICK_OUT
    folder = os.environ.get("BENCH_OUT")
    return [options.out or usual, *([Path(folder) / "gpu.md"] if folder else [])]


def _parts(options: argparse.Namespace) -> list[Part]:
    from benchmarks.gpu_schedule import Part

    return [
        Part(name, title, f"benchmarks.{work}", seconds * options.budgets)
        for name, (title, work, seconds) in PARTS.items()
        if name in options.parts
    ]


def _parser() -> argparse.ArgumentParser:
    summary = (__doc__ or "").splitlines()[0]
    parser = argparse.ArgumentParser(prog="python -m benchmarks.gpu", description=summary)
    parser.add_argument("--device", choices=("cuda", "cpu"), default="cuda")
    parser.add_argument("--quick", action="store_true", help="small sizes, to see that everything works")
    parser.add_argument("--parts", nargs="+", choices=tuple(PARTS), default=list(PARTS), help="default: all")
    parser.add_argument("--out", type=Path, help=f"by default {OUT.relative_to(ROOT)}; for less, in build")
    new = random.SystemRandom().randrange(1 << 30)
    parser.add_argument("--seed", type=int, default=new, help="of the problems drawn; default: new")
    parser.add_argument("--deadline", type=float, default=DEADLINE_S, help="seconds in all (%(default)s)")
    parser.add_argument("--budgets", type=float, default=1.0, help="factor on the budget of each part")
    return parser


if __name__ == "__main__":
    sys.exit(main())

"""How far threads shorten one cost and gradient, beside what the machine itself gains from them.

Two limits are measured in the same run with one copy of a loop per thread: arithmetic on values that stay in
the cache, and a sum of arrays that are read from memory. Where two threads share a core, or a core alone
saturates the memory, more threads bring little, whatever the program.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
import torch

from longimorph.cores import usable_cores
from longimorph.numerics.compiling import compiled

CACHED, STREAMED = 2048, 8_000_000
"""Numbers in an array that stays in the cache, and in one that does not."""


def counts() -> list[int]:
    """1, 2, 4, 8 threads, as far as there are cores."""
    return [n for n in (1, 2, 4, 8) if n <= usable_cores()]


def table(work: Callable[[], object], repeats: int) -> str:
    """Times as fast with each number of threads: ``work``, arithmetic in the cache, sums from memory."""
    rows = {name: _gains(measure) for name, measure in _measures(work, repeats).items()}
    head = "| threads | " + " | ".join(rows) + " |\n|" + " --- |" * (len(rows) + 1) + "\n"
    lines = [
        f"| {threads} | " + " | ".join(f"{gains[place]:.2f}" for gains in rows.values()) + " |"
        for place, threads in enumerate(counts())
    ]
    return head + "\n".join(lines) + "\n"


def _measures(work: Callable[[], object], repeats: int) -> dict[str, Callable[[int], float]]:
    """Seconds for the work of one thread, by the number of threads among which it is divided."""

    def divided(threads: int) -> float:
        torch.set_num_threads(threads)
        work()
        return _median(work, repeats)

    return {
        "one cost and gradient": divided,
        "arithmetic in the cache": lambda n: _each(n, CACHED, 2_000_000, repeats),
        "sums from memory": lambda n: _each(n, STREAMED, 10, repeats),
    }


def _gains(seconds: Callable[[int], float]) -> list[float]:
    used = torch.get_num_threads()
    try:
        measured = [seconds(threads) for threads in counts()]
    finally:
        torch.set_num_threads(used)
    return [measured[0] / one for one in measured]


def _each(threads: int, size: int, rounds: int, repeats: int) -> float:
    """Seconds per copy of a loop, of which every thread runs one."""
    arrays = [[np.ones(size, np.float32) for _ in range(3)] for _ in range(threads)]
    with ThreadPoolExecutor(threads) as pool:

        def run() -> None:
            list(pool.map(lambda three: _sum(*three, rounds), arrays))

        run()
        return _median(run, repeats) / threads


@compiled
def _sum(a: Any, b: Any, c: Any, rounds: int) -> None:
    """a = b + a c, ``rounds`` times."""
    for _ in range(rounds):
        for i in range(a.size):
            a[i] = b[i] + a[i] * c[i]


def _median(work: Callable[[], object], repeats: int) -> float:
    seconds = []
    for _ in range(repeats):
        began = time.perf_counter()
        work()
        seconds.append(time.perf_counter() - began)
    return statistics.median(seconds)

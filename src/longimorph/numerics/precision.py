"""Matrix products in full float32 precision, whatever the setting of the process.

The convolutions are matrix products. TensorFloat-32, which an environment variable or a library can enable
for the whole process, keeps 10 bits of each factor; the relative error of the gradient is then about 1e-4.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch


def _backends() -> list[Any]:
    """Where PyTorch keeps the precision of products, for a GPU and for a CPU; empty before PyTorch 2.9."""
    found = (torch.backends.cuda.matmul, getattr(torch.backends.mkldnn, "matmul", None))
    return [one for one in found if hasattr(one, "fp32_precision")]


def _set_before() -> str | None:
    """The precision by its older name; None if only the newer one was set, which PyTorch refuses to read."""
    try:
        return torch.get_float32_matmul_precision()
    except RuntimeError:
        return None


@contextmanager
def full_precision() -> Iterator[None]:
    """Use full precision within this context and restore the previous setting afterwards."""
    backends, before = _backends(), _set_before()
    each = [one.fp32_precision for one in backends]
    torch.set_float32_matmul_precision("highest")
    try:
        yield
    finally:
        if before is not None:
            torch.set_float32_matmul_precision(before)
        for one, precision in zip(backends, each, strict=True):
            if one.fp32_precision != precision:
                one.fp32_precision = precision

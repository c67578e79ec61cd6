"""Separable symmetric filters on a GPU: a band along one axis of the grid.

The filter is w_0 f(i) + sum over k >= 1 of w_k (f(i - k) + f(i + k)), zero outside the grid. A block of
threads has some columns along the axis, and each thread several neighbouring voxels of its columns: it reads
each voxel that the band reaches once, and adds it to all of them. Neighbouring threads have neighbouring
columns, which suits every axis of the grid but the last.
"""

from __future__ import annotations

import torch
import triton
import triton.language as tl
from torch import Tensor

from longimorph.numerics import triton_passes
from longimorph.numerics.triton_passes import WARPS, kernel

ROWS, COLUMNS = 8, 512
"""Voxels along the axis and columns of a block of threads."""


@kernel
def along(
    field, taps, out, n, step, columns,
    REACH: tl.constexpr, INDEX: tl.constexpr, ROWS: tl.constexpr, COLUMNS: tl.constexpr,
):  # fmt: skip
    """Filter the columns of ``n`` voxels that are ``step`` apart in memory."""
    column = tl.program_id(0) * COLUMNS + tl.arange(0, COLUMNS)
    first, rows = tl.program_id(1) * ROWS, tl.arange(0, ROWS)
    inside, apart = column < columns, tl.full((), step, INDEX)
    start = column // step * (n * apart) + column % step
    total = tl.zeros((ROWS, COLUMNS), field.dtype.element_ty)
    for k in range(2 * REACH + ROWS):
        row = first + k - REACH
        there = (row >= 0) & (row < n)
        value = tl.load(field + (start + row * apart), mask=inside & there, other=0.0)
        away = tl.abs(k - REACH - rows)
        weight = tl.load(taps + away, mask=away <= REACH, other=0.0)
        total += weight[:, None] * value[None, :]
    row = first + rows
    mask = (row < n)[:, None] & inside[None, :]
    tl.store(out + (start[None, :] + row[:, None] * apart), total, mask=mask)


def filtered(field: Tensor, taps: Tensor, axis: int) -> Tensor:
    """Filter (d, x, y, z) along a grid axis, 0 to 2, by a band (reach + 1,), zero outside the grid."""
    out, n = torch.empty_like(field), field.shape[axis + 1]
    step, columns = field.shape[axis + 2 :].numel(), field.numel() // n
    index = tl.int32 if field.numel() < triton_passes.MOST_OFFSETS else tl.int64
    blocks = (triton.cdiv(columns, COLUMNS), triton.cdiv(n, ROWS))
    with torch.cuda.device_of(field):
        along[blocks](
            field, taps, out, n, step, columns,
            REACH=len(taps) - 1, INDEX=index, ROWS=ROWS, COLUMNS=COLUMNS, num_warps=WARPS,
        )  # fmt: skip
    return out

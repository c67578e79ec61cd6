"""Reproducing kernels of the velocity: means of separable Gaussians in mm.

K(x, y) = a^2 * sum_s w_s G_s(x - y), with G_s a Gaussian density of standard deviation s mm (unit integral),
w_s = 1 / (number of scales) and a the amplitude in mm. The amplitude is the distance that tissue moves at the
cost of a rotation by one radian, two thirds of a full change of class. The integral over space includes the
voxel volume, so the result does not depend on the grid.

A Gaussian along one axis is a symmetric matrix. It is applied in the cheapest of three ways, which agree
within 1e-6 of the largest value: as it is, by its band, or, if it is wide, by its few large eigenvalues, S^T
S with S (r, n), as if on a coarser grid. A GPU takes bands along the first two axes, where neighbouring
threads can have neighbouring columns, and the matrix along the last.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor

from longimorph.numerics import passes

NEGLIGIBLE = 1e-12
"""Share of its peak below which a Gaussian is set to zero: denormal numbers are very slow on a CPU."""
REACH = {torch.float32: 5.4, torch.float64: 7.44}
"""Standard deviations after which a band ends: beyond 5.4 lies 7e-8 of the integral."""
SMALL_EIGENVALUE = {torch.float32: 1e-7, torch.float64: 1e-15}
"""Share of the largest eigenvalue below which the others are left out."""
TAP, ROOT = 0.47, 1.05
"""Time of one tap of a band, and of one column of a root, in units of that of a column of a matrix."""
COPIES = 10
"""Taps that take as long as the copies of a band's blocks."""
GPU_TAP = 1.5
"""Like ``TAP``, on a GPU; estimated, not measured."""

Axes = tuple[Tensor, ...]


class Scale(NamedTuple):
    """One Gaussian: the symmetric matrices (n, n) of the grid's axes, of which the first includes the weight.

    Empty, or the same by other means: ``taps`` (reach + 1,) are the band of every axis, ``roots`` S (r, n).
    """

    dense: Axes
    taps: Axes = ()
    roots: Axes = ()

    def __call__(self, field: Tensor) -> Tensor:
        """Convolve (d, *grid), zero-padded outside the grid. Linear and self-adjoint."""
        if self.roots:
            return along_all(along_all(field, self.roots), [root.T for root in self.roots])
        if self.taps and not field.requires_grad:
            if passes.can_fuse([field]):
                return passes.filtered(field, self.taps)
            if passes.kernels_for([field]) is not None:
                return torch.matmul(passes.filtered_on_gpu(field, self.taps[:2]), self.dense[2].T)
        return along_all(field, self.dense)


@dataclass(frozen=True)
class Kernel:
    """The sum of its scales."""

    scales: tuple[Scale, ...]

    def __call__(self, field: Tensor) -> Tensor:
        """Convolve (d, *grid) with the kernel, zero-padded outside the grid. Linear and self-adjoint."""
        total = self.scales[0](field)
        for scale in self.scales[1:]:
            total += scale(field)
        return total

    def matrices(self) -> list[Tensor]:
        """Every matrix that the kernel holds."""
        return [matrix for scale in self.scales for axes in scale for matrix in axes]


def along_all(field: Tensor, matrices: Sequence[Tensor]) -> Tensor:
    """Apply one matrix (m, n) per axis of the grid to (d, *grid)."""
    out = field
    for axis, matrix in enumerate(matrices, 1):
        shape = (*out.shape[:axis], len(matrix), *out.shape[axis + 1 :])
        if axis < len(matrices):
            columns = out.shape[axis + 1 :].numel()
            out = torch.matmul(matrix, out.reshape(-1, matrix.shape[1], columns)).reshape(shape)
        else:
            out = torch.matmul(out, matrix.T)
    return out


def _axis_matrix(n: int, spacing: float, sigma: float) -> Tensor:
    """The Gaussian along an axis of n voxels, (n, n) float64."""
    x = torch.arange(n, dtype=torch.float64) * spacing
    density = torch.exp(-((x[:, None] - x) ** 2) / (2 * sigma**2)) / (math.sqrt(2 * math.pi) * sigma)
    density[density < NEGLIGIBLE * density.max()] = 0.0
    return density * spacing


def _taps(matrix: Tensor, reach: int) -> Tensor:
    """The band of a symmetric Toeplitz matrix, filled up with zeros to a multiple of four."""
    taps = matrix.new_zeros(4 * math.ceil((reach + 1) / 4))
    known = matrix[0, : reach + 1]
    taps[: len(known)] = known
    return taps


def _root(matrix: Tensor, dtype: torch.dtype) -> Tensor:
    """S (r, n) with S^T S the matrix, without its small eigenvalues."""
    values, vectors = torch.linalg.eigh(matrix)
    kept = values > SMALL_EIGENVALUE[dtype] * values[-1]
    root: Tensor = (vectors[:, kept] * values[kept].sqrt()).T.contiguous()
    return root


def _cost_of_bands(reaches: Sequence[int], last: int, like: Tensor) -> float:
    """Time of a convolution by bands, in units of a column of a matrix; infinite where it is not possible."""
    if like.device.type == "cpu":
        return TAP * sum(2 * reach + 1 + COPIES for reach in reaches)
    if passes.kernels_for([like]) is None:
        return math.inf
    return GPU_TAP * sum(2 * reach + 1 for reach in reaches[:2]) + last


def _scale(axes: Sequence[Tensor], reaches: Sequence[int], weight: float, like: Tensor) -> Scale:
    """The cheapest form of a Gaussian with these matrices per axis and half-widths in voxels."""
    dense = tuple(m.to(like) for m in (axes[0] * weight, *axes[1:]))
    roots = [_root(m, like.dtype) for m in axes]
    shares = [len(root) / root.shape[1] for root in roots]
    of_matrix = float(sum(len(m) for m in axes))
    of_roots = ROOT * sum(2 * len(m) * math.prod(shares[: i + 1]) for i, m in enumerate(axes))
    of_band = _cost_of_bands(reaches, len(axes[-1]), like) if len(axes) == 3 else math.inf
    if min(of_matrix, of_band) > of_roots:
        first = roots[0] * math.sqrt(weight)
        return Scale(dense, roots=tuple(root.to(like) for root in (first, *roots[1:])))
    if of_band < of_matrix:
        taps = [_taps(m, reach) for m, reach in zip(axes, reaches, strict=True)]
        return Scale(dense, taps=tuple(t.to(like) for t in (taps[0] * weight, *taps[1:])))
    return Scale(dense)


def gaussian_kernel(
    shape: Sequence[int], spacing: Sequence[float], sigmas: Sequence[float], amplitude: float, like: Tensor
) -> Kernel:
    """Build the kernel for a grid: ``sigmas`` and ``amplitude`` in mm, the scales weighted equally.

    ``like`` gives dtype and device. A sigma below 0.6 voxel is not resolved by the grid and raises
    ``ValueError``.
    """
    if min(sigmas) < 0.6 * max(spacing):
        raise ValueError(
            f"a kernel of {min(sigmas)} mm needs a grid finer than {max(spacing)} mm (0.6 voxels)"
        )
    scales = []
    for sigma in sigmas:
        axes = [_axis_matrix(n, h, sigma) for n, h in zip(shape, spacing, strict=True)]
        reaches = [math.ceil(REACH[like.dtype] * sigma / h) for h in spacing]
        scales.append(_scale(axes, reaches, amplitude**2 / len(sigmas), like))
    return Kernel(tuple(scales))

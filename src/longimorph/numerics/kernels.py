"""Reproducing kernels of the velocity: means of separable Gaussians in mm.

K(x, y) = a^2 * sum_s w_s G_s(x - y), with G_s a Gaussian density of standard deviation s mm (unit integral),
w_s = 1 / (number of scales) and a the amplitude in mm. The amplitude is the distance that tissue moves at the
cost of a rotation by one radian, two thirds of a full change of class. The integral over space includes the
voxel volume, so the result does not depend on the grid.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

NEGLIGIBLE = 1e-12
"""Share of its peak below which a Gaussian is set to zero: denormal numbers are very slow on a CPU."""


@dataclass(frozen=True)
class Kernel:
    """One symmetric matrix (n, n) per scale and grid axis; the first axis's matrix includes the amplitude."""

    factors: tuple[tuple[Tensor, ...], ...]

    def __call__(self, field: Tensor) -> Tensor:
        """Convolve (d, *grid) with the kernel, zero-padded outside the grid. Linear and self-adjoint."""
        total = _convolve(field, self.factors[0])
        for factor in self.factors[1:]:
            total = total + _convolve(field, factor)
        return total


def _convolve(field: Tensor, factor: tuple[Tensor, ...]) -> Tensor:
    out = field
    dims = len(factor)
    for axis, matrix in enumerate(factor):
        shape = out.shape
        if axis < dims - 1:
            columns = shape[len(shape) - dims + axis + 1 :].numel()
            out = torch.matmul(matrix, out.reshape(-1, matrix.shape[0], columns)).reshape(shape)
        else:
            out = torch.matmul(out, matrix)
    return out


def _axis_matrix(n: int, spacing: float, sigma: float, like: Tensor) -> Tensor:
    x = torch.arange(n, dtype=torch.float64) * spacing
    density = torch.exp(-((x[:, None] - x) ** 2) / (2 * sigma**2)) / (math.sqrt(2 * math.pi) * sigma)
    density[density < NEGLIGIBLE * density.max()] = 0.0
    return (density * spacing).to(like)


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
    weight = amplitude**2 / len(sigmas)
    factors = []
    for sigma in sigmas:
        axes = [_axis_matrix(n, h, sigma, like) for n, h in zip(shape, spacing, strict=True)]
        factors.append((axes[0] * weight, *axes[1:]))
    return Kernel(tuple(factors))

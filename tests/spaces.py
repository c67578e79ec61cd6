"""Grids and volumes that tests share: oblique, flipped, anisotropic, in every storage order."""

from __future__ import annotations

import itertools

import numpy as np
import SimpleITK as sitk

from longimorph.geometry.grid import Grid


def rotation(angles: tuple[float, float, float]) -> np.ndarray:
    transform = sitk.Euler3DTransform()
    transform.SetRotation(*angles)
    return np.array(transform.GetMatrix()).reshape(3, 3)


def oblique(
    shape: tuple[int, int, int] = (5, 7, 4),
    angles: tuple[float, float, float] = (0.2, -0.3, 0.4),
    spacing: tuple[float, float, float] = (0.7, 1.1, 3.0),
    flip: tuple[int, int, int] = (1, 1, 1),
) -> Grid:
    affine = np.eye(4)
    affine[:3, :3] = rotation(angles) * (np.array(spacing) * flip)
    affine[:3, 3] = [-31.0, 12.5, 44.0]
    return Grid(shape, affine)


def storage_orders(array: np.ndarray, grid: Grid) -> list[tuple[np.ndarray, Grid]]:
    """One volume in all 48 orders of its axes."""
    orders = []
    for axes in itertools.permutations(range(3)):
        for flips in itertools.product((False, True), repeat=3):
            stored = array.transpose(axes)
            affine = grid.affine[:, [*axes, 3]].copy()
            for axis, flip in enumerate(flips):
                if flip:
                    affine[:3, 3] += affine[:3, axis] * (stored.shape[axis] - 1)
                    affine[:3, axis] *= -1
                    stored = np.flip(stored, axis)
            orders.append((stored, Grid(stored.shape, affine)))
    return orders

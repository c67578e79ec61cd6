"""A smooth, invertible flow that widens the ventricles and compresses the tissue around them.

The velocity is stationary: the gradient of a potential whose sources lie in the ventricles and whose sinks
lie in the tissue near them, tapered to zero at the surface of the brain. Points are advected by fourth-order
Runge-Kutta; the Jacobian determinant is the exponential of the divergence integrated along each path.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from longimorph.demo.anatomy import BACKGROUND, GM, THALAMUS, VENTRICLES, WM, Anatomy
from longimorph.errors import LongimorphError

Field = NDArray[np.float64]

_SPACING = 2.0
_SINK_WEIGHT = {WM: 1.0, GM: 0.25, THALAMUS: 2.0}
_RATE = 0.9
_SINK_RANGE_MM = 15.0
_SMOOTH_MM = 3.0
_TAPER_MM = 12.0
_EDGE_MM, _FADE_MM = 1.0, 8.0


@dataclass(frozen=True)
class WideningFlow:
    """A stationary velocity field on a 2 mm grid aligned with the anatomy.

    ``velocity`` (3, i, j, k) float64, mm per unit of flow time; ``divergence`` (i, j, k), 1 per unit of time.
    Voxel (0, 0, 0) has its centre at ``offset`` mm from the centre of the anatomy's voxel (0, 0, 0), so
    positions in mm in the anatomy's own frame are anatomy voxel indices.
    """

    velocity: Field
    divergence: Field
    offset: float = 0.5

    def grid_points(self) -> Field:
        """Centres of the grid's voxels in the anatomy's frame, mm, shape (3, i, j, k)."""
        axes = np.indices(self.divergence.shape, dtype=np.float64)
        return np.asarray(axes * _SPACING + self.offset)

    def moving(self) -> NDArray[np.bool_]:
        """Grid points that the flow moves, (i, j, k)."""
        return np.asarray((self.velocity != 0).any(axis=0))

    def sample(self, field: Field, points: Field) -> Field:
        """Trilinear value of a field on this grid at ``points`` (3, ...) in mm; 0 outside."""
        at = (points - self.offset) / _SPACING
        return np.asarray(ndimage.map_coordinates(field, at, order=1, mode="constant"))

    def refine(self, jacobian: Field, shape: tuple[int, ...]) -> Field:
        """Resample a Jacobian determinant on this grid to an anatomy of ``shape`` (cubic spline)."""
        values = ndimage.spline_filter(jacobian - 1.0, order=3, mode="mirror")
        for axis in range(3):
            values = _double(values, axis)
        missing = [(0, wanted - found) for wanted, found in zip(shape, values.shape, strict=True)]
        return 1.0 + np.pad(values, missing)

    def speed(self, points: Field) -> Field:
        """Velocity at ``points`` (3, ...) in mm, same shape, mm per unit of flow time."""
        return np.stack([self.sample(component, points) for component in self.velocity])


def _double(coefficients: Field, axis: int) -> Field:
    """Cubic spline along one axis at a quarter of a step before and after each of its nodes."""
    t = 0.25
    taps = [0.0, (1 - t) ** 3, 3 * t**3 - 6 * t**2 + 4, -3 * t**3 + 3 * t**2 + 3 * t + 1, t**3]
    after = ndimage.correlate1d(coefficients, np.array(taps) / 6, axis, mode="mirror")
    before = ndimage.correlate1d(coefficients, np.array(taps[::-1]) / 6, axis, mode="mirror")
    shape = list(coefficients.shape)
    shape[axis] *= 2
    return np.stack([before, after], axis=axis + 1).reshape(shape)


def _halve(volume: Field) -> Field:
    """Average 2×2×2 blocks (an odd last plane is dropped: it holds background only)."""
    i, j, k = (n // 2 for n in volume.shape)
    blocks = volume[: 2 * i, : 2 * j, : 2 * k].reshape(i, 2, j, 2, k, 2)
    return np.asarray(blocks.mean(axis=(1, 3, 5)))


def _potential_gradient(source: Field) -> Field:
    """Gradient of the solution of Poisson's equation with the given zero-mean source (spectral)."""
    shape = tuple(2 * n for n in source.shape)
    k = np.meshgrid(*(2 * np.pi * np.fft.fftfreq(n, _SPACING) for n in shape), indexing="ij", sparse=True)
    squared = k[0] ** 2 + k[1] ** 2 + k[2] ** 2
    squared[0, 0, 0] = 1.0
    potential = -np.fft.fftn(source, shape, axes=(0, 1, 2)) / squared
    potential[0, 0, 0] = 0.0
    i, j, m = source.shape
    return np.stack([np.fft.ifftn(1j * axis * potential).real[:i, :j, :m] for axis in k])


def build(anatomy: Anatomy) -> WideningFlow:
    """The flow of an anatomy; one unit of time widens the ventricles by roughly a third."""
    return pushing(anatomy.widening, anatomy.classes, _SINK_WEIGHT)


def pushing(
    growing: NDArray[np.bool_], classes: NDArray[np.int8], sink_weight: Mapping[int, float]
) -> WideningFlow:
    """The flow that expands the voxels ``growing`` (i, j, k) and compresses the tissue around them.

    ``sink_weight`` is the compressibility of each class of ``classes`` (i, j, k).
    """
    sources = _halve(growing.astype(np.float64))
    near = np.exp(-ndimage.distance_transform_edt(sources < 0.5, sampling=_SPACING) / _SINK_RANGE_MM)
    sinks = sum(w * _halve((classes == c).astype(np.float64)) for c, w in sink_weight.items()) * near
    brain = ndimage.binary_closing(classes != BACKGROUND, iterations=4)
    inside = _halve(brain.astype(np.float64)) > 0.5
    depth = ndimage.distance_transform_edt(inside, sampling=_SPACING)
    return _between(sources, sinks, _SMOOTH_MM, np.clip(depth / _TAPER_MM, 0.0, 1.0))


def displacing(growing: NDArray[np.bool_], classes: NDArray[np.int8]) -> WideningFlow:
    """The flow that expands the voxels ``growing`` (i, j, k) at the expense of fluid alone.

    All other tissue of ``classes`` (i, j, k) moves and keeps its volume, but for a millimetre or two along
    the borders of what grows and of the fluid. Fluid is the ventricles and whatever surrounds the brain.
    """
    sources = _halve(growing.astype(np.float64))
    near = np.exp(-ndimage.distance_transform_edt(sources < 0.5, sampling=_SPACING) / _SINK_RANGE_MM)
    fluid = _halve(np.isin(classes, (VENTRICLES, BACKGROUND)).astype(np.float64)) == 1
    sinks = near * ndimage.binary_erosion(fluid)
    outside = _halve((classes == BACKGROUND).astype(np.float64)) > 0.5
    beyond = ndimage.distance_transform_edt(ndimage.binary_opening(outside), sampling=_SPACING)
    return _between(sources, sinks, _EDGE_MM, np.clip(1 - beyond / _FADE_MM, 0.0, 1.0))


def _between(sources: Field, sinks: Any, smooth_mm: float, ramp: Field) -> WideningFlow:
    """The potential flow from sources to sinks, smoothed; it vanishes where ``ramp`` does, (i, j, k) each."""
    sources, sinks = (ndimage.gaussian_filter(field, smooth_mm / _SPACING) for field in (sources, sinks))
    velocity = _potential_gradient(_RATE * (sources - sinks * sources.sum() / sinks.sum()))
    velocity *= ndimage.gaussian_filter(ramp * ramp * (3 - 2 * ramp), 1.0, truncate=2.0)
    divergence = sum(np.gradient(v, _SPACING, axis=axis) for axis, v in enumerate(velocity))
    return WideningFlow(velocity, np.asarray(divergence))


def time_to_grow(flow: WideningFlow, tissue: NDArray[np.bool_], factor: float) -> float:
    """The flow time at which ``tissue`` (i, j, k on the anatomy's grid) has ``factor`` times its volume.

    Raises LongimorphError when the flow does not reach it by time 10.
    """
    points, step, most = np.argwhere(tissue).T.astype(np.float64), 1 / 8, 10.0
    log_jacobian = np.zeros(points.shape[1])
    time, before, after = 0.0, 1.0, 1.0
    while after < factor:
        if time >= most:
            raise LongimorphError(
                f"The flow widens the tissue by a factor of at most {after:.2f}; {factor:.2f} is required."
            )
        points, gained = _carry(flow, points, step)
        log_jacobian += gained
        time, before, after = time + step, after, float(np.exp(log_jacobian).mean())
    return time - step * (after - factor) / (after - before) if after > before else 0.0


def displacement(flow: WideningFlow, time: float) -> Field:
    """Displacement in mm, (3, i, j, k) on the flow's grid, of points advected for ``time`` (may be negative).

    A negative time gives the inverse flow: material now at x was at x + displacement.
    """
    moving = flow.moving()
    points = flow.grid_points()[:, moving]
    moved = np.zeros_like(flow.velocity)
    moved[:, moving] = _carry(flow, points, time)[0] - points
    return moved


def jacobian_history(flow: WideningFlow, start: float, end: float) -> tuple[Field, Field, Field]:
    """Jacobian determinants of the flow since time 0, on the flow's grid, at material points.

    Returns J at ``start``, J at ``end`` and the mean of J over the times in between (Simpson's rule), each
    (i, j, k), dimensionless; 0 ≤ start ≤ end.
    """
    moving = flow.moving()
    points, log_jacobian = _carry(flow, flow.grid_points()[:, moving], start)
    first = np.exp(log_jacobian)
    points, half = _carry(flow, points, (end - start) / 2)
    middle = np.exp(log_jacobian + half)
    last = middle * np.exp(_carry(flow, points, (end - start) / 2)[1])
    return _spread(moving, first), _spread(moving, last), _spread(moving, (first + 4 * middle + last) / 6)


def _spread(moving: NDArray[np.bool_], values: Field) -> Field:
    """Values at the moving points as a volume, 1 elsewhere."""
    volume = np.ones(moving.shape)
    volume[moving] = values
    return volume


def _carry(flow: WideningFlow, points: Field, time: float) -> tuple[Field, Field]:
    """Points (3, n) after ``time``, and log J (n,), the divergence along each path; 8 steps per unit."""
    steps = int(np.ceil(abs(time) * 8))
    log_jacobian, h = np.zeros(points.shape[1:]), time / max(steps, 1)
    divergence = flow.sample(flow.divergence, points)
    for _ in range(steps):
        k1 = flow.speed(points)
        k2 = flow.speed(points + 0.5 * h * k1)
        k3 = flow.speed(points + 0.5 * h * k2)
        k4 = flow.speed(points + h * k3)
        middle = flow.sample(flow.divergence, points + 0.5 * h * k2)
        points = points + h * (k1 + 2 * k2 + 2 * k3 + k4) / 6
        after = flow.sample(flow.divergence, points)
        log_jacobian += h * (divergence + 4 * middle + after) / 6
        divergence = after
    return points, log_jacobian
